"""Drawers of chairs, tables, lamps and sofas."""

from __future__ import annotations

import math

from shelfqa.catalogue.demo.canvas import Point
from shelfqa.catalogue.demo.drawing import DARK, LEG_WOOD, STEEL, Contact, Job, shade_ellipse
from shelfqa.catalogue.demo.palette import Rgb, mix
from shelfqa.catalogue.demo.solids import Eye, Solid, face, outline_of, prism
from shelfqa.catalogue.demo.surface import (
    Finish,
    ellipse_outline,
    lathe,
    paint,
    relief,
    rounded_outline,
    smooth_line,
    smooth_outline,
    tube,
)


def _legs(job: Job) -> Finish:
    """Choose what legs are made of."""
    rgb: Rgb = job.rng.choice([LEG_WOOD, (128, 84, 52), DARK, STEEL])
    if job.spec.material == "Wood" and job.rng.random() < 0.7:
        return job.finish.plain()
    wooden = rgb in {LEG_WOOD, (128, 84, 52)}
    return Finish(rgb=rgb, material="Wood" if wooden else "Metal", offset=job.finish.offset)


def _yaw(job: Job, low: float, high: float) -> float:
    return job.vary(low, high) * job.rng.choice([-1, 1]) + job.yaw_deg * 0.5


def _bar(job: Job, eye: Eye, start: Solid, end: Solid, width: float, finish: Finish, taper: float = 1.0) -> None:
    tube(job.canvas, [eye.see(start), eye.see(end)], width, finish, taper=taper)


def draw_chair(job: Job) -> list[Contact]:
    """Draw a chair or a stool in three-quarter view."""
    canvas, finish, style = job.canvas, job.finish, job.spec.style
    eye = Eye(yaw_deg=_yaw(job, 18, 40), pitch_deg=job.vary(15, 24), origin=(0.0, 0.8))
    half, depth = job.vary(0.4, 0.5), job.vary(0.36, 0.46)
    seat = job.vary(0.98, 1.12) if style == "Stool" else job.vary(0.72, 0.86)
    legs, thick, splay = _legs(job), job.vary(0.06, 0.09), job.vary(0.0, 0.09)
    upholstered = job.spec.material == "Leather"
    slab = 0.15 if upholstered else job.vary(0.06, 0.09)
    feet: list[Solid] = [(sx * (half + splay), 0.0, sz * (depth + splay)) for sx in (-1, 1) for sz in (-1, 1)]
    for foot in sorted(feet, key=eye.depth):
        x, z = math.copysign(half - 0.06, foot[0]), math.copysign(depth - 0.06, foot[2])
        _bar(job, eye, (x, seat, z), foot, thick, legs, taper=0.75)
    if job.rng.random() < 0.5 or style == "Stool":
        low = seat * 0.38
        for sx in (-1, 1):
            at = half + splay * 0.6 - 0.02
            _bar(job, eye, (sx * at, low, -depth), (sx * at, low, depth), thick * 0.6, legs)
        _bar(job, eye, (-half - splay * 0.5, low, depth), (half + splay * 0.5, low, depth), thick * 0.6, legs)
    if style == "Stool" and job.rng.random() < 0.5:
        outline = outline_of("Round", half * 0.94, depth * 1.05)
    else:
        outline = outline_of("Square", half, depth)
    prism(canvas, eye, outline, seat - slab * 0.5, seat + slab * 0.5, finish)
    if style != "Stool":
        _chair_back(job, eye, (half, depth, seat + slab * 0.5), legs)
    return [(*eye.see(foot), 0.07, 0.025) for foot in feet] + [(0.0, 0.8, half * 0.9, 0.15)]


def _chair_back(job: Job, eye: Eye, size: tuple[float, float, float], legs: Finish) -> None:
    canvas, finish = job.canvas, job.finish
    half, depth, seat = size
    top, lean = seat + job.vary(0.66, 0.8), job.vary(0.04, 0.16)
    back = -depth + 0.03
    frame = finish.plain() if job.spec.material in {"Wood", "Plastic"} else legs
    for sx in (-1, 1):
        _bar(job, eye, (sx * (half - 0.05), seat - 0.05, back), (sx * (half - 0.05), top, back - lean), 0.08, frame)

    def at(x: float, share: float, near: float = 0.0) -> Solid:
        return (x, seat + (top - seat) * share, back - lean * share + near)

    low = job.vary(0.2, 0.34)
    if job.spec.style == "Solid Back":
        panel_thick = 0.09 if job.spec.material == "Leather" else 0.05
        face(
            canvas,
            eye,
            [at(half, low), at(half, low, panel_thick), at(half, 1.03, panel_thick), at(half, 1.03)],
            finish.plain(),
        )
        face(
            canvas,
            eye,
            [at(-half, low), at(-half, low, panel_thick), at(-half, 1.03, panel_thick), at(-half, 1.03)],
            finish.plain(),
        )
        corners = [at(-half, 1.03), at(half, 1.03), at(half, 1.03, panel_thick), at(-half, 1.03, panel_thick)]
        face(canvas, eye, corners, finish.plain())
        corners = [at(-half, 1.03, panel_thick), at(half, 1.03, panel_thick)]
        corners += [at(half, low, panel_thick), at(-half, low, panel_thick)]
        face(canvas, eye, corners, finish, lift=0.25)
        return
    slats = job.rng.choice([3, 4, 5])
    if job.rng.random() < 0.5:
        for k in range(slats):
            share = low + (1.0 - low) * (k + 0.5) / slats
            tall = (1.0 - low) / slats * 0.34
            corners = [at(-half, share + tall), at(half, share + tall), at(half, share - tall), at(-half, share - tall)]
            face(canvas, eye, corners, finish)
        return
    for k in range(slats):
        x = -half + 2 * half * (k + 1) / (slats + 1)
        wide = half / slats * 0.5
        face(canvas, eye, [at(x - wide, 0.9), at(x + wide, 0.9), at(x + wide, 0.0), at(x - wide, 0.0)], finish)
    face(
        canvas, eye, [at(-half, 1.04, 0.03), at(half, 1.04, 0.03), at(half, 0.82, 0.03), at(-half, 0.82, 0.03)], finish
    )


def draw_table(job: Job) -> list[Contact]:
    """Draw a table whose top shows its outline."""
    canvas, finish, spec = job.canvas, job.finish, job.spec
    shape = spec.shape or "Round"
    even = shape in {"Round", "Square", "Hexagonal"}
    width = job.vary(0.6, 0.66) if shape == "Square" else job.vary(0.8, 0.88)
    depth = width if even else width * job.vary(0.54, 0.62)
    yaw = {"Square": job.vary(28, 42), "Rectangular": job.vary(14, 24), "Hexagonal": job.vary(4, 26)}.get(shape, 0.0)
    yaw = yaw * job.rng.choice([-1, 1]) + (job.yaw_deg * 0.25 if yaw else 0.0)
    eye = Eye(yaw_deg=yaw, pitch_deg=job.vary(30, 38), origin=(0.0, 0.34))
    tall, slab = job.vary(0.62, 0.8), job.vary(0.06, 0.11)
    outline = outline_of(shape, width, depth)
    contacts: list[Contact] = [(*eye.see((0, 0, 0)), width * 0.75, depth * 0.36)]
    legs = _legs(job)
    if spec.style == "Pedestal":
        base_x, base_y = eye.see((0, 0, 0))
        foot = width * job.vary(0.36, 0.46)
        column = job.vary(0.08, 0.13)
        top_y = eye.see((0, tall, 0))[1]
        lathe(canvas, [(base_y - 0.05, foot), (base_y, foot)], legs, center_x=base_x, ellipse=0.5)
        disc = canvas.polygon(ellipse_outline(base_x, base_y - 0.05, foot, foot * 0.5))
        paint(canvas, disc, legs, (disc.x, disc.y), (disc.x * 0.4 * canvas.mirror, -0.4))
        lathe(canvas, [(top_y, column), (base_y - 0.06, column * 1.25)], legs, center_x=base_x, ellipse=0.3)
        contacts.append((base_x, base_y, foot * 1.05, foot * 0.55))
    else:
        inset = 0.8 if shape in {"Square", "Rectangular"} else 0.6
        feet: list[Solid] = [(sx * width * inset, 0.0, sz * depth * inset) for sx in (-1, 1) for sz in (-1, 1)]
        thick = job.vary(0.07, 0.11)
        for stand in sorted(feet, key=eye.depth):
            x, _, z = stand
            if spec.style == "Hairpin Legs":
                steel = Finish(rgb=legs.rgb if legs.rgb in {DARK, STEEL} else DARK, material="Metal")
                for lean in (-0.09, 0.09):
                    _bar(job, eye, (x + lean, tall, z), stand, 0.034, steel)
            else:
                _bar(job, eye, (x, tall, z), stand, thick, legs, taper=0.8)
            contacts.append((*eye.see(stand), 0.06, 0.03))
    prism(canvas, eye, outline, tall, tall + slab, finish)
    return contacts


def draw_lamp(job: Job) -> list[Contact]:
    """Draw a lit lamp: its shade carries the colour."""
    canvas, finish, style = job.canvas, job.finish, job.spec.style
    ellipse = job.vary(0.12, 0.2)
    low_r = job.vary(0.44, 0.58) if style != "Floor Lamp" else job.vary(0.34, 0.42)
    high_r = low_r * job.rng.choice([0.5, 0.66, 0.84, 0.98])
    tall = job.vary(0.55, 0.75) if style != "Floor Lamp" else job.vary(0.42, 0.52)
    top = {"Table Lamp": -0.84, "Floor Lamp": -0.9, "Pendant": job.vary(-0.3, -0.1)}[style]
    low = top + tall
    stand_rgb: Rgb = job.rng.choice([LEG_WOOD, DARK, STEEL, (236, 234, 228)])
    stand = Finish(rgb=stand_rgb, material={LEG_WOOD: "Wood", STEEL: "Metal"}.get(stand_rgb, "Ceramic"))
    contacts: list[Contact] = []
    if style == "Pendant":
        tube(canvas, [(0, -1.0), (0, top)], 0.03, Finish(rgb=DARK))
        lathe(canvas, [(top - 0.1, 0.05), (top + 0.02, 0.08)], Finish(rgb=DARK), ellipse=ellipse)
    elif style == "Floor Lamp":
        foot = job.vary(0.2, 0.28)
        tube(canvas, [(0, low - 0.2), (0, 0.88)], 0.045, stand)
        lathe(canvas, [(0.86, foot), (0.9, foot)], stand, ellipse=0.28)
        disc = canvas.polygon(ellipse_outline(0, 0.86, foot, foot * 0.28))
        paint(canvas, disc, stand, (disc.x, disc.y), (0.0, -0.4))
        contacts = [(0.0, 0.92, foot, foot * 0.3)]
    else:
        foot = job.vary(0.24, 0.32)
        bodies = (
            [(low - 0.15, 0.05), (low + 0.1, 0.06), (0.5, foot * 1.05), (0.78, foot * 0.7), (0.86, foot * 0.8)],
            [(low - 0.15, 0.05), (0.3, 0.06), (0.7, 0.07), (0.78, foot), (0.86, foot)],
            [(low - 0.15, 0.06), (low + 0.12, 0.09), (0.4, foot * 0.5), (0.86, foot)],
        )
        body = [(y, max(r, 0.03)) for y, r in smooth_line(job.rng.choice(bodies))]
        lathe(canvas, body, stand, ellipse=ellipse)
        contacts = [(0.0, 0.89, foot, foot * 0.2)]
    under = canvas.polygon(ellipse_outline(0, low, low_r, low_r * ellipse))
    glow = Finish(rgb=mix(job.spec.rgb, (255, 236, 190), 0.7), material="Cotton")
    paint(canvas, under, glow, (under.x, under.y), (0.0, 0.0))
    if style == "Pendant":
        bulb = canvas.polygon(ellipse_outline(0, low + 0.02, 0.13, 0.13))
        relief(canvas, bulb, Finish(rgb=(255, 246, 214), material="Ceramic"), roundness=0.1, strength=0.6)
    domed = style == "Pendant" and job.rng.random() < 0.5
    if domed:
        profile = [
            (top + tall * k / 12, max(low_r * math.sin(math.pi / 2 * (k / 12) ** 0.75), 0.06)) for k in range(13)
        ]
    else:
        profile = [(top, high_r), (low, low_r)]
    lathe(canvas, profile, finish, ellipse=ellipse, turn=math.radians(job.yaw_deg))
    if not domed:
        hole = canvas.polygon(ellipse_outline(0, top, high_r, high_r * ellipse))
        paint(canvas, hole, finish.tinted(mix(job.spec.rgb, (255, 240, 205), 0.45)), (hole.x, hole.y), (0.0, -0.3))
    return contacts


def draw_sofa(job: Job) -> list[Contact]:
    """Draw a sofa of one to three seats from the front."""
    canvas, finish = job.canvas, job.finish
    seats = ("One Seat", "Two Seats", "Three Seats").index(job.spec.style) + 1
    half = {1: job.vary(0.52, 0.6), 2: job.vary(0.7, 0.78), 3: job.vary(0.88, 0.94)}[seats]
    tall = {1: 1.15, 2: 1.0, 3: 0.86}[seats] * job.vary(0.92, 1.06)
    low = 0.5
    top = low - tall
    arm, round_by = job.vary(0.13, 0.2) * (1.15 if seats == 1 else 1.0), job.vary(0.05, 0.14)
    legs = job.trim(LEG_WOOD, DARK, (120, 78, 48))
    splay = job.rng.choice([0.0, 0.05])
    for x in (-half + 0.1, half - 0.1):
        end = x + math.copysign(splay, x)
        tube(canvas, [(x, low - 0.05), (end, low + 0.16)], 0.07, legs, taper=0.6)
    seat_y = low - tall * 0.42
    back_half = half - arm * 0.5
    back = canvas.polygon(rounded_outline(-back_half, top, back_half, low - 0.08, round_by + 0.05))
    relief(canvas, back, finish.plain(), roundness=0.1)
    inner = half - arm
    width = 2 * inner / seats
    for k in range(seats):
        left = -inner + k * width
        cushion = canvas.polygon(_puffed(left + 0.01, top + 0.06, left + width - 0.01, seat_y + 0.05))
        relief(canvas, cushion, finish, roundness=0.14, strength=1.1, wrinkles=0.1)
    shade = canvas.polygon(rounded_outline(-inner, seat_y - 0.02, inner, seat_y + 0.06, 0.02))
    canvas.darken(shade, 0.35)
    for k in range(seats):
        left = -inner + k * width
        cushion = canvas.polygon(rounded_outline(left + 0.006, seat_y, left + width - 0.006, seat_y + 0.2, 0.07))
        relief(canvas, cushion, finish, roundness=0.1, strength=1.2, tilt=(0.0, -0.12))
    base = canvas.polygon(rounded_outline(-inner - 0.03, seat_y + 0.19, inner + 0.03, low, 0.03))
    relief(canvas, base, finish.plain(), roundness=0.05, strength=0.8, tilt=(0.0, 0.15))
    shade_ellipse(canvas, (0.0, seat_y + 0.2), inner, 0.02, 0.3)
    arm_top = seat_y - tall * job.vary(0.08, 0.2)
    for sign in (-1, 1):
        left, right = sorted((sign * (half - arm), sign * (half + 0.02)))
        side = canvas.polygon(rounded_outline(left, arm_top, right, low + 0.015, round_by))
        relief(canvas, side, finish.plain(), roundness=0.1, strength=1.1)
    contacts: list[Contact] = [(0.0, low + 0.16, half * 0.95, 0.05)]
    return [*contacts, *[(x, low + 0.165, 0.06, 0.02) for x in (-half + 0.1, half - 0.1)]]


def _puffed(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """Outline a stuffed rectangle: its sides bulge a little."""
    bulge = 0.02
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    c = 0.05
    return smooth_outline(
        [
            (left + c, top + 0.015),
            (middle_x, top - bulge),
            (right - c, top + 0.015),
            (right - 0.01, top + c + 0.01),
            (right + bulge * 0.3, middle_y),
            (right - 0.01, bottom - c),
            (right - c, bottom),
            (middle_x, bottom + bulge),
            (left + c, bottom),
            (left + 0.01, bottom - c),
            (left - bulge * 0.3, middle_y),
            (left + 0.01, top + c + 0.01),
        ],
        4,
    )
