"""Heat maps: where a model looked, in warm colours to lay over the photograph that it saw.

A map is the shares [rows, columns] of the cells of the square in whose middle the photograph lies. Colours are relative
to its hottest cell: they compare places of one picture, not pictures.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_COLOURS = np.array([(255, 225, 90), (255, 140, 30), (214, 30, 45)], dtype=np.float32)
"""From little to much."""
_MOST_OPAQUE = 0.72
_FAINTEST = 0.12
"""Shares of the hottest cell up to this much are left clear."""
_SHADES = 64
_SMALL_PX = 64
"""Side of a map inside a page, which the browser scales up; eight times a cell's side keeps its edges smooth."""


def overlay(shares: NDArray[np.float32], side_px: int) -> Image.Image:
    """Return the map as an RGBA picture of `side_px` x `side_px`, clear where the model took little."""
    return Image.fromarray(_painted(_heat(shares, side_px)))


def overlay_uri(shares: NDArray[np.float32]) -> str:
    """Return the map as the data URI of a small square PNG with transparency, some 2 kB."""
    shades = np.rint(_heat(shares, _SMALL_PX) * (_SHADES - 1)).astype(np.uint8)
    palette = _painted(np.linspace(0, 1, _SHADES, dtype=np.float32))
    picture = Image.fromarray(shades)
    picture.putpalette(palette[:, :3].tobytes())  # which makes it a picture of that palette
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=palette[:, 3].tobytes())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def hottest(shares: NDArray[np.float32]) -> str:
    """Return where the hottest cell lies, in words.

    >>> hottest(np.eye(8, dtype=np.float32)[:, ::-1]), hottest(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]))
    ('upper right', 'middle')
    """
    row, column = np.unravel_index(int(shares.argmax()), shares.shape)
    upright = ("upper", "", "lower")[int((row + 0.5) * 3 / shares.shape[0])]
    across = ("left", "", "right")[int((column + 0.5) * 3 / shares.shape[1])]
    return f"{upright} {across}".strip() or "middle"


def _heat(shares: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """Return [side, side] from 0, left clear, to 1, the hottest."""
    relative = np.asarray(shares, dtype=np.float32) / max(float(shares.max()), 1e-12)
    scaled = np.asarray(Image.fromarray(relative).resize((side_px, side_px), Image.Resampling.BICUBIC))
    heat: NDArray[np.float32] = np.clip((scaled - _FAINTEST) / (1 - _FAINTEST), 0, 1)
    return heat


def _painted(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the colour [..., 4] of each value in [0, 1]: red, green, blue and opacity."""
    place = heat * (len(_COLOURS) - 1)
    lower = np.minimum(place.astype(int), len(_COLOURS) - 2)
    part = (place - lower)[..., None]
    colour = _COLOURS[lower] * (1 - part) + _COLOURS[lower + 1] * part
    opaque = (255 * _MOST_OPAQUE * heat**0.75)[..., None]
    return np.concatenate([colour, opaque], axis=-1).round().astype(np.uint8)
