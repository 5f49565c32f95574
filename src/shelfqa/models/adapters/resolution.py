"""The resolution that pictures are scaled to, other than the checkpoint's own (`Loading.image_side_px`).

transformers' image processors say their resolution in four ways: the two sides, one edge or both, a number of pixels,
a number of patches. Here all are asked for by one side in pixels, which means, in this order: the side of the square
that is cut out or scaled to; the longest edge, where one is set; the shortest edge; else the side of a square of as
many pixels or patches.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from shelfqa.errors import UserError

_LONGEST_EDGE_PX = 1 << 14
"""An edge above this is a number of pixels: Qwen2-VL and its relatives keep that under the names of edges."""


def native_side_px(image_processor: Any) -> int | None:
    """Return the side that an image processor scales pictures to, or None where it says none."""
    if getattr(image_processor, "max_num_patches", None):
        return round(math.sqrt(image_processor.max_num_patches)) * _patch_px(image_processor)
    crop = getattr(image_processor, "crop_size", None) if getattr(image_processor, "do_center_crop", False) else None
    for sizes in (crop, getattr(image_processor, "size", None)):
        if sizes:
            known: dict[str, int] = dict(sizes)
            if _is_area(known):
                return math.isqrt(known.get("max_pixels") or known["longest_edge"])
            for key in ("height", "longest_edge", "max_height", "shortest_edge"):
                if known.get(key):
                    return max(known[key], known.get(key.replace("height", "width"), 0))
    return None


def set_resolution(image_processor: Any, side_px: int, *, patch_px: int = 1) -> None:
    """Make an image processor scale pictures to `side_px`; all else that it is set to keeps its proportion to that.

    Args:
        image_processor: one of transformers'; changed in place, and saved with the new resolution.
        side_px: the new side in pixels; what it means is said above.
        patch_px: the side of the tower's patches, of which `side_px` is to be a multiple.

    Raises:
        UserError: if the side is no positive multiple of the patch, or the processor has no resolution to set.

    """
    patches = getattr(image_processor, "max_num_patches", None)
    patch_px = _patch_px(image_processor) if patches else patch_px
    if side_px < patch_px or side_px % patch_px:
        below, above = max(patch_px, side_px // patch_px * patch_px), (side_px // patch_px + 1) * patch_px
        raise UserError(
            f"Pictures of {side_px!r} pixels a side do not suit this model, whose patches have {patch_px}: give a "
            f"multiple, such as {' or '.join(str(side) for side in sorted({below, above}))}."
        )
    if patches:
        image_processor.max_num_patches = (side_px // patch_px) ** 2
        return
    native = native_side_px(image_processor)
    if native is None:
        raise UserError("This model's image processor has no resolution that could be set: leave out the image side.")
    for name in ("size", "crop_size"):
        sizes = getattr(image_processor, name, None)
        if sizes:
            setattr(image_processor, name, type(sizes)(**_scaled(dict(sizes), side_px, native)))


def position_settings(forward: Callable[..., Any], side_px: int | None, trained_px: int, name: str) -> dict[str, Any]:
    """Return what a vision tower's `forward` is to be given so that it reads pictures of `side_px`.

    Args:
        forward: the tower's, or that of what calls it; it is looked at, not called.
        side_px: the side of the pictures, None if unknown.
        trained_px: the side that the tower has positions for.
        name: what the user called the model.

    Raises:
        UserError: if the sides differ and the tower does not interpolate its positions.

    """
    if side_px is None or side_px == trained_px:
        return {}
    if "interpolate_pos_encoding" in inspect.signature(forward).parameters:
        return {"interpolate_pos_encoding": True}
    raise UserError(
        f"{name!r} reads pictures of {trained_px} pixels a side and no other, its positions being fixed; {side_px!r} "
        "was asked for: leave out the image side."
    )


def _patch_px(image_processor: Any) -> int:
    """Return the side of a processor's patches, which some keep as height and width."""
    patch = image_processor.patch_size
    return int(patch if isinstance(patch, int) else dict(patch)["height"])


def _is_area(sizes: dict[str, int]) -> bool:
    return "max_pixels" in sizes or sizes.get("longest_edge", 0) > _LONGEST_EDGE_PX


def _scaled(sizes: dict[str, int], side_px: int, native_px: int) -> dict[str, int]:
    """Return edges in their proportion to the new side, or areas of at most its square."""
    if _is_area(sizes):
        most = side_px * side_px
        return {name: min(value, most) if "min" in name or "short" in name else most for name, value in sizes.items()}
    return {key: max(1, round(value * side_px / native_px)) for key, value in sizes.items()}
