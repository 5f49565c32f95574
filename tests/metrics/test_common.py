"""What holds for every metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfqa.errors import ConfigError
from shelfqa.metrics import DEFAULT_METRICS, METRICS
from shelfqa.metrics.base import Answered, Metric, PairMetric, Scores

TEXTS = ["red", "Dark blue", "", "two", "A", "x" * 10_000, "🙂 🙂", "青い", "No. 5", "\u0000", "light brown wood"]
every_metric = pytest.mark.parametrize("name", list(METRICS))


def load(name: str) -> Metric:
    metric: Metric = METRICS.load(name)()
    return metric


@every_metric
def test_name_and_description(name: str) -> None:
    assert load(name).name == name
    assert (METRICS.load(name).__doc__ or "").strip().splitlines()[0].endswith(".")


@every_metric
def test_identity_is_best(name: str) -> None:
    metric = load(name)
    assert metric.score(Answered(predictions=TEXTS, answers=TEXTS)).tolist() == [metric.high] * len(TEXTS)


@every_metric
def test_no_rows(name: str) -> None:
    assert load(name).score(Answered(predictions=[], answers=[])).shape == (0,)


@every_metric
def test_failure_is_worst_and_stays(name: str) -> None:
    metric = load(name)
    rows = Answered(predictions=[None, "red"], answers=["", "red"], alternatives=[["red"], ["red"]])
    assert metric.score(rows).tolist() == [metric.low, metric.high]


@every_metric
def test_order_of_rows_does_not_matter(name: str) -> None:
    predictions = ["red", None, "blue", "dark blue", "red"]
    answers = ["red", "red", "red", "blue", "rot"]
    whole = load(name).score(Answered(predictions=predictions, answers=answers))
    turned = load(name).score(Answered(predictions=predictions[::-1], answers=answers[::-1]))
    assert whole.tolist() == turned[::-1].tolist()


@every_metric
@settings(max_examples=50, deadline=None)
@given(prediction=st.text(max_size=12), answer=st.text(max_size=12))
def test_range_and_symmetry(name: str, prediction: str, answer: str) -> None:
    metric = load(name)
    score = metric.score(Answered(predictions=[prediction], answers=[answer]))[0]
    assert metric.low <= score <= metric.high
    if metric.symmetric:
        assert metric.score(Answered(predictions=[answer], answers=[prediction]))[0] == score


def test_each_distinct_pair_is_scored_once() -> None:
    seen: list[tuple[str, str]] = []

    class Counting(PairMetric):
        name = "counting"

        def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
            seen.extend(zip(predictions, answers, strict=True))
            return np.arange(1.0, len(predictions) + 1)

    rows = Answered(predictions=["a", "b", None, "a", "a"], answers=["x", "x", "x", "x", "y"])
    assert Counting().score(rows).tolist() == [1.0, 2.0, 0.0, 1.0, 3.0]
    assert seen == [("a", "x"), ("b", "x"), ("a", "y")]


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        Answered(predictions=["a"], answers=[])


def test_defaults_are_registered() -> None:
    assert set(DEFAULT_METRICS) <= set(METRICS)


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'exact_match'"):
        METRICS.load("exact_mach")
