from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from predicting import rows_of, table
from shelfqa import artifacts
from shelfqa.artifacts import read_table
from shelfqa.errors import ConfigError, InputError
from shelfqa.models import answering
from shelfqa.models.asking import derangement
from shelfqa.models.loading import load_model
from shelfqa.models.settings import PredictConfig
from shelfqa.records import PREDICTION_COLUMNS
from shelfqa.stages.predict import predict
from tiny_models import COLOURS, picture, questions_artifact


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions_artifact(tmp_path_factory.mktemp("data"))


def test_columns_order_and_sharing(model: str, questions: Path, tmp_path: Path) -> None:
    manifest = predict(questions, tmp_path / "out", PredictConfig(model=model, top_k=2), device="cpu")
    found = read_table(tmp_path / "out", "predictions")
    assert found.schema.equals(PREDICTION_COLUMNS)
    rows = found.to_pylist()
    assert {row["split"] for row in rows} == {"test"}
    assert [row["question_id"] for row in rows][:3] == ["20-what", "20-how", "21-what"]
    assert manifest.counts.read == manifest.counts.kept == 8
    for row in rows:
        assert row["error"] is None
        assert row["prediction"] == row["alternatives"][0]["answer"]
        probabilities = [one["probability"] for one in row["alternatives"]]
        assert len(probabilities) == 2
        assert probabilities == sorted(probabilities, reverse=True)


def test_bad_rows_are_failures_and_change_nothing_else(model: str, tmp_path: Path) -> None:
    for seed, (name, rgb) in enumerate(COLOURS.items()):
        picture(rgb, seed).save(tmp_path / f"{name}.png")
    picture((1, 2, 3)).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    good = [(f"{name}.png", "what color is it?") for name in COLOURS]
    plain = table(tmp_path, good)
    predict(plain, tmp_path / "plain", PredictConfig(model=model), images=tmp_path, device="cpu")
    expected = {row["image_paths"][0]: row["prediction"] for row in rows_of(tmp_path / "plain")}

    odd = [("broken.png", "how many?"), ("gone.png", "how many?"), ("red.png", " "), ("", "how many?")]
    fine = [("cmyk.jpg", "how many?"), ("dot.png", "how many?"), ("red.png", "what color " * 455)]
    mixed = table(tmp_path, [odd[0], good[0], odd[1], *good[1:3], *odd[2:], *fine, good[3]])
    manifest = predict(mixed, tmp_path / "mixed", PredictConfig(model=model), images=tmp_path, device="cpu")
    rows = rows_of(tmp_path / "mixed")
    errors = [row["error"].split(":")[0] for row in rows if row["error"]]
    assert errors == ["not-an-image", "missing", "empty question", "no picture"]
    assert all((row["prediction"] is None) == (row["error"] is not None) for row in rows)
    told = {row["image_paths"][0]: row["prediction"] for row in rows if row["question"] == "what color is it?"}
    assert told == expected
    assert manifest.counts.kept == len(rows) == 11
    assert manifest.details["failures"] == {"empty question": 1, "missing": 1, "no picture": 1, "not-an-image": 1}
    assert [row["question_id"] for row in rows][:2] == ["row-2", "row-3"]


def test_a_killed_run_goes_on_with_the_open_part(
    model: str, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "PART_QUESTIONS", 4)
    settings = PredictConfig(model=model, splits=["train", "validation"], shuffle_images=True)
    predict(questions, tmp_path / "whole", settings, device="cpu")
    write = artifacts.write_parquet
    child = os.fork()
    if child == 0:

        def die_at_the_third(path: Path, values: Any) -> None:
            if path.name == "part-000002.parquet":
                os.kill(os.getpid(), signal.SIGKILL)
            write(path, values)

        monkeypatch.setattr(answering, "write_parquet", die_at_the_third)
        predict(questions, tmp_path / "killed", settings, device="cpu")
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    parts = tmp_path / "killed" / ".work" / "parts"
    assert len(list(parts.glob("*.parquet"))) == 2

    written = []

    def noted(path: Path, values: Any) -> None:
        written.append(path.name)
        write(path, values)

    monkeypatch.setattr(answering, "write_parquet", noted)
    predict(questions, tmp_path / "killed", settings, device="cpu")
    assert "part-000001.parquet" not in written
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")


def test_shuffled_pictures_are_those_of_another_product(model: str, questions: Path, tmp_path: Path) -> None:
    product_of = {f"{number}.png": f"p{number // 3}" for number in range(30)}
    other = derangement(product_of, seed=1)
    assert sorted(other.values()) == sorted(product_of)
    assert all(product_of[path] != product_of[other[path]] for path in product_of)
    assert other != derangement(product_of, seed=2)
    uneven = {"a": "p", "b": "p", "c": "p", "d": "q"}
    assert derangement(uneven, seed=0)["a"] == "d"
    with pytest.raises(InputError, match="two products"):
        derangement({"a": "p", "b": "p"}, seed=0)
    predict(questions, tmp_path / "out", PredictConfig(model=model, shuffle_images=True), device="cpu")
    assert rows_of(tmp_path / "out")[0]["model"].endswith(", shuffled pictures")


@pytest.mark.parametrize("name", ["majority", "majority-per-type", "question-only"])
def test_blind_baselines_learn_from_train(name: str, questions: Path, tmp_path: Path) -> None:
    predict(questions, tmp_path / "out", PredictConfig(model=name, top_k=3))
    rows = rows_of(tmp_path / "out")
    assert {row["split"] for row in rows} == {"test"}
    assert {row["prediction"] for row in rows} <= {*COLOURS, "1", "2"}
    assert all(1 <= len(row["alternatives"]) <= 3 for row in rows)


def test_wrong_input_is_told(model: str, questions: Path, tmp_path: Path) -> None:
    file = table(tmp_path, [("a.png", "what?")], header=("picture", "question"))
    with pytest.raises(InputError, match=r"questions\.csv' lacks the column 'image_path'; it has picture, question"):
        predict(file, tmp_path / "out", PredictConfig(model=model))
    file = table(tmp_path, [("a.png", "what?")])
    with pytest.raises(InputError, match="--images"):
        predict(file, tmp_path / "out", PredictConfig(model=model))
    with pytest.raises(InputError, match=r"no questions of split dev; it has test \(8\), train"):
        predict(questions, tmp_path / "out", PredictConfig(model=model, splits=["dev"]))
    with pytest.raises(ConfigError, match="top_k"):
        predict(questions, tmp_path / "out", PredictConfig(model=model, top_k=0))


def test_what_a_batch_holds_changes_no_answer(model: str, questions: Path, tmp_path: Path) -> None:
    for size in (1, 7):
        settings = PredictConfig(model=model, splits=["train"], batch_size=size)
        predict(questions, tmp_path / str(size), settings, device="cpu")
    for one, other in zip(rows_of(tmp_path / "1"), rows_of(tmp_path / "7"), strict=True):
        assert one["prediction"] == other["prediction"]
        pairs = zip(one["alternatives"], other["alternatives"], strict=True)
        assert all(left["probability"] == pytest.approx(right["probability"], abs=1e-4) for left, right in pairs)
    assert load_model(model, device="cpu").family == "classifier"
