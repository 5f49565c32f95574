"""Whether probabilities mean what they say: of answers given with a probability of 0.7, are 0.7 right?

A row is an answer with its probability (its confidence) in [0, 1], and whether it is right. No function depends on the
order of rows: those of equal confidence share a bin. Whether confidence tells right answers from wrong ones is another
question, and `shelfqa.statistics.selection` asks it: dividing all log-odds by two changes this answer and not that one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfqa.records import Interval
from shelfqa.statistics.bootstrap import Draws, cluster_codes, draw_means, expanded_percentiles
from shelfqa.statistics.proportions import wilson_interval

Floats = NDArray[np.float64]
Members = NDArray[np.bool_]
Binning = Literal["equal_mass", "equal_width"]

BINS = 15
"""As in Guo et al. 2017."""
_CERTAIN = 1e-6
"""Probabilities nearer to 0 or 1 count as so near when log-odds are taken."""
_MOST_TEMPERATURE = 64.0


class Bin(NamedTuple):
    """Answers of like probability."""

    lower: float
    """The least probability among them."""
    upper: float
    """The greatest."""
    confidence: float
    """Their mean probability."""
    accuracy: Interval
    """The share of them that is right."""
    n: int


def expected_calibration_error(
    confidences: ArrayLike, correct: ArrayLike, *, bins: int = BINS, binning: Binning = "equal_mass"
) -> float:
    """Return how far accuracy and confidence are apart, over bins of confidence; in [0, 1], NaN of no rows.

    Formula: sum over bins of n_b / n |accuracy_b - confidence_b|. Source: Guo et al. 2017 (arXiv 1706.04599, section
    2), whose bins are of equal width. The default here is bins of equal mass (Nixon et al. 2019, arXiv 1904.01685): a
    model's probabilities crowd near one end, so that most bins of equal width hold a handful of rows whose gap is
    noise, and equal mass is the less biased of the two (Roelofs et al. 2022, arXiv 2012.08668). Either way it is above
    0 by chance: see `chance_calibration_error`.

    >>> round(expected_calibration_error([0.9, 0.9, 0.9, 0.9, 0.6], [1, 1, 1, 0, 0]), 4)
    0.24

    Args:
        confidences: probabilities, shape [rows].
        correct: 1 for right, 0 for wrong, shape [rows].
        bins: how many bins at most; of equal mass there are no more than rows.
        binning: `equal_mass` or `equal_width`, with bins open below and closed above.

    """
    stated, right = checked_rows(confidences, correct)
    if not len(stated):
        return float("nan")
    codes = _bin_codes(stated, bins, binning)
    gaps = np.bincount(codes, weights=right - stated)
    return float(np.abs(gaps).sum() / len(stated))


def chance_calibration_error(confidences: ArrayLike, *, bins: int = BINS, binning: Binning = "equal_mass") -> float:
    """Return about what calibration error a model whose probabilities are all true would show on so many rows.

    Formula: sum over bins of sqrt(2 sum p (1 - p) / pi) / n: the mean absolute value of a normal gap, rows independent.
    It is what an error must be compared with: in bins of few rows accuracy strays from confidence by chance.

    >>> round(chance_calibration_error([0.5] * 100, bins=1), 4)  # 0.5 sqrt(2 / (100 pi))
    0.0399
    """
    stated, _ = checked_rows(confidences, confidences)
    if not len(stated):
        return float("nan")
    variances = np.bincount(_bin_codes(stated, bins, binning), weights=stated * (1 - stated))
    return float(np.sqrt(2 * variances / np.pi).sum() / len(stated))


def brier_loss(confidences: ArrayLike, correct: ArrayLike) -> float:
    """Return the mean squared distance of confidence and correctness; in [0, 1], NaN of no rows.

    Formula: mean (p - correct)². Source: Brier 1950, for the event that the best answer is right. Unlike the
    calibration error it also falls where right and wrong answers are better told apart.

    >>> brier_loss([1.0, 0.5], [1, 0])
    0.125
    """
    stated, right = checked_rows(confidences, correct)
    return float(np.mean((stated - right) ** 2)) if len(stated) else float("nan")


def reliability_table(
    confidences: ArrayLike,
    correct: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    bins: int = BINS,
    binning: Binning = "equal_mass",
    resamples: int = 2000,
    seed: int = 0,
) -> list[Bin]:
    """Return the bins that hold rows, of the least confidence first; the table behind a reliability diagram.

    Arguments are those of `expected_calibration_error`, and `clusters`, a label per row, for the intervals of accuracy;
    without them each row is a cluster. Source: DeGroot and Fienberg 1983; Guo et al. 2017, section 2.
    """
    stated, right = checked_rows(confidences, correct)
    if not len(stated):
        return []
    codes = _bin_codes(stated, bins, binning)
    members = codes[:, None] == np.unique(codes)[None, :]
    intervals = subset_accuracies(right, members, clusters, resamples, seed)
    of_bins = [stated[column] for column in members.T]
    return [
        Bin(float(held.min()), float(held.max()), float(held.mean()), interval, len(held))
        for held, interval in zip(of_bins, intervals, strict=True)
    ]


def fit_temperature(confidences: ArrayLike, correct: ArrayLike) -> float:
    """Return the temperature that makes the probabilities of the best answers likeliest; above 1: overconfident.

    Formula: argmin over T of -sum(correct ln q + (1 - correct) ln(1 - q)), q = sigmoid(logit(p) / T), T in 1/64 to 64;
    NaN of no rows. Guo et al. 2017 (section 4.2) divide all logits by T; predictions hold the probabilities of the k
    best answers alone, so here it is the log-odds of the best one against all others, the same where there are two
    answers. Order, and with it accuracy against coverage, stays as it is. Fit it on other rows than are measured.

    >>> round(fit_temperature([0.9] * 4, [1, 1, 1, 0]), 6)  # ln 9 / ln 3
    2.0
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import expit, xlogy

    stated, right = checked_rows(confidences, correct)
    if not len(stated):
        return float("nan")
    odds = _log_odds(stated)

    def loss(log_temperature: float) -> float:
        told = np.clip(expit(odds / np.exp(log_temperature)), 1e-300, 1 - 1e-16)
        return -float(np.sum(xlogy(right, told) + xlogy(1 - right, 1 - told)))

    most = float(np.log(_MOST_TEMPERATURE))
    found = minimize_scalar(loss, bounds=(-most, most), method="bounded", options={"xatol": 1e-9})
    return float(np.exp(found.x))


def tempered(confidences: ArrayLike, temperature: float) -> Floats:
    """Return sigmoid(logit(p) / temperature) of each probability, shape [rows]; see `fit_temperature`.

    >>> tempered([0.9, 0.5], 2.0).round(6).tolist()
    [0.75, 0.5]
    """
    from scipy.special import expit

    return np.asarray(expit(_log_odds(np.asarray(confidences, dtype=np.float64)) / temperature), dtype=np.float64)


def _log_odds(stated: Floats) -> Floats:
    inner = np.clip(stated, _CERTAIN, 1 - _CERTAIN)
    return np.asarray(np.log(inner / (1 - inner)))


def checked_rows(confidences: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as arrays, shape [rows].

    Raises:
        ValueError: if they differ in shape, or a confidence is missing or outside [0, 1].

    """
    stated, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if stated.shape != right.shape or stated.ndim != 1:
        raise ValueError(f"confidences of shape {stated.shape} and correct of {right.shape}: expected [rows] of both")
    if len(stated) and not (stated.min() >= 0 and stated.max() <= 1):  # NaN fails too
        raise ValueError("confidences: expected probabilities, 0 to 1, and none missing")
    return stated, right


def _bin_codes(stated: Floats, bins: int, binning: Binning) -> NDArray[np.int64]:
    """Return the bin of each row; of equal mass by the middle rank of its probability, so that equals stay together."""
    if binning == "equal_width":
        return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], stated)
    _, group, sizes = np.unique(stated, return_inverse=True, return_counts=True)
    middles = np.cumsum(sizes) - sizes / 2
    return np.asarray(middles[group.reshape(-1)] * min(bins, len(stated)) / len(stated), dtype=np.int64)


def subset_accuracies(
    right: Floats, members: Members, clusters: ArrayLike | None, resamples: int, seed: int
) -> list[Interval]:
    """Return the share of right rows in each subset `members` [rows, subsets], all from the same resamples.

    As in `mean_interval`, but each subset's interval rests on the clusters that have rows in it.
    """
    codes = np.arange(len(right)) if clusters is None else cluster_codes(clusters)
    weights = members.astype(np.float64)
    draws = draw_means(np.repeat(right[:, None], members.shape[1], axis=1), codes, resamples, seed, weights)
    found = []
    for place, column in enumerate(members.T):
        here = len(np.unique(codes[column]))
        low, high = expanded_percentiles(Draws(draws.mean[[place]], draws.resampled[:, [place]], here))
        interval = Interval(float(draws.mean[place]), float(low[0]), float(high[0]))
        if interval.low == interval.high:
            interval = wilson_interval(interval.mean * here, here)
        found.append(interval)
    return found
