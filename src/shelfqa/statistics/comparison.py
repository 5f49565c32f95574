"""Paired comparisons: several systems' scores of the same items.

Everything here takes `scores` of shape [items, systems] or two columns of them, and a cluster label per item.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shelfqa.records import Interval
from shelfqa.statistics.bootstrap import Floats, cluster_codes, draw_means, expanded_percentiles

Correction = Literal["holm", "benjamini-hochberg", "none"]

POWER = 0.8


class PairedComparison(NamedTuple):
    """How far the second of two systems is ahead of the first on the same items."""

    difference: Interval
    p_value: float
    """Two-sided; from the same resamples as the interval."""
    items: int
    clusters: int


class McNemar(NamedTuple):
    """The items on which just one of two systems is right, and the exact test on them."""

    first_only: int
    second_only: int
    p_value: float
    """Two-sided; treats items as independent, so read it beside the clustered comparison."""


class PairTests(NamedTuple):
    """Two of several systems, by their columns, and all tests between them."""

    first: int
    second: int
    comparison: PairedComparison
    p_adjusted: float
    """The bootstrap's p-value, corrected for the number of pairs."""
    mcnemar: McNemar | None
    """None where scores are not all 0 or 1."""
    mcnemar_p_adjusted: float
    smallest_detectable: float
    """See `minimum_detectable_difference`."""


def compare_paired(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike, *, resamples: int = 2000, seed: int = 0
) -> PairedComparison:
    """Return mean(second) - mean(first) with its interval and p-value, by cluster bootstrap of the differences.

    The p-value is twice the smaller share of resampled differences on either side of zero, each count raised by one
    so that it is never 0 (Davison and Hinkley 1997, section 4.2); its smallest value is 2 / (resamples + 1).

    Args:
        first: scores of the first system, shape [items].
        second: scores of the second on the same items, shape [items].
        clusters: a label per item, shape [items].
        resamples: number of bootstrap resamples.
        seed: same seed, same result.

    Raises:
        ValueError: if the shapes differ.

    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape:
        raise ValueError(f"paired scores differ in shape: {before.shape} and {after.shape}")
    return _compare_columns((after - before).reshape(-1, 1), clusters, resamples, seed)[0]


def compare_all(
    scores: ArrayLike,
    clusters: ArrayLike,
    *,
    correction: Correction = "holm",
    resamples: int = 2000,
    seed: int = 0,
) -> list[PairTests]:
    """Return the tests of every pair of systems, in the order (0, 1), (0, 2), …, from the same resamples.

    Args:
        scores: shape [items, systems].
        clusters: a label per item, shape [items].
        correction: how p-values are corrected for the number of pairs, see `adjusted_p_values`.
        resamples: number of bootstrap resamples; a corrected p-value is at least about 2 pairs / resamples.
        seed: same seed, same result.

    """
    table = np.asarray(scores, dtype=np.float64)
    pairs = list(combinations(range(table.shape[1]), 2))
    if not pairs:
        return []
    differences = np.stack([table[:, second] - table[:, first] for first, second in pairs], axis=1)
    compared = _compare_columns(differences, clusters, resamples, seed)
    binary = [bool(np.isin(column, (0, 1)).all()) for column in table.T]
    exact = [mcnemar_exact(table[:, a], table[:, b]) if binary[a] and binary[b] else None for a, b in pairs]
    adjusted = adjusted_p_values([test.p_value for test in compared], correction)
    exact_adjusted = adjusted_p_values([np.nan if test is None else test.p_value for test in exact], correction)
    return [
        PairTests(
            *pair,
            compared[number],
            float(adjusted[number]),
            exact[number],
            float(exact_adjusted[number]),
            minimum_detectable_difference(table[:, pair[0]], table[:, pair[1]], clusters),
        )
        for number, pair in enumerate(pairs)
    ]


def mcnemar_exact(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Return McNemar's exact test on two systems' right (non-zero) and wrong (zero) answers to the same items.

    The items on which both agree say nothing; of the others, each is a fair coin under the hypothesis that both
    systems are equally good (McNemar 1947; the binomial form).

    >>> mcnemar_exact([1, 0, 0, 0, 0], [1, 1, 1, 1, 1])
    McNemar(first_only=0, second_only=4, p_value=0.125)
    """
    from scipy.stats import binomtest

    right_before, right_after = np.asarray(first) != 0, np.asarray(second) != 0
    first_only = int(np.sum(right_before & ~right_after))
    second_only = int(np.sum(~right_before & right_after))
    discordant = first_only + second_only
    p_value = float(binomtest(first_only, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(first_only, second_only, p_value)


def adjusted_p_values(p_values: Sequence[float], correction: Correction = "holm") -> Floats:
    """Return p-values corrected for their number, in the order given; NaN stays NaN and does not count.

    `holm` bounds the chance of any false finding: with p sorted, max over j <= i of (m - j + 1) p_j (Holm 1979).
    `benjamini-hochberg` bounds the share of false findings: min over j >= i of m p_j / j (1995). At most 1.

    >>> adjusted_p_values([0.01, 0.04, 0.03]).round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(given))
    adjusted = given.copy()
    if correction == "none" or not len(known):
        return adjusted
    order = known[np.argsort(given[known], kind="stable")]
    number, rank = len(order), np.arange(1, len(order) + 1)
    if correction == "holm":
        steps = np.maximum.accumulate((number - rank + 1) * given[order])
    else:
        steps = np.minimum.accumulate((number / rank * given[order])[::-1])[::-1]
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def clustered_standard_error(values: ArrayLike, clusters: ArrayLike) -> float:
    """Return the standard error of the mean of `values`, rows of one cluster being free to depend on each other.

    Formula: sqrt(C / (C - 1) sum over clusters c of (sum of values in c - n_c mean)²) / n, with C clusters and n values
    (Liang and Zeger 1986, of a mean); with clusters of one it is s / sqrt(n). NaN for fewer than two clusters.

    >>> round(clustered_standard_error([1, 2, 3, 4], ["a", "b", "c", "d"]), 6)
    0.645497
    """
    column = np.asarray(values, dtype=np.float64)
    if not len(column):
        return float("nan")
    codes = cluster_codes(clusters)
    number = int(codes.max()) + 1
    if number < 2:
        return float("nan")
    residuals = np.bincount(codes, weights=column - column.mean(), minlength=number)
    return float(np.sqrt(number / (number - 1) * np.sum(residuals**2)) / len(column))


def minimum_detectable_difference(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike, *, power: float = POWER, alpha: float = 0.05
) -> float:
    """Return the smallest true difference of means that a paired test on such a sample would find with `power`.

    Formula: (t(1 - alpha / 2) + t(power)) SE, with t the quantiles of Student's distribution at C - 1 degrees of
    freedom and SE the clustered standard error of the paired differences (Bloom 1995, "Minimum detectable effects").
    With many clusters that is 2.80 SE. NaN for fewer than two clusters; 0 where the systems never differ.
    """
    from scipy.special import stdtrit

    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    error = clustered_standard_error(differences, clusters)
    if not np.isfinite(error):
        return float("nan")
    freedom = len(np.unique(np.asarray(clusters))) - 1
    return float(stdtrit(freedom, 1 - alpha / 2) + stdtrit(freedom, power)) * error


def _compare_columns(differences: Floats, clusters: ArrayLike, resamples: int, seed: int) -> list[PairedComparison]:
    """Return the comparison for each column of paired differences, shape [items, pairs]."""
    items, pairs = differences.shape
    if items == 0:
        return [PairedComparison(Interval(np.nan, np.nan, np.nan), np.nan, 0, 0)] * pairs
    draws = draw_means(differences, cluster_codes(clusters), resamples, seed)
    lows, highs = expanded_percentiles(draws)
    found = []
    for mean, low, high, resampled in zip(draws.mean, lows, highs, draws.resampled.T, strict=True):
        tail = min(int(np.sum(resampled <= 0)), int(np.sum(resampled >= 0))) + 1
        p_value = min(1.0, 2 * tail / (len(resampled) + 1)) if draws.clusters > 1 else np.nan
        found.append(PairedComparison(Interval(float(mean), float(low), float(high)), p_value, items, draws.clusters))
    return found
