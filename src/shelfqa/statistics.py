"""95% intervals and paired tests for scores whose rows come in clusters.

Several questions about one product are not independent: an interval that treats them so is too narrow. Here whole
clusters (products, or images) are drawn with replacement, and a mean is the ratio of two drawn sums, so that clusters
of different size are no matter. The percentiles are those of the expanded percentile interval (Hesterberg 2015, arXiv
1411.5279, section 5.3), which corrects the plain one for being too narrow when clusters are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfqa.records import Interval

CONFIDENCE = 0.95
FEW_CLUSTERS = 20
"""Below so many clusters an interval rests on little, and whoever shows it should say so."""

_BLOCK_CELLS = 1 << 21
"""Resampling weights in memory at once; they are drawn in blocks of about this many."""

Floats = NDArray[np.float64]


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


class _Draws(NamedTuple):
    mean: Floats  # [columns]
    resampled: Floats  # [resamples, columns]
    clusters: int


def cluster_codes(labels: ArrayLike) -> NDArray[np.int64]:
    """Return for each label the number of its cluster, 0 to clusters - 1, shape [items]."""
    return np.asarray(np.unique(np.asarray(labels), return_inverse=True)[1], dtype=np.int64).reshape(-1)


def mean_interval(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Return the mean of `values` with its 95% interval by cluster bootstrap.

    Args:
        values: shape [items].
        clusters: a label per item, shape [items]; items with the same label are drawn together.
        resamples: number of bootstrap resamples.
        seed: same seed, same interval.
        bounds: the range of a value; the interval stays inside.

    Returns:
        The interval; of no items, three NaN; of one cluster, NaN bounds. Where all clusters have the same mean (as
        when all answers are right) resampling finds no spread: it is then Wilson's interval with clusters as trials.

    """
    column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    return mean_intervals(column, clusters, resamples=resamples, seed=seed, bounds=[bounds])[0]


def mean_intervals(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    bounds: list[tuple[float, float]] | None = None,
) -> list[Interval]:
    """Return `mean_interval` for each column of `values`, shape [items, columns], from the same resamples."""
    columns = np.asarray(values, dtype=np.float64)
    ranges = bounds or [(0.0, 1.0)] * columns.shape[1]
    if len(columns) == 0:
        return [Interval(np.nan, np.nan, np.nan)] * len(ranges)
    draws = _draw_means(columns, cluster_codes(clusters), resamples, seed)
    low, high = _expanded_percentiles(draws)
    return [
        _bounded(Interval(*map(float, row)), draws.clusters, bound)
        for row, bound in zip(np.stack([draws.mean, low, high], axis=1), ranges, strict=True)
    ]


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
    if len(before) == 0:
        return PairedComparison(Interval(np.nan, np.nan, np.nan), np.nan, 0, 0)
    draws = _draw_means((after - before).reshape(-1, 1), cluster_codes(clusters), resamples, seed)
    low, high = _expanded_percentiles(draws)
    resampled = draws.resampled[:, 0]
    tail = min(int(np.sum(resampled <= 0)), int(np.sum(resampled >= 0))) + 1
    p_value = min(1.0, 2 * tail / (len(resampled) + 1)) if draws.clusters > 1 else np.nan
    difference = Interval(float(draws.mean[0]), float(low[0]), float(high[0]))
    return PairedComparison(difference, p_value, len(before), draws.clusters)


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


def _draw_means(values: Floats, codes: NDArray[np.int64], resamples: int, seed: int) -> _Draws:
    """Return the means [columns] and those of each resample of clusters [resamples, columns]."""
    clusters = int(codes.max()) + 1
    sizes = np.bincount(codes, minlength=clusters).astype(np.float64)
    sums = np.stack([np.bincount(codes, weights=column, minlength=clusters) for column in values.T], axis=1)
    blocks = [(weights @ sums) / (weights @ sizes)[:, None] for weights in _cluster_weights(clusters, resamples, seed)]
    return _Draws(values.mean(axis=0), np.concatenate(blocks), clusters)


def _cluster_weights(clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield, in blocks [some, clusters], how often each cluster is in each resample (multinomial)."""
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // clusters)
    for start in range(0, resamples, block):
        some = min(block, resamples - start)
        drawn = generator.integers(0, clusters, size=(some, clusters), dtype=np.int32)
        cells = drawn + np.arange(some, dtype=np.int64)[:, None] * clusters
        yield np.bincount(cells.ravel(), minlength=some * clusters).reshape(some, clusters).astype(np.float64)


def _expanded_percentiles(draws: _Draws) -> tuple[Floats, Floats]:
    """Return the bounds [columns] of the expanded percentile interval; NaN where there is one cluster only."""
    from scipy.special import ndtr, stdtrit

    if draws.clusters < 2:
        missing = np.full_like(draws.mean, np.nan)
        return missing, missing
    tail = (1 - CONFIDENCE) / 2
    widened = float(ndtr(np.sqrt(draws.clusters / (draws.clusters - 1)) * stdtrit(draws.clusters - 1, tail)))
    low, high = np.quantile(draws.resampled, [widened, 1 - widened], axis=0)
    return low, high


def _bounded(interval: Interval, clusters: int, bounds: tuple[float, float]) -> Interval:
    """Return the interval within `bounds`; where no resample differed from the mean, Wilson's."""
    low, high = bounds
    if clusters > 1 and interval.low == interval.high and low <= interval.mean <= high:
        return _wilson(interval.mean, clusters, low, high)
    return Interval(interval.mean, *(_clip(bound, low, high) for bound in (interval.low, interval.high)))


def _wilson(mean: float, trials: int, low: float, high: float) -> Interval:
    """Return Wilson's interval (1927) of a share of `trials`, stretched to the range `low` to `high`."""
    from scipy.special import ndtri

    z_squared = float(ndtri(0.5 + CONFIDENCE / 2)) ** 2
    share = (mean - low) / (high - low)
    centre = (share + z_squared / (2 * trials)) / (1 + z_squared / trials)
    spread = np.sqrt(z_squared * (share * (1 - share) / trials + z_squared / (4 * trials**2))) / (
        1 + z_squared / trials
    )
    bounds = (low + (high - low) * float(np.clip(side, 0, 1)) for side in (centre - spread, centre + spread))
    below, above = bounds
    return Interval(mean, min(below, mean), max(above, mean))


def _clip(value: float, low: float, high: float) -> Any:
    return min(max(value, low), high) if np.isfinite(value) else value
