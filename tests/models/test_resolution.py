from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from shelfqa.errors import UserError
from shelfqa.models.adapters.resolution import native_side_px, position_settings, set_resolution
from tiny_pretrained import shaped_picture


@pytest.mark.parametrize(
    ("before", "native", "after"),
    [
        ({"size": {"height": 224, "width": 224}}, 224, {"size": {"height": 336, "width": 336}}),
        ({"size": {"height": 112, "width": 224}}, 224, {"size": {"height": 168, "width": 336}}),
        ({"size": {"shortest_edge": 384}}, 384, {"size": {"shortest_edge": 336}}),
        ({"size": {"longest_edge": 1456}}, 1456, {"size": {"longest_edge": 336}}),
        (
            {"size": {"shortest_edge": 378, "longest_edge": 980}},
            980,
            {"size": {"shortest_edge": 130, "longest_edge": 336}},
        ),
        ({"size": {"max_height": 512, "max_width": 512}}, 512, {"size": {"max_height": 336, "max_width": 336}}),
        (
            {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}},
            1001,
            {"size": {"shortest_edge": 56 * 56, "longest_edge": 336 * 336}},
        ),
        (
            {"size": {"min_pixels": 200_000, "max_pixels": 1_000_000}},
            1000,
            {"size": {"min_pixels": 336 * 336, "max_pixels": 336 * 336}},
        ),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True},
            224,
            {"size": {"shortest_edge": 384}, "crop_size": {"height": 336, "width": 336}},
        ),
        ({"size": None, "max_num_patches": 256, "patch_size": 16}, 256, {"size": None, "max_num_patches": 441}),
        (
            {"size": None, "max_num_patches": 256, "patch_size": {"height": 16, "width": 16}},
            256,
            {"max_num_patches": 441},
        ),
    ],
)
def test_all_ways_to_say_a_resolution_are_set(before: dict[str, Any], native: int, after: dict[str, Any]) -> None:
    processor = SimpleNamespace(**before)
    assert native_side_px(processor) == native
    set_resolution(processor, 336)
    assert {name: getattr(processor, name) for name in after} == after


def test_true_processors_scale_and_save_as_set() -> None:
    from transformers import CLIPImageProcessorPil, Qwen2VLImageProcessorPil

    clip = CLIPImageProcessorPil()
    set_resolution(clip, 96, patch_px=32)
    assert clip(shaped_picture(300, 200), return_tensors="pt")["pixel_values"].shape == (1, 3, 96, 96)
    again = CLIPImageProcessorPil.from_dict(clip.to_dict())
    assert again(shaped_picture(300, 200), return_tensors="pt")["pixel_values"].shape == (1, 3, 96, 96)
    qwen = Qwen2VLImageProcessorPil()
    set_resolution(qwen, 112)
    grid = qwen(shaped_picture(400, 400), return_tensors="pt")["image_grid_thw"].tolist()
    assert grid == [[1, 8, 8]]


@pytest.mark.parametrize("side_px", [-16, 0, 8, 100])
def test_sides_that_are_no_whole_patches_are_refused(side_px: int) -> None:
    with pytest.raises(UserError, match=r"whose patches have 16: give a multiple, such as \d+ or \d+\.|such as 16"):
        set_resolution(SimpleNamespace(size={"shortest_edge": 224}), side_px, patch_px=16)


def test_a_processor_without_resolution_is_told() -> None:
    with pytest.raises(UserError, match="no resolution that could be set"):
        set_resolution(SimpleNamespace(size=None), 224)


def test_towers_interpolate_or_refuse() -> None:
    def fixed(pixel_values: Any) -> None: ...

    def interpolates(pixel_values: Any, interpolate_pos_encoding: bool = False) -> None: ...

    assert position_settings(fixed, 224, 224, "a") == {}
    assert position_settings(fixed, None, 224, "a") == {}
    assert position_settings(interpolates, 336, 224, "a") == {"interpolate_pos_encoding": True}
    with pytest.raises(UserError, match=r"'a' reads pictures of 224 pixels a side and no other"):
        position_settings(fixed, 336, 224, "a")
