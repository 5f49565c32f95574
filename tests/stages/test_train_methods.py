"""`train` by other methods than LoRA: what it writes, and that `predict` answers with it as in training."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from shelfqa.artifacts import Manifest, read_table
from shelfqa.cli.models import train as train_command
from shelfqa.models.settings import PredictConfig
from shelfqa.pipeline.run import tuned_model
from shelfqa.stages.predict import predict
from shelfqa.stages.train import TrainConfig, train
from shelfqa.training.settings import preset_names
from tiny_models import blip_checkpoint, mini_checkpoint, questions_artifact

QUICKLY = {"learning_rate": 0.01, "batch_size": 8, "max_steps": 6, "max_validation": 8}


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return questions_artifact(tmp_path_factory.mktemp("data"))


def config(model: Path, **given: object) -> TrainConfig:
    return TrainConfig(model=str(model), **(QUICKLY | given))  # type: ignore[arg-type]


def right_afterwards(questions: Path, trained: Path, base: Path) -> float:
    """The share of validation questions that `predict` answers right with what `train` wrote."""
    model, adapter = tuned_model(trained, str(base))
    settings = PredictConfig(model=model, splits=["validation"], max_new_tokens=5)
    predict(questions, trained / "answers", settings, adapter=adapter, device="cpu")
    rows = read_table(trained / "answers", "predictions").to_pylist()
    return float(sum(row["prediction"] == row["answer"] for row in rows) / len(rows))


def best_of(manifest: Manifest) -> float:
    return float(manifest.details["validation_exact_match"]["best"])


def test_full_fine_tuning_writes_a_checkpoint(questions: Path, tmp_path: Path) -> None:
    base = mini_checkpoint(tmp_path / "mini")
    manifest = train(questions, tmp_path / "out", config(base, preset="full", learning_rate=0.003), device="cpu")
    assert manifest.details["trainable_parameters"].keys() == {"vision", "connector", "language", "head", "total"}
    assert not (tmp_path / "out" / "adapter").exists()
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "Method: full, of all and head" in card
    assert "shelfqa predict --model THIS_FOLDER --questions" in card
    assert best_of(manifest) > 0
    assert right_afterwards(questions, tmp_path / "out", base) == pytest.approx(best_of(manifest))


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
def test_an_adapter_on_weights_of_4_bits_is_used_on_such(questions: Path, tmp_path: Path) -> None:
    base = mini_checkpoint(tmp_path / "mini")
    settings = config(base, preset="mini-lora", quantize="nf4", method="dora", targets=["all"], max_steps=12)
    manifest = train(questions, tmp_path / "out", settings, device="cpu")
    card = (tmp_path / "out" / "adapter" / "README.md").read_text()
    assert "Method: DoRA, on weights of nf4, rank 16" in card
    assert best_of(manifest) > 0
    assert right_afterwards(questions, tmp_path / "out", base) == pytest.approx(best_of(manifest))


def test_pissa_is_answered_with_on_the_untouched_base(questions: Path, tmp_path: Path) -> None:
    base = blip_checkpoint(tmp_path / "blip")
    manifest = train(questions, tmp_path / "out", config(base, init="pissa", method="rslora"), device="cpu")
    assert "Method: rsLoRA, begun as PiSSA, rank 16" in (tmp_path / "out" / "adapter" / "README.md").read_text()
    assert right_afterwards(questions, tmp_path / "out", base) == pytest.approx(best_of(manifest))


def test_presets_are_listed_with_what_they_are_for() -> None:
    listed = CliRunner().invoke(train_command, ["--list-presets"])
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.output.splitlines()] == preset_names()
    assert "VIT-Pro's tuning of IDEFICS2" in listed.output
