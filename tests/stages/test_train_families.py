from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from shelfqa.artifacts import read_table
from shelfqa.models.settings import PredictConfig
from shelfqa.stages.predict import predict
from shelfqa.stages.train import TrainConfig, train
from tiny_blip2 import BLIP2_FAMILIES
from tiny_chat import CHAT_FAMILIES
from tiny_models import blip_checkpoint, questions_artifact
from tiny_ofa import ofa_checkpoint
from tiny_pretrained import clip_checkpoint, siglip_checkpoint, vilt_checkpoint

FAMILIES: dict[str, Callable[[Path], Path]] = {
    **CHAT_FAMILIES,
    **BLIP2_FAMILIES,
    "blip": blip_checkpoint,
    "clip": clip_checkpoint,
    "ofa": ofa_checkpoint,
    "siglip": siglip_checkpoint,
    "vilt": vilt_checkpoint,
}
QUICK = ("blip2-t5", "clip", "idefics3")
"""A family of each kind; the others are trained with --runslow (regions: test_train_regions.py)."""


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return questions_artifact(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(FAMILIES)]
)
def test_every_family_is_tuned_and_answers_with_its_adapter(name: str, questions: Path, tmp_path: Path) -> None:
    checkpoint = str(FAMILIES[name](tmp_path / "model"))
    manifest = train(
        questions,
        tmp_path / "trained",
        TrainConfig(model=checkpoint, epochs=2, batch_size=4, learning_rate=3e-3),
        device="cpu",
    )
    assert manifest.details["trainable_parameters"]["total"] > 0
    history = read_table(tmp_path / "trained", "history").to_pylist()
    losses = [row["validation_loss"] for row in history if row["validation_loss"] is not None]
    assert min(losses[1:]) < losses[0]
    config = PredictConfig(model=checkpoint, max_new_tokens=3, candidates="all" if name in ("clip", "siglip") else None)
    predict(questions, tmp_path / "answers", config, adapter=tmp_path / "trained" / "adapter", device="cpu")
    rows = read_table(tmp_path / "answers", "predictions").to_pylist()
    assert len(rows) == 8
    assert all(row["error"] is None and row["prediction"] is not None for row in rows)
