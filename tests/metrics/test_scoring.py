"""shelfqa.score on any table, and what is left out, sliced and summed up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import shelfqa
from shelfqa.errors import ConfigError, InputError
from shelfqa.metrics.human import ratings_of
from shelfqa.metrics.predictions import predictions_from, stem
from shelfqa.metrics.slices import answer_length, answer_type, slice_values, with_kinds
from shelfqa.metrics.suite import answered

ROWS: list[dict[str, Any]] = [
    {"question": "How many legs?", "answer": "4", "prediction": "four", "product_id": "a"},
    {"question": "What color is it?", "answer": "dark red", "prediction": "red", "product_id": "a"},
    {"question": "Is it round?", "answer": "yes", "prediction": None, "product_id": "b"},
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def frame() -> Any:
    return pytest.importorskip("pandas").DataFrame(COLUMNS)


@pytest.mark.parametrize(
    "table",
    [lambda: ROWS, lambda: COLUMNS, lambda: pa.table(COLUMNS), frame, lambda: pa.table(COLUMNS).to_batches()[0]],
    ids=["dicts", "lists", "arrow", "pandas", "batch"],
)
def test_any_table(table: Callable[[], Any]) -> None:
    found = shelfqa.score(table(), resamples=200, name="mine")
    summary = found.summary
    assert (summary["model"], summary["n"], summary["failures"], summary["clusters"]) == ("mine", 3, 1, 2)
    assert summary["metrics"]["exact_match"]["mean"] == pytest.approx(1 / 3, abs=1e-6)
    assert found.table["exact_match"].to_pylist() == [1, 0, 0]
    assert {name: list(parts) for name, parts in summary["slices"].items()} == {
        "question_type": ["colour", "count", "yes/no"],
        "answer_type": ["colour", "number", "yes/no"],
        "answer_length": ["1", "2"],
    }
    text = repr(found)
    assert "Scores of mine: 3 rows, 1 failed; 95% intervals by product_id (2)" in text
    assert "exact_match  0.333" in text
    assert "warning: 1 of 3 predictions are missing" in text


def test_path(tmp_path: Path) -> None:
    (tmp_path / "blip_2.7b.csv").write_text("question,answer,prediction\nq,red,red\n")
    assert shelfqa.score(str(tmp_path / "blip_2.7b.csv")).summary["model"] == "blip_2.7b"
    assert stem(Path("x.jsonl.gz")) == "x"
    assert stem(Path("folder.v2")) == "folder.v2"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "a int cannot be scored"),
        ([1, 2], "a list cannot be scored"),
        ([], "lacks the column 'question'; it has none"),
        ({"question": ["q"], "answer": ["a"]}, "the table lacks the column 'prediction'"),
        ({"question": ["q"], "answer": ["a", "b"], "prediction": ["a"]}, "differ in length"),
        ({"question": ["q"], "answer": [None], "prediction": ["a"]}, "no row that can be scored"),
    ],
)
def test_tables_that_cannot_be_scored(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        shelfqa.score(data)
    assert "\n" not in str(error.value)


def test_import_is_light() -> None:
    code = "import shelfqa, sys; assert not {'numpy', 'pyarrow', 'scipy'} & set(sys.modules); shelfqa.score"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = shelfqa.scores


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'exact_match'"):
        shelfqa.score(ROWS, metrics=["exact_mach"])
    with pytest.raises(ConfigError, match="unknown option 'model'"):
        shelfqa.score(ROWS, metrics="exact_match:model=x")
    with pytest.raises(ConfigError, match="cluster: no column 'town'"):
        shelfqa.score(ROWS, cluster="town")


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [("x" * 10_000, "red " * 2_500), ("🪑", "🪑🛋️"), ("红色", "红色"), ("أحمر", "красный"), ("", ""), ("\ud800", "a")],
    ids=["long", "emoji", "Han", "two scripts", "empty", "surrogate"],
)
def test_strange_texts(prediction: str, answer: str) -> None:
    if prediction == "\ud800":
        prediction = prediction.encode("utf-8", "replace").decode()
    row = {"question": "q", "answer": answer, "prediction": prediction}
    found = shelfqa.score([row], metrics=["exact_match", "token_f1", "macro_f1"], resamples=100)
    assert found.summary["n"] == 1
    assert found.summary["metrics"]["exact_match"] == {"mean": float(prediction == answer), "low": None, "high": None}
    assert all(len(example["answer"]) <= 120 for one in found.summary["findings"] for example in one["examples"])


def test_all_metrics_says_what_it_left_out() -> None:
    summary = shelfqa.score(ROWS, metrics=("all", "exact_match"), resamples=100).summary
    assert next(iter(summary["metrics"])) == "exact_match"
    assert {"token_precision", "levenshtein", "macro_f1"} <= summary["metrics"].keys()
    assert "alternatives" in summary["left_out"]["top_5"]
    assert "difficulty" in summary["left_out"]["average_mark"]
    assert not summary["metrics"].keys() & summary["left_out"].keys()


@pytest.mark.parametrize(
    "answers",
    [
        ["red", "red", "dark red"],
        [{"answer": "red", "answer_id": 1}, {"answer": "red", "answer_id": 2}, {"answer": "dark red", "answer_id": 3}],
        '["red", "red", "dark red"]',
        '[{"answer": "red"}, {"answer": "red"}, {"answer": "dark red"}]',
    ],
    ids=["texts", "vqa", "json", "vqa json"],
)
def test_several_human_answers(answers: Any) -> None:
    rows = [{"question": "q", "prediction": "red", "answers": answers}]
    table = predictions_from(rows).table
    assert table["answer"].to_pylist() == ["red"]  # the commonest, where the table has no answer of its own
    assert answered(table).references == [["red", "red", "dark red"]]
    assert shelfqa.score(rows, metrics="vqa_accuracy").summary["metrics"]["vqa_accuracy"]["mean"] > 0


def test_weighted_and_whole_table_metrics() -> None:
    rows = [
        {"question": "q", "answer": answer, "prediction": prediction, "difficulty": level}
        for answer, prediction, level in (("a1", "a1", 5), ("b1", "c1", 0), ("b1", "b1", 0), ("a1", "a1", 0))
    ]
    found = shelfqa.score(rows, metrics=["average_mark", "macro_f1", "exact_match"], resamples=200)
    metrics = found.summary["metrics"]
    assert metrics["exact_match"]["mean"] == 0.75
    assert metrics["average_mark"]["mean"] == pytest.approx(22 / 23, abs=1e-6)
    assert list(metrics) == ["average_mark", "macro_f1", "exact_match"]
    assert metrics["macro_f1"]["low"] <= metrics["macro_f1"]["mean"] <= metrics["macro_f1"]["high"]
    assert found.summary["slices"]["difficulty"]["5"]["metrics"]["average_mark"]["mean"] == 1.0
    assert "average_mark" in found.summary["settings"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("Yes.", "yes/no"),
        ("no", "yes/no"),
        ("none", "number"),
        ("1,000", "number"),
        ("twenty five", "number"),
        ("3/4", "number"),
        ("light grey", "colour"),
        ("black and white", "colour"),
        ("light", "other"),
        ("", "other"),
        ("rot", "other"),
    ],
)
def test_answer_types(answer: str, kind: str) -> None:
    assert answer_type(answer) == kind


def test_columns_of_the_file_do_not_hide_kinds() -> None:
    table = predictions_from([{**ROWS[0], "answer_type": "theirs", "source": "web"}]).table
    found = with_kinds(table)
    assert found["answer_type"].to_pylist() == ["number"]
    assert slice_values(found, "source") == ["web"]
    assert answer_length("one two  three\nfour five six") == 6


def test_human_ratings() -> None:
    rows = [
        {"question": "q", "answer": "red", "prediction": "red", "human_ann": 5, "human_bob": 4},
        {"question": "q", "answer": "red", "prediction": "dark red", "human_ann": 3, "human_bob": 3},
        {"question": "q", "answer": "red", "prediction": "blue", "human_ann": 1, "human_bob": None},
    ]
    human = shelfqa.score(rows, resamples=100).summary["human"]
    assert (human["raters"], human["items"]) == (2, 3)
    assert human["mean"] == pytest.approx((4.5 + 3 + 1) / 3, abs=1e-6)
    assert human["correlations"]["token_f1"] == {"spearman": 1.0, "kendall": 1.0, "items": 3}
    assert set(human["krippendorff_alpha"]) == {"nominal", "ordinal", "interval"}
    assert "human" not in shelfqa.score(ROWS, resamples=100).summary


def test_ratings_in_one_column() -> None:
    found = ratings_of(pa.table({"human_ratings": ["[5, 4]", "[3]", None]}))
    assert found is not None
    assert found.shape == (2, 3)
    assert ratings_of(pa.table({"human_name": ["ann", "bob"]})) is None


def test_without_probabilities_there_is_no_calibration() -> None:
    assert "calibration" not in shelfqa.score(ROWS, resamples=200).summary
    nulls = [row | {"alternatives": [{"answer": "four", "probability": None}]} for row in ROWS]
    assert "calibration" not in shelfqa.score(nulls, resamples=200).summary


def _answered(prediction: str | None, probability: float | None, **more: Any) -> dict[str, Any]:
    alternatives = None if prediction is None else [{"answer": prediction, "probability": probability}]
    return {"question": "q", "answer": "red", "prediction": prediction, "alternatives": alternatives, **more}


def test_calibration_keeps_failures_in_the_curve_and_out_of_the_errors() -> None:
    rows = [_answered("red", 0.8)] * 6 + [_answered("blue", 0.6)] * 2
    rows += [_answered(None, None), _answered("red", None)]
    found = shelfqa.score(rows, resamples=200).summary
    section = found["calibration"]
    assert (section["n"], section["failures"], section["without_probability"]) == (8, 1, 1)
    assert section["accuracy"] == 0.75
    assert section["confidence"] == pytest.approx(0.75)
    assert section["expected_calibration_error"] == pytest.approx(0.75 * 0.2 + 0.25 * 0.6)
    assert section["brier"] == pytest.approx(0.75 * 0.2**2 + 0.25 * 0.6**2)
    assert [(one["n"], one["confidence"], one["accuracy"]) for one in section["bins"]] == [(2, 0.6, 0.0), (6, 0.8, 1.0)]
    assert [point[:3] for point in section["coverage"]] == [[0.8, 0.6, 1.0], [0.6, 0.8, 0.75], [0.0, 1.0, 0.7]]
    *_, whole = section["coverage"]
    exact = found["metrics"]["exact_match"]
    assert whole[2:] == pytest.approx([exact["mean"], exact["low"], exact["high"]])


def test_the_probability_is_that_of_the_prediction() -> None:
    considered = [{"answer": "pink", "probability": 0.5}, {"answer": "Red.", "probability": 0.3}]
    rows = [
        _answered("red", 0.4) | {"alternatives": considered},
        _answered("blue", 0.4) | {"alternatives": considered},
        _answered("blue", 70.0),
        _answered("blue", 1 + 1e-7),
    ]
    section = shelfqa.score(rows, resamples=200).summary["calibration"]
    assert (section["n"], section["without_probability"]) == (2, 2)
    assert [one["confidence"] for one in section["bins"]] == [0.3, 1.0]
