"""A ResNet's map as regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

from shelfqa.errors import InputError, UserError
from shelfqa.models.grid_features import GridFeatures, cell_boxes


def tiny_config() -> ResNetConfig:
    return ResNetConfig(embedding_size=4, hidden_sizes=[8, 8, 12, 16], depths=[1, 1, 1, 1])


def grid(cells: int = 2, side_px: int = 64) -> GridFeatures:
    torch.manual_seed(0)
    return GridFeatures(ResNetModel(tiny_config()), cells=cells, side_px=side_px)


def test_regions_are_the_cells_of_the_map() -> None:
    model = grid()
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        regions = model(pixels)
        last = model.tower(pixels).last_hidden_state
    assert regions.features.shape == (3, 4, 16)
    assert regions.boxes.shape == (3, 4, 4)
    assert torch.allclose(regions.features[1, 2], last[1, :, 1, 0], atol=1e-6)
    assert regions.boxes[1, 2].tolist() == [0.0, 0.5, 0.5, 1.0]


def test_a_larger_map_is_averaged_to_the_grid() -> None:
    model = grid(cells=2, side_px=128)
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        regions = model(pixels)
        last = model.tower(pixels).last_hidden_state
    assert last.shape[2:] == (4, 4)
    assert torch.allclose(regions.features[0, 1], last[0, :, :2, 2:].mean((1, 2)), atol=1e-6)


def test_the_cells_tile_the_picture_row_by_row() -> None:
    boxes = cell_boxes(6)
    assert boxes.shape == (36, 4)
    assert torch.allclose(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum(), torch.tensor(1.0))
    assert boxes[0].tolist() == pytest.approx([0, 0, 1 / 6, 1 / 6])
    assert boxes[1].tolist() == pytest.approx([1 / 6, 0, 2 / 6, 1 / 6])
    assert boxes[-1].tolist() == pytest.approx([5 / 6, 5 / 6, 1, 1])


def test_what_is_on_the_left_is_seen_on_the_left() -> None:
    model = grid(cells=2)
    left = Image.new("RGB", (300, 100), "white")
    left.paste((200, 0, 0), (0, 0, 60, 100))
    with torch.no_grad():
        plain = model(model.pixels([Image.new("RGB", (300, 100), "white")])).features[0]
        change = (model(model.pixels([left])).features[0] - plain).norm(dim=-1)
    assert min(change[0], change[2]) > max(change[1], change[3])


def test_pictures_of_any_shape_are_scaled_whole() -> None:
    model = grid()
    pixels = model.pixels([Image.new("RGB", (10, 90), "white"), Image.new("L", (64, 64))])
    assert pixels.shape == (2, 3, 64, 64)
    white = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert pixels[0].amin((1, 2)).tolist() == pytest.approx(white.tolist(), abs=1e-5)
    assert pixels[0].amax((1, 2)).tolist() == pytest.approx(white.tolist(), abs=1e-5)
    assert float(pixels[1, 0].max()) == pytest.approx(-0.485 / 0.229, abs=1e-5)


def test_company_and_training_change_nothing() -> None:
    model = grid()
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        together = model(pixels).features
        model.train()
        assert not model.tower.training
        assert torch.allclose(model(pixels[1:]).features[0], together[1], atol=1e-6)


def test_a_classifier_is_read_without_its_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = ResNetForImageClassification(tiny_config()).eval()
    classifier.save_pretrained(tmp_path)
    model = GridFeatures.from_pretrained(str(tmp_path), cells=2, side_px=64, local_files_only=True)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = classifier.resnet(pixels).last_hidden_state.flatten(2).transpose(1, 2)
        assert torch.allclose(model(pixels).features, expected, atol=1e-6)
    assert model.channels == 16


def test_what_is_no_resnet_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="type 'bert', expected a resnet"):
        GridFeatures.from_pretrained(str(tmp_path))
    ResNetModel(tiny_config()).save_pretrained(tmp_path / "resnet")
    (tmp_path / "resnet" / "model.safetensors").rename(tmp_path / "resnet" / "pytorch_model.bin")
    with pytest.raises(UserError, match="no safetensors weights"):
        GridFeatures.from_pretrained(str(tmp_path / "resnet"), local_files_only=True)
    with pytest.raises(UserError, match="no-such/resnet"):
        GridFeatures.from_pretrained("no-such/resnet", local_files_only=True)


@pytest.mark.parametrize(("cells", "side_px"), [(2, 65), (3, 64), (0, 64)])
def test_a_grid_finer_than_the_map_is_refused(cells: int, side_px: int) -> None:
    with pytest.raises(InputError, match="does not fit"):
        grid(cells, side_px)
