"""Human ratings in a table of predictions: how far the raters agree, and which metric ranks answers as they do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shelfqa.metrics.suite import finite
from shelfqa.rows import parse_cell
from shelfqa.statistics import krippendorff_alpha, rank_correlation, weighted_kappa

LISTED = "human_ratings"
"""A column that holds the ratings of a row as a list, a rater a place."""
PREFIX = "human_"
"""Columns that begin so hold the ratings of one rater each."""


def human_agreement(table: pa.Table, metrics: Sequence[str]) -> dict[str, Any] | None:
    """Return raters' agreement and each metric's rank correlation with their mean; None where there are no ratings.

    Returns:
        raters, items (rows with a rating), mean, krippendorff_alpha by level, weighted_kappa (quadratic, the mean
        over pairs of raters), and correlations: metric -> {spearman, kendall, items}.

    """
    ratings = ratings_of(table)
    if ratings is None:
        return None
    rated = ~np.isnan(ratings)
    sums = np.nansum(ratings, axis=0)
    means = np.divide(sums, rated.sum(axis=0), out=np.full(len(table), np.nan), where=rated.any(axis=0))
    kappas = [weighted_kappa(one, two) for one, two in combinations(ratings, 2)]
    known = [kappa for kappa in kappas if not np.isnan(kappa)]
    correlations = {}
    for name in metrics:
        found = rank_correlation(table[name].to_numpy(), means)
        correlations[name] = {
            "spearman": finite(found.spearman),
            "kendall": finite(found.kendall),
            "items": found.items,
        }
    return {
        "raters": len(ratings),
        "items": int(rated.any(axis=0).sum()),
        "mean": finite(float(np.nanmean(means))),
        "krippendorff_alpha": {
            "nominal": finite(krippendorff_alpha(ratings, "nominal")),
            "ordinal": finite(krippendorff_alpha(ratings, "ordinal")),
            "interval": finite(krippendorff_alpha(ratings, "interval")),
        },
        "weighted_kappa": finite(float(np.mean(known))) if known else None,
        "correlations": correlations,
    }


def ratings_of(table: pa.Table) -> NDArray[np.float64] | None:
    """Return the ratings of a table, shape [raters, rows], NaN where one is missing; None where there are none."""
    if LISTED in table.column_names:
        rows = [_listed(value) for value in table[LISTED].to_pylist()]
        raters = max(map(len, rows), default=0)
        found = np.array([[*row, *[np.nan] * (raters - len(row))] for row in rows], dtype=np.float64).T
    else:
        names = [name for name in table.column_names if name.startswith(PREFIX)]
        columns = [[_number(value) for value in table[name].to_pylist()] for name in names]
        found = np.array(columns, dtype=np.float64).reshape(len(columns), len(table))
        found = found[~np.isnan(found).all(axis=1)]
    return found if found.size and not np.isnan(found).all() else None


def _listed(value: Any) -> list[float]:
    values = parse_cell(value, default=[value]) if isinstance(value, str) else value
    return [_number(one) for one in (values if isinstance(values, (list, tuple)) else [values])]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
