"""Macro precision, recall and F1 over answers: each answer counts the same, however rare."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from shelfqa.metrics.base import Answered, Scores, TableMetric
from shelfqa.metrics.exact import ExactMatch, comparable

Measure = Literal["precision", "recall", "f1"]


class Macro(TableMetric):
    """Precision, recall or F1 of each answer, and their mean over the answers.

    Formula: mean over classes c of tp_c / (tp_c + fp_c), tp_c / (tp_c + fn_c) or 2 tp_c / (2 tp_c + fp_c + fn_c), in
    [0, 1], 0 where the denominator is 0. Classes are the distinct normalised answers that are right for at least one
    row (of the table, the slice or the resample). Source: Sokolova and Lapalme 2009, Information Processing &
    Management 45(4); the same as scikit-learn's `average="macro", labels=<those answers>, zero_division=0`. A
    prediction that is nobody's answer counts as a miss of the true answer, and is no class of its own.
    """

    def __init__(self, measure: Measure) -> None:
        self.measure: Measure = measure
        self.name = f"macro_{measure}"

    def score(self, rows: Answered) -> Scores:
        """Return 1.0 for each row that is exactly right, else 0.0: for looking at rows; their mean is no macro mean."""
        return ExactMatch().score(rows)

    def tallies(self, rows: Answered) -> csr_array:
        """Return per row which class was hit, predicted and true, shape [rows, 3 * classes]."""
        true = [comparable(answer) for answer in rows.answers]
        classes = {answer: position for position, answer in enumerate(dict.fromkeys(true))}
        truth = np.array([classes[answer] for answer in true], dtype=np.int64)
        said = np.array(
            [-1 if prediction is None else classes.get(comparable(prediction), -1) for prediction in rows.predictions],
            dtype=np.int64,
        )
        hits, known = np.flatnonzero(said == truth), np.flatnonzero(said >= 0)
        of_row = np.concatenate([hits, known, np.arange(len(rows))])
        column = np.concatenate([truth[hits], len(classes) + said[known], 2 * len(classes) + truth])
        return csr_array((np.ones(len(of_row)), (of_row, column)), shape=(len(rows), 3 * len(classes)))

    def value(self, sums: Scores) -> Scores:
        """Return the macro mean of sums of `tallies`, NaN where no class has a row."""
        hit, predicted, true = np.split(np.asarray(sums, dtype=np.float64), 3, axis=-1)
        below = {"precision": predicted, "recall": true, "f1": (predicted + true) / 2}[self.measure]
        of_class = np.divide(hit, below, out=np.zeros_like(hit), where=below > 0)
        present = true > 0
        number = present.sum(axis=-1)
        total = np.where(present, of_class, 0.0).sum(axis=-1)
        return np.asarray(np.divide(total, number, out=np.full(number.shape, np.nan), where=number > 0))


def macro_precision() -> Macro:
    """Precision of each answer, averaged over the answers so that rare ones count like common ones."""
    return Macro("precision")


def macro_recall() -> Macro:
    """Recall of each answer, averaged over the answers so that rare ones count like common ones."""
    return Macro("recall")


def macro_f1() -> Macro:
    """F1 of each answer, averaged over the answers so that rare ones count like common ones."""
    return Macro("f1")
