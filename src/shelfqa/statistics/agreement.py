"""Agreement of human raters, and how well a metric ranks answers as they do."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Level = Literal["nominal", "ordinal", "interval"]
KappaWeights = Literal["none", "linear", "quadratic"]

Floats = NDArray[np.float64]


class RankCorrelation(NamedTuple):
    """How alike two scores rank the same items, each in [-1, 1]; NaN where one of them is constant."""

    spearman: float
    kendall: float
    """Kendall's tau-b, which allows for ties."""
    items: int


def krippendorff_alpha(ratings: ArrayLike, level: Level = "ordinal") -> float:
    """Return Krippendorff's alpha of `ratings`, shape [raters, items]; NaN is a rating that was not given.

    Formula: 1 - observed / expected disagreement, over the coincidences of ratings of one item; 1 is full agreement, 0
    what chance gives, below 0 systematic disagreement. Source: Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability". NaN where no item has two ratings, or only one value occurs.

    Args:
        ratings: numbers; Likert scales are `ordinal`.
        level: `nominal` values differ or do not, `ordinal` ones differ by the ranks between them, `interval` ones
            by the square of their difference.

    """
    table = np.asarray(ratings, dtype=np.float64)
    rated = ~np.isnan(table)
    values, codes = np.unique(table[rated], return_inverse=True)
    counts = np.zeros((table.shape[1], len(values)))
    np.add.at(counts, (np.nonzero(rated)[1], codes.reshape(-1)), 1)
    counts = counts[counts.sum(axis=1) >= 2]
    of_item = counts.sum(axis=1)
    pairs = (counts / (of_item - 1)[:, None]).T @ counts
    np.fill_diagonal(pairs, np.diag(pairs) - (counts / (of_item - 1)[:, None]).sum(axis=0))
    totals = pairs.sum(axis=1)
    distance = _distances(values, totals, level)
    expected = float(totals @ distance @ totals)
    if expected == 0:
        return float("nan")
    return 1 - (float(totals.sum()) - 1) * float(np.sum(pairs * distance)) / expected


def _distances(values: Floats, totals: Floats, level: Level) -> Floats:
    """Return the squared distance of each two values, shape [values, values]."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return np.asarray((values[:, None] - values[None, :]) ** 2)
    middles = np.cumsum(totals) - totals / 2  # the ranks between two values, half of each of their own
    return np.asarray((middles[:, None] - middles[None, :]) ** 2)


def weighted_kappa(first: ArrayLike, second: ArrayLike, weights: KappaWeights = "quadratic") -> float:
    """Return Cohen's weighted kappa of two raters of the same items, shape [items] each; items with NaN are left out.

    Formula: 1 - sum(w o) / sum(w e), o the shares of rating pairs, e those expected from the raters' own shares, w the
    distance of two categories in the order of all values given (0 or 1, linear, or squared). In [-1, 1]; NaN where
    only one value occurs. Source: Cohen 1968.

    >>> weighted_kappa([1, 2, 3, 3], [1, 2, 3, 3])
    1.0
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape:
        raise ValueError(f"ratings differ in shape: {one.shape} and {two.shape}")
    both = ~(np.isnan(one) | np.isnan(two))
    values, codes = np.unique(np.stack([one[both], two[both]]), return_inverse=True)
    if len(values) < 2:
        return float("nan")
    first_codes, second_codes = codes.reshape(2, -1)
    observed = np.zeros((len(values), len(values)))
    np.add.at(observed, (first_codes, second_codes), 1 / len(first_codes))
    steps = np.abs(np.arange(len(values))[:, None] - np.arange(len(values))[None, :]).astype(np.float64)
    distance = {"none": (steps > 0).astype(np.float64), "linear": steps, "quadratic": steps**2}[weights]
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0))
    return 1 - float(np.sum(distance * observed)) / float(np.sum(distance * expected))


def rank_correlation(scores: ArrayLike, human: ArrayLike) -> RankCorrelation:
    """Return the rank correlations of a metric with human scores, shape [items] each; NaN is left out."""
    from scipy.stats import kendalltau, spearmanr

    metric, rating = np.asarray(scores, dtype=np.float64), np.asarray(human, dtype=np.float64)
    both = ~(np.isnan(metric) | np.isnan(rating))
    metric, rating = metric[both], rating[both]
    if len(metric) < 2 or np.ptp(metric) == 0 or np.ptp(rating) == 0:
        return RankCorrelation(float("nan"), float("nan"), len(metric))
    spearman, kendall = spearmanr(metric, rating).statistic, kendalltau(metric, rating).statistic
    return RankCorrelation(float(spearman), float(kendall), len(metric))
