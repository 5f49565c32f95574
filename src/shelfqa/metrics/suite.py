"""Several metrics over one table of predictions, their means with intervals, and the same by slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shelfqa.errors import ConfigError
from shelfqa.metrics import DEFAULT_METRICS, METRICS
from shelfqa.metrics.base import Answered, Metric
from shelfqa.question_types import QUESTION_TYPES, question_type
from shelfqa.statistics import cluster_codes, mean_intervals

SLICES = ("question_type", "product_type", "source", "difficulty")
"""The columns by which scores are sliced, as far as the table has them."""


class Clusters(NamedTuple):
    """Which rows are drawn together: the column that says so, and its value per row."""

    column: str
    labels: NDArray[Any]


def chosen_metrics(names: Sequence[str], rows: Answered) -> list[Metric]:
    """Return the metrics called `names`, or all default ones that the rows have the columns for.

    Raises:
        ConfigError: for an unknown name, or a metric that was asked for and needs what the rows lack.

    """
    if not names:
        defaults: list[Metric] = [METRICS.load(name)() for name in DEFAULT_METRICS]
        return [metric for metric in defaults if metric.lacking(rows) is None]
    metrics: list[Metric] = [METRICS.load(name)() for name in dict.fromkeys(names)]
    for metric in metrics:
        if (lacking := metric.lacking(rows)) is not None:
            raise ConfigError(f"metric {metric.name!r} needs what the predictions lack: {lacking}.")
    return metrics


def answered(table: pa.Table) -> Answered:
    """Return the columns that metrics read of a table with the columns of `records.PREDICTION_COLUMNS`."""
    considered = [
        None if row is None else [item["answer"] for item in row if item is not None and item["answer"] is not None]
        for row in table["alternatives"].to_pylist()
    ]
    return Answered(
        predictions=table["prediction"].to_pylist(),
        answers=table["answer"].to_pylist(),
        alternatives=considered if any(considered) else None,
    )


def with_scores(table: pa.Table, metrics: Sequence[Metric], rows: Answered) -> pa.Table:
    """Return the table with the question type of each row and one column a metric behind it."""
    types = [
        task if task in QUESTION_TYPES else question_type(question or "")
        for task, question in zip(table["task"].to_pylist(), table["question"].to_pylist(), strict=True)
    ]
    scores = {metric.name: pa.array(metric.score(rows)) for metric in metrics}
    taken = [name for name in ("question_type", *scores) if name in table.column_names]
    table = table.drop_columns(taken)
    for name, column in {"question_type": pa.array(types, type=pa.string()), **scores}.items():
        table = table.append_column(name, column)
    return table


def clusters_of(table: pa.Table, column: str | None) -> Clusters:
    """Return what to draw together: `column`, or products, else pictures, else single rows, as the table has them.

    A row whose value is missing is a cluster of its own.

    Raises:
        ConfigError: if `column` is given and the table has no such column.

    """
    if column is not None and column not in table.column_names:
        raise ConfigError(
            f"cluster: no column {column!r} in the predictions; they have {', '.join(table.column_names)}."
        )
    for name in [column] if column is not None else ["product_id", "image_paths"]:
        values = table[name].to_pylist()
        if any(value is not None for value in values):
            labels = [f"row {row}" if value is None else f"= {value}" for row, value in enumerate(values)]
            return Clusters(name, np.array(labels))
    return Clusters("row", np.arange(len(table)))


def summarize(
    table: pa.Table,
    metrics: Sequence[Metric],
    clusters: Clusters,
    *,
    slices: Sequence[str] = SLICES,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return `summary.json`: number, failures, each metric's mean with its 95% interval, and the same by slices."""
    codes = cluster_codes(clusters.labels)
    scores = np.stack([table[metric.name].to_numpy() for metric in metrics], axis=1)
    failed = np.array([prediction is None for prediction in table["prediction"].to_pylist()])
    bounds = [(metric.low, metric.high) for metric in metrics]

    def of(rows: NDArray[Any]) -> dict[str, Any]:
        intervals = mean_intervals(scores[rows], codes[rows], resamples=resamples, seed=seed, bounds=bounds)
        return {
            "n": len(rows),
            "failures": int(failed[rows].sum()),
            "clusters": len(np.unique(codes[rows])),
            "metrics": {
                metric.name: {part: _number(value) for part, value in interval._asdict().items()}
                for metric, interval in zip(metrics, intervals, strict=True)
            },
        }

    names = table["model"].unique().to_pylist()
    whole = of(np.arange(len(table)))
    return {
        "model": ", ".join(sorted(str(name) for name in names if name is not None)),
        **whole,
        "cluster_by": clusters.column,
        "slices": {name: _sliced(slice_values(table, name), of) for name in slices if _has(table, name)},
    }


def slice_values(table: pa.Table, column: str) -> list[str | None]:
    """Return the value by which each row is sliced, as text; None where it has none."""
    values = table[column].to_pylist()
    if column == "source":
        return [_source(value) if isinstance(value, Mapping) else value for value in values]
    return [None if value is None else str(value) for value in values]


def _source(source: Mapping[str, Any]) -> str | None:
    parts = [source.get("provider"), source.get("model")]
    return "/".join(dict.fromkeys(part for part in parts if part)) or None


def _sliced(values: Sequence[str | None], of: Any) -> dict[str, Any]:
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if value is not None:
            rows.setdefault(value, []).append(row)
    largest_first = sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))
    return {value: of(np.array(members)) for value, members in largest_first}


def _has(table: pa.Table, column: str) -> bool:
    return column in table.column_names and any(value is not None for value in slice_values(table, column))


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
