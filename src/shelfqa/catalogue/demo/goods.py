"""Drawers of clocks, phone cases, boxes, notebooks, cushions and rugs."""

from __future__ import annotations

import math

import numpy as np

from shelfqa.catalogue.demo.canvas import Point
from shelfqa.catalogue.demo.drawing import DARK, STEEL, Contact, Job, print_brand
from shelfqa.catalogue.demo.labels import name_size, print_name
from shelfqa.catalogue.demo.palette import Rgb, contrasting, luminance, mix
from shelfqa.catalogue.demo.solids import Eye, Solid, face, face_of_outline, outline_of, prism
from shelfqa.catalogue.demo.surface import (
    Finish,
    ellipse_outline,
    relief,
    rounded_outline,
    smooth_line,
    smooth_outline,
    tube,
)
from shelfqa.catalogue.demo.tableware import round_corners

_ROMAN = ("XII", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI")


def _flat_outline(shape: str, size: float, ratio: float, corner: float) -> list[Point]:
    long_ratio = 1.0 if shape in {"Round", "Square", "Hexagonal"} else ratio
    corners = outline_of(shape, size, size * long_ratio)
    return corners if shape in {"Round", "Oval"} else round_corners(corners, corner)


def draw_clock(job: Job) -> list[Contact]:
    """Draw a wall clock: frame and dial in the product's colour, marks and hands in a contrasting one."""
    canvas, finish, spec = job.canvas, job.finish, job.spec
    shape, size, ratio = spec.shape or "Round", job.vary(0.8, 0.9), job.vary(0.66, 0.78)
    corner, frame = job.vary(0.06, 0.2), job.vary(0.07, 0.13)
    outer = canvas.polygon(_flat_outline(shape, size, ratio, corner))
    relief(canvas, outer, finish.plain(), roundness=0.05, strength=1.1)
    inner = _flat_outline(shape, size - frame, ratio, corner * 0.8)
    canvas.darken(canvas.polygon(_flat_outline(shape, size - frame + 0.02, ratio, corner * 0.8)), 0.25)
    tone = mix(spec.rgb, (255, 255, 255) if luminance(spec.rgb) < 0.5 else (30, 30, 34), 0.1)
    dial = Finish(
        rgb=tone,
        accent=mix(tone, finish.accent, 0.8),
        material=finish.material,
        pattern=finish.pattern,
        period=finish.period,
        angle_deg=finish.angle_deg,
        offset=finish.offset,
    )
    relief(canvas, canvas.polygon(inner), dial.plain(), roundness=0.05, strength=-0.35)
    if dial.pattern != "Solid":
        # Numerals stand on a plain ring, so that they can be read.
        disc = _flat_outline(shape, (size - frame) * (0.66 if shape != "Hexagonal" else 0.58), ratio, corner * 0.5)
        relief(canvas, canvas.polygon(disc), dial, roundness=0.02, strength=0.25)
    ink = contrasting(spec.rgb)
    flatten = 1.0 if shape in {"Round", "Square", "Hexagonal"} else ratio
    _marks(job, (size - frame) * (0.8 if shape != "Hexagonal" else 0.7), flatten, ink)
    if flatten == 1:
        print_brand(job, (0.0, 0.33), 0.72, 0.2)
    else:
        print_brand(job, (0.0, 0.165), 0.58, 0.16)
    _hands(job, (size - frame) * flatten, ink)
    return []


def _marks(job: Job, reach: float, flatten: float, ink: Rgb) -> None:
    canvas, style = job.canvas, job.spec.style
    for hour in range(12):
        turn = hour * math.pi / 6
        x, y = math.sin(turn) * reach * canvas.mirror, -math.cos(turn) * reach * flatten
        if style == "Hour Marks":
            length = 0.82 if hour % 3 == 0 else 0.9
            mark = canvas.stroke([(x, y), (x * length, y * length)], 0.05 if hour % 3 == 0 else 0.032)
            canvas.paint(mark, np.array(ink, np.float32) / 255)
            continue
        text = _ROMAN[hour] if style == "Roman Numerals" else str(hour or 12)
        width, height = name_size(text, 0.26, 0.14 * (0.6 + 0.4 * flatten))
        print_name(canvas, text, (x * 0.96, y * 0.96), (width / 2, 0.0), (0.0, height / 2), ink)


def _hands(job: Job, reach: float, ink: Rgb) -> None:
    canvas = job.canvas
    # Hands point up or sideways, so that they do not hide the name in the lower half.
    hour, minute = job.rng.choice([8, 9, 10, 11, 0, 1, 2, 3]), job.rng.randrange(-14, 15) % 60
    for turn, length, width in (
        ((hour + minute / 60) * math.pi / 6, reach * 0.46, 0.062),
        (minute * math.pi / 30, reach * 0.7, 0.042),
    ):
        tip = (math.sin(turn) * length * canvas.mirror, -math.cos(turn) * length)
        hand = canvas.stroke([(-tip[0] * 0.16, -tip[1] * 0.16), tip], width, taper=0.6)
        canvas.paint(hand, np.array(ink, np.float32) / 255)
    relief(canvas, canvas.polygon(ellipse_outline(0, 0, 0.055, 0.055, 32)), Finish(rgb=STEEL), roundness=0.04)


def draw_case(job: Job) -> list[Contact]:
    """Draw a phone case from the back, with one, two or three holes for lenses."""
    canvas, finish, spec = job.canvas, job.finish, job.spec
    height = job.vary(0.86, 0.92)
    width = height * job.vary(0.5, 0.56)
    corner = job.vary(0.1, 0.2)
    for y in (-0.3, -0.1):
        key = canvas.polygon(rounded_outline(width - 0.03, y - 0.07, width + 0.025, y + 0.07, 0.02))
        relief(canvas, key, finish.tinted(mix(spec.rgb, DARK, 0.3)), roundness=0.02)
    body = canvas.polygon(rounded_outline(-width, -height, width, height, corner))
    relief(canvas, body, finish, roundness=0.06, strength=1.0)
    rim = canvas.polygons(
        [rounded_outline(-width + 0.02, -height + 0.02, width - 0.02, height - 0.02, corner - 0.02)],
        [rounded_outline(-width + 0.035, -height + 0.035, width - 0.035, height - 0.035, corner - 0.03)],
    )
    canvas.darken(rim, 0.14)
    lenses = ("Single Lens Cutout", "Double Lens Cutout", "Triple Lens Cutout").index(spec.style) + 1
    x, y = -width + 0.22, -height + 0.24
    spots: list[Point] = [(x, y), (x, y + 0.24), (x + 0.22, y + 0.12)][:lenses]
    bump = rounded_outline(
        x - 0.14, y - 0.15, x + (0.37 if lenses == 3 else 0.14), y + (0.15, 0.39, 0.39)[lenses - 1], 0.1
    )
    canvas.darken(canvas.polygon([(px + 0.012, py + 0.02) for px, py in bump]), 0.25)
    plate = Finish(rgb=(40, 41, 46) if luminance(spec.rgb) > 0.25 else (150, 152, 158), material="Metal")
    relief(canvas, canvas.polygon(bump), plate, roundness=0.03)
    for spot in spots:
        relief(
            canvas, canvas.polygon(ellipse_outline(*spot, 0.095, 0.095, 40)), Finish(rgb=(66, 68, 74)), roundness=0.03
        )
        glass = canvas.polygon(ellipse_outline(*spot, 0.068, 0.068, 40))
        relief(canvas, glass, Finish(rgb=(20, 22, 34), material="Ceramic"), roundness=0.05)
        glint = canvas.polygon(ellipse_outline(spot[0] - 0.022 * canvas.mirror, spot[1] - 0.024, 0.017, 0.017, 16))
        canvas.paint(glint, np.array((0.8, 0.88, 1.0), np.float32), 0.9)
    if job.rng.random() < 0.5:
        print_brand(job, (0.0, height * 0.55), width * 1.55, 0.3)
    else:
        print_brand(job, (0.12, 0.3), width * 0.7, 1.0, climbing=True)
    return []


def draw_box(job: Job) -> list[Contact]:
    """Draw a storage box from above its front corner."""
    canvas, finish, spec = job.canvas, job.finish, job.spec
    shape = spec.shape or "Square"
    width = {"Square": job.vary(0.5, 0.56), "Rectangular": job.vary(0.66, 0.72)}.get(shape, job.vary(0.64, 0.72))
    depth = width * job.vary(0.5, 0.6) if shape == "Rectangular" else width
    tall = job.vary(0.62, 0.86) if shape != "Rectangular" else job.vary(0.5, 0.7)
    yaw = {"Square": job.vary(20, 42), "Rectangular": job.vary(12, 26), "Hexagonal": job.vary(4, 24)}.get(shape, 0.0)
    yaw = yaw * job.rng.choice([-1, 1]) + (job.yaw_deg * 0.3 if shape != "Round" else 0.0)
    eye = Eye(yaw_deg=yaw, pitch_deg=job.vary(26, 34), origin=(0.0, 0.42))
    outline = outline_of(shape, width, depth)
    if spec.style == "Open Top":
        prism(canvas, eye, outline, 0.0, tall, finish, cap=finish.tinted(mix(spec.rgb, (255, 255, 255), 0.2)))
        wall = 0.93
        hollow = [(x * wall, z * wall) for x, z in outline]
        dark = finish.tinted(mix(spec.rgb, (16, 16, 20), 0.5))
        region = face_of_outline(canvas, eye, hollow, tall, dark)
        canvas.darken(region, np.clip(0.35 - (region.y - eye.see((0, tall, 0))[1]) * 0.9, 0.0, 0.6))
    else:
        prism(canvas, eye, outline, 0.0, tall, finish)
        lid_tall, over = job.vary(0.14, 0.24), 1.045
        lid = [(x * over, z * over) for x, z in outline]
        prism(canvas, eye, lid, tall - lid_tall, tall + 0.02, finish)
    if spec.style == "With Ribbon":
        _ribbon(job, eye, (width * 1.05, depth * 1.05, tall + 0.025), shape)
    _print_on_front(job, eye, (width, depth, tall), shape)
    corners = [eye.see((x, 0.0, z)) for x, z in outline]
    reach = max(abs(x) for x, _ in corners)
    return [(0.0, eye.origin[1] + 0.02, reach, max(y for _, y in corners) - eye.origin[1])]


def _ribbon(job: Job, eye: Eye, size: tuple[float, float, float], shape: str) -> None:
    canvas = job.canvas
    width, depth, top = size
    rgb: Rgb = job.finish.accent if luminance(job.spec.rgb) < 0.7 else (66, 68, 74)
    ribbon = Finish(rgb=rgb, material="Cotton")
    half = 0.065
    scale = 1.0 if shape != "Hexagonal" else 0.86
    for corners in (
        [
            (-half, top, -depth * scale),
            (half, top, -depth * scale),
            (half, top, depth * scale),
            (-half, top, depth * scale),
        ],
        [(-width, top, -half), (width, top, -half), (width, top, half), (-width, top, half)],
    ):
        face(canvas, eye, corners, ribbon)
    x, y = eye.see((0, top, 0))
    for sign in (-1, 1):
        loop = [(x, y), (x + sign * 0.14, y - 0.2), (x + sign * 0.3, y - 0.16), (x + sign * 0.24, y - 0.02)]
        relief(canvas, canvas.polygon(smooth_outline(loop)), ribbon, roundness=0.06, strength=1.2)
        hole = canvas.polygon(ellipse_outline(x + sign * 0.19, y - 0.105, 0.05, 0.035, 24))
        canvas.darken(hole, 0.4)
    relief(canvas, canvas.polygon(ellipse_outline(x, y - 0.03, 0.065, 0.055, 24)), ribbon, roundness=0.05)


def _print_on_front(job: Job, eye: Eye, size: tuple[float, float, float], shape: str) -> None:
    text = job.brand_text()
    if text is None:
        return
    canvas = job.canvas
    width, depth, tall = size
    dark = luminance(job.spec.rgb) > 0.72
    color: Rgb = (46, 47, 52) if dark else (247, 245, 240)
    z = depth if shape not in {"Hexagonal"} else depth * math.sqrt(3) / 2
    room = {"Round": 1.15, "Hexagonal": 0.92}.get(shape, 1.5) * width
    center: Solid = (0.0, tall * 0.36, z)
    name_width, name_height = name_size(text, room * 0.88, 0.27)
    half_w, half_h = name_width / 2 + 0.05, name_height / 2 + 0.05
    corners: list[Solid] = [
        (center[0] + a * half_w, center[1] + b * half_h, center[2] + 0.004)
        for a, b in ((-1, 1), (1, 1), (1, -1), (-1, -1))
    ]
    # Paper in the shade would swallow its letters: the label is painted evenly lit.
    canvas.paint(canvas.polygon([eye.see(corner) for corner in corners]), np.array(color, np.float32) / 262)
    at, right, below = (
        eye.see(center),
        eye.see((name_width / 2, center[1], z)),
        eye.see((0, center[1] - name_height / 2, z)),
    )
    print_name(
        canvas,
        text,
        at,
        (right[0] - at[0], right[1] - at[1]),
        (below[0] - at[0], below[1] - at[1]),
        contrasting(color),
    )


def draw_book(job: Job) -> list[Contact]:
    """Draw a notebook lying face up, seen from above."""
    canvas, finish, spec = job.canvas, job.finish, job.spec
    height = job.vary(0.78, 0.88)
    width = height * job.vary(0.66, 0.8)
    thick = job.vary(0.05, 0.1)
    pages = canvas.polygon(
        rounded_outline(-width + 0.04, -height + 0.03, width + thick - 0.03, height + thick - 0.03, 0.03)
    )
    relief(canvas, pages, Finish(rgb=(240, 234, 220), material="Paper"), roundness=0.03)
    for k in range(1, 4):
        gap = thick * k / 4
        edge = [
            (width + gap - 0.02, -height + 0.06),
            (width + gap - 0.02, height + gap - 0.03),
            (-width + 0.08, height + gap - 0.03),
        ]
        canvas.darken(canvas.stroke(edge, 0.008), 0.25)
    corner = job.vary(0.03, 0.1)
    cover = canvas.polygon(rounded_outline(-width, -height, width, height, corner))
    relief(canvas, cover, finish, roundness=0.025, strength=0.8)
    if spec.style == "Hardcover":
        canvas.darken(canvas.stroke([(-width + 0.13, -height + 0.01), (-width + 0.13, height - 0.01)], 0.022), 0.3)
        back = canvas.polygon([(-width, -height), (-width + 0.12, -height), (-width + 0.12, height), (-width, height)])
        canvas.darken(back, 0.1)
    elif spec.style == "Spiral Bound":
        wire = Finish(rgb=job.rng.choice([STEEL, DARK]), material="Metal")
        rings = job.rng.choice([11, 13, 15])
        for k in range(rings):
            y = -height + 0.1 + (2 * height - 0.2) * k / (rings - 1)
            canvas.darken(canvas.polygon(ellipse_outline(-width + 0.08, y, 0.028, 0.028, 20)), 0.6)
            tube(
                canvas,
                smooth_line([(-width + 0.08, y), (-width - 0.02, y - 0.035), (-width - 0.06, y + 0.01)]),
                0.03,
                wire,
            )
    else:
        band = canvas.polygon(
            [(width * 0.66, -height), (width * 0.78, -height), (width * 0.78, height), (width * 0.66, height)]
        )
        rgb = (40, 41, 46) if luminance(spec.rgb) > 0.3 else (196, 196, 198)
        relief(canvas, band, Finish(rgb=rgb, material="Canvas"), roundness=0.02)
    print_brand(job, (-0.02 if spec.style == "Elastic Band" else 0.05, job.vary(-0.5, 0.1)), width * 1.3, 0.34)
    return []


def draw_cushion(job: Job) -> list[Contact]:
    """Draw a stuffed cushion from the front."""
    canvas, finish, spec = job.canvas, job.finish, job.spec
    shape, size = spec.shape or "Square", job.vary(0.76, 0.86)
    ratio = job.vary(0.6, 0.7)
    outline = _cushion_outline(shape, size, ratio, job.vary(0.03, 0.07))
    trim: Rgb = mix(spec.rgb, (24, 24, 28), 0.35) if luminance(spec.rgb) > 0.2 else (128, 128, 132)
    if spec.style == "Tasselled":
        tassel = Finish(rgb=trim, material="Wool")
        every = max(1, len(outline) // 28)
        for x, y in outline[::every]:
            tube(canvas, [(x * 0.97, y * 0.97), (x * 1.1, y * 1.1)], 0.045, tassel, taper=1.3)
    body = canvas.polygon(outline)
    relief(canvas, body, finish, roundness=0.26, strength=1.25, wrinkles=0.14)
    if spec.style == "Piped Edge":
        tube(canvas, [*outline, outline[0]], 0.038, finish.tinted(trim))
    flatten = ratio if shape == "Rectangular" else 1.0
    if spec.style == "Buttoned":
        spots: list[Point] = [
            (-0.42, -0.4 * flatten),
            (0.42, -0.4 * flatten),
            (-0.42, 0.4 * flatten),
            (0.42, 0.4 * flatten),
        ]
        for x, y in spots:
            dent = canvas.polygon(ellipse_outline(x, y, 0.1, 0.1, 32))
            canvas.darken(dent, 0.16)
            button = canvas.polygon(ellipse_outline(x, y, 0.055, 0.055, 32))
            relief(canvas, button, finish.tinted(trim), roundness=0.04)
    print_brand(job, (0.0, 0.0), size * 1.1, 0.32)
    return []


def _cushion_outline(shape: str, size: float, ratio: float, sag: float) -> list[Point]:
    if shape == "Round":
        return ellipse_outline(0, 0, size, size * 0.98, 72)
    long_ratio = ratio if shape == "Rectangular" else 1.0
    corners = outline_of(shape, size, size * long_ratio)
    points: list[Point] = []
    for index, corner in enumerate(corners):
        after = corners[(index + 1) % len(corners)]
        points.append(corner)
        for t in (0.12, 0.32, 0.5, 0.68, 0.88):
            pull = 1 - sag * (2.2 if len(corners) == 4 else 0.5) * math.sin(math.pi * t)
            x, y = corner[0] + (after[0] - corner[0]) * t, corner[1] + (after[1] - corner[1]) * t
            points.append((x * pull, y * pull))
    return smooth_outline(points, 3)


def draw_rug(job: Job) -> list[Contact]:
    """Draw a rug from above."""
    canvas, finish, spec = job.canvas, job.finish, job.spec
    shape, size, ratio = spec.shape or "Round", job.vary(0.82, 0.9), job.vary(0.58, 0.7)
    outline = _flat_outline(shape, size, ratio, 0.03)
    trim: Rgb = mix(spec.rgb, (24, 24, 28), 0.4) if luminance(spec.rgb) > 0.2 else (150, 150, 152)
    if spec.style == "Fringed":
        thread = Finish(rgb=mix(spec.rgb, (250, 246, 236), 0.6), material="Cotton")
        for k in range(44):
            turn = k * math.pi / 22
            if shape in {"Square", "Rectangular"}:
                y = (-1 + 2 * (k % 22 + 0.5) / 22) * size * (1 if shape == "Square" else ratio) * 0.97
                x = size if k < 22 else -size
                tube(canvas, [(x * 0.98, y), (x * 1.1, y + 0.015)], 0.022, thread)
            else:
                x, y = _edge_at(outline, turn)
                tube(canvas, [(x * 0.98, y * 0.98), (x * 1.1, y * 1.1)], 0.022, thread)
    relief(canvas, canvas.polygon(outline), finish, roundness=0.03, strength=0.7)
    if spec.style == "Bordered":
        hole = _flat_outline(shape, size * 0.84, ratio, 0.03)
        border = canvas.polygons([_flat_outline(shape, size * 0.92, ratio, 0.03)], [hole])
        relief(
            canvas,
            border,
            Finish(rgb=trim, material=finish.material, offset=finish.offset),
            roundness=0.02,
            strength=0.4,
        )
    print_brand(job, (0.0, 0.0), size * 1.1, 0.3)
    return []


def _edge_at(outline: list[Point], turn: float) -> Point:
    """Return the corner of an outline that lies nearest to a direction."""
    return max(outline, key=lambda p: (p[0] * math.cos(turn) + p[1] * math.sin(turn)) / math.hypot(*p))
