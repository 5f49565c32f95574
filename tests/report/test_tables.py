"""How numbers are written, and what is counted."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from shelfqa.records import Interval
from shelfqa.report.material import ScoredModel
from shelfqa.report.page import duration_text
from shelfqa.report.tables import confusions, interval_text, number_text, p_text, paired, value_counts


def scored(name: str, scores: list[float], **columns: Any) -> ScoredModel:
    number = len(scores)
    table = pa.table(
        {
            "question_id": columns.get("question_id", [str(row) for row in range(number)]),
            "image_paths": [[f"{row}.jpg"] for row in range(number)],
            "question": ["What?"] * number,
            "answer": ["red"] * number,
            "prediction": columns.get("prediction", ["red" if one else "blue" for one in scores]),
            "exact_match": scores,
        }
    )
    summary = {
        "metrics": {"exact_match": {"mean": sum(scores) / number}},
        "n": number,
        "failures": 0,
        "cluster_by": "row",
    }
    return ScoredModel(name=name, summary=summary, table=table)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.638, 0.621, 0.662), "0.64 [0.62, 0.66]"),
        (Interval(-0.05, -0.1, 0.0), "−0.05 [−0.10, 0.00]"),
        (Interval(0.5, math.nan, math.nan), "0.50"),
        ({"mean": 1.0, "low": None, "high": None}, "1.00"),
        (None, "–"),
    ],
)
def test_intervals(interval: Any, text: str) -> None:
    assert interval_text(interval) == text


def test_small_texts() -> None:
    assert number_text(0.1, signed=True) == "+0.10"
    assert p_text(0.001) == "p < 0.001"
    assert p_text(math.nan) == "p unknown"
    assert duration_text(59.94) == "59.9 s"


def test_pairs_are_found_by_picture_and_question_where_ids_are_row_numbers() -> None:
    first = scored("a", [0.0, 1.0, 0.0])
    second = scored("b", [1.0, 1.0])
    test = paired(first, second, "exact_match", resamples=100, seed=0)
    assert test is not None
    assert (test.items, test.difference.mean) == (2, 0.5)


def test_nothing_in_common_is_no_comparison() -> None:
    first = scored("a", [0.0], question_id=["x"])
    second = scored("b", [1.0], question_id=["y"])
    assert paired(first, second, "exact_match", resamples=100, seed=0) is None


def test_labels_and_kinds() -> None:
    assert scored("tuned-shuffled", [1.0]).label == "Fine-tuned, shuffled pictures"
    assert scored("tuned-shuffled", [1.0]).kind == "shuffled"
    assert scored("question-only", [1.0]).kind == "blind"
    assert (scored("my_model", [1.0]).label, scored("my_model", [1.0]).kind) == ("my_model", "model")


def test_confusions_count_what_came_twice() -> None:
    model = scored("a", [0.0, 0.0, 0.0, 1.0, 0.0], prediction=["Blue", "blue.", "green", "red", None])
    assert confusions(model, "exact_match", most=5) == [("red", "blue", 2)]


def test_rest_of_the_values_is_summed_up() -> None:
    table = pa.table({"kind": ["a", "a", "b", "c", None]})
    assert value_counts(table, "kind", most=1) == [("a", 2), ("(2 others)", 2)]
    assert value_counts(table, "other", most=1) == []
