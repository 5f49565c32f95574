"""Surfaces: a finish (colour, material, pattern) laid over a part and lit from the upper left.

Normals are screen directions: x to the right, y down, z to the viewer. The light stands at the upper left in front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from shelfqa.catalogue.demo.canvas import Canvas, FloatArray, Point, Region, blurred
from shelfqa.catalogue.demo.materials import MATERIALS, noise
from shelfqa.catalogue.demo.palette import Rgb
from shelfqa.catalogue.demo.patterns import PATTERNS

_LIGHT = np.array([-0.46, -0.56, 0.69], np.float32)
_HALFWAY = np.array([-0.25, -0.305, 0.919], np.float32)
_GRAIN_UNIT = 0.0105  # one grain unit in sprite units: about one pixel of a picture that the sprite fills


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What a part is made of and how it is coloured; offsets make the grain of each product its own."""

    rgb: Rgb
    accent: Rgb = (255, 255, 255)
    material: str = "Plastic"
    pattern: str = "Solid"
    period: float = 0.22
    angle_deg: float = 0.0
    offset: float = 0.0

    def plain(self) -> Finish:
        """Return the same without its pattern."""
        return replace(self, pattern="Solid")

    def tinted(self, rgb: Rgb) -> Finish:
        """Return the same material, without pattern, in another colour."""
        return replace(self, rgb=rgb, pattern="Solid")

    def albedo(self, u: FloatArray, v: FloatArray, canvas: Canvas) -> tuple[FloatArray, FloatArray | None]:
        """Return the unlit colour (h, w, 3) and, where there is a pattern, its coverage (h, w)."""
        base = np.array(self.rgb, np.float32) / 255
        motif = None
        color: FloatArray
        if self.pattern in PATTERNS:
            turn = math.radians(self.angle_deg)
            period = self.period * canvas.detail
            across = (u * math.cos(turn) + v * math.sin(turn)) / period + self.offset
            down = (-u * math.sin(turn) + v * math.cos(turn)) / period + self.offset
            motif = PATTERNS[self.pattern](across, down, 1.5 * canvas.pixel / period)
            color = base + motif[..., None] * (np.array(self.accent, np.float32) / 255 - base)
        else:
            color = np.broadcast_to(base, (*u.shape, 3))
        grain = MATERIALS[self.material].grain
        if grain is not None:
            scale = 1 / (_GRAIN_UNIT * canvas.detail)
            factor = grain(u * scale + self.offset * 97, v * scale + self.offset * 53)[..., None]
            # A factor alone would hide the grain of dark colours: part of it is added instead.
            color = color * factor + (factor - 1) * 0.1
        return color, motif


def paint(
    canvas: Canvas,
    region: Region,
    finish: Finish,
    uv: tuple[FloatArray, FloatArray],
    normal: tuple[FloatArray | float, FloatArray | float],
) -> None:
    """Paint a region with a finish, lit by its normals (x and y parts; z follows)."""
    material = MATERIALS[finish.material]
    albedo, motif = finish.albedo(uv[0], uv[1], canvas)
    shape = region.cover.shape
    nx = np.broadcast_to(np.asarray(normal[0], np.float32), shape)
    ny = np.broadcast_to(np.asarray(normal[1], np.float32), shape)
    length = np.maximum(np.sqrt(nx * nx + ny * ny), 1e-6)
    squeeze = np.minimum(1.0, 0.985 / length)
    nx, ny = nx * squeeze, ny * squeeze
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0.0))
    facing = nx * _LIGHT[0] + ny * _LIGHT[1] + nz * _LIGHT[2]
    light = 1 + material.depth * (np.maximum(facing, -0.25) - 0.72)
    if material.metallic:
        # A studio mirrored in metal: bright soft boxes and a dark floor line, seen by the normal's direction.
        mirrored = 0.5 + 0.5 * np.sin(5.2 * nx + 2.2 * ny + 2.5) + 0.25 * np.sin(11 * nx - 1.0)
        light = light * (0.72 + 0.36 * mirrored)
    color = albedo * np.maximum(light, 0.12)[..., None]
    if material.sheen:
        color = color + (material.sheen * (1 - nz) ** 2)[..., None] * (0.35 + 0.65 * albedo)
    if material.gloss:
        shine = np.maximum(nx * _HALFWAY[0] + ny * _HALFWAY[1] + nz * _HALFWAY[2], 0)
        shine = material.gloss * shine**material.sharpness
        shine = shine * np.clip(0.25 + 1.4 * length, 0, 1)
        # A tall soft box at the left, mirrored in whatever is round and glossy.
        band = np.exp(-(((nx + 0.44) * math.sqrt(material.sharpness) / 0.85) ** 2)) * np.clip(
            1.1 - 1.6 * np.abs(ny), 0, 1
        )
        shine = shine + (0.62 - 0.42 * material.metallic) * material.gloss * band
        color = color + (shine * 0.85)[..., None] * (1 - np.minimum(color, 1))
    alpha: float | FloatArray = material.opacity
    if material.opacity < 1:
        rim = (1 - nz) ** 2
        # Windows mirrored in glass: two slanting glares where it is flat, and bright lines near its sides.
        slant = region.x * canvas.mirror + 0.55 * region.y + finish.offset - 0.5
        glare = np.exp(-(((slant + 0.28) / 0.12) ** 2)) + 0.7 * np.exp(-(((slant - 0.02) / 0.05) ** 2))
        glare = glare * np.clip(1 - 1.8 * length, 0, 1)
        glare = glare + 0.9 * np.exp(-(((nx + 0.72) / 0.07) ** 2)) + 0.5 * np.exp(-(((nx - 0.8) / 0.06) ** 2))
        color = color + (0.42 * glare)[..., None] * (1 - np.minimum(color, 1))
        alpha = np.clip(material.opacity + 0.5 * rim + 0.2 * glare, 0, 1)
        if motif is not None:
            alpha = np.maximum(alpha, 0.9 * motif)
        color = color * (1 - 0.42 * rim)[..., None]
    canvas.paint(region, np.clip(color, 0, 1), alpha)


def relief(
    canvas: Canvas,
    region: Region,
    finish: Finish,
    *,
    roundness: float = 0.12,
    strength: float = 1.0,
    wrinkles: float = 0.0,
    uv: tuple[FloatArray, FloatArray] | None = None,
    tilt: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Paint a region as a cushioned body: its edges fall away over `roundness` units; wrinkles are cloth folds."""
    radius_px = max(roundness / canvas.pixel, 1.0)
    height = blurred(region.cover, radius_px)
    down, across = (np.asarray(slope, np.float32) for slope in np.gradient(height))
    scale = radius_px * 2.0 * strength
    nx, ny = -across * scale + tilt[0], -down * scale + tilt[1]
    if wrinkles:
        at = finish.offset * 17
        fold = noise(region.x * 3 + region.y * 0.8 + at, region.y * 2.4 + at, 64)
        other = noise(region.x * 1.3 - at, region.y * 5 - region.x * 2 + at, 64)
        nx, ny = nx + wrinkles * fold, ny + wrinkles * other
    paint(canvas, region, finish, uv or (region.x, region.y), (nx, ny))


def tube(canvas: Canvas, line: Sequence[Point], width: float, finish: Finish, *, taper: float = 1.0) -> None:
    """Paint a round bar along a line: a handle, a leg, a strap."""
    region = canvas.stroke(line, width, taper=taper)
    relief(canvas, region, finish, roundness=width * 0.32, strength=1.15, uv=(region.y, region.x))


def lathe(
    canvas: Canvas,
    profile: Sequence[tuple[float, float]],
    finish: Finish,
    *,
    center_x: float = 0.0,
    ellipse: float = 0.16,
    turn: float = 0.0,
) -> None:
    """Paint a turned body: `profile` lists (y, radius) downwards; `ellipse` is how open its circles look."""
    ys = np.array([p[0] for p in profile], np.float32)
    radii = np.array([p[1] for p in profile], np.float32)
    outline: list[Point] = [(center_x + r, y) for y, r in profile]
    arc = np.linspace(0, math.pi, 25)
    bottom_y, bottom_r = profile[-1]
    top_y, top_r = profile[0]
    outline += [(center_x + bottom_r * math.cos(a), bottom_y + ellipse * bottom_r * math.sin(a)) for a in arc]
    outline += [(center_x - r, y) for y, r in reversed(profile)]
    outline += [(center_x - top_r * math.cos(a), top_y - ellipse * top_r * math.sin(a)) for a in arc]
    region = canvas.polygon(outline)
    across = region.x - center_x
    radius = np.interp(region.y, ys, radii).astype(np.float32)
    side = np.clip(across / np.maximum(radius, 1e-4), -0.99, 0.99)
    level = region.y - ellipse * radius * np.sqrt(1 - side * side)
    radius = np.interp(level, ys, radii).astype(np.float32)
    side = np.clip(across / np.maximum(radius, 1e-4), -0.995, 0.995)
    slopes = np.gradient(radii, ys) if len(profile) > 2 else np.full(len(ys), (top_r - bottom_r) / (ys[0] - ys[-1]))
    slope = np.interp(level, ys, np.asarray(slopes, np.float32)).astype(np.float32)
    slope = np.clip(slope, -1.5, 1.5)
    length = np.sqrt(1 + slope * slope)
    u = (np.arcsin(side) + turn) * float(np.mean(radii))
    paint(canvas, region, finish, (u, level), (side / length * canvas.mirror, -slope / length * 0.8))


def ellipse_outline(cx: float, cy: float, rx: float, ry: float, steps: int = 64) -> list[Point]:
    """Return the corners of an ellipse."""
    turns = np.linspace(0, 2 * math.pi, steps, endpoint=False)
    return [(cx + rx * math.cos(t), cy + ry * math.sin(t)) for t in turns]


def rounded_outline(left: float, top: float, right: float, bottom: float, radius: float) -> list[Point]:
    """Return the corners of a rectangle with round corners."""
    radius = min(radius, (right - left) / 2, (bottom - top) / 2)
    outline: list[Point] = []
    for cx, cy, first in (
        (right - radius, top + radius, -0.5 * math.pi),
        (right - radius, bottom - radius, 0.0),
        (left + radius, bottom - radius, 0.5 * math.pi),
        (left + radius, top + radius, math.pi),
    ):
        for step in range(9):
            turn = first + step / 8 * math.pi / 2
            outline.append((cx + radius * math.cos(turn), cy + radius * math.sin(turn)))
    return outline


def smooth_outline(points: Sequence[Point], steps: int = 8) -> list[Point]:
    """Return a closed smooth curve (Catmull-Rom) through some points."""
    count = len(points)
    curve: list[Point] = []
    for index in range(count):
        before, start, end, after = (points[(index + k) % count] for k in (-1, 0, 1, 2))
        for step in range(steps):
            curve.append(_spline(before, start, end, after, step / steps))
    return curve


def smooth_line(points: Sequence[Point], steps: int = 8) -> list[Point]:
    """Return an open smooth curve (Catmull-Rom) through some points."""
    padded = [points[0], *points, points[-1]]
    curve = [
        _spline(padded[index], padded[index + 1], padded[index + 2], padded[index + 3], step / steps)
        for index in range(len(points) - 1)
        for step in range(steps)
    ]
    return [*curve, points[-1]]


def _spline(before: Point, start: Point, end: Point, after: Point, t: float) -> Point:
    x, y = (
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t * t * t)
        for a, b, c, d in zip(before, start, end, after, strict=True)
    )
    return (x, y)
