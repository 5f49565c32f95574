"""Every kind of model learns eight pairs by heart, and keeps them through saving, loading and merging.

If labels, loss and decoding disagree anywhere, the answers that are generated are not those that were learned.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from predicting import assert_same_answers, rows_of
from shelfqa.artifacts import StageRun, build
from shelfqa.models.settings import PredictConfig
from shelfqa.stages.merge import MergeConfig, merge
from shelfqa.stages.predict import predict
from shelfqa.stages.train import TrainConfig, train
from tiny_models import Named, picture, question_row
from tuning import MAKERS

PICTURES = {"red": (200, 30, 30), "blue": (30, 30, 200), "gold": (210, 170, 40), "pink": (230, 150, 180)}
"""Answers without double letters, which tiny decoders of single letters are slow to count."""


class Recipe(NamedTuple):
    """What it takes to learn eight pairs by heart."""

    steps: int = 80
    rate: float = 0.005
    targets: tuple[str, ...] = ("connector", "language")


SEEING = ("vision", "connector", "language")
RECIPES = {
    "blip2-t5": Recipe(steps=240, rate=0.002, targets=SEEING),
    "instructblip-t5": Recipe(steps=240, rate=0.002, targets=SEEING),
    "idefics2": Recipe(targets=SEEING),
    "mini": Recipe(steps=240, targets=SEEING),
}
"""Where the general one does not suffice; SEEING where a random tower hardly tells the pictures apart."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two questions about each of four pictures; the model is trained and measured on the same."""
    import pyarrow as pa

    from shelfqa.records import QUESTION_COLUMNS

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pairs")
    rows: list[dict[str, Any]] = []
    for number, (colour, rgb) in enumerate(PICTURES.items()):
        picture(rgb, number).save(folder / f"{number}.png")
        for question, answer in (("what color is it?", colour), ("how many?", str(1 + number % 2))):
            for split in ("train", "validation"):
                rows.append(question_row(number, question, answer, split, f"{split}-"))

    def body(run: StageRun) -> None:
        run.images = folder
        run.write_table("questions", pa.Table.from_pylist(rows, schema=QUESTION_COLUMNS))

    build("split", folder / "split", Named(), {}, body)
    return folder / "split"


def without_dropout(checkpoint: Path) -> Path:
    """Set every share of a checkpoint's configuration that is dropped in training to zero."""

    def zeroed(values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        dropped = {key: 0.0 for key, value in values.items() if "dropout" in key and isinstance(value, float)}
        return {key: zeroed(value) for key, value in values.items()} | dropped

    file = checkpoint / "config.json"
    file.write_text(json.dumps(zeroed(json.loads(file.read_text()))))
    return checkpoint


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_eight_pairs_are_learned_by_heart_and_kept(name: str, pairs: Path, tmp_path: Path) -> None:
    checkpoint = str(without_dropout(MAKERS[name](tmp_path / "model")))
    recipe = RECIPES.get(name, Recipe())
    config = TrainConfig(
        model=checkpoint,
        preset="lora",
        targets=list(recipe.targets),
        dropout=0.0,
        weight_decay=0.0,
        learning_rate=recipe.rate,
        batch_size=8,
        epochs=recipe.steps,
        evaluate_every=recipe.steps // 2,
        min_answer_count=1,
    )
    manifest = train(pairs, tmp_path / "trained", config, device="cpu", trial_steps=False)
    assert manifest.details["validation_exact_match"]["best"] == 1.0

    adapter = tmp_path / "trained" / "adapter"
    asked = PredictConfig(model=checkpoint, splits=["train"])
    predict(pairs, tmp_path / "with-adapter", asked, adapter=adapter, device="cpu")
    tuned = rows_of(tmp_path / "with-adapter")
    assert [row["prediction"] for row in tuned] == [row["answer"] for row in tuned]

    manifest = merge(adapter, tmp_path / "merged", MergeConfig(), device="cpu")
    assert manifest.details["parity"]["passed"] is True
    assert manifest.details["parity"]["items"] == 8
    asked = PredictConfig(model=str(tmp_path / "merged"), splits=["train"])
    predict(pairs, tmp_path / "with-merged", asked, device="cpu")
    assert_same_answers(rows_of(tmp_path / "with-merged"), tuned)
