"""What is gained by answering only where the probability is high: accuracy against coverage.

A row is an answer with its probability (its confidence) in [0, 1], and whether it is right. Rows below a threshold are
left unanswered; `coverage` is the share of rows that remain. No function depends on the order of rows: those of equal
confidence are answered together or not at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shelfqa.records import Interval
from shelfqa.statistics.calibration import Floats, checked_rows, subset_accuracies

POINTS = 20
_THRESHOLD_STEP = 1e-6
"""Thresholds of a curve are rounded down to it, so that they can be written down and used."""


class Covered(NamedTuple):
    """The rows whose probability is `threshold` or more."""

    threshold: float
    coverage: float
    """Their share of all rows."""
    accuracy: Interval
    """The share of them that is right; 1 minus it is the selective risk."""


def coverage_curve(
    confidences: ArrayLike,
    correct: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    points: int = POINTS,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Covered]:
    """Return coverage and accuracy at about `points` thresholds, the surest rows first and all rows last.

    Thresholds are spread so that coverage grows in equal steps, as far as equal probabilities allow. Intervals hold for
    each threshold as it stands. Source: El-Yaniv and Wiener 2010 (JMLR 11); Geifman and El-Yaniv 2017 (arXiv
    1705.08500, section 2), who draw risk, 1 - accuracy.
    """
    stated, right = checked_rows(confidences, correct)
    if not len(stated):
        return []
    order = np.sort(stated)[::-1]
    places = np.unique(np.ceil(len(order) * np.arange(1, points + 1) / points).astype(np.int64)) - 1
    rounded = np.floor(order[places] / _THRESHOLD_STEP) * _THRESHOLD_STEP
    thresholds = np.unique(np.minimum(np.round(rounded, 6), order[places]))[::-1]
    members = stated[:, None] >= thresholds[None, :]
    intervals = subset_accuracies(right, members, clusters, resamples, seed)
    shares = members.mean(axis=0).tolist()
    return [Covered(*point) for point in zip(thresholds.tolist(), shares, intervals, strict=True)]


def risk_coverage_loss(confidences: ArrayLike, correct: ArrayLike) -> float:
    """Return the area under the risk-coverage curve (AURC); in [0, 1], NaN of no rows.

    Formula: mean over k = 1 … n of the share of wrong answers among the k surest. Source: Geifman et al. 2019 (arXiv
    1805.08206, section 3); of rows of equal confidence in any order, the expected value. It is the error rate where
    confidence says nothing, and least where all right answers come first.

    >>> risk_coverage_loss([0.9, 0.8], [1, 0]), risk_coverage_loss([0.5, 0.5], [1, 0])
    (0.25, 0.5)
    """
    stated, right = checked_rows(confidences, correct)
    if not len(stated):
        return float("nan")
    _, group, sizes = np.unique(-stated, return_inverse=True, return_counts=True)
    shares = np.bincount(group.reshape(-1), weights=1 - right) / sizes
    wrong = np.cumsum(np.repeat(shares, sizes))
    return float(np.mean(wrong / np.arange(1, len(stated) + 1)))


def threshold_for(confidences: ArrayLike, correct: ArrayLike, accuracy: float) -> float | None:
    """Return the least threshold from which on answers reach `accuracy`; None where no threshold does.

    It is chosen by the rows that it is measured on, so on others the accuracy will be a little less: choose it on the
    validation split. Formula: min t with mean(correct | confidence >= t) >= accuracy.

    >>> threshold_for([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 0.75), threshold_for([0.9], [0], 0.5)
    (0.6, None)
    """
    found = _widest(*checked_rows(confidences, correct), accuracy)
    return found[0] if found is not None else None


def coverage_at(confidences: ArrayLike, correct: ArrayLike, accuracy: float) -> float:
    """Return the share of rows that `threshold_for(accuracy)` answers; 0 where no threshold reaches the accuracy.

    >>> coverage_at([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 0], 0.9)
    0.5
    """
    found = _widest(*checked_rows(confidences, correct), accuracy)
    return found[1] if found is not None else 0.0


def _widest(stated: Floats, right: Floats, accuracy: float) -> tuple[float, float] | None:
    """Return the least threshold whose rows reach `accuracy`, and their share."""
    if not len(stated):
        return None
    values, group, sizes = np.unique(-stated, return_inverse=True, return_counts=True)
    covered = np.cumsum(sizes)
    reached = np.cumsum(np.bincount(group.reshape(-1), weights=right)) / covered >= accuracy - 1e-12
    if not reached.any():
        return None
    place = int(np.flatnonzero(reached)[-1])
    return float(-values[place]), float(covered[place] / len(stated))
