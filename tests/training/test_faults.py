"""Faults that are planted, each told by its name."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from shelfqa.errors import InputError, StorageError, UserError
from shelfqa.training import checkpoint
from shelfqa.training.faults import DivergenceWatch
from shelfqa.training.trainer import Trainer
from tiny_models import blip_checkpoint
from training_runs import SAMPLES, adapted, trainer, trainer_of


def broken(run: Trainer) -> str:
    """What a run says that breaks down; one line, and its last good state is kept."""
    with pytest.raises(UserError, match="Training broke down at step") as caught:
        run.run()
    assert "\n" not in str(caught.value)
    assert checkpoint.load_checkpoint(run.work) is not None
    assert list(run.work.glob("best-*.pt"))
    return str(caught.value)


def test_a_loss_that_is_no_number_names_the_questions(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work")
    plain = run.model.loss

    def planted(features: Any, queries: Any, answers: Any) -> Any:
        loss = plain(features, queries, answers)
        return loss * float("nan") if run.state["step"] >= 3 and "blue" in answers else loss

    monkeypatch.setattr(run.model, "loss", planted)
    said = broken(run)
    assert re.search(r"at step 3: the loss is nan, and so it is for questions q[13] alone, on questions q", said)


def test_labels_that_are_all_padding(pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(blip_checkpoint(tmp_path / "blip"), ("language",))
    run = trainer_of(model, pictures, tmp_path / "work")
    tokens = model._answer_tokens  # type: ignore[attr-defined]

    def padding(answers: Any) -> Any:
        found = tokens(answers)
        found["attention_mask"].zero_()
        return found

    monkeypatch.setattr(model, "_answer_tokens", padding)
    assert "no token of the answers enters it (are all labels padding?), on questions q" in broken(run)


def test_answers_none_of_which_has_a_label(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted(checkpoint_folder)
    unknown = [sample._replace(answer="unheard of") for sample in SAMPLES]
    with pytest.raises(InputError, match="No token of the answers to questions q0, q1, q2, q3 would enter the loss"):
        trainer_of(model, pictures, tmp_path / "work", samples=unknown)
    monkeypatch.setattr(model, "learnable", lambda answers: [True] * len(answers))
    run = trainer_of(model, pictures, tmp_path / "work", samples=unknown)
    assert "at step 1: the loss is 0: no token of the answers enters it" in broken(run)


def test_a_picture_that_becomes_nan_in_a_tower_that_is_trained(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer_of(adapted(checkpoint_folder), pictures, tmp_path / "work", trains_vision=True)
    plain = run.model.inputs_of

    def planted(path: Path) -> Any:
        inputs = plain(path)
        if path.name == "green.png" and run.state["step"]:
            inputs = {name: tensor * float("nan") for name, tensor in inputs.items()}
        return inputs

    monkeypatch.setattr(run.model, "inputs_of", planted)
    said = broken(run)
    assert "the features of picture green.png are no finite numbers, on questions" in said
    assert "q2" in said


def test_weights_that_are_no_numbers(checkpoint_folder: Path, pictures: list[Path], tmp_path: Path) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work")
    name, weight = next(
        (name, weight) for name, weight in run.model.module.named_parameters() if "pooler" in name and weight.ndim > 1
    )
    with torch.no_grad():
        weight[0, 0] = float("nan")
    assert f"the weight {name} holds numbers that are not finite" in broken(run)


def test_gradients_that_are_no_numbers(checkpoint_folder: Path, pictures: list[Path], tmp_path: Path) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work")
    next(iter(run.weights.values())).register_hook(lambda gradient: gradient * float("nan"))
    assert "the gradient's norm is nan, on questions q" in broken(run)


def test_nothing_that_is_trained_has_a_part_in_the_loss(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path
) -> None:
    model = adapted(checkpoint_folder, ("vision",), full=())
    said = broken(trainer_of(model, pictures, tmp_path / "work"))  # the features come from the disk
    assert "no weight gets a gradient: what is trained (vision) has no part in the loss" in said


def test_fp16_that_overflows_going_forward(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work", precision="fp16")
    head = next(part for name, part in run.model.module.named_modules() if name.endswith("pooler"))
    head.register_forward_hook(lambda _, __, found: found * 1e8 if run.state["step"] else found)
    assert "fp16 overflows in the forward pass" in broken(run)


def test_fp16_that_overflows_at_every_scale(checkpoint_folder: Path, pictures: list[Path], tmp_path: Path) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work", precision="fp16", epochs=20, patience=20)
    next(iter(run.weights.values())).register_hook(lambda gradient: gradient * float("inf"))
    said = broken(run)
    assert "at step 17: fp16 overflows at every scale of the loss, on questions q" in said
    assert "--precision bf16 or fp32" in said


def test_a_rate_of_a_thousand(checkpoint_folder: Path, pictures: list[Path], tmp_path: Path) -> None:
    run = trainer(checkpoint_folder, pictures, tmp_path / "work", learning_rate=1e3, epochs=10, patience=10)
    said = broken(run)
    assert "the loss is nan, and with the best weights it is not: they have run away" in said
    assert "Lower the rate; the rate is 1000 (--learning-rate)" in said


@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        ([30.0] * 20, 8),
        ([3.0] * 5 + [1e6] * 20, 13),
        ([3.0, 500.0] * 20, None),  # bad batches, or a rate at the edge
        ([11.0] * 20, None),  # less than four times the beginning
        ([500.0] * 7 + [2.0] * 20, None),
    ],
)
def test_only_a_loss_that_stays_up_is_divergence(losses: list[float], steps: int | None) -> None:
    watch = DivergenceWatch()
    watch.begins_at(3.0)
    found = None
    for step, loss in enumerate(losses, start=1):
        watch = DivergenceWatch(dict(watch.state))  # as if resumed
        if watch.look(step, loss, SAMPLES) is not None:
            found = step
            break
    assert found == steps


def test_a_good_model_may_get_worse_for_a_while() -> None:
    watch = DivergenceWatch()
    watch.begins_at(0.1)
    assert all(watch.look(step, 9.0, SAMPLES) is None for step in range(1, 50))


@pytest.mark.parametrize("left", [b"garbage", b"", b"PK\x03\x04 and no more"])
def test_a_broken_checkpoint_is_told_and_training_starts_over(
    left: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checkpoint.load_checkpoint(tmp_path) is None
    assert capsys.readouterr().err == ""
    (tmp_path / "last.pt").write_bytes(left)
    assert checkpoint.load_checkpoint(tmp_path) is None
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(r"last.pt' cannot be read \(.+\)\. Training starts over\.$", said)
    with pytest.raises(InputError, match=r"best-0000002.pt' cannot be read .* training then starts over") as caught:
        checkpoint.load_weights(tmp_path, 2)
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_last_checkpoint(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer(checkpoint_folder, pictures, tmp_path / "whole")
    whole.run()
    run = trainer(checkpoint_folder, pictures, tmp_path / "work", checkpoint_every=1)
    written: list[int] = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left while writing") as caught:
            run.run()
    assert "\n" not in str(caught.value)
    kept = checkpoint.load_checkpoint(tmp_path / "work")
    assert kept is not None
    assert 0 < kept["values"]["step"] <= run.state["step"]
    again = trainer(checkpoint_folder, pictures, tmp_path / "work", checkpoint_every=1)
    again.run()
    assert all(torch.equal(weight, again.weights[name]) for name, weight in whole.weights.items())
