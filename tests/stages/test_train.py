from __future__ import annotations

from pathlib import Path

import pytest

from shelfqa.artifacts import read_table
from shelfqa.errors import ConfigError, InputError
from shelfqa.models.loading import load_model
from shelfqa.models.settings import PredictConfig
from shelfqa.stages.predict import predict
from shelfqa.stages.train import TrainConfig, train
from tiny_models import mini_checkpoint, questions_artifact


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions_artifact(tmp_path_factory.mktemp("data"), products=36, broken=(1,))


def config(model: str, **given: object) -> TrainConfig:
    values: dict[str, object] = {"preset": "lora", "learning_rate": 0.01, "batch_size": 8, "epochs": 12, "patience": 12}
    return TrainConfig(model=model, **(values | given))  # type: ignore[arg-type]


def test_training_helps_and_says_what_it_did(model: str, questions: Path, tmp_path: Path) -> None:
    manifest = train(questions, tmp_path / "out", config(model), device="cpu")
    assert manifest.counts.read == 60
    assert manifest.counts.kept == 58
    assert manifest.counts.dropped == {"unreadable picture (train)": 2}
    match = manifest.details["validation_exact_match"]
    assert match["best"] > match["before"]
    assert manifest.details["answers_added"] == 4
    assert manifest.details["trainable_parameters"]["head"] > 0

    history = read_table(tmp_path / "out", "history").to_pylist()
    assert history[0]["step"] == 0
    assert history[0]["train_loss"] is None
    assert history[0]["validation_exact_match"] == match["before"]
    best = max(row["validation_exact_match"] or 0 for row in history)
    assert best == match["best"]
    equals = [(row["validation_loss"], row["step"]) for row in history if row["validation_exact_match"] == best]
    assert manifest.details["best_step"] == min(equals)[1]

    adapter = tmp_path / "out" / "adapter"
    assert {file.name for file in adapter.iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "shelfqa.json"
    }  # fmt: skip
    load_model(model, adapter=adapter, device="cpu")
    settings = PredictConfig(model=model, splits=["validation"])
    predict(questions, tmp_path / "predictions", settings, adapter=adapter, device="cpu")
    rows = read_table(tmp_path / "predictions", "predictions").to_pylist()
    assert sum(row["prediction"] == row["answer"] for row in rows) / len(rows) == pytest.approx(match["best"])

    assert train(questions, tmp_path / "out", config(model), device="cpu") == manifest


def test_the_tower_can_be_trained_whole(model: str, questions: Path, tmp_path: Path) -> None:
    manifest = train(questions, tmp_path / "out", config(model, full=["vision", "head"], max_steps=3), device="cpu")
    assert manifest.details["trainable_parameters"]["vision"] > 0
    load_model(model, adapter=tmp_path / "out" / "adapter", device="cpu")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"targets": ["langage"]}, ConfigError, "Did you mean 'language'"),
        ({"learning_rate": 0.0}, ConfigError, "learning_rate"),
        ({"preset": "none-such"}, ConfigError, "Unknown training preset"),
    ],
)
def test_wrong_settings_are_told(
    model: str, questions: Path, tmp_path: Path, given: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(questions, tmp_path / "out", config(model, **given), device="cpu")


def test_wrong_input_is_told(model: str, questions: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        train(tmp_path / "nowhere", tmp_path / "out", config(model))
    with pytest.raises(InputError, match=r"no file or folder at .*nowhere"):
        train(questions, tmp_path / "out", config(model), images=tmp_path / "nowhere")
    with pytest.raises(InputError, match="split 'train'"):
        train(questions_artifact(tmp_path / "few", products=1), tmp_path / "out", config(model))
    with pytest.raises(InputError, match="not in the model's table"):
        train(questions, tmp_path / "out", config(str(bare(tmp_path)), min_answer_count=1000))


def bare(folder: Path) -> Path:
    return mini_checkpoint(folder / "bare", answers=("lamp", "chair"))
