"""An anti-aliased canvas in unit coordinates: regions with soft edges, painted with lit surfaces.

Legend: coordinates are units of the sprite, x to the right and y down, both in -1 to 1. `h, w` are pixels of a
region's bounding box. Colours are float32 in 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

FloatArray = npt.NDArray[np.floating[Any]]
Point = tuple[float, float]
_MASK_OVERSAMPLING = 2


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of the canvas: the top-left pixel of its box, its coverage and the coordinates of its pixels."""

    left: int
    top: int
    cover: FloatArray  # h, w
    x: FloatArray  # h, w
    y: FloatArray  # h, w

    def kept(self, cover: FloatArray) -> Region:
        """Return the same box with another coverage (h, w)."""
        return Region(left=self.left, top=self.top, cover=cover, x=self.x, y=self.y)


class Canvas:
    """A square transparent picture on which regions are painted one over the other."""

    def __init__(self, side_px: int, *, turn_deg: float = 0.0, mirrored: bool = False, detail: float = 1.0):
        """Make an empty canvas; `detail` coarsens patterns and grain (2 is twice as coarse) for small sprites."""
        self.side_px = side_px
        self.detail = detail
        self.mirror = -1.0 if mirrored else 1.0
        self._cos, self._sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
        # A turned square needs more room: it is drawn smaller, so that its corners stay inside.
        self._middle = side_px / 2
        self._half = side_px / 2 / (self._cos + 0.85 * abs(self._sin))
        self.rgb: FloatArray = np.zeros((side_px, side_px, 3), np.float32)
        self.alpha: FloatArray = np.zeros((side_px, side_px), np.float32)

    @property
    def pixel(self) -> float:
        """Size of one pixel in units."""
        return 1 / self._half

    def to_px(self, point: Point) -> Point:
        """Turn unit coordinates into pixels of the canvas."""
        x, y = point[0] * self.mirror, point[1]
        return (
            (x * self._cos - y * self._sin) * self._half + self._middle,
            (x * self._sin + y * self._cos) * self._half + self._middle,
        )

    def polygons(self, outlines: Sequence[Sequence[Point]], holes: Sequence[Sequence[Point]] = ()) -> Region:
        """Cover the inside of some outlines, less some holes."""
        lines = [[self.to_px(point) for point in outline] for outline in outlines]
        cuts = [[self.to_px(point) for point in outline] for outline in holes]
        left, top, right, bottom = self._box([point for line in lines for point in line])
        size = ((right - left) * _MASK_OVERSAMPLING, (bottom - top) * _MASK_OVERSAMPLING)
        image = Image.new("L", size)
        draw = ImageDraw.Draw(image)
        for shapes, value in ((lines, 255), (cuts, 0)):
            for line in shapes:
                draw.polygon(
                    [((x - left) * _MASK_OVERSAMPLING, (y - top) * _MASK_OVERSAMPLING) for x, y in line], value
                )
        cover = np.asarray(image.reduce(_MASK_OVERSAMPLING), np.float32) / 255
        return self._region(left, top, cover)

    def polygon(self, outline: Sequence[Point]) -> Region:
        """Cover the inside of one outline."""
        return self.polygons([outline])

    def stroke(self, line: Sequence[Point], width: float, *, taper: float = 1.0) -> Region:
        """Cover a line with round ends; its width changes evenly to `taper` times as much at the end."""
        count = len(line)
        outlines: list[list[Point]] = []
        for index in range(count - 1):
            ends = []
            for at in (index, index + 1):
                ends.append((line[at], width / 2 * (1 + (taper - 1) * at / (count - 1))))
            outlines.append(_capsule(ends[0][0], ends[0][1], ends[1][0], ends[1][1]))
        return self.polygons(outlines)

    def paint(self, region: Region, rgb: FloatArray, alpha: float | FloatArray = 1.0) -> None:
        """Lay a colour (3 or h, w, 3) over the canvas where the region covers it."""
        height, width = region.cover.shape
        box = (slice(region.top, region.top + height), slice(region.left, region.left + width))
        over = (region.cover * alpha)[..., None]
        self.rgb[box] = self.rgb[box] * (1 - over) + rgb * over
        self.alpha[box] = self.alpha[box] * (1 - over[..., 0]) + over[..., 0]

    def darken(self, region: Region, amount: float | FloatArray) -> None:
        """Darken what is painted already, without adding coverage: a shade that one part casts on another."""
        height, width = region.cover.shape
        box = (slice(region.top, region.top + height), slice(region.left, region.left + width))
        self.rgb[box] *= (1 - region.cover * amount)[..., None]

    def _box(self, points: Sequence[Point]) -> tuple[int, int, int, int]:
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        limit = self.side_px - 1
        left, top = (min(max(math.floor(min(v)) - 1, 0), limit) for v in (xs, ys))
        right, bottom = (min(max(math.ceil(max(v)) + 2, 1), self.side_px) for v in (xs, ys))
        return left, top, max(right, left + 1), max(bottom, top + 1)

    def _region(self, left: int, top: int, cover: FloatArray) -> Region:
        height, width = cover.shape
        across = (np.arange(left, left + width, dtype=np.float32) + 0.5 - self._middle)[None, :] / self._half
        down = (np.arange(top, top + height, dtype=np.float32) + 0.5 - self._middle)[:, None] / self._half
        x = (across * self._cos + down * self._sin) * self.mirror
        y = -across * self._sin + down * self._cos
        return Region(left=left, top=top, cover=cover, x=x.astype(np.float32), y=y.astype(np.float32))


def _capsule(start: Point, start_radius: float, end: Point, end_radius: float) -> list[Point]:
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    outline = []
    for centre, radius, first in ((start, start_radius, angle + math.pi / 2), (end, end_radius, angle - math.pi / 2)):
        for step in range(9):
            turn = first + math.pi * step / 8
            outline.append((centre[0] + radius * math.cos(turn), centre[1] + radius * math.sin(turn)))
    return outline


def blurred(values: FloatArray, radius_px: float) -> FloatArray:
    """Blur a map (h, w) softly; what lies outside counts as zero. Runs on a reduced copy, so that it is cheap."""
    step = max(1, int(radius_px // 2))
    height, width = values.shape
    small_size = (max(1, -(-width // step)), max(1, -(-height // step)))
    small = np.asarray(Image.fromarray(values).resize(small_size, Image.Resampling.BOX), np.float32)
    reach = max(1, round(radius_px / step * 0.9))
    pad = 3 * reach + 1
    small = np.pad(small, pad)
    for axis in (0, 1, 0, 1, 0, 1):
        small = _box_blurred(small, reach, axis)
    small = small[pad:-pad, pad:-pad]
    if step == 1:
        return small
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), np.float32)


def _box_blurred(values: FloatArray, reach: int, axis: int) -> FloatArray:
    span = 2 * reach + 1
    if axis == 1:
        return np.ascontiguousarray(_box_blurred(np.ascontiguousarray(values.T), reach, 0).T)
    size, width = values.shape
    total = np.zeros((size + 1, width), np.float32)
    np.cumsum(values, axis=0, out=total[1:])
    result = np.empty_like(values)
    inner = slice(reach, max(size - reach, reach))
    ends = np.minimum(np.arange(size) + reach + 1, size)
    starts = np.maximum(np.arange(size) - reach, 0)
    if size > span:
        np.subtract(total[span:], total[: size + 1 - span], out=result[inner])
        edge = np.r_[0:reach, size - reach : size]
        result[edge] = total[ends[edge]] - total[starts[edge]]
    else:
        result = total[ends] - total[starts]
    result /= span
    return result
