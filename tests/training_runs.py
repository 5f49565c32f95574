"""Runs of the loop on four questions about four pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from shelfqa.models.base import VqaModel
from shelfqa.models.loading import load_model
from shelfqa.models.lora import LoraSettings, attach
from shelfqa.training.data import Sample
from shelfqa.training.features import feature_source
from shelfqa.training.settings import TrainConfig, resolve
from shelfqa.training.trainer import Trainer

SAMPLES = [Sample(f"q{number}", "what color is it?", ("red", "blue")[number % 2], number) for number in range(4)]


def adapted(
    folder: Path,
    targets: tuple[str, ...] = ("connector", "language"),
    *,
    dropout: float = 0.0,
    full: tuple[str, ...] = ("head",),
    new_answers: Sequence[str] = (),
) -> VqaModel:
    """A model with a fresh adapter, the same each time."""
    model = load_model(str(folder), device="cpu")
    model.prepare_for_training(Counter(new_answers))
    torch.manual_seed(0)
    attach(model, LoraSettings(4, 8, dropout, targets, full))
    model.module.eval()
    return model


def trainer_of(
    model: VqaModel,
    pictures: Sequence[Path],
    work: Path,
    *,
    samples: Sequence[Sample] = SAMPLES,
    trains_vision: bool = False,
    **given: Any,
) -> Trainer:
    """A run of six steps, unless `given` says otherwise."""
    work.mkdir(exist_ok=True)
    values: dict[str, Any] = {"preset": "lora", "batch_size": 2, "epochs": 3, "learning_rate": 0.01}
    settings = resolve(TrainConfig(**(values | given)), None)
    source = feature_source(model, pictures, work, trains_vision=trains_vision)
    return Trainer(model, source, samples, samples, settings, work)


def trainer(folder: Path, pictures: Sequence[Path], work: Path, **given: Any) -> Trainer:
    """The same of a fresh model."""
    return trainer_of(adapted(folder), pictures, work, **given)
