"""Solids seen in parallel projection: prisms and bars with a yaw and a pitch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shelfqa.catalogue.demo.canvas import Canvas, Point, Region
from shelfqa.catalogue.demo.surface import Finish, paint

Solid = tuple[float, float, float]  # x to the right, y up, z towards the viewer


@dataclass(frozen=True, kw_only=True)
class Eye:
    """Where a solid is seen from, and where its origin lands on the canvas."""

    yaw_deg: float = 30.0
    pitch_deg: float = 22.0
    origin: Point = (0.0, 0.0)

    def depth(self, point: Solid) -> float:
        """How near a point is to the viewer."""
        yaw = math.radians(self.yaw_deg)
        return -point[0] * math.sin(yaw) + point[2] * math.cos(yaw)

    def see(self, point: Solid) -> Point:
        """Project a point onto the canvas."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        x = point[0] * math.cos(yaw) + point[2] * math.sin(yaw)
        y = -point[1] * math.cos(pitch) + self.depth(point) * math.sin(pitch)
        return (x + self.origin[0], y + self.origin[1])

    def normal(self, direction: Solid) -> tuple[float, float, float]:
        """Turn a direction into screen coordinates: x to the right, y down, z to the viewer."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        x = direction[0] * math.cos(yaw) + direction[2] * math.sin(yaw)
        near = self.depth(direction)
        y = -direction[1] * math.cos(pitch) + near * math.sin(pitch)
        z = direction[1] * math.sin(pitch) + near * math.cos(pitch)
        return x, y, z


def face(canvas: Canvas, eye: Eye, corners: Sequence[Solid], finish: Finish, *, lift: float = 0.0) -> Region:
    """Paint a flat face whose first corner is its origin and whose second and last corners give u and v.

    `lift` bends its normal a little from one side to the other, so that large faces are not dead flat.
    """
    a, b, d = np.array(corners[0]), np.array(corners[1]), np.array(corners[-1])
    outline = [eye.see(corner) for corner in corners]
    along, across = b - a, d - a
    u_length, v_length = float(np.linalg.norm(along)), float(np.linalg.norm(across))
    unit = np.cross(across, along)
    unit = unit / max(float(np.linalg.norm(unit)), 1e-6)
    normal = eye.normal((float(unit[0]), float(unit[1]), float(unit[2])))
    if normal[2] < 0:
        normal = (-normal[0], -normal[1], -normal[2])
    region = canvas.polygon(outline)
    start, right, down = (np.array(eye.see(tuple(p))) for p in (a, b, d))
    right, down = right - start, down - start
    det = right[0] * down[1] - right[1] * down[0]
    if abs(det) < 1e-6:
        return region
    x, y = region.x - np.float32(start[0]), region.y - np.float32(start[1])
    s = ((x * down[1] - y * down[0]) / det).astype(np.float32)
    t = ((y * right[0] - x * right[1]) / det).astype(np.float32)
    bend_x, bend_y = lift * (s - 0.5), lift * (t - 0.5)
    nx = normal[0] * canvas.mirror + bend_x * canvas.mirror
    paint(canvas, region, finish, (s * u_length, t * v_length), (nx, normal[1] + bend_y))
    return region


def prism(
    canvas: Canvas,
    eye: Eye,
    outline: Sequence[Point],
    bottom: float,
    top: float,
    finish: Finish,
    *,
    cap: Finish | None = None,
) -> Region:
    """Paint an upright prism over an outline (x, z) and return the region of its top."""
    count = len(outline)
    smooth = count > 12
    sides = []
    walked = 0.0
    for index in range(count):
        (x0, z0), (x1, z1) = outline[index], outline[(index + 1) % count]
        length = math.hypot(x1 - x0, z1 - z0)
        sides.append((x0, z0, x1, z1, walked))
        walked += length
    middle = (sum(p[0] for p in outline) / count, sum(p[1] for p in outline) / count)
    seen = []
    for x0, z0, x1, z1, start in sides:
        nx, nz = z1 - z0, x0 - x1
        if nx * (x0 - middle[0]) + nz * (z0 - middle[1]) < 0:
            nx, nz = -nx, -nz
        if eye.depth((nx, 0.0, nz)) > 1e-6:
            seen.append((eye.depth(((x0 + x1) / 2, 0.0, (z0 + z1) / 2)), x0, z0, x1, z1, start))
    for _, x0, z0, x1, z1, start in sorted(seen):
        if eye.see((x0, 0, z0))[0] > eye.see((x1, 0, z1))[0]:
            x0, z0, x1, z1 = x1, z1, x0, z0
        grow = 0.02 if smooth else 0.0
        xe, ze = x1 + (x1 - x0) * grow, z1 + (z1 - z0) * grow
        _side(canvas, eye, (x0, z0, xe, ze), (bottom, top), finish, start)
    return face_of_outline(canvas, eye, outline, top, cap or finish)


def _side(
    canvas: Canvas,
    eye: Eye,
    edge: tuple[float, float, float, float],
    heights: tuple[float, float],
    finish: Finish,
    start: float,
) -> None:
    x0, z0, x1, z1 = edge
    bottom, top = heights
    region = canvas.polygon([eye.see(p) for p in ((x0, top, z0), (x1, top, z1), (x1, bottom, z1), (x0, bottom, z0))])
    left, right = eye.see((x0, top, z0)), eye.see((x1, top, z1))
    length = max(math.hypot(x1 - x0, z1 - z0), 1e-6)
    nx, nz = (z1 - z0) / length, (x0 - x1) / length
    if eye.depth((nx, 0.0, nz)) < 0:
        nx, nz = -nx, -nz
    normal = eye.normal((nx, 0.0, nz))
    width = right[0] - left[0]
    s = (region.x - left[0]) / (width if abs(width) > 1e-6 else 1e-6)
    edge_y = left[1] + (right[1] - left[1]) * s
    v = (region.y - edge_y) / math.cos(math.radians(eye.pitch_deg))
    paint(canvas, region, finish, (start + s * length, v), (normal[0] * canvas.mirror, normal[1]))


def face_of_outline(canvas: Canvas, eye: Eye, outline: Sequence[Point], height: float, finish: Finish) -> Region:
    """Paint a level face over an outline (x, z) at a height."""
    region = canvas.polygon([eye.see((x, height, z)) for x, z in outline])
    yaw, pitch = math.radians(eye.yaw_deg), math.radians(eye.pitch_deg)
    across = region.x - eye.origin[0]
    depth = (region.y - eye.origin[1] + height * math.cos(pitch)) / max(math.sin(pitch), 1e-3)
    x = (across * math.cos(yaw) - depth * math.sin(yaw)).astype(np.float32)
    z = (across * math.sin(yaw) + depth * math.cos(yaw)).astype(np.float32)
    normal = eye.normal((0.0, 1.0, 0.0))
    paint(canvas, region, finish, (x, z), (normal[0] + 0.12 * x * canvas.mirror, normal[1] * 0.55 + 0.12 * z))
    return region


def outline_of(shape: str, width: float, depth: float) -> list[Point]:
    """Return the corners of a named shape, `width` by `depth` (half axes)."""
    if shape in {"Round", "Oval"}:
        turns = [2 * math.pi * k / 48 for k in range(48)]
        return [(width * math.cos(t), depth * math.sin(t)) for t in turns]
    if shape == "Hexagonal":
        turns = [math.pi / 3 * k for k in range(6)]
        return [(width * math.cos(t), depth * math.sin(t)) for t in turns]
    return [(-width, -depth), (width, -depth), (width, depth), (-width, depth)]
