"""Several metrics over one table of predictions, their means with intervals, and the same by slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shelfqa.errors import ConfigError, UserError
from shelfqa.metrics import DEFAULT_METRICS, METRICS
from shelfqa.metrics.base import Answered, Metric, TableMetric
from shelfqa.metrics.judge import Judge
from shelfqa.metrics.predictions import answers_of
from shelfqa.metrics.slices import SLICES, has_slices, slice_values, with_kinds
from shelfqa.metrics.spec import parse_all
from shelfqa.records import Interval
from shelfqa.statistics import cluster_codes, cluster_labels, mean_intervals, statistic_interval

ALL = "all"
"""Stands for every metric whose needs are met."""


class Clusters(NamedTuple):
    """Which rows are drawn together: the column that says so, and its value per row."""

    column: str
    labels: NDArray[Any]


class Chosen(NamedTuple):
    """The metrics to compute, and those that cannot be, with the reason."""

    metrics: list[Metric]
    left_out: dict[str, str]
    asked: frozenset[str] = frozenset()
    """The names of the metrics that were asked for by name."""


def chosen_metrics(names: Sequence[str], rows: Answered) -> Chosen:
    """Return the metrics that `names` ask for; `DEFAULT_METRICS` for none; every one that works for `all`.

    A name may have options behind it, as `shelfqa.metrics.spec` reads them: `bertscore_f1:model=FOLDER`.

    What was not asked for by name and needs what the rows or the machine lack is left out, with the reason.

    Raises:
        ConfigError: for an unknown name or option, or a metric that was asked for and needs what the rows lack.

    """
    optional = [] if names else list(DEFAULT_METRICS)
    if ALL in names:
        optional = list(dict.fromkeys([*DEFAULT_METRICS, *METRICS]))
    found: dict[str, Metric] = {}
    for metric in parse_all([name for name in names if name != ALL]):
        if (lacking := metric.lacking(rows)) is not None:
            raise ConfigError(f"metric {metric.name!r} needs what the predictions lack: {lacking}.")
        found[metric.name] = metric
    by_name = frozenset(found)
    left_out = {}
    for name in optional:
        try:
            metric = METRICS.load(name)()
            lacking = metric.lacking(rows) or metric.on_request
        except (UserError, ImportError) as error:
            lacking = str(error)
        if lacking is None:
            found.setdefault(metric.name, metric)
        else:
            left_out[name] = lacking.rstrip(".")
    return Chosen(list(found.values()), left_out, by_name)


def answered(table: pa.Table) -> Answered:
    """Return the columns that metrics read of a table with the columns of `records.PREDICTION_COLUMNS`."""
    considered = [
        None if row is None else [item["answer"] for item in row if item is not None and item["answer"] is not None]
        for row in table["alternatives"].to_pylist()
    ]
    given = [answers_of(value) for value in table["answers"].to_pylist()] if "answers" in table.column_names else []
    levels = table["difficulty"].to_pylist()
    return Answered(
        predictions=table["prediction"].to_pylist(),
        answers=table["answer"].to_pylist(),
        alternatives=considered if any(considered) else None,
        references=given if any(given) else None,
        difficulties=levels if any(level is not None for level in levels) else None,
        questions=table["question"].to_pylist(),
    )


def with_scores(table: pa.Table, chosen: Chosen, rows: Answered) -> tuple[pa.Table, Chosen]:
    """Return the table with its kinds of question and answer and one column a metric behind it, and the metrics.

    A judge's verdicts and reasons are columns too. A metric that fails for want of something on this machine, and was
    not asked for by name, moves to `left_out`.
    """
    table = with_kinds(table)
    metrics, left_out = [], dict(chosen.left_out)
    for metric in chosen.metrics:
        try:
            scores = metric.score(rows)
        except (UserError, ImportError) as error:
            if metric.name in chosen.asked:
                raise
            left_out[metric.name] = str(error).rstrip(".")
            continue
        table = _with_column(table, metric.name, pa.array(scores, type=pa.float64()))
        if isinstance(metric, Judge):
            verdicts = metric.verdicts(rows)
            for part in ("word", "reason"):
                texts = [None if verdict is None else getattr(verdict, part) for verdict in verdicts]
                name = f"{metric.name}_{'verdict' if part == 'word' else part}"
                table = _with_column(table, name, pa.array(texts, type=pa.string()))
        metrics.append(metric)
    return table, Chosen(metrics, left_out, chosen.asked)


def _with_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    """Return the table with the column behind it, in place of one of that name."""
    if name in table.column_names:
        table = table.drop_columns([name])
    return table.append_column(name, column)


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
        if table[name].null_count < len(table):
            return Clusters(name, cluster_labels(table, name))
    return Clusters("row", np.arange(len(table)))


def summarize(
    table: pa.Table,
    metrics: Sequence[Metric],
    clusters: Clusters,
    rows: Answered,
    *,
    slices: Sequence[str] = SLICES,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return `summary.json`: number, failures, each metric's mean with its 95% interval, and the same by slices."""
    codes = cluster_codes(clusters.labels)
    failed = np.array([prediction is None for prediction in table["prediction"].to_pylist()])
    intervals = _Intervals(table, metrics, rows, codes, resamples, seed)

    def of(members: NDArray[Any]) -> dict[str, Any]:
        return {
            "n": len(members),
            "failures": int(failed[members].sum()),
            "clusters": len(np.unique(codes[members])),
            "metrics": {name: interval_json(interval) for name, interval in intervals.of(members).items()},
        }

    names = table["model"].unique().to_pylist()
    whole = of(np.arange(len(table)))
    return {
        "model": ", ".join(sorted(str(name) for name in names if name is not None)),
        **whole,
        "cluster_by": clusters.column,
        "settings": {metric.name: settings for metric in metrics if (settings := dict(metric.settings))},
        "slices": {name: _sliced(slice_values(table, name), of) for name in slices if has_slices(table, name)},
    }


class _Intervals:
    """The metrics' intervals over any rows of a table."""

    def __init__(
        self,
        table: pa.Table,
        metrics: Sequence[Metric],
        rows: Answered,
        codes: NDArray[np.int64],
        resamples: int,
        seed: int,
    ) -> None:
        self.plain: list[Metric] = [metric for metric in metrics if not isinstance(metric, TableMetric)]
        self.of_table = {metric: metric.tallies(rows) for metric in metrics if isinstance(metric, TableMetric)}
        self.names = [metric.name for metric in metrics]
        self.codes, self.resamples, self.seed = codes, resamples, seed
        self.scores = np.zeros((len(table), len(self.plain)))
        weights = np.ones_like(self.scores)
        for place, metric in enumerate(self.plain):
            self.scores[:, place] = table[metric.name].to_numpy()
            of_row = metric.weights(rows)
            if of_row is not None:
                weights[:, place] = of_row
        self.weights = weights if (weights != 1).any() else None

    def of(self, members: NDArray[Any]) -> dict[str, Interval]:
        """Return each metric's interval over the rows `members`, in the order of the metrics."""
        codes, drawn = self.codes[members], {"resamples": self.resamples, "seed": self.seed}
        found = {}
        if self.plain:
            bounds = [(metric.low, metric.high) for metric in self.plain]
            weights = None if self.weights is None else self.weights[members]
            intervals = mean_intervals(self.scores[members], codes, bounds=bounds, weights=weights, **drawn)
            found = {metric.name: interval for metric, interval in zip(self.plain, intervals, strict=True)}
        for metric, tallies in self.of_table.items():
            found[metric.name] = statistic_interval(
                tallies[members], metric.value, codes, bounds=(metric.low, metric.high), **drawn
            )
        return {name: found[name] for name in self.names}


def interval_json(interval: Interval) -> dict[str, float | None]:
    """Return a mean and its bounds as `summary.json` holds them; null for what is unknown."""
    return {part: finite(value) for part, value in interval._asdict().items()}


def finite(value: float) -> float | None:
    """Return the number rounded to six places, or None where it is none."""
    return round(float(value), 6) if math.isfinite(value) else None


def _sliced(values: Sequence[str | None], of: Callable[[NDArray[Any]], dict[str, Any]]) -> dict[str, Any]:
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if value is not None:
            rows.setdefault(value, []).append(row)
    largest_first = sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))
    return {value: of(np.array(members)) for value, members in largest_first}
