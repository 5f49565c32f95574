"""The Average Mark, weighted by difficulty."""

from __future__ import annotations

import numpy as np
import pytest

from shelfqa.errors import ConfigError
from shelfqa.metrics.average_mark import AverageMark
from shelfqa.metrics.base import Answered
from shelfqa.metrics.spec import parse

ROWS = Answered(predictions=["red", "2", None, "x"], answers=["red", "two", "red", "x"], difficulties=[0, 5, 3, None])


def mark(metric: AverageMark, rows: Answered) -> float:
    return float(np.average(metric.score(rows), weights=metric.weights(rows)))


def test_harder_questions_count_more_and_rows_without_level_nothing() -> None:
    assert AverageMark().weights(ROWS).tolist() == [1, 20, 8, 0]
    assert mark(AverageMark(), ROWS) == pytest.approx(21 / 29)


def test_equal_weights_are_exact_match() -> None:
    rows = Answered(predictions=["a", "b", "c"], answers=["a", "b", "x"], difficulties=[0, 3, 5])
    assert mark(AverageMark(dict.fromkeys(range(6), 1.0)), rows) == pytest.approx(2 / 3)


def test_level_without_weight_is_an_error_that_says_how_to_set_it() -> None:
    rows = Answered(predictions=["a"], answers=["a"], difficulties=[4])
    with pytest.raises(ConfigError, match=r"level 4 has no weight .* average_mark:weights=4:WEIGHT") as caught:
        AverageMark().score(rows)
    assert "\n" not in str(caught.value)
    metric = parse("average_mark:weights=4:12,6:30")
    assert metric.weights(rows) == pytest.approx([12.0])
    assert metric.settings["weights"] == {"0": 1, "1": 2, "2": 4, "3": 8, "4": 12, "5": 20, "6": 30}


@pytest.mark.parametrize("weights", ["4", "4:x", "4:-1", "4:nan", "4:inf", "a:1", ""])
def test_weights_that_are_none(weights: str) -> None:
    with pytest.raises(ConfigError, match="average_mark"):
        AverageMark(weights)


def test_says_what_is_lacking() -> None:
    assert AverageMark().lacking(ROWS) is None
    assert "difficulty" in (AverageMark().lacking(Answered(predictions=["a"], answers=["a"])) or "")
