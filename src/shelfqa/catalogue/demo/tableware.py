"""Drawers of mugs, bottles, vases and plates."""

from __future__ import annotations

import math

import numpy as np

from shelfqa.catalogue.demo.canvas import Point
from shelfqa.catalogue.demo.drawing import Contact, Job, print_brand
from shelfqa.catalogue.demo.palette import Rgb, mix
from shelfqa.catalogue.demo.solids import outline_of
from shelfqa.catalogue.demo.surface import (
    Finish,
    ellipse_outline,
    lathe,
    paint,
    relief,
    smooth_line,
    tube,
)

Profile = list[tuple[float, float]]


def curve_profile(points: Profile, steps: int = 8) -> Profile:
    """Return a smooth profile through some (y, radius) pairs."""
    return [(y, max(r, 0.01)) for y, r in smooth_line(points, steps)]


def draw_mug(job: Job) -> list[Contact]:
    """Draw a mug with its handle at the right."""
    canvas, finish, style = job.canvas, job.finish, job.spec.style
    ellipse = job.vary(0.14, 0.26)
    height, radius = job.vary(0.62, 0.92), job.vary(0.46, 0.58)
    top, bottom = -height + 0.12, height - 0.18
    profiles: dict[str, Profile] = {
        "Straight": [(top, radius), (bottom - 0.09, radius), (bottom, radius - 0.07)],
        "Tapered": [(top, radius * 1.12), (bottom, radius * job.vary(0.66, 0.78))],
        "Rounded": [(top, radius * 0.92), (top * 0.3 + bottom * 0.7, radius * 1.12), (bottom, radius * 0.62)],
    }
    profile = curve_profile(profiles[style]) if style == "Rounded" else profiles[style]
    reach, thick = job.vary(0.28, 0.42), job.vary(0.1, 0.16)
    start_y, end_y = top + (bottom - top) * job.vary(0.14, 0.24), top + (bottom - top) * job.vary(0.7, 0.82)
    edge = radius * 0.93
    squareness = job.rng.choice([0.55, 0.9, 1.0])
    shift = -0.17
    line: list[Point] = smooth_line(
        [
            (edge + shift - 0.05, start_y),
            (edge + shift + reach * squareness, start_y + 0.02),
            (edge + shift + reach, (start_y + end_y) / 2),
            (edge + shift + reach * squareness * 0.85, end_y),
            (edge + shift - 0.08, end_y - 0.02),
        ]
    )
    tube(canvas, line, thick, finish.plain())
    lathe(canvas, profile, finish, center_x=shift, ellipse=ellipse, turn=math.radians(job.yaw_deg))
    _mouth(job, shift, top, profile[0][1], ellipse)
    middle = (top + bottom) / 2 + ellipse * radius * 0.9
    print_brand(job, (shift, middle), radius * 1.42, 0.34)
    return [(shift, bottom + 0.02, profile[-1][1], profile[-1][1] * ellipse * 1.2)]


def _mouth(job: Job, x: float, y: float, radius: float, ellipse: float) -> None:
    canvas, finish = job.canvas, job.finish
    rim = canvas.polygon(ellipse_outline(x, y, radius, radius * ellipse))
    paint(canvas, rim, finish.tinted(mix(finish.rgb, (255, 255, 255), 0.2)), (rim.x, rim.y), (0.0, -0.5))
    inner = radius - 0.045
    inside = canvas.polygon(ellipse_outline(x, y, inner, inner * ellipse * 0.93))
    depth = np.clip((inside.y - y) / (inner * ellipse) * 0.5 + 0.5, 0, 1)
    side = np.clip((inside.x - x) / inner, -1, 1) * canvas.mirror
    shade = (0.56 + 0.32 * depth + 0.14 * side)[..., None]
    color = np.array(finish.rgb, np.float32) / 255
    canvas.paint(inside, np.clip(color * shade + 0.03, 0, 1), 0.4 if finish.material == "Glass" else 1.0)


def draw_bottle(job: Job) -> list[Contact]:
    """Draw a bottle with one of three stoppers."""
    canvas, finish = job.canvas, job.finish
    ellipse = job.vary(0.1, 0.17)
    radius, neck = job.vary(0.3, 0.46), job.vary(0.11, 0.19)
    shoulder, top, bottom = job.vary(-0.42, -0.12), job.vary(-0.72, -0.62), 0.86
    waist = radius * job.rng.choice([1.0, 1.0, 0.88])
    profile = curve_profile(
        [
            (top, neck),
            (top + 0.12, neck * 1.02),
            (shoulder, radius * 0.9),
            (shoulder + 0.2, radius),
            (0.35, waist),
            (0.72, radius),
            (bottom - 0.06, radius * 0.98),
            (bottom, radius * 0.86),
        ]
    )
    if finish.material == "Glass":
        _liquid(job, profile, ellipse)
    lathe(canvas, profile, finish, ellipse=ellipse, turn=math.radians(job.yaw_deg))
    _stopper(job, top, neck, ellipse)
    center_y = (shoulder + 0.2 + bottom) / 2
    print_brand(job, (0.0, center_y), radius * 1.25, min(bottom - shoulder - 0.3, 1.0), climbing=True)
    return [(0.0, bottom + 0.02, radius * 0.9, radius * ellipse * 1.3)]


def _liquid(job: Job, profile: Profile, ellipse: float) -> None:
    """Darken the lower part of a glass bottle a little: it is filled with water."""
    canvas = job.canvas
    level = job.vary(-0.05, 0.25)
    body = [(y, r * 0.9) for y, r in profile if y > level]
    tint: Rgb = mix(job.spec.rgb, (236, 244, 250), 0.72)
    lathe(canvas, body, Finish(rgb=tint, material="Glass"), ellipse=ellipse)
    surface = canvas.polygon(ellipse_outline(0, body[0][0], body[0][1], body[0][1] * ellipse))
    canvas.paint(surface, np.array(mix(tint, (255, 255, 255), 0.5), np.float32) / 255, 0.4)


def _stopper(job: Job, top: float, neck: float, ellipse: float) -> None:
    canvas, style = job.canvas, job.spec.style
    if style == "Cork Stopper":
        cork = Finish(rgb=(196, 156, 108), material="Canvas")
        lathe(canvas, [(top - 0.15, neck * 0.95), (top + 0.01, neck * 0.8)], cork, ellipse=ellipse)
        lid = canvas.polygon(ellipse_outline(0, top - 0.15, neck * 0.95, neck * 0.95 * ellipse))
        paint(canvas, lid, cork.tinted((212, 174, 126)), (lid.x, lid.y), (0.0, -0.4))
        return
    cap = job.trim((44, 45, 50), (236, 236, 234), (178, 182, 188))
    height = job.vary(0.14, 0.22)
    if style == "Carry Loop":
        height = job.vary(0.08, 0.11)
        ring = ellipse_outline(0, top - height - 0.04, neck * 0.9, 0.1, 32)
        tube(canvas, [*ring, ring[0]], 0.055, cap)
    lathe(canvas, [(top - height, neck * 1.25), (top + 0.03, neck * 1.3)], cap, ellipse=ellipse)
    lid = canvas.polygon(ellipse_outline(0, top - height, neck * 1.25, neck * 1.25 * ellipse))
    paint(canvas, lid, cap.tinted(mix(cap.rgb, (255, 255, 255), 0.25)), (lid.x, lid.y), (0.0, -0.5))
    if style == "Screw Cap":
        for k in range(-4, 5):
            x = neck * 1.27 * math.sin(k * 0.33)
            line = canvas.stroke([(x, top - height + 0.05), (x, top + 0.02)], 0.012)
            canvas.darken(line, 0.3)


def draw_vase(job: Job) -> list[Contact]:
    """Draw a vase, empty or with a few stems."""
    canvas, finish, style = job.canvas, job.finish, job.spec.style
    ellipse = job.vary(0.14, 0.24)
    wide, mouth, foot = job.vary(0.42, 0.6), job.vary(0.17, 0.3), job.vary(0.24, 0.34)
    top, bottom = -0.66, 0.84
    shapes: dict[str, Profile] = {
        "Slim": [
            (top - 0.12, mouth * 1.1),
            (top + 0.25, mouth * 0.86),
            (0.2, wide * 0.62),
            (0.6, wide * 0.62),
            (bottom, foot),
        ],
        "Bulb": [
            (-0.42, mouth * 1.05),
            (-0.2, mouth * 0.92),
            (0.18, wide * 1.1),
            (0.5, wide * 1.12),
            (bottom, foot * 1.1),
        ],
        "Amphora": [
            (top, mouth * 1.2),
            (top + 0.2, mouth * 0.8),
            (-0.12, wide * 1.0),
            (0.22, wide * 0.9),
            (bottom - 0.12, foot * 0.8),
            (bottom, foot * 1.05),
        ],
    }
    profile = curve_profile(shapes[style])
    if style == "Amphora":
        for sign in (-1, 1):
            start, end = (sign * mouth * 0.82, top + 0.16), (sign * wide * 0.86, -0.16)
            bow = (sign * (wide * 1.05), top + 0.14)
            tube(canvas, smooth_line([start, bow, end]), 0.075, finish.plain())
    stems = job.rng.random() < 0.3 and job.spec.count == 1
    if stems:
        _stems(job, profile[0][0])
    lathe(canvas, profile, finish, ellipse=ellipse, turn=math.radians(job.yaw_deg))
    radius = profile[0][1]
    front = profile[0][0]
    if not stems:
        _mouth(job, 0.0, front, radius, ellipse)
    body = {"Slim": 0.4, "Bulb": 0.42, "Amphora": 0.12}[style]
    widest = {"Slim": wide * 0.62, "Bulb": wide * 1.1, "Amphora": wide * 0.95}[style]
    if style == "Slim":
        print_brand(job, (0.0, body - 0.15), widest * 1.1, 0.84, climbing=True)
    else:
        print_brand(job, (0.0, body + 0.05), widest * 1.5, 0.32)
    return [(0.0, bottom + 0.02, profile[-1][1], profile[-1][1] * ellipse * 1.3)]


def _stems(job: Job, top: float) -> None:
    canvas = job.canvas
    green = Finish(rgb=(96, 132, 84), material="Cotton")
    for lean in (-0.26, 0.02, 0.28):
        tip = (lean * job.vary(0.8, 1.4), job.vary(-0.98, -0.9))
        line = smooth_line([(lean * 0.2, top + 0.1), (lean * 0.5, (top + tip[1]) / 2), tip])
        tube(canvas, line, 0.028, green)
        for k in (6, 10, 14):
            x, y = line[min(k, len(line) - 1)]
            side = 1 if k % 4 == 2 else -1
            leaf = canvas.polygon(ellipse_outline(x + side * 0.06, y - 0.02, 0.075, 0.034, 24))
            relief(canvas, leaf, green, roundness=0.02)


def draw_plate(job: Job) -> list[Contact]:
    """Draw a plate from above, in one of five outlines."""
    canvas, finish, spec = job.canvas, job.finish, job.spec
    ratio = 1.0 if spec.shape in {"Round", "Square"} else job.vary(0.62, 0.74)
    size = job.vary(0.8, 0.9)
    if spec.shape == "Hexagonal":
        ratio = 1.0
    shape = spec.shape or "Round"

    def outline(scale: float) -> list[Point]:
        corners = outline_of(shape, size * scale, size * scale * ratio)
        if shape in {"Square", "Rectangular", "Hexagonal"}:
            return round_corners(corners, 0.16 * scale)
        return corners

    well = {"Wide Rim": job.vary(0.56, 0.66), "Coupe": job.vary(0.84, 0.9), "Bordered": job.vary(0.7, 0.78)}[spec.style]
    flat = canvas.polygon(outline(1.0))
    relief(canvas, flat, finish, roundness=0.05, strength=0.8)
    if spec.style == "Bordered":
        band = canvas.polygons([outline(0.95)], [outline(0.89)])
        tone = mix(spec.rgb, (30, 30, 34) if sum(spec.rgb) > 330 else (250, 250, 250), 0.6)
        canvas.paint(band, np.array(tone, np.float32) / 255, 0.9)
    step = canvas.polygon(outline(well + 0.035))
    canvas.darken(step, 0.1)
    inner = canvas.polygon(outline(well))
    relief(canvas, inner, finish, roundness=0.07, strength=-0.55)
    print_brand(job, (0.0, 0.0), size * well * 1.25, 0.34)
    return []


def round_corners(corners: list[Point], radius: float) -> list[Point]:
    """Cut the corners of a convex outline by short curves."""
    rounded: list[Point] = []
    count = len(corners)
    for index in range(count):
        before, corner, after = corners[index - 1], corners[index], corners[(index + 1) % count]
        start, end = _towards(corner, before, radius), _towards(corner, after, radius)
        for step in range(7):
            t = step / 6
            rounded.append(
                (
                    (1 - t) ** 2 * start[0] + 2 * t * (1 - t) * corner[0] + t * t * end[0],
                    (1 - t) ** 2 * start[1] + 2 * t * (1 - t) * corner[1] + t * t * end[1],
                )
            )
    return rounded


def _towards(start: Point, end: Point, distance: float) -> Point:
    length = math.dist(start, end)
    share = min(distance / length, 0.45)
    return (start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share)
