"""Macro precision, recall and F1 beside scikit-learn."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from shelfqa.metrics.base import Answered
from shelfqa.metrics.exact import comparable
from shelfqa.metrics.macro import Macro, macro_f1

WORDS = ["red", "Red.", "blue", "two", "2", "green", "navy blue", "the mug", "mug", "never right"]


def rows_of(seed: int, number: int) -> Answered:
    rng = random.Random(seed)
    predictions = [rng.choice([*WORDS, None]) for _ in range(number)]
    return Answered(predictions=predictions, answers=[rng.choice(WORDS[:-1]) for _ in range(number)])


@pytest.mark.parametrize("seed", range(20))
def test_same_as_scikit_learn_on_tables_slices_and_resamples(seed: int) -> None:
    rows = rows_of(seed, 60)
    drawn = np.random.default_rng(seed).integers(0, len(rows), size=(3, 25))
    truth = np.array([comparable(answer) for answer in rows.answers])
    said = np.array(["<none>" if text is None else comparable(text) for text in rows.predictions])
    for place, measure in enumerate(("precision", "recall", "f1")):
        metric = Macro(measure)  # type: ignore[arg-type]
        tallies = metric.tallies(rows)
        sums = np.stack([tallies[chosen].sum(axis=0) for chosen in drawn])
        expected = [
            precision_recall_fscore_support(
                truth[chosen], said[chosen], labels=sorted(set(truth[chosen])), average="macro", zero_division=0
            )[place]
            for chosen in drawn
        ]
        assert metric.value(sums) == pytest.approx(expected, abs=1e-9)


def test_rare_answers_count_like_common_ones() -> None:
    rows = Answered(predictions=["red"] * 10, answers=["red"] * 9 + ["blue"])
    tallies = macro_f1().tallies(rows)
    assert macro_f1().value(tallies.sum(axis=0)) == pytest.approx((18 / 19 + 0) / 2)


def test_no_rows_have_no_value() -> None:
    rows = Answered(predictions=[], answers=[])
    assert np.isnan(macro_f1().value(macro_f1().tallies(rows).sum(axis=0)))
