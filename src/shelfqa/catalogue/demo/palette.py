"""The basic colours of the drawn catalogue, their marketing shades, and which second colour goes with them."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

Rgb = tuple[int, int, int]


class Shade(NamedTuple):
    """One marketing shade of a basic colour: its English name and its sRGB value (0 to 255)."""

    name: str
    rgb: Rgb


SHADES: dict[str, tuple[Shade, ...]] = {
    "Black": (
        Shade("Jet Black", (30, 30, 32)),
        Shade("Onyx Black", (36, 35, 38)),
        Shade("Midnight Black", (27, 29, 35)),
        Shade("Ink Black", (33, 33, 33)),
    ),
    "White": (
        Shade("Snow White", (250, 250, 250)),
        Shade("Polar White", (246, 248, 250)),
        Shade("Chalk White", (248, 247, 243)),
        Shade("Pure White", (252, 252, 252)),
    ),
    "Red": (
        Shade("Cherry Red", (200, 26, 40)),
        Shade("Crimson", (184, 18, 38)),
        Shade("Fire Red", (218, 32, 28)),
        Shade("Poppy Red", (212, 40, 46)),
    ),
    "Blue": (
        Shade("Midnight Blue", (28, 52, 122)),
        Shade("Cobalt", (24, 74, 182)),
        Shade("Ocean Blue", (30, 104, 190)),
        Shade("Sky Blue", (84, 156, 226)),
    ),
    "Green": (
        Shade("Forest Green", (30, 98, 52)),
        Shade("Emerald", (14, 138, 80)),
        Shade("Fern Green", (72, 148, 66)),
        Shade("Leaf Green", (96, 172, 58)),
    ),
    "Yellow": (
        Shade("Lemon Yellow", (250, 226, 56)),
        Shade("Sunflower", (252, 206, 22)),
        Shade("Canary Yellow", (252, 232, 76)),
        Shade("Dandelion", (248, 214, 38)),
    ),
    "Orange": (
        Shade("Tangerine", (242, 122, 18)),
        Shade("Pumpkin", (230, 106, 20)),
        Shade("Sunset Orange", (246, 112, 44)),
        Shade("Mandarin", (250, 136, 24)),
    ),
    "Pink": (
        Shade("Blush Pink", (244, 170, 190)),
        Shade("Rose Pink", (238, 124, 164)),
        Shade("Flamingo", (244, 132, 156)),
        Shade("Candy Pink", (240, 106, 170)),
    ),
    "Purple": (
        Shade("Royal Purple", (100, 46, 148)),
        Shade("Plum", (112, 42, 118)),
        Shade("Violet", (122, 70, 182)),
        Shade("Lavender", (160, 126, 212)),
    ),
    "Brown": (
        Shade("Chestnut", (122, 70, 36)),
        Shade("Walnut Brown", (98, 62, 38)),
        Shade("Cocoa", (92, 54, 36)),
        Shade("Hazel Brown", (134, 84, 46)),
    ),
    "Grey": (
        Shade("Slate Grey", (112, 116, 122)),
        Shade("Ash Grey", (140, 141, 142)),
        Shade("Stone Grey", (128, 126, 123)),
        Shade("Steel Grey", (120, 125, 130)),
    ),
    "Beige": (
        Shade("Sand Beige", (222, 200, 162)),
        Shade("Oatmeal", (226, 208, 176)),
        Shade("Latte", (214, 188, 148)),
        Shade("Champagne", (228, 206, 164)),
    ),
}

NEUTRALS = frozenset({"Black", "White", "Grey"})
_CREAM: Rgb = (250, 247, 240)
_INK: Rgb = (44, 46, 52)


def luminance(rgb: Rgb) -> float:
    """Perceived lightness of an sRGB value, 0 (black) to 1 (white)."""
    return (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]) / 255


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Blend two colours; `share` is the part of the second, 0 to 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def accent(color: str, rgb: Rgb, rng: Random) -> Rgb:
    """Choose the second colour of a pattern: cream or a tone of the same hue, so that the main colour stays plain.

    Black, white and grey never meet at full contrast: a black and white zigzag would have no main colour.
    """
    tones = {
        "White": (mix(rgb, _INK, 0.24), mix(rgb, _INK, 0.32)),
        "Black": (mix(rgb, _CREAM, 0.3), mix(rgb, _CREAM, 0.38)),
        "Grey": (mix(rgb, _CREAM, 0.5), mix(rgb, _INK, 0.55)),
        "Beige": (mix(rgb, (110, 78, 40), 0.45), _CREAM),
        "Yellow": (mix(rgb, (130, 84, 0), 0.5), _CREAM),
        "Pink": (mix(rgb, (120, 20, 70), 0.6), _CREAM),
    }
    return rng.choice(tones.get(color, (_CREAM, mix(rgb, _CREAM, 0.72))))


def contrasting(rgb: Rgb) -> Rgb:
    """Return ink or cream, whichever reads better on this colour."""
    return _INK if luminance(rgb) > 0.55 else _CREAM
