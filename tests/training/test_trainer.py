from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from shelfqa.errors import InputError, StorageError, UserError
from shelfqa.models.loading import load_model
from shelfqa.models.lora import LoraSettings, attach
from shelfqa.training import checkpoint
from shelfqa.training.data import Sample
from shelfqa.training.features import CachedFeatures, LiveFeatures, feature_source
from shelfqa.training.settings import TrainConfig, resolve
from shelfqa.training.trainer import Trainer
from tiny_models import COLOURS, mini_checkpoint, picture

SAMPLES = [Sample(f"q{number}", "what color is it?", ("red", "blue")[number % 2], number) for number in range(4)]


@pytest.fixture(scope="module")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return mini_checkpoint(tmp_path_factory.mktemp("mini"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.png" for name in COLOURS]
    for seed, (path, rgb) in enumerate(zip(paths, COLOURS.values(), strict=True)):
        picture(rgb, seed).save(path)
    return paths


def trainer(folder: Path, pictures: list[Path], work: Path, **given: Any) -> Trainer:
    work.mkdir(exist_ok=True)
    settings = resolve(TrainConfig(preset="lora", batch_size=2, epochs=3, learning_rate=0.01, **given), None)
    model = load_model(str(folder), device="cpu")
    torch.manual_seed(0)
    attach(model, LoraSettings(4, 8, 0.0, ("connector", "language")))
    model.module.eval()
    source = feature_source(model, pictures, work, trains_vision=False)
    return Trainer(model, source, SAMPLES, SAMPLES, settings, work)


def test_the_rate_rises_and_falls(checkpoint_folder: Path, pictures: list[Path], tmp_path: Path) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work", warmup_ratio=0.5)
    assert run.total_steps == 6
    rates = [run.rate_factor(step) for step in range(7)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[6] == pytest.approx(0)


def test_a_loss_that_is_no_number_names_the_questions(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work")
    plain = run.model.loss

    def broken(features: Any, queries: Any, answers: Any) -> Any:
        loss = plain(features, queries, answers)
        return loss * float("nan") if run.state["step"] == 3 else loss

    monkeypatch.setattr(run.model, "loss", broken)
    with pytest.raises(UserError, match=r"at step 3: the loss is nan, on questions q\d, q\d") as caught:
        run.run()
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "work").glob("best-*.pt"))


def test_training_stops_when_nothing_gets_better(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work", patience=1, evaluate_every=1)
    run.optimizer.param_groups[0]["top_rate"] = 0.0
    for group in run.optimizer.param_groups:
        group["top_rate"] = 0.0
    result = run.run()
    assert (result.steps, result.best_step, result.stopped_early) == (1, 0, True)
    assert result.best_exact_match == result.first_exact_match


def test_a_full_disk_leaves_the_last_checkpoint(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work", checkpoint_every=1)
    replace = Path.replace
    calls = []

    def full(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        run.run()
    assert checkpoint.load_checkpoint(tmp_path / "work") is not None


def test_features_on_disk_are_those_of_the_tower(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures[0].write_bytes(b"no picture")
    model = load_model(str(checkpoint_folder), device="cpu")
    cached = feature_source(model, pictures, tmp_path, trains_vision=False)
    live = feature_source(model, pictures, tmp_path, trains_vision=True)
    assert isinstance(cached, CachedFeatures)
    assert isinstance(live, LiveFeatures)
    assert list(cached.errors) == list(live.errors) == [0]
    with torch.no_grad():
        assert torch.allclose(cached.features([3, 1]), live.features([3, 1]), atol=1e-5)
    monkeypatch.setattr(type(model), "encode", None)
    again = feature_source(model, pictures, tmp_path, trains_vision=False)
    assert torch.equal(again.features([1, 2, 3]), cached.features([1, 2, 3]))


def test_pictures_none_of_which_can_be_read_are_told(checkpoint_folder: Path, tmp_path: Path) -> None:
    model = load_model(str(checkpoint_folder), device="cpu")
    with pytest.raises(InputError, match="None of the 2 pictures"):
        feature_source(model, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path, trains_vision=False)
