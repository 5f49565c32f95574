"""Training models of regions on raw pictures: their own ResNet makes the regions and stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from shelfqa.artifacts import read_table
from shelfqa.models.loading import load_model
from shelfqa.models.presets import training_preset_of
from shelfqa.models.settings import PredictConfig
from shelfqa.stages.predict import predict
from shelfqa.stages.train import TrainConfig, train
from tiny_models import questions_artifact
from tiny_regions import ANSWERS, lxmert_checkpoint, region_archives, vilbert_checkpoint

MAKERS: dict[str, Callable[[Path], Path]] = {"lxmert": lxmert_checkpoint, "vilbert": vilbert_checkpoint}


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return questions_artifact(tmp_path_factory.mktemp("data"), products=36, broken=(1,))


@pytest.fixture(scope="module", params=list(MAKERS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(MAKERS[request.param](tmp_path_factory.mktemp(request.param)))


@pytest.mark.parametrize("preset", ["lora", "region-lora"])
def test_training_helps_and_adds_answers(model: str, questions: Path, tmp_path: Path, preset: str) -> None:
    config = TrainConfig(model=model, preset=preset, learning_rate=0.02, batch_size=8, epochs=5, patience=5)
    manifest = train(questions, tmp_path / "out", config, device="cpu")
    assert manifest.details["answers_added"] == 3  # black, green and 1
    assert manifest.counts.dropped == {"unreadable picture (train)": 2}
    groups = manifest.details["trainable_parameters"].keys() - {"total"}
    assert groups == {"connector", "language", "head"} | ({"vision"} if preset == "region-lora" else set())
    losses = [row["train_loss"] for row in read_table(tmp_path / "out", "history").to_pylist()[1:]]
    assert losses[-1] < 0.8 * losses[0]
    match = manifest.details["validation_exact_match"]
    assert match["best"] > match["before"]

    adapter = tmp_path / "out" / "adapter"
    assert load_model(model, adapter=adapter, device="cpu").learnable(["black"]) == [True]
    predict(
        questions, tmp_path / "found", PredictConfig(model=model, splits=["validation"]), adapter=adapter, device="cpu"
    )
    rows = read_table(tmp_path / "found", "predictions").to_pylist()
    assert sum(row["prediction"] == row["answer"] for row in rows) / len(rows) == pytest.approx(match["best"])


def test_regions_and_answers_may_come_from_files(questions: Path, tmp_path: Path) -> None:
    model = str(lxmert_checkpoint(tmp_path / "model", answers=None))
    (tmp_path / "answers.txt").write_text("\n".join(ANSWERS))
    archives = region_archives(tmp_path / "regions", tuple(3 + number % 4 for number in range(29)))
    config = TrainConfig(
        model=model, regions=str(archives), answers=str(tmp_path / "answers.txt"), batch_size=8, max_steps=3
    )
    manifest = train(questions, tmp_path / "out", config, device="cpu")
    assert manifest.inputs.keys() == {"questions", "model", "answers", "regions"}
    unreadable = manifest.details["unreadable_pictures"]
    assert unreadable.keys() == {"29.png"}
    assert unreadable["29.png"].startswith("no-regions: ")


def test_both_have_a_preset(model: str) -> None:
    assert training_preset_of(model) == "region-lora"
