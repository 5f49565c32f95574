"""Brand names in the picture: printed on a product, on a patch, or on a tag beside it."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shelfqa.catalogue.demo.canvas import Canvas, FloatArray, Point
from shelfqa.catalogue.demo.palette import Rgb

_MASTER_PX = 96  # size at which a name is set before it is scaled into place


@cache
def lettering(text: str) -> FloatArray:
    """Return the coverage (h, w) of a name in heavy letters, cut close around its ink."""
    font = ImageFont.load_default(_MASTER_PX)
    left, top, right, bottom = font.getbbox(text, stroke_width=3)
    image = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(image).text((4 - left, 4 - top), text, fill=255, font=font, stroke_width=3)
    box = image.getbbox() or (0, 0, *image.size)
    return np.asarray(image.crop(box), np.float32) / 255


def name_size(text: str, width: float, height: float) -> tuple[float, float]:
    """Return the largest width and height of a name within a box, keeping its proportions."""
    rows, columns = lettering(text).shape
    ratio = columns / rows
    return (width, width / ratio) if width / ratio <= height else (height * ratio, height)


def print_name(
    canvas: Canvas, text: str, center: Point, right: Point, down: Point, rgb: Rgb, alpha: float = 0.96
) -> None:
    """Print a name in a parallelogram: its centre, and its half axes along and across the letters.

    Letters are never mirrored: on a mirrored canvas the axes are turned so that the name reads.
    """
    if canvas.mirror < 0:
        if abs(right[0]) > abs(right[1]):
            right = (-right[0], -right[1])
        else:  # a name that climbs goes on climbing
            down = (-down[0], -down[1])
    corners = [
        (center[0] + a * right[0] + b * down[0], center[1] + a * right[1] + b * down[1])
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    region = canvas.polygon(corners)
    rows, columns = lettering(text).shape
    first, second, last = (canvas.to_px(corners[k]) for k in (0, 1, 3))
    across = ((second[0] - first[0]) / columns, (second[1] - first[1]) / columns)
    along = ((last[0] - first[0]) / rows, (last[1] - first[1]) / rows)
    span = max(np.hypot(*across), 1e-6)
    shrink = max(1, int(1 / span + 0.2))
    source = Image.fromarray((lettering(text) * 255).astype(np.uint8)).reduce(shrink)
    across, along = (
        (across[0] * shrink, across[1] * shrink),
        (along[0] * shrink, along[1] * shrink),
    )
    det = across[0] * along[1] - along[0] * across[1]
    x0, y0 = region.left - first[0], region.top - first[1]
    a, b = along[1] / det, -along[0] / det
    d, e = -across[1] / det, across[0] / det
    height, width = region.cover.shape
    letters = source.transform(
        (width, height),
        Image.Transform.AFFINE,
        (a, b, a * x0 + b * y0, d, e, d * x0 + e * y0),
        Image.Resampling.BICUBIC,
    )
    cover = np.asarray(letters, np.float32) / 255
    canvas.paint(region.kept(cover), np.array(rgb, np.float32) / 255, alpha)
