from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shelfqa.errors import InputError
from shelfqa.models.loading import load_model
from shelfqa.training import features as features_module
from shelfqa.training.features import CachedFeatures, LiveFeatures, changes_with_training, feature_source
from tiny_chat import CHAT_FAMILIES
from tiny_models import blip_checkpoint, picture
from training_runs import adapted


def test_features_on_disk_are_those_of_the_tower(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures[0].write_bytes(b"no picture")
    monkeypatch.setattr(features_module, "_IMAGES_A_PART", 3)
    model = load_model(str(checkpoint_folder), device="cpu")
    cached = feature_source(model, pictures, tmp_path, trains_vision=False)
    live = feature_source(model, pictures, tmp_path, trains_vision=True)
    assert isinstance(cached, CachedFeatures)
    assert isinstance(live, LiveFeatures)
    assert list(cached.errors) == list(live.errors) == [0]
    with torch.no_grad():
        assert torch.allclose(cached.features([3, 1]), live.features([3, 1]), atol=1e-5)
    (tmp_path / "features" / "part-00001.json").unlink()  # as if killed in the second part
    encoded: list[int] = []
    plain: Any = type(model).encode

    def counted(self: Any, some: Any) -> Tensor:
        encoded.append(len(some))
        found: Tensor = plain(self, some)
        return found

    monkeypatch.setattr(type(model), "encode", counted)
    again = feature_source(model, pictures, tmp_path, trains_vision=False)
    assert encoded == [1, 1]  # one to see what it is made of, and the one of the second part
    assert torch.equal(again.features([1, 2, 3]), cached.features([1, 2, 3]))


def test_features_of_many_tensors_and_sizes_are_kept_too(pictures: list[Path], tmp_path: Path) -> None:
    picture((90, 20, 150), side_px=80).save(pictures[2])
    model = load_model(str(CHAT_FAMILIES["qwen2_5_vl"](tmp_path / "model")), device="cpu")
    with torch.no_grad():
        expected = model.encode([model.inputs_of(path) for path in pictures])
    cached = feature_source(model, pictures, tmp_path, trains_vision=False)
    assert isinstance(cached, CachedFeatures)
    for found, wanted in zip(cached.features(range(4)), expected, strict=True):
        assert type(found) is type(wanted)
        assert torch.allclose(found.embeddings, wanted.embeddings, atol=1e-5)
        assert torch.equal(found.prompt_ids, wanted.prompt_ids)
        assert found.grid == wanted.grid


@pytest.mark.parametrize(
    ("targets", "changes"), [(("language",), False), (("connector",), True), (("vision", "language"), True)]
)
def test_features_change_with_what_they_pass_through(
    targets: tuple[str, ...], changes: bool, pictures: list[Path], tmp_path: Path
) -> None:
    """What is kept of a picture of LLaVA has passed its connector."""
    pictures[0].write_bytes(b"no picture")
    model = adapted(CHAT_FAMILIES["llava"](tmp_path / "model"), targets)
    assert changes_with_training(model, pictures) is changes


def test_the_connector_of_blip_comes_after_its_features(pictures: list[Path], tmp_path: Path) -> None:
    model = adapted(blip_checkpoint(tmp_path / "model"), ("connector", "language"))
    assert not changes_with_training(model, pictures)
    assert not changes_with_training(model, [tmp_path / "none.png"])


def test_what_would_be_too_large_is_computed_in_every_step(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_module, "MAX_CACHE_BYTES", 100)
    model = load_model(str(checkpoint_folder), device="cpu")
    assert isinstance(feature_source(model, pictures, tmp_path, trains_vision=False), LiveFeatures)
    assert not (tmp_path / "features").exists()


def test_a_picture_whose_features_are_no_numbers_is_left_out_by_name(
    checkpoint_folder: Path,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = load_model(str(checkpoint_folder), device="cpu")
    plain: Any = type(model).encode

    def broken(self: Any, some: Any) -> Tensor:
        found: Tensor = plain(self, some)
        if len(some) == len(pictures):
            found[1, 0, 0] = float("nan")
        return found

    monkeypatch.setattr(type(model), "encode", broken)
    source = feature_source(model, pictures, tmp_path, trains_vision=False)
    assert {image: why.split(":")[0] for image, why in source.errors.items()} == {1: "not-finite"}
    assert "Left out, since their features are no finite numbers: blue.png." in capsys.readouterr().err


def test_pictures_none_of_which_can_be_read_are_told(checkpoint_folder: Path, tmp_path: Path) -> None:
    model = load_model(str(checkpoint_folder), device="cpu")
    for trains_vision in (False, True):
        with pytest.raises(InputError, match="None of the 2 pictures can be used: "):
            feature_source(model, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path, trains_vision=trains_vision)
