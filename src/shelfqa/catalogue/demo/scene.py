"""A product photographed: studio background, shadows, sets laid out, a tag, and the finished picture."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from shelfqa.catalogue.demo.canvas import Canvas, FloatArray, blurred
from shelfqa.catalogue.demo.drawers import DRAWERS
from shelfqa.catalogue.demo.drawing import Contact, Job
from shelfqa.catalogue.demo.labels import name_size, print_name
from shelfqa.catalogue.demo.palette import Rgb, contrasting, luminance
from shelfqa.catalogue.demo.spec import Spec
from shelfqa.catalogue.demo.surface import Finish, ellipse_outline, relief, rounded_outline, smooth_line, tube

PICTURE_SIDE_PX = 256
_OVERSAMPLING = 2
# Share of a sprite's width and height that its object fills.
_EXTENTS = {
    "bottle": (0.56, 0.98),
    "case": (0.6, 0.98),
    "book": (0.88, 1.0),
    "lamp": (0.66, 0.98),
    "vase": (0.76, 0.94),
    "chair": (0.76, 0.96),
    "mug": (0.88, 0.9),
    "shoe": (0.97, 0.7),
    "box": (0.94, 0.9),
    "plate": (0.98, 0.98),
}
# How far a type may be turned in the picture.
_TURNS_DEG = {
    "rug": 30.0,
    "plate": 24.0,
    "cushion": 20.0,
    "case": 20.0,
    "book": 20.0,
    "shirt": 12.0,
    "backpack": 9.0,
    "clock": 3.0,
}
# How many stand in each row, from the back to the front.
_ROWS: dict[int, list[tuple[int, ...]]] = {
    2: [(2,)],
    3: [(1, 2), (2, 1)],
    4: [(2, 2)],
    5: [(2, 3), (3, 2)],
    6: [(3, 3)],
}
_NARROW_ROWS: dict[int, list[tuple[int, ...]]] = {**_ROWS, 3: [(3,)], 4: [(4,), (2, 2)], 5: [(5,), (2, 3)]}
# Types that leave much of their sprite empty are drawn larger.
_ROOM = {"clock": 1.1, "sofa": 1.13, "table": 1.09, "shoe": 1.05, "umbrella": 1.03, "mug": 1.03}
_TAG_SHARE = 0.15  # strip of the picture that a tag needs


@dataclass(frozen=True, kw_only=True)
class Angle:
    """How one picture of a product is taken; the first one is plain."""

    yaw_deg: float = 0.0
    zoom: float = 1.0
    mirrored: bool = False
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one object of a set stands: centre and side of its sprite as shares of the picture."""

    x: float
    y: float
    side: float


def angle_of(spec: Spec, view: int) -> Angle:
    """Choose how the picture with this number is taken (0 is the main one)."""
    if view == 0:
        return Angle()
    rng = spec.rng(f"angle {view}")
    if view == 2 and spec.count == 1:
        return Angle(zoom=rng.uniform(1.35, 1.6), shift=(rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1)))
    return Angle(
        yaw_deg=rng.choice([-1, 1]) * rng.uniform(25, 50),
        zoom=rng.uniform(0.78, 0.92),
        mirrored=view == 1 or rng.random() < 0.5,
        shift=(rng.uniform(-0.04, 0.04), rng.uniform(-0.03, 0.03)),
    )


def render(spec: Spec, view: int = 0) -> Image.Image:
    """Draw one picture of a product: RGB, its longest side 256 pixels."""
    rng, angle = spec.rng("scene"), angle_of(spec, view)
    frame = (1.0, 1.0)
    if rng.random() < 0.4:
        narrow = rng.uniform(0.8, 0.94)
        frame = (1.0, narrow) if rng.random() < 0.5 else (narrow, 1.0)
    width, height = (round(PICTURE_SIDE_PX * side) for side in frame)
    picture = _background(spec, rng, width * _OVERSAMPLING, height * _OVERSAMPLING)
    tagged = spec.brand is not None and not spec.brand_on_product
    hanging = spec.style == "Pendant"
    tag_at_top = rng.random() < 0.3 and not hanging
    places = _layout(spec, rng, frame, tagged)
    most = _TURNS_DEG.get(spec.kind, 0.0) * (1.0 if spec.count == 1 else 0.5)
    turn = rng.uniform(-most, most)
    main_mirrored = rng.random() < 0.5
    sprite, contacts = _sprite(spec, angle, places[0].side, turn, main_mirrored)
    shadow = _shadow(spec, sprite, contacts)
    for place in sorted(places, key=lambda p: p.y):
        x = (place.x - frame[0] / 2) * angle.zoom + frame[0] / 2 + angle.shift[0]
        y = (place.y - frame[1] / 2) * angle.zoom + frame[1] / 2 + angle.shift[1]
        y += _TAG_SHARE * 0.8 if tagged and tag_at_top else 0.0
        if hanging:  # the cord comes in from above the picture
            y = place.side * angle.zoom / 2 - 0.03
        _stand(picture, sprite, shadow, (x, y))
    if tagged:
        _lay_tag(picture, spec, rng, tag_at_top)
    pixels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)


def _sprite(spec: Spec, angle: Angle, side: float, turn: float, mirrored: bool) -> tuple[Canvas, list[Contact]]:
    side_px = round(side * angle.zoom * PICTURE_SIDE_PX * _OVERSAMPLING)
    detail = max(1.0, 0.82 / side)
    canvas = Canvas(side_px, turn_deg=turn, mirrored=mirrored != angle.mirrored, detail=detail / angle.zoom**0.3)
    rng = spec.rng("proportions")
    finish = Finish(
        rgb=spec.rgb,
        accent=spec.accent,
        material=spec.material,
        pattern=spec.pattern,
        period=rng.uniform(0.17, 0.27),
        angle_deg=rng.choice([0, 0, 90, 90, 45, 30]) if spec.pattern == "Striped" else rng.choice([0, 0, 45]),
        offset=rng.random(),
    )
    contacts = DRAWERS[spec.kind](Job(canvas=canvas, spec=spec, finish=finish, rng=rng, yaw_deg=angle.yaw_deg))
    return canvas, contacts


def _background(spec: Spec, rng: Random, width: int, height: int) -> FloatArray:
    """Paint a studio: a light paper roll, a bright spot, at times a tint or a floor."""
    pale = luminance(spec.rgb) > 0.8 or spec.material == "Glass"
    base = rng.uniform(0.86, 0.91) if pale else rng.uniform(0.92, 0.985)
    tint = np.array(
        rng.choice([(0, 0, 0), (0, 0, 0), (0.012, 0.0, -0.025), (-0.022, 0.0, 0.012), (-0.012, 0.008, -0.008)]),
        np.float32,
    )
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    cx, cy = rng.uniform(0.3, 0.5), rng.uniform(0.25, 0.5)
    spot = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) * rng.uniform(1.4, 3.0))
    light = base + rng.uniform(0.02, 0.06) * spot - rng.uniform(0.0, 0.06) * y - rng.uniform(-0.03, 0.05) * (x - 0.5)
    if not spec.details.lying and rng.random() < 0.5:
        edge = rng.uniform(0.55, 0.72)
        floor = 1 / (1 + np.exp(-(y - edge) * rng.uniform(18, 60)))
        light = light - rng.uniform(0.015, 0.045) * floor * (1.25 - y)
    return np.asarray(light[..., None] + tint, np.float32)


def _layout(spec: Spec, rng: Random, frame: tuple[float, float], tagged: bool) -> list[Place]:
    """Share the picture among the objects of a set."""
    width, height = frame[0], frame[1] - (_TAG_SHARE if tagged else 0.0)
    count = spec.count
    if count == 1:
        side = min(width, height) * rng.uniform(0.78, 1.0) * _ROOM.get(spec.kind, 1.0)
        loose_x, loose_y = max(0.0, width - side), max(0.0, height - side)
        x = width / 2 + rng.uniform(-0.5, 0.5) * loose_x
        return [Place(x=x, y=height / 2 + rng.uniform(-0.5, 0.5) * min(loose_y, 0.16), side=side)]
    # Sprites have empty margins, more so the tall ones: neighbours may share them.
    wide, tall = _EXTENTS.get(spec.kind, (0.96, 0.98))
    if wide < 0.62:
        rows = rng.choice(_NARROW_ROWS[count])
    else:
        rows = rng.choice([(1, 1), (2,)] if tall < 0.75 and count == 2 else _ROWS[count])
    side = min(width * 0.98 / (max(rows) * wide), height * 0.98 / (len(rows) * tall)) * rng.uniform(0.88, 0.96)
    gap_x = min(side * wide * rng.uniform(1.0, 1.08), width / max(rows))
    gap_y = min(side * tall, height / len(rows))
    places = []
    for row, number in enumerate(rows):
        y = height / 2 + (row - (len(rows) - 1) / 2) * gap_y
        for column in range(number):
            x = width / 2 + (column - (number - 1) / 2) * gap_x
            places.append(Place(x=x + rng.uniform(-0.006, 0.006), y=y + rng.uniform(-0.008, 0.008), side=side))
    return places


def _shadow(spec: Spec, sprite: Canvas, contacts: list[Contact]) -> FloatArray:
    """Return how much darker it is around and under a sprite; the map is larger than the sprite by an even margin."""
    if contacts:
        return _standing_shadow(sprite, contacts, round(sprite.side_px * 0.36))
    return _lying_shadow(sprite, round(sprite.side_px * 0.12) + 8) * (0.25 if spec.style == "Pendant" else 1.0)


def _stand(picture: FloatArray, sprite: Canvas, shadow: FloatArray, center: tuple[float, float]) -> None:
    """Put a sprite and its shadow into the picture."""
    pad = (shadow.shape[0] - sprite.side_px) // 2
    scale = PICTURE_SIDE_PX * _OVERSAMPLING
    left = round(center[0] * scale - sprite.side_px / 2)
    top = round(center[1] * scale - sprite.side_px / 2)
    here, own = _overlap(picture, left - pad, top - pad, sprite.side_px + 2 * pad)
    picture[here] *= 1 - np.minimum(shadow[own], 0.85)[..., None] * np.array([1.0, 0.985, 0.96], np.float32)
    here, own = _overlap(picture, left, top, sprite.side_px)
    picture[here] *= 1 - sprite.alpha[own][..., None]
    picture[here] += sprite.rgb[own]


def _overlap(picture: FloatArray, left: int, top: int, side: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a square overlaps the picture: in the picture's own rows and columns, and in the square's."""
    rows, columns, _ = picture.shape
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + side, rows), min(left + side, columns)
    y1, x1 = max(y1, y0), max(x1, x0)
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def _lying_shadow(sprite: Canvas, pad: int) -> FloatArray:
    """Shade around an object that lies on the ground or hangs at a wall: near and sharp, far and soft."""
    size = sprite.side_px
    near, far = round(size * 0.008) + 1, round(size * 0.028) + 1
    alpha = np.pad(sprite.alpha, pad)
    sharp = np.roll(alpha, (near, near // 2), (0, 1))
    soft = np.roll(alpha, (far, far // 2), (0, 1))
    return 0.3 * blurred(sharp, size * 0.008) + 0.26 * blurred(soft, size * 0.04)


def _standing_shadow(sprite: Canvas, contacts: list[Contact], pad: int) -> FloatArray:
    """Shade the ground where an object touches it, and a soft pool to the lower right."""
    side = sprite.side_px
    half = side / 2
    shadow = np.zeros((side + 2 * pad, side + 2 * pad), np.float32)
    widest = max(contact[2] for contact in contacts)
    for cx, cy, rx, ry in contacts:
        x, y = sprite.to_px((cx, cy))
        pool = 0.34 * max(rx / widest, 0.5)
        _add_spot(shadow, (x + pad, y + pad), (rx * half, ry * half), side * 0.012, 0.4)
        center = (x + pad + 0.1 * rx * half, y + pad + 0.1 * ry * half)
        _add_spot(shadow, center, (1.2 * rx * half, 1.2 * ry * half), side * 0.04, pool)
    return shadow


def _add_spot(
    shadow: FloatArray, center: tuple[float, float], radii: tuple[float, float], soft_px: float, amount: float
) -> None:
    """Add an ellipse to a shadow whose edge fades over `soft_px` pixels, keeping the deeper of the two shades."""
    rx, ry = radii[0] + soft_px * 0.6, radii[1] + soft_px * 0.6
    rows, columns = shadow.shape
    y0, y1 = max(0, int(center[1] - 2 * ry)), min(rows, int(center[1] + 2 * ry) + 2)
    x0, x1 = max(0, int(center[0] - 2 * rx)), min(columns, int(center[0] + 2 * rx) + 2)
    if y0 >= y1 or x0 >= x1:
        return
    down = ((np.arange(y0, y1, dtype=np.float32) - center[1]) / ry)[:, None]
    across = ((np.arange(x0, x1, dtype=np.float32) - center[0]) / rx)[None, :]
    depth = np.exp(-0.9 * (down * down + across * across) ** 1.6) * (amount * ry / (radii[1] + soft_px * 0.9))
    part = shadow[y0:y1, x0:x1]
    part += depth * (1 - part)


def _lay_tag(picture: FloatArray, spec: Spec, rng: Random, at_top: bool) -> None:
    """Lay a paper tag with the brand into the strip kept free for it."""
    text = spec.brand or ""
    rows, columns, _ = picture.shape
    height = round(_TAG_SHARE * 0.9 * PICTURE_SIDE_PX * _OVERSAMPLING)
    canvas = Canvas(columns, turn_deg=rng.uniform(-2.5, 2.5))
    unit = canvas.pixel
    name_width, name_height = name_size(text, 0.7, height * unit * 0.56)
    half_w, half_h = name_width / 2 + 0.1, height * unit / 2 * 0.92
    color: Rgb = rng.choice([(250, 249, 246), (214, 186, 146), (44, 45, 50), (250, 249, 246)])
    outline = rounded_outline(-half_w, -half_h, half_w, half_h, 0.04)
    card = canvas.polygons([outline], [ellipse_outline(-half_w + 0.045, 0, 0.02, 0.02, 20)])
    relief(canvas, card, Finish(rgb=color, material="Cotton"), roundness=0.015, strength=0.4)
    string = smooth_line(
        [(-half_w + 0.045, 0.0), (-half_w - 0.03, -0.05), (-half_w - 0.09, 0.02), (-half_w - 0.13, -0.03)]
    )
    tube(canvas, string, 0.014, Finish(rgb=(150, 120, 84), material="Cotton"))
    print_name(canvas, text, (0.03, 0.0), (name_width / 2, 0.0), (0.0, name_height / 2), contrasting(color))
    side = PICTURE_SIDE_PX * _OVERSAMPLING
    reach = (half_w + 0.15) / 2 * columns / side
    x = rng.uniform(reach + 0.01, max(columns / side - reach + 0.04, reach + 0.02))
    y = _TAG_SHARE * 0.58 if at_top else rows / side - _TAG_SHARE * 0.56
    _stand(picture, canvas, _lying_shadow(canvas, 8), (x, y))
