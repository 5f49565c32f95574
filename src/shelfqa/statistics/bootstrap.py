"""95% intervals of means whose rows come in clusters.

Several questions about one product are not independent: an interval that treats them so is too narrow. Here whole
clusters (products, or images) are drawn with replacement, and a mean is the ratio of two drawn sums, so that clusters
of different size are no matter. The percentiles are those of the expanded percentile interval (Hesterberg 2015, arXiv
1411.5279, section 5.3), which corrects the plain one for being too narrow when clusters are few.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfqa.records import Interval
from shelfqa.statistics.proportions import CONFIDENCE, wilson_interval

FEW_CLUSTERS = 20
"""Below so many clusters an interval rests on little, and whoever shows it should say so."""

_BLOCK_CELLS = 1 << 21
"""Resampling weights in memory at once; they are drawn in blocks of about this many."""

Floats = NDArray[np.float64]


class Draws(NamedTuple):
    """Means of columns, and the same of every resample of clusters."""

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
    weights: ArrayLike | None = None,
) -> list[Interval]:
    """Return `mean_interval` for each column of `values`, shape [items, columns], from the same resamples.

    With `weights`, shape [items, columns] and none negative, the means are weighted: sum(w x) / sum(w).
    """
    columns = np.asarray(values, dtype=np.float64)
    ranges = bounds or [(0.0, 1.0)] * columns.shape[1]
    if len(columns) == 0:
        return [Interval(np.nan, np.nan, np.nan)] * len(ranges)
    of_row = None if weights is None else np.asarray(weights, dtype=np.float64)
    draws = draw_means(columns, cluster_codes(clusters), resamples, seed, of_row)
    low, high = expanded_percentiles(draws)
    return [
        _bounded(Interval(*map(float, row)), draws.clusters, bound)
        for row, bound in zip(np.stack([draws.mean, low, high], axis=1), ranges, strict=True)
    ]


def draw_means(
    values: Floats, codes: NDArray[np.int64], resamples: int, seed: int, weights: Floats | None = None
) -> Draws:
    """Return the means [columns] of `values` [items, columns] and those of each resample [resamples, columns].

    A mean is NaN where all that was drawn has the weight 0.
    """
    clusters = int(codes.max()) + 1
    if weights is None:
        sizes = np.bincount(codes, minlength=clusters).astype(np.float64)[:, None]
    else:
        sizes = _sums(weights, codes, clusters)
    sums = _sums(values if weights is None else values * weights, codes, clusters)
    with np.errstate(invalid="ignore", divide="ignore"):
        blocks = [(drawn @ sums) / (drawn @ sizes) for drawn in _cluster_weights(clusters, resamples, seed)]
        mean = values.mean(axis=0) if weights is None else (values * weights).sum(axis=0) / weights.sum(axis=0)
    return Draws(mean, np.concatenate(blocks), clusters)


def _sums(columns: Floats, codes: NDArray[np.int64], clusters: int) -> Floats:
    """Return the sum of each column in each cluster, shape [clusters, columns]."""
    return np.stack([np.bincount(codes, weights=column, minlength=clusters) for column in columns.T], axis=1)


def _cluster_weights(clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield, in blocks [some, clusters], how often each cluster is in each resample (multinomial)."""
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // clusters)
    for start in range(0, resamples, block):
        some = min(block, resamples - start)
        drawn = generator.integers(0, clusters, size=(some, clusters), dtype=np.int32)
        cells = drawn + np.arange(some, dtype=np.int64)[:, None] * clusters
        yield np.bincount(cells.ravel(), minlength=some * clusters).reshape(some, clusters).astype(np.float64)


def expanded_percentiles(draws: Draws) -> tuple[Floats, Floats]:
    """Return the bounds [columns] of the expanded percentile interval; NaN where there is one cluster only."""
    from scipy.special import ndtr, stdtrit

    if draws.clusters < 2:
        missing = np.full_like(draws.mean, np.nan)
        return missing, missing
    tail = (1 - CONFIDENCE) / 2
    widened = float(ndtr(np.sqrt(draws.clusters / (draws.clusters - 1)) * stdtrit(draws.clusters - 1, tail)))
    quantile = np.nanquantile if np.isnan(draws.resampled).any() else np.quantile
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        low, high = quantile(draws.resampled, [widened, 1 - widened], axis=0)
    return low, high


def _bounded(interval: Interval, clusters: int, bounds: tuple[float, float]) -> Interval:
    """Return the interval within `bounds`; where no resample differed from the mean, Wilson's."""
    low, high = bounds
    if clusters > 1 and interval.low == interval.high and low <= interval.mean <= high:
        inner = wilson_interval((interval.mean - low) / (high - low) * clusters, clusters)
        stretched = [low + (high - low) * bound for bound in (inner.low, inner.high)]
        return Interval(interval.mean, min(stretched[0], interval.mean), max(stretched[1], interval.mean))
    return Interval(interval.mean, *(_clip(bound, low, high) for bound in (interval.low, interval.high)))


def _clip(value: float, low: float, high: float) -> Any:
    return min(max(value, low), high) if np.isfinite(value) else value


def statistic_interval(
    tallies: Any,
    value: Callable[[Floats], Floats],
    clusters: ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Return a statistic of sums over rows, such as macro F1, with its 95% interval by cluster bootstrap.

    Where resampling is biased (rare answers drop out of resamples, and macro F1 rises), the interval is stretched to
    hold the statistic itself.

    Args:
        tallies: what each row adds to the sums, shape [items, tallies]; an array, or a sparse one of scipy.
        value: the statistic of vectors of sums, shape [..., tallies] to [...].
        clusters: a label per item, shape [items].
        resamples: number of bootstrap resamples.
        seed: same seed, same interval, and the same resamples as `mean_intervals`.
        bounds: the range of the statistic; the interval stays inside.

    """
    from scipy.sparse import csr_array

    rows = csr_array(tallies)
    if rows.shape[0] == 0:
        return Interval(np.nan, np.nan, np.nan)
    codes = cluster_codes(clusters)
    number = int(codes.max()) + 1
    members = csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(number, len(codes)))
    sums = csr_array(members @ rows)
    mean = np.asarray(value(np.asarray(sums.sum(axis=0), dtype=np.float64).reshape(1, -1)))
    step = max(1, _BLOCK_CELLS // max(number, rows.shape[1]))
    blocks = [
        np.asarray(value(np.asarray(drawn[start : start + step] @ sums)))
        for drawn in _cluster_weights(number, resamples, seed)
        for start in range(0, len(drawn), step)
    ]
    draws = Draws(mean, np.concatenate(blocks).reshape(-1, 1), number)
    low, high = expanded_percentiles(draws)
    own = float(mean[0])
    return _bounded(Interval(own, min(float(low[0]), own), max(float(high[0]), own)), number, bounds)
