"""What holds for every metric."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfqa.errors import ConfigError
from shelfqa.metrics import DEFAULT_METRICS, METRICS
from shelfqa.metrics.base import Answered, Metric, PairMetric, Scores
from shelfqa.metrics.wordnet import find_wordnet

TEXTS = ["red", "Dark blue", "", "two", "A", "x" * 10_000, "🙂 🙂", "青い", "No. 5", "\u0000", "light brown wood"]
MODELS = ("bertscore", "bartscore", "sbert", "judge", "human")
"""How the names of metrics begin that need more than the rows: their tests are in files of their own."""
WORDNET = ("meteor", "wu_palmer", "wups")
needs_wordnet = pytest.mark.skipif(find_wordnet() is None, reason="needs WordNet (apt install wordnet-base)")
PLAIN = [name for name in METRICS if not name.startswith(MODELS)]
every_metric = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_wordnet) if name.startswith(WORDNET) else name for name in PLAIN]
)
every_name = pytest.mark.parametrize("name", list(METRICS))


def load(name: str) -> Metric:
    metric: Metric = METRICS.load(name)()
    return metric


@every_name
def test_name_and_description(name: str) -> None:
    assert load(name).name == name
    assert (METRICS.load(name).__doc__ or "").strip().splitlines()[0].endswith(".")


@every_metric
def test_identity_is_best(name: str) -> None:
    metric = load(name)
    scores = metric.score(Answered(predictions=TEXTS, answers=TEXTS))
    if metric.perfect_is_high:
        assert scores.tolist() == [metric.high] * len(TEXTS)
    others = metric.score(Answered(predictions=["unlike"] * len(TEXTS), answers=TEXTS))
    assert (scores >= others).all()


@every_metric
def test_no_rows(name: str) -> None:
    assert load(name).score(Answered(predictions=[], answers=[])).shape == (0,)


@every_metric
def test_failure_is_worst_and_stays(name: str) -> None:
    metric = load(name)
    rows = Answered(predictions=[None, "red"], answers=["", "red"], alternatives=[["red"], ["red"]])
    alone = metric.score(Answered(predictions=["red"], answers=["red"], alternatives=[["red"]]))
    assert metric.score(rows).tolist() == [metric.low, *alone]


@every_metric
def test_order_of_rows_does_not_matter(name: str) -> None:
    predictions = ["red", None, "blue", "dark blue", "red"]
    answers = ["red", "red", "red", "blue", "rot"]
    whole = load(name).score(Answered(predictions=predictions, answers=answers))
    turned = load(name).score(Answered(predictions=predictions[::-1], answers=answers[::-1]))
    assert whole.tolist() == turned[::-1].tolist()


@every_metric
def test_long_answers_take_bounded_time(name: str) -> None:
    words = " ".join(f"{word}{number}" for number in range(700) for word in ("red", "table"))
    texts = [
        "y" * 10_000,
        "red blue " * 1_100,
        words,
        "🙂" * 10_000,
        '{"a": ' * 2_000,
        "dog cat tables " * 600,
        "[" * 10_000,
    ]
    pairs = [(one, other) for one in texts for other in texts[:3]]
    start = time.perf_counter()
    scores = load(name).score(Answered(predictions=[one for one, _ in pairs], answers=[other for _, other in pairs]))
    assert time.perf_counter() - start < 10
    assert np.isfinite(scores).all()


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
