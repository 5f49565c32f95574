"""Materials: how light meets each one, and its grain as a function of surface coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from shelfqa.catalogue.demo.canvas import FloatArray, blurred

_TILE_PX = 1024
Grain = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Material:
    """One material: strength and sharpness of its highlight, how deep its shade is, and its grain.

    `grain` gives a factor (around 1) on the colour at (u, v) in grain units; `sheen` brightens grazing angles;
    `metallic` mirrors a studio; `opacity` below 1 lets the background through.
    """

    gloss: float = 0.0
    sharpness: float = 20.0
    depth: float = 0.5
    sheen: float = 0.0
    metallic: float = 0.0
    opacity: float = 1.0
    grain: Grain | None = None


@cache
def _noise_tile(smoothness_px: int) -> FloatArray:
    """Noise that repeats without a seam, about -1 to 1, with features of this size; the same in every process."""
    rng = np.random.default_rng(90210 + smoothness_px)
    coarse = _TILE_PX // smoothness_px * 2
    small = rng.standard_normal((coarse, coarse)).astype(np.float32)
    tiled = np.tile(small, (3, 3))
    zoom = np.repeat(np.repeat(tiled, smoothness_px // 2, 0), smoothness_px // 2, 1)
    smooth = blurred(zoom.astype(np.float32), smoothness_px / 3)
    middle = smooth[_TILE_PX : 2 * _TILE_PX, _TILE_PX : 2 * _TILE_PX]
    return np.asarray(np.clip(middle / (2 * middle.std()), -1.5, 1.5).astype(np.float32), np.float32)


def noise(u: FloatArray, v: FloatArray, smoothness_px: int = 16) -> FloatArray:
    """Smooth noise at (u, v), about -1 to 1; one feature spans about one unit of u or v."""
    columns = (u * smoothness_px).astype(np.int32) & (_TILE_PX - 1)
    rows = (v * smoothness_px).astype(np.int32) & (_TILE_PX - 1)
    return np.asarray(_noise_tile(smoothness_px)[rows, columns], np.float32)


def _fraction(values: FloatArray) -> FloatArray:
    return values - np.floor(values)


def _wood(u: FloatArray, v: FloatArray) -> FloatArray:
    warp = noise(u * 0.016, v * 0.05) * 1.9 + noise(u * 0.007 + 31, v * 0.02) * 2.2
    rings = _fraction(v * 0.13 + warp)
    fibre = noise(u * 0.12, v * 1.4)
    return np.asarray(0.9 - 0.26 * rings**2.5 + 0.07 * fibre + 0.06 * noise(u * 0.03 + 7, v * 0.5), np.float32)


def _brushed(u: FloatArray, v: FloatArray) -> FloatArray:
    return 1 + 0.055 * noise(u * 0.02, v * 1.6)


def _cotton(u: FloatArray, v: FloatArray) -> FloatArray:
    return 1 + 0.035 * noise(u * 0.8, v * 0.8) + 0.045 * noise(u * 0.05, v * 0.05)


def _linen(u: FloatArray, v: FloatArray) -> FloatArray:
    return 1.0 + 0.085 * noise(u * 0.07, v * 0.9) + 0.085 * noise(u * 0.9 + 51, v * 0.07)


def _wool(u: FloatArray, v: FloatArray) -> FloatArray:
    column = _fraction(u * 0.19)
    lean = np.abs(column - 0.5) * 1.3
    stitch = np.abs(_fraction(v * 0.24 + lean) - 0.5) * 2
    gap = np.clip(np.abs(column - 0.5) * 8 - 3.1, 0, 1)
    return np.asarray(1.05 - 0.36 * stitch**2 - 0.17 * gap, np.float32)


def _denim(u: FloatArray, v: FloatArray) -> FloatArray:
    twill = np.abs(_fraction((u + v) * 0.33) - 0.5) * 2
    return np.asarray(
        0.96 + 0.16 * twill + 0.1 * noise(u * 0.9, v * 0.5) + 0.06 * noise(u * 0.05, v * 0.05) - 0.08, np.float32
    )


def _leather(u: FloatArray, v: FloatArray) -> FloatArray:
    crease = np.abs(noise(u * 0.45, v * 0.45)) + 0.5 * np.abs(noise(u * 0.7 + 13, v * 0.7))
    return 0.82 + 0.3 * np.minimum(crease, 0.75) + 0.05 * noise(u * 0.04, v * 0.04)


def _canvas(u: FloatArray, v: FloatArray) -> FloatArray:
    over = ((np.floor(u * 0.3) + np.floor(v * 0.3)) % 2).astype(np.float32)
    across, down = np.abs(_fraction(u * 0.3) - 0.5), np.abs(_fraction(v * 0.3) - 0.5)
    bulge = over * (1 - 2 * down) + (1 - over) * (1 - 2 * across)
    return np.asarray(0.86 + 0.23 * bulge + 0.04 * noise(u * 0.6, v * 0.6), np.float32)


def _cardboard(u: FloatArray, v: FloatArray) -> FloatArray:
    flutes = np.abs(_fraction(u * 0.17) - 0.5)
    return np.asarray(
        0.99 + 0.07 * noise(u * 0.7, v * 0.7) - 0.09 * flutes + 0.05 * noise(u * 0.06, v * 0.06), np.float32
    )


def _marble(u: FloatArray, v: FloatArray) -> FloatArray:
    bend = noise(u * 0.03, v * 0.03) * 1.1
    first = np.abs(noise(u * 0.035 + bend * 0.4, v * 0.035 - bend * 0.3))
    second = np.abs(noise(u * 0.07 + 40, v * 0.06 + bend * 0.5))
    return np.asarray(1.05 - 0.42 * np.exp(-first * 8) - 0.2 * np.exp(-second * 12) + 0.06 * bend, np.float32)


def _wicker(u: FloatArray, v: FloatArray) -> FloatArray:
    column, row = u * 0.1, v * 0.16
    shifted = column + 0.5 * (np.floor(row) % 2)
    strand = 1 - (2 * np.abs(_fraction(row) - 0.5)) ** 2
    bulge = 1 - (2 * np.abs(_fraction(shifted) - 0.5)) ** 4
    return np.asarray(0.5 + 0.57 * strand * (0.35 + 0.65 * bulge) + 0.06 * noise(u * 0.3, v * 1.2), np.float32)


def _velvet(u: FloatArray, v: FloatArray) -> FloatArray:
    return 0.95 + 0.15 * noise(u * 0.035, v * 0.035) + 0.03 * noise(u, v)


def _glass_specks(u: FloatArray, v: FloatArray) -> FloatArray:
    return 1 + 0.05 * noise(u * 0.03, v * 0.02)


MATERIALS: dict[str, Material] = {
    "Wood": Material(gloss=0.1, sharpness=14, grain=_wood),
    "Ceramic": Material(gloss=0.75, sharpness=60, depth=0.42),
    "Plastic": Material(gloss=0.3, sharpness=16, depth=0.42),
    "Glass": Material(gloss=0.95, sharpness=90, depth=0.2, opacity=0.46, grain=_glass_specks),
    "Metal": Material(gloss=0.7, sharpness=28, depth=0.3, metallic=1.0, grain=_brushed),
    "Cotton": Material(grain=_cotton),
    "Linen": Material(grain=_linen),
    "Wool": Material(depth=0.5, sheen=0.06, grain=_wool),
    "Denim": Material(grain=_denim),
    "Leather": Material(gloss=0.38, sharpness=13, depth=0.55, grain=_leather),
    "Canvas": Material(grain=_canvas),
    "Paper": Material(depth=0.45, grain=_cardboard),
    "Marble": Material(gloss=0.5, sharpness=45, depth=0.4, grain=_marble),
    "Wicker": Material(gloss=0.05, depth=0.5, grain=_wicker),
    "Velvet": Material(depth=0.72, sheen=0.42, grain=_velvet),
}
