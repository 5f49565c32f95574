"""What a model knew is held while it learns something else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from shelfqa.errors import ConfigError
from shelfqa.models.full_tuning import free
from shelfqa.models.loading import load_model
from shelfqa.training.retention import Retention
from shelfqa.training.trainer import Trainer
from tiny_models import blip_checkpoint
from training_runs import SAMPLES, adapted, trainer, trainer_of

IMAGES = [sample.image for sample in SAMPLES]


def moved(run: Trainer, held: Retention) -> float:
    run.model.module.eval()
    with torch.no_grad():
        return float(held.loss(run.source.features(IMAGES), IMAGES))


def test_nothing_has_moved_before_training(checkpoint_folder: Path, pictures: list[Path], tmp_path: Path) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work")
    held = Retention(run.model, run.source, weight=1.0, seed=0)
    held.ask(IMAGES)
    assert moved(run, held) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("trains_vision", [False, True])
def test_answers_to_other_questions_move_less(
    trains_vision: bool, checkpoint_folder: Path, pictures: list[Path], tmp_path: Path
) -> None:
    targets = ("vision", "connector", "language") if trains_vision else ("connector", "language")
    found = []
    for retain in (0.0, 3.0):
        model = adapted(checkpoint_folder, targets)
        work = tmp_path / str(retain)
        run = trainer_of(model, pictures, work, trains_vision=trains_vision, retain=retain, epochs=8, patience=99)
        held = Retention(run.model, run.source, weight=1.0, seed=1)  # asks other questions than the run does
        held.ask(IMAGES)
        result = run.run()
        first, last = (result.history[place]["validation_loss"] for place in (0, -1))
        assert last < 0.9 * first
        found.append(moved(run, held))
    free, held_back = found
    assert held_back < free / 2


def test_the_loss_is_weighted_and_leaves_the_modes(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path
) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work")
    once, thrice = (Retention(run.model, run.source, weight=weight, seed=0) for weight in (1.0, 3.0))
    run.training_mode()
    for held in (once, thrice):
        held.ask(IMAGES)
    assert run.model.module.training
    with torch.no_grad():
        for name, weight in run.weights.items():
            if "lora_B" in name:
                weight.normal_(std=3.0)
    assert moved(run, thrice) == pytest.approx(3 * moved(run, once), rel=1e-5)
    assert moved(run, once) > 1e-3


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_outputs_of_known_answers_stay_as_they_were(
    method: str, checkpoint_folder: Path, pictures: list[Path], tmp_path: Path
) -> None:
    new = ("brandless", "wordmark")
    if method == "lora":
        model = adapted(checkpoint_folder, new_answers=new)
    else:
        model = load_model(str(checkpoint_folder), device="cpu")
        model.prepare_for_training(Counter(new))
        free(model, ("language", "head"))
    known = model.outputs() - len(new)
    samples = [sample._replace(answer=new[sample.image % 2]) for sample in SAMPLES]
    run = trainer_of(model, pictures, tmp_path / "work", samples=samples, retain=1.0, weight_decay=0.1)
    before = {name: weight.clone() for name, weight in run.weights.items() if model.group_of(name) == "head"}
    run.run()
    assert {weight.ndim for weight in before.values()} == {1, 2}
    for name, weight in before.items():
        assert torch.equal(run.weights[name][:known], weight[:known])
        assert not torch.equal(run.weights[name][known:], weight[known:])


def test_a_model_without_a_table_is_refused(tmp_path: Path, pictures: list[Path]) -> None:
    with pytest.raises(ConfigError, match="does not choose from a table of answers"):
        trainer_of(adapted(blip_checkpoint(tmp_path / "blip")), pictures, tmp_path / "work", retain=1.0)
