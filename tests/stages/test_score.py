"""score: any file of predictions to means with intervals."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shelfqa.artifacts import write_parquet
from shelfqa.errors import ConfigError, InputError
from shelfqa.records import PREDICTION_COLUMNS
from shelfqa.stages.score import ScoreConfig, score


def row(number: int, prediction: str | None, answer: str = "red", **more: Any) -> dict[str, Any]:
    alternatives = (
        None
        if prediction is None
        else [{"answer": text, "probability": share} for text, share in ((prediction, 0.6), ("red", 0.2), ("x", 0.1))]
    )
    return {
        "question_id": f"q{number}",
        "model": "mini",
        "prediction": prediction,
        "error": "truncated: broken off" if prediction is None else None,
        "alternatives": alternatives,
        "question": "What color is it?",
        "answer": answer,
        "product_id": f"p{number // 2}",
        "image_paths": [f"{number // 2}.jpg"],
        "product_type": "mug" if number % 3 else "lamp",
        "task": "colour",
        "source": {"provider": "metadata", "model": None, "prompt_version": "1", "field": "color"},
        **more,
    }  # fmt: skip


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    rows = [row(0, "red"), row(1, "blue"), row(2, "Red."), row(3, None), row(4, "dark red"), row(5, "red")]
    write_parquet(tmp_path / "tuned" / "predictions.parquet", pa.Table.from_pylist(rows, schema=PREDICTION_COLUMNS))
    return tmp_path / "tuned"


def summary_of(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text("utf-8"))
    return summary


def test_folder_of_predictions(predictions: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    manifest = score(predictions, out, ScoreConfig())
    table = pq.read_table(out / "scores.parquet")
    assert table["exact_match"].to_pylist() == [1, 0, 1, 0, 0, 1]
    assert table["token_f1"].to_pylist() == pytest.approx([1, 0, 1, 0, 2 / 3, 1])
    assert table["top_3"].to_pylist() == [1, 1, 1, 0, 1, 1]
    assert "top_5" not in table.column_names  # there are three alternatives only
    assert set(table["question_type"].to_pylist()) == {"colour"}
    assert {*PREDICTION_COLUMNS.names} <= {*table.column_names}
    summary = summary_of(out)
    assert (summary["n"], summary["failures"], summary["clusters"], summary["cluster_by"]) == (6, 1, 3, "product_id")
    exact = summary["metrics"]["exact_match"]
    assert exact["low"] < exact["mean"] == 0.5 < exact["high"]
    assert {name: list(values) for name, values in summary["slices"].items()} == {
        "question_type": ["colour"],
        "answer_type": ["colour"],
        "answer_length": ["1"],
        "product_type": ["mug", "lamp"],
        "source": ["metadata"],
    }
    assert summary["slices"]["product_type"]["mug"]["n"] == 4
    assert (manifest.counts.read, manifest.counts.kept) == (6, 6)
    assert manifest.details["metrics"] == summary["metrics"]


def test_same_settings_same_bytes_and_no_second_run(predictions: Path, tmp_path: Path) -> None:
    first = score(predictions, tmp_path / "a", ScoreConfig(seed=3))
    second = score(predictions, tmp_path / "b", ScoreConfig(seed=3))
    assert first.outputs == second.outputs
    written = (tmp_path / "a" / "scores.parquet").stat().st_mtime_ns
    assert score(predictions, tmp_path / "a", ScoreConfig(seed=3)).fingerprint == first.fingerprint
    assert (tmp_path / "a" / "scores.parquet").stat().st_mtime_ns == written


def test_foreign_csv_clusters_by_picture(tmp_path: Path) -> None:
    file = tmp_path / "other_tool.csv"
    file.write_text(
        "image,question,answer,prediction\na.jpg,How many?,2,two\na.jpg,Shape?,round,oval\nb.jpg,Is it?,yes,\n"
    )
    manifest = score(file, tmp_path / "out", ScoreConfig())
    summary = summary_of(tmp_path / "out")
    assert summary["model"] == "other_tool"
    assert (summary["n"], summary["failures"], summary["cluster_by"]) == (3, 1, "image_paths")
    assert list(summary["metrics"]) == ["exact_match", "token_f1"]
    assert summary["slices"]["question_type"]["count"]["metrics"]["exact_match"] == {
        "mean": 1.0,
        "low": None,
        "high": None,
    }
    assert manifest.images is None


def test_cluster_column_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text("question,answer,prediction,shop\nq,red,red,A\nq,red,red,A\nq,red,blue,B\n")
    score(file, tmp_path / "out", ScoreConfig(cluster="shop"))
    assert summary_of(tmp_path / "out")["clusters"] == 2
    with pytest.raises(ConfigError, match="no column 'town'"):
        score(file, tmp_path / "out", ScoreConfig(cluster="town"))


def test_rows_are_clusters_where_nothing_else_is_known(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text('{"question": "q", "answer": "red", "prediction": "red"}\n' * 4)
    score(file, tmp_path / "out", ScoreConfig())
    assert (summary_of(tmp_path / "out")["clusters"], summary_of(tmp_path / "out")["cluster_by"]) == (4, "row")


def test_broken_rows_are_counted_and_told(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text('{"question": "q", "answer": "red", "prediction": "red"}\n{"question": \n')
    manifest = score(file, tmp_path / "out", ScoreConfig())
    assert (manifest.counts.read, manifest.counts.kept) == (2, 1)
    assert manifest.details["bad_rows"][0].startswith("m.jsonl:2: ")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ScoreConfig(metrics=("exact_mach",)), "Did you mean 'exact_match'"),
        (ScoreConfig(metrics=("top_5",)), "needs what the predictions lack"),
        (ScoreConfig(slices=("colour",)), "slices: no column 'colour'"),
    ],
)
def test_settings_that_do_not_fit(predictions: Path, tmp_path: Path, config: ScoreConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        score(predictions, tmp_path / "out", config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no header line"),
        ("question,answer,prediction\n", "holds no row that can be scored"),
        ("question,answer,prediction\nq,,red\n", "holds no row that can be scored"),
        ("question,prediction\nq,red\n", "lacks the column 'answer'"),
    ],
    ids=["empty", "header alone", "no answers", "no column"],
)
def test_files_without_rows(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "m.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        score(file, tmp_path / "out", ScoreConfig())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rows", [1, 2], ids=["one row", "one cluster"])
def test_little_to_score(tmp_path: Path, rows: int) -> None:
    file = tmp_path / "m.csv"
    file.write_text("question,answer,prediction,product_id\n" + "q,red,red,p\n" * rows)
    score(file, tmp_path / "out", ScoreConfig())
    found = summary_of(tmp_path / "out")
    assert found["metrics"]["exact_match"] == {"mean": 1.0, "low": None, "high": None}


def test_every_prediction_failed(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text("question,answer,prediction\n" + "q,red,\n" * 5)
    score(file, tmp_path / "out", ScoreConfig(metrics=("exact_match", "token_f1", "macro_f1")))
    found = summary_of(tmp_path / "out")
    assert (found["failures"], found["metrics"]["exact_match"]["mean"]) == (5, 0.0)
    assert "missing-predictions" in [finding["id"] for finding in found["findings"]]


def test_missing_column(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text("question,prediction\nq,red\n")
    with pytest.raises(InputError, match=r"m\.csv' lacks the column 'answer'; it has question, prediction"):
        score(file, tmp_path / "out", ScoreConfig())


def test_exact_match_agrees_with_the_published_column(abo_slice: Path, tmp_path: Path) -> None:
    """Every row but one: question, answer and prediction empty, and the mean of the column in its place."""
    file = abo_slice / "predictions" / "blip_vqa_base_lora_r16.csv"
    score(file, tmp_path / "out", ScoreConfig(resamples=100))
    with file.open(encoding="utf-8", newline="") as lines:
        published = [row for row in csv.DictReader(lines) if row["answer"]]
    table = pq.read_table(tmp_path / "out" / "scores.parquet")
    assert len(published) == len(table) == 6031
    differing = [
        row
        for row, exact_match in zip(published, table["exact_match"].to_pylist(), strict=True)
        if float(row["exact_match"]) != exact_match
    ]
    assert differing == []
    assert summary_of(tmp_path / "out")["metrics"]["token_f1"]["mean"] == pytest.approx(
        sum(float(row["f1_score"]) for row in published) / len(published), abs=1e-3
    )
