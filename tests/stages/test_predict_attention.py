"""predict: where the model looked, kept beside the predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from predicting import table
from shelfqa.artifacts import read_table
from shelfqa.models.answering import Asked, Pace, Search, answer_in_parts
from shelfqa.models.base import Decoding, VqaModel, one_of_each
from shelfqa.models.loading import load_model
from shelfqa.models.settings import PredictConfig
from shelfqa.models.wording import Wording
from shelfqa.records import PREDICTION_COLUMNS, attention_columns
from shelfqa.stages.predict import predict
from tiny_models import blip_checkpoint, questions_artifact


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions_artifact(tmp_path_factory.mktemp("data"), broken=(21,))


def test_each_answer_has_its_map(model: str, questions: Path, tmp_path: Path) -> None:
    predict(questions, tmp_path / "out", PredictConfig(model=model), device="cpu")
    predictions = read_table(tmp_path / "out", "predictions")
    assert predictions.schema.equals(PREDICTION_COLUMNS)
    found = read_table(tmp_path / "out", "attention")
    assert found.schema.equals(attention_columns(4))
    answered = [row for row in predictions.to_pylist() if row["error"] is None]
    assert 0 < len(answered) < len(predictions)
    assert found["question_id"].to_pylist() == [row["question_id"] for row in answered]
    loaded = load_model(model, device="cpu")
    for row, kept in zip(answered, found.to_pylist(), strict=True):
        path = questions.parent / "images" / row["image_paths"][0]
        with torch.no_grad():
            features = loaded.encode([loaded.inputs_of(path)])
            [told] = loaded.explain(features, one_of_each([row["question"]], [0]), Decoding())
        assert told.attention is not None
        assert (kept["rows"], kept["columns"]) == told.attention.shape
        assert np.allclose(kept["shares"], told.attention.ravel(), atol=1e-3)


def test_maps_are_left_out_where_there_are_none_or_none_are_wanted(model: str, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(questions, out, PredictConfig(model=model), device="cpu")
    kept = read_table(out, "predictions").drop_columns(["seconds"])
    predict(questions, out, PredictConfig(model=model, explain=False), device="cpu")
    assert sorted(file.name for file in out.iterdir()) == ["manifest.json", "predictions.parquet"]
    assert read_table(out, "predictions").drop_columns(["seconds"]).equals(kept)
    blip = str(blip_checkpoint(tmp_path / "blip"))
    for settings in (
        PredictConfig(model=model, shuffle_images=True),  # the row does not name the picture that was seen
        PredictConfig(model="majority"),
        PredictConfig(model=blip, limit=2),
    ):
        predict(questions, out, settings, device="cpu")
        assert not (out / "attention.parquet").exists()


def test_without_a_single_answer_there_is_no_table(model: str, tmp_path: Path) -> None:
    file = table(tmp_path, [("gone.png", "what color is it?")])
    predict(file, tmp_path / "out", PredictConfig(model=model), images=tmp_path, device="cpu")
    assert not (tmp_path / "out" / "attention.parquet").exists()


def test_maps_of_finished_parts_are_not_made_again(model: str, questions: Path, tmp_path: Path) -> None:
    pictures = [questions.parent / "images" / f"{number}.png" for number in range(3)]
    asked = [Asked("what color is it?", (path,)) for path in pictures]

    def load() -> VqaModel:
        return load_model(model, device="cpu")

    def fail() -> VqaModel:
        raise AssertionError("asked again")

    first, again = (
        answer_in_parts(asked, way, tmp_path, wording=Wording(), search=Search(), pace=Pace(workers=1), explain=True)
        for way in (load, fail)
    )
    assert first is not None
    assert again is not None
    for one, other in zip(first, again, strict=True):
        assert one.attention is not None
        assert other.attention is not None
        assert one.attention.shape == (2, 2)
        assert np.array_equal(one.attention, other.attention)
