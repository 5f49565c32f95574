"""Photographs on the white square that `mini` reads, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Box(NamedTuple):
    """Where the photograph lies on the square, in pixels."""

    left: int
    top: int
    width: int
    height: int


def photo_box(width: int, height: int, side_px: int) -> Box:
    """Return where a photograph of `width` x `height` pixels lies on a square: in its middle, as large as fits."""
    scale = side_px / max(width, height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    return Box((side_px - wide) // 2, (side_px - high) // 2, wide, high)


def white_square(picture: Image.Image, side_px: int) -> Image.Image:
    """Return `picture` scaled to fit a white square of `side_px`, centred."""
    picture = picture.convert("RGB")
    box = photo_box(*picture.size, side_px)
    if picture.size != (box.width, box.height):
        picture = picture.resize((box.width, box.height), Image.Resampling.BICUBIC)
    if picture.size == (side_px, side_px):
        return picture
    square = Image.new("RGB", (side_px, side_px), (255, 255, 255))
    square.paste(picture, (box.left, box.top))
    return square


def levels(pictures: Sequence[Image.Image], side_px: int) -> NDArray[np.uint8]:
    """Return each picture's white square, [n, side, side, 3], from 0 to 255."""
    squares = np.empty((len(pictures), side_px, side_px, 3), dtype=np.uint8)
    for index, picture in enumerate(pictures):
        squares[index] = np.asarray(white_square(picture, side_px))
    return squares
