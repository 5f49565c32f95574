"""A run that is about to begin: eight pictures of one colour each, a question about each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from shelfqa.models.loading import load_model
from shelfqa.models.lora import LoraSettings, attach, trainable_parameters
from shelfqa.training.data import Sample
from shelfqa.training.findings import Finding, Preflight
from shelfqa.training.preflight import Wanted, preflight
from shelfqa.training.preview import PreviewFeatures
from shelfqa.training.settings import TrainConfig, resolve
from shelfqa.training.trainer import Trainer
from tiny_models import picture

RGB = (
    *((200, 30, 30), (30, 30, 200), (30, 160, 30), (20, 20, 20)),
    *((220, 220, 40), (240, 240, 240), (200, 40, 200), (120, 80, 30)),
)
ANSWERS = ("red", "blue", "green", "black", "wood", "metal", "round", "2")
QUESTIONS = ("what color is it?", "how many?", "what kind of product is this?", "which brand?")
SAMPLES = [Sample(f"q{place}", QUESTIONS[place % 4], ANSWERS[place], place) for place in range(8)]
DRY = Wanted(dry=True)


def pictures(folder: Path, *, side_px: int = 40) -> list[Path]:
    """Write the eight pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{place}.png" for place in range(len(RGB))]
    for path, rgb in zip(paths, RGB, strict=True):
        picture(rgb, side_px=side_px).save(path)
    return paths


def ready(
    make: Callable[[Path], Path],
    folder: Path,
    samples: Sequence[Sample] = SAMPLES,
    *,
    dropout: float = 0.0,
    **given: Any,
) -> Trainer:
    """Return a trainer of a tiny checkpoint that has not taken a step."""
    torch.set_num_threads(1)
    checkpoint = folder / make.__name__
    model = load_model(str(checkpoint if checkpoint.exists() else make(checkpoint)), device="cpu")
    model.prepare_for_training(Counter(sample.answer for sample in samples))
    settings = resolve(TrainConfig(preset="lora", **({"batch_size": 4} | given)), None)
    torch.manual_seed(0)
    attach(model, LoraSettings(16, 32, dropout, ("connector", "language")))
    model.module.eval()
    source = PreviewFeatures(model, pictures(folder / "pictures"), trains_vision=False)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    return Trainer(model, source, samples, samples[:4], settings, work)


def look(trainer: Trainer, wanted: Wanted = DRY) -> Preflight:
    """Return what a preflight finds."""
    return preflight(trainer, trainer.train_samples[:4], trainable_parameters(trainer.model), {}, wanted)


def findings(found: Preflight, check: str, level: str = "error") -> list[Finding]:
    """Return the findings of one kind."""
    return [finding for finding in found.findings if finding.check == check and finding.level == level]


def turned(path: Path, size: tuple[int, int]) -> None:
    """Write a picture that is stored lying and shown standing."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", size).save(path, exif=exif)
