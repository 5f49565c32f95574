"""What a drawer of one product type is given, and what it tells about the ground under it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from shelfqa.catalogue.demo.canvas import Canvas, Point, Region
from shelfqa.catalogue.demo.labels import name_size, print_name
from shelfqa.catalogue.demo.palette import Rgb, contrasting, luminance, mix
from shelfqa.catalogue.demo.spec import Spec
from shelfqa.catalogue.demo.surface import Finish, ellipse_outline, relief, rounded_outline

Contact = tuple[float, float, float, float]  # centre x and y, radius x and y of a spot where it touches the ground
LEG_WOOD: Rgb = (176, 128, 82)
STEEL: Rgb = (188, 192, 198)
DARK: Rgb = (52, 53, 58)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One product to draw on one canvas, seen from one side.

    `rng` holds the product's proportions, the same for all its pictures; `yaw_deg` turns the view of this picture.
    """

    canvas: Canvas
    spec: Spec
    finish: Finish
    rng: Random
    yaw_deg: float = 0.0

    def vary(self, low: float, high: float) -> float:
        """Draw the next proportion."""
        return self.rng.uniform(low, high)

    def trim(self, *choices: Rgb) -> Finish:
        """Choose a plain plastic-like finish for a small part."""
        return Finish(rgb=self.rng.choice(choices or (DARK, STEEL)), material="Plastic")

    def brand_text(self) -> str | None:
        """The name to print on the product, or None."""
        return self.spec.brand if self.spec.brand_on_product else None


Drawer = Callable[[Job], list[Contact]]


def shade_ellipse(canvas: Canvas, center: Point, rx: float, ry: float, amount: float) -> Region:
    """Darken an ellipse and return it."""
    region = canvas.polygon(ellipse_outline(center[0], center[1], rx, ry))
    canvas.darken(region, amount)
    return region


def print_brand(
    job: Job, center: Point, width: float, height: float, *, climbing: bool = False, patch: bool | None = None
) -> None:
    """Print the brand, where it shows on the product, within a box; on a patch where a pattern would hide it."""
    text = job.brand_text()
    if text is None:
        return
    canvas, finish = job.canvas, job.finish
    busy = finish.pattern != "Solid" or finish.material in {"Wicker", "Marble", "Glass"}
    on_patch = busy or job.rng.random() < 0.3 if patch is None else patch
    long_side, short_side = (height, width) if climbing else (width, height)
    room = 0.86 if on_patch else 1.0
    name_width, name_height = name_size(text, long_side * room, short_side * (0.66 if on_patch else 1.0))
    if on_patch:
        color = patch_color(job)
        half = (name_width / 2 + 0.06, name_height / 2 + 0.06)
        half = (half[1], half[0]) if climbing else half
        left, top = center[0] - half[0], center[1] - half[1]
        outline = rounded_outline(left, top, center[0] + half[0], center[1] + half[1], job.vary(0.0, 0.06))
        relief(canvas, canvas.polygon(outline), Finish(rgb=color), roundness=0.02, strength=0.35)
        ink = contrasting(color)
    else:
        ink = contrasting(finish.rgb)
    right, down = (
        ((0.0, -name_width / 2), (name_height / 2, 0.0))
        if climbing
        else (
            (name_width / 2, 0.0),
            (0.0, name_height / 2),
        )
    )
    print_name(canvas, text, center, right, down, ink)


def patch_color(job: Job) -> Rgb:
    """Choose a neutral for a patch that stands out from the product."""
    dark: Rgb = (46, 47, 52)
    light: Rgb = (247, 246, 242)
    if luminance(job.spec.rgb) > 0.72:
        return dark
    return job.rng.choice([light, light, mix(light, (226, 200, 160), 0.5)])
