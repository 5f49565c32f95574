"""Drawers of T-shirts, shoes, backpacks and umbrellas."""

from __future__ import annotations

import itertools
import math

import numpy as np

from shelfqa.catalogue.demo.canvas import Point
from shelfqa.catalogue.demo.drawing import DARK, LEG_WOOD, STEEL, Contact, Job, print_brand
from shelfqa.catalogue.demo.palette import Rgb, mix
from shelfqa.catalogue.demo.surface import (
    Finish,
    ellipse_outline,
    paint,
    relief,
    rounded_outline,
    smooth_line,
    smooth_outline,
    tube,
)


def draw_shirt(job: Job) -> list[Contact]:
    """Draw a T-shirt laid flat."""
    canvas, finish, style = job.canvas, job.finish, job.spec.style
    width, length = job.vary(0.42, 0.54), job.vary(0.78, 0.9)
    neck, drop = job.vary(0.15, 0.21), 0.34 if style == "V-Neck" else job.vary(0.1, 0.17)
    shoulder = width + 0.06
    top = -0.8
    if style == "Long Sleeve":
        reach, low, cuff = job.vary(0.26, 0.34), job.vary(0.42, 0.6), 0.15
        tip: Point = (shoulder + reach, low)
    else:
        reach, low, cuff = job.vary(0.26, 0.34), job.vary(-0.36, -0.24), 0.24
        tip = (shoulder + reach, low)
    back = canvas.polygon(ellipse_outline(0, top + 0.02, neck, 0.07))
    relief(canvas, back, finish.plain().tinted(mix(finish.rgb, (20, 20, 24), 0.35)), roundness=0.03)
    half: list[Point] = [
        (neck, top),
        (shoulder, top + 0.13),
        tip,
        (tip[0] - cuff, tip[1] + 0.1),
        (width, -0.3),
        (width + job.vary(-0.03, 0.05), 0.1),
        (width + job.vary(-0.02, 0.06), length),
        (width - 0.06, length + 0.02),
    ]
    if style == "V-Neck":
        collar: list[Point] = [(-neck, top), (0.0, top + drop), (neck, top)]
    else:
        collar = [(neck * math.cos(a), top + drop * math.sin(a)) for a in np.linspace(math.pi, 0, 17)]
    body = canvas.polygon([*half, *[(-x, y) for x, y in reversed(half)], *collar[1:-1]])
    relief(canvas, body, finish, roundness=0.075, strength=0.8, wrinkles=0.2)
    band = Finish(rgb=mix(finish.rgb, (20, 20, 24) if sum(finish.rgb) > 300 else (250, 250, 250), 0.16))
    for line in (collar,):
        tube(canvas, line, 0.05, finish.tinted(band.rgb))
    for sign in (-1, 1):
        seam = canvas.stroke([(sign * shoulder * 0.97, top + 0.15), (sign * width * 0.96, -0.31)], 0.014)
        canvas.darken(seam, 0.22)
        hem = canvas.stroke([(sign * (tip[0] - 0.045), tip[1] - 0.015), (sign * (tip[0] - cuff), tip[1] + 0.045)], 0.01)
        canvas.darken(hem, 0.2)
    canvas.darken(canvas.stroke([(-width, length - 0.05), (0, length - 0.03), (width, length - 0.05)], 0.01), 0.2)
    print_brand(job, (0.0, job.vary(-0.25, 0.05)), width * 1.62, 0.34)
    return []


def draw_shoe(job: Job) -> list[Contact]:
    """Draw one shoe from the side, its toe to the right."""
    canvas, finish, style = job.canvas, job.finish, job.spec.style
    toe, heel = job.vary(0.8, 0.9), -0.84
    sole_top, ground = job.vary(0.34, 0.38), job.vary(0.5, 0.56)
    collar = {"Sneaker": -0.26, "High Top": -0.74, "Slip-On": -0.16}[style] + job.vary(-0.06, 0.06)
    tongue_x = {"Sneaker": -0.08, "High Top": -0.14, "Slip-On": 0.06}[style]
    vamp = job.vary(0.0, 0.08)
    upper = smooth_outline(
        [
            (heel + 0.06, collar + 0.02),
            (heel + 0.02, 0.1),
            (heel + 0.04, sole_top + 0.03),
            (0.0, sole_top + 0.04),
            (toe - 0.04, sole_top + 0.03),
            (toe - 0.02, vamp + 0.2),
            (0.56, vamp + 0.03),
            (0.26, -0.1),
            (tongue_x + 0.06, collar - 0.06),
            (tongue_x - 0.12, collar - 0.03),
            ((heel + tongue_x) / 2 - 0.06, collar + 0.1),
        ]
    )
    dark_inside = finish.tinted(mix(finish.rgb, (24, 24, 28), 0.62))
    inside = canvas.polygon(ellipse_outline((heel + tongue_x) / 2 + 0.02, collar + 0.05, 0.3, 0.07))
    relief(canvas, inside, dark_inside, roundness=0.04)
    body = canvas.polygon(upper)
    relief(canvas, body, finish, roundness=0.17, strength=1.1, wrinkles=0.06)
    sole_rgb: Rgb = job.rng.choice([(246, 245, 240), (246, 245, 240), (54, 54, 58), (196, 160, 112)])
    if sum(job.spec.rgb) > 640:
        sole_rgb = job.rng.choice([(202, 168, 122), (60, 60, 64)])
    sole = smooth_outline(
        [
            (heel - 0.01, sole_top - 0.02),
            (heel - 0.02, ground - 0.05),
            (heel + 0.1, ground),
            (toe - 0.16, ground),
            (toe + 0.05, ground - 0.08),
            (toe + 0.02, sole_top - 0.06),
            (0.45, sole_top + 0.03),
            (-0.3, sole_top + 0.02),
        ]
    )
    relief(canvas, canvas.polygon(sole), Finish(rgb=sole_rgb), roundness=0.05, strength=0.9)
    canvas.darken(canvas.stroke([(heel, sole_top + 0.075), (toe + 0.02, sole_top + 0.06)], 0.014), 0.22)
    if style == "Slip-On":
        _gusset(job, tongue_x, collar)
    else:
        _laces(job, tongue_x, collar, vamp)
    seam = smooth_line([(0.5, vamp + 0.05), (0.44, 0.2), (0.52, sole_top)])
    canvas.darken(canvas.stroke(seam, 0.014), 0.28)
    seam = smooth_line([(heel + 0.22, collar + 0.16), (heel + 0.26, 0.12), (heel + 0.2, sole_top)])
    canvas.darken(canvas.stroke(seam, 0.014), 0.28)
    return [(0.0, ground - 0.01, 0.84, 0.07)]


def _laces(job: Job, tongue_x: float, collar: float, vamp: float) -> None:
    rgb: Rgb = (248, 247, 243) if sum(job.spec.rgb) < 560 else (58, 58, 62)
    lace = Finish(rgb=rgb, material="Cotton")
    start, end = (tongue_x + 0.03, collar + 0.04), (0.42, vamp + 0.04)
    rows = 4 if job.spec.style == "Sneaker" else 6
    for k in range(rows):
        t = k / (rows - 1)
        x, y = start[0] + (end[0] - start[0]) * t, start[1] + (end[1] - start[1]) * (t**1.25)
        tube(job.canvas, smooth_line([(x + 0.04, y - 0.02), (x - 0.08, y + 0.05), (x - 0.16, y + 0.14)]), 0.042, lace)


def _gusset(job: Job, tongue_x: float, collar: float) -> None:
    band: list[Point] = [
        (tongue_x - 0.16, collar + 0.07),
        (tongue_x + 0.0, collar + 0.05),
        (tongue_x + 0.16, 0.18),
        (tongue_x + 0.02, 0.24),
    ]
    region = job.canvas.polygon(smooth_outline(band))
    relief(job.canvas, region, Finish(rgb=mix(job.spec.rgb, DARK, 0.7), material="Canvas"), roundness=0.03)


def draw_backpack(job: Job) -> list[Contact]:
    """Draw a backpack from the front."""
    canvas, finish, style = job.canvas, job.finish, job.spec.style
    width, top, bottom = job.vary(0.44, 0.7), job.vary(-0.76, -0.5), 0.84
    crown = job.vary(0.26, 0.44)
    trim = finish.tinted(mix(finish.rgb, (24, 24, 28), 0.3) if sum(finish.rgb) > 160 else (74, 74, 78))
    strap_width = job.vary(0.1, 0.14)
    shown = job.rng.choice([(-1, 1), (-1, 1), (1,), ()])  # straps may hang behind the bag
    for sign in shown:
        strap = smooth_line([(sign * 0.3, top + 0.06), (sign * (width + 0.16), -0.1), (sign * (width - 0.02), 0.68)])
        tube(canvas, strap, strap_width, trim)
    handle = smooth_line([(-0.15, top + 0.05), (-0.12, top - 0.13), (0.12, top - 0.13), (0.15, top + 0.05)])
    tube(canvas, handle, 0.07, trim)
    if style == "Side Pockets":
        for sign in (-1, 1):
            left, right = sorted((sign * (width - 0.14), sign * (width + 0.13)))
            pocket = canvas.polygon(rounded_outline(left, 0.2, right, 0.76, 0.1))
            relief(canvas, pocket, finish.plain(), roundness=0.07)
    body = canvas.polygon(_backpack_outline(width, top, bottom, crown))
    relief(canvas, body, finish, roundness=0.2, strength=1.15, wrinkles=0.1)
    if style == "Flap Top":
        flap_low = job.vary(-0.06, 0.1)
        half: list[Point] = [(0.0, top + 0.02), (width - 0.16, top + 0.05), (width + 0.01, top + 0.36)]
        half += [(width + 0.01, flap_low - 0.12), (width - 0.14, flap_low), (0.0, flap_low + 0.02)]
        outline = smooth_outline([*half, *[(-x, y) for x, y in reversed(half[1:-1])]])
        lower = canvas.polygon([(x, y + 0.03) for x, y in outline])
        canvas.darken(lower.kept(lower.cover), 0.3)
        relief(canvas, canvas.polygon(outline), finish, roundness=0.08, strength=0.9)
        for x in (-width * 0.5, width * 0.5):
            tube(canvas, [(x, flap_low - 0.14), (x, flap_low + 0.2)], 0.08, trim)
            buckle = canvas.polygon(rounded_outline(x - 0.065, flap_low + 0.06, x + 0.065, flap_low + 0.16, 0.02))
            relief(canvas, buckle, Finish(rgb=STEEL, material="Metal"), roundness=0.02)
        pocket_top = flap_low + 0.26
        print_brand(job, (0.0, flap_low - 0.34), width * 1.36, 0.3)
    else:
        pocket_top = job.vary(0.08, 0.2)
        zip_line = smooth_line([(-width + 0.1, top + 0.5), (-width * 0.6, top + 0.2), (0, top + 0.13)])
        zip_line += [(-x, y) for x, y in reversed(zip_line[:-1])]
        canvas.darken(canvas.stroke(zip_line, 0.03), 0.5)
        tube(canvas, [zip_line[10], (zip_line[10][0] + 0.02, zip_line[10][1] + 0.12)], 0.03, Finish(rgb=STEEL))
        print_brand(job, (0.0, (top + 0.2 + pocket_top) / 2), width * 1.4, 0.32)
    if style == "Front Pocket":
        inset = job.vary(0.1, 0.18)
        shadow = canvas.polygon(rounded_outline(-width + inset, pocket_top + 0.03, width - inset, bottom - 0.06, 0.16))
        canvas.darken(shadow, 0.25)
        pocket = canvas.polygon(rounded_outline(-width + inset, pocket_top, width - inset, bottom - 0.1, 0.16))
        relief(canvas, pocket, finish, roundness=0.09, wrinkles=0.05)
        line: list[Point] = [(-width + inset + 0.06, pocket_top + 0.12), (width - inset - 0.06, pocket_top + 0.12)]
        canvas.darken(canvas.stroke(line, 0.026), 0.5)
    return [(0.0, bottom + 0.01, width * 0.92, 0.075)]


def _backpack_outline(width: float, top: float, bottom: float, crown: float) -> list[Point]:
    half: list[Point] = [
        (0.0, top),
        (width - crown, top + 0.02),
        (width - 0.05, top + crown * 0.8),
        (width, 0.0),
        (width + 0.02, bottom - 0.22),
        (width - 0.1, bottom - 0.01),
        (0.0, bottom),
    ]
    return smooth_outline([*half, *[(-x, y) for x, y in reversed(half[1:-1])]])


def draw_umbrella(job: Job) -> list[Contact]:
    """Draw an open umbrella, seen from the side."""
    canvas, finish, style = job.canvas, job.finish, job.spec.style
    width, rise = job.vary(0.82, 0.92), job.vary(0.52, 0.72)
    edge_y = job.vary(-0.14, 0.0)
    top = edge_y - rise
    panels = job.rng.choice([5, 6, 7])
    rod = Finish(rgb=job.rng.choice([STEEL, DARK]), material="Metal")
    end_y = job.vary(0.7, 0.78)
    tube(canvas, [(0, top - 0.1), (0, top + 0.1)], 0.035, rod)
    tube(canvas, [(0, edge_y - 0.2), (0, end_y)], 0.034, rod)
    grip_rgb: Rgb = job.rng.choice([LEG_WOOD, DARK, (132, 84, 48)])
    grip = Finish(rgb=grip_rgb, material="Wood" if grip_rgb != DARK else "Plastic")
    if style == "Crook Handle":
        hook = [(0.0, end_y - 0.12), (0.0, end_y + 0.04), (0.1, end_y + 0.16), (0.22, end_y + 0.06), (0.22, end_y)]
        tube(canvas, smooth_line(hook), 0.075, grip)
    elif style == "Straight Handle":
        tube(canvas, [(0.0, end_y - 0.16), (0.0, end_y + 0.15)], 0.095, grip)
    else:
        tube(canvas, [(0.0, end_y - 0.12), (0.0, end_y + 0.05)], 0.06, grip)
        relief(canvas, canvas.polygon(ellipse_outline(0, end_y + 0.1, 0.11, 0.11)), grip, roundness=0.09)
    turn = math.radians(job.yaw_deg) * 0.4 + job.vary(-0.2, 0.2)
    ribs = [math.sin(-math.pi / 2 + math.pi * k / panels) for k in range(panels + 1)]
    ribs = [-1.0, *[min(max(r + turn * (1 - r * r) * 0.4, -0.97), 0.97) for r in ribs[1:-1]], 1.0]

    def rib(x: float, t: float) -> Point:
        return (width * x * math.sin(t * math.pi / 2), edge_y - rise * math.cos(t * math.pi / 2))

    steps = [k / 12 for k in range(13)]
    for k, (left, right) in enumerate(itertools.pairwise(ribs)):
        scallop: list[Point] = [
            (width * (left + (right - left) * s), edge_y - 0.22 * rise * (right - left) * math.sin(math.pi * s) * 1.2)
            for s in steps
        ]
        outline = [rib(left, t) for t in steps] + scallop + [rib(right, t) for t in reversed(steps)]
        region = canvas.polygon(outline)
        middle = (left + right) / 2
        bow = (k / len(ribs) - 0.45) * 0.25
        nx = 0.72 * region.x / width + 0.35 * (region.x / width - middle * np.sin((region.y - top) / rise * 1.5))
        ny = -0.62 + 0.5 * (region.y - top) / rise
        u = region.x - middle * width * 0.5 * (region.y - top) / rise
        paint(canvas, region, finish, (u, region.y + 0.1 * np.abs(u)), ((nx + bow * 0.2) * canvas.mirror, ny))
    for x in ribs[1:-1]:
        canvas.darken(canvas.stroke([rib(x, t) for t in steps], 0.012), 0.3)
    return [(0.02, 0.97, 0.1, 0.02)]
