"""The whole of scoring: any table of predictions to scores per row, means with intervals, slices and findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from shelfqa.errors import ConfigError
from shelfqa.lines import BadRow
from shelfqa.metrics.confidence import calibration
from shelfqa.metrics.evidence import Evidence
from shelfqa.metrics.findings import find
from shelfqa.metrics.human import human_agreement
from shelfqa.metrics.predictions import Predictions, predictions_from
from shelfqa.metrics.slices import DERIVED, SLICES
from shelfqa.metrics.suite import answered, chosen_metrics, clusters_of, summarize, with_scores


@dataclass(frozen=True, kw_only=True, repr=False)
class Scored:
    """Scores of one table of predictions; printing it shows the means."""

    summary: dict[str, Any]
    """What `summary.json` holds: n, failures, metrics with intervals, slices, calibration, findings."""
    table: pa.Table
    """The predictions with a column a metric."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows that could not be scored, by reason."""
    bad: Sequence[BadRow] = ()
    """Those of them that could not be read."""

    def __repr__(self) -> str:
        summary = self.summary
        lines = [
            f"Scores of {summary['model'] or 'predictions'}: {summary['n']:,} rows, {summary['failures']:,} failed; "
            f"95% intervals by {summary['cluster_by']} ({summary['clusters']:,})"
        ]
        width = max((len(name) for name in summary["metrics"]), default=0)
        for name, interval in summary["metrics"].items():
            mean, low, high = (interval[part] for part in ("mean", "low", "high"))
            told = "unknown" if mean is None else f"{mean:.3f}"
            lines.append(f"  {name:<{width}}  {told}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]"))
        lines += [f"  {finding['severity']}: {finding['message']}" for finding in summary["findings"]]
        return "\n".join(lines)


def score(
    data: Any,
    *,
    metrics: Sequence[str] | str = (),
    cluster: str | None = None,
    slices: Sequence[str] = SLICES,
    resamples: int = 2000,
    seed: int = 0,
    name: str | None = None,
) -> Scored:
    """Score predictions: a path, a DataFrame, a pyarrow table, a list of dicts or a dict of lists.

    >>> found = score([{"question": "Colour?", "answer": "red", "prediction": "Red"}])
    >>> found.summary["metrics"]["exact_match"]["mean"]
    1.0

    Args:
        data: needs question, answer and prediction; a null prediction failed and counts as wrong.
        metrics: names, or `"all"`; none given: the quick ones that the table has the columns for.
        cluster: column whose equal values are drawn together; left out: product, else picture, else row.
        slices: columns by which to slice the scores, as far as they are there.
        resamples: resamples of the bootstrap behind the intervals.
        seed: same seed, same intervals.
        name: what to call the model, where the table does not say.

    Raises:
        InputError: if the data is of another kind, empty, unreadable or lacks a column.
        ConfigError: for an unknown metric, or one that the data lacks the columns for.

    """
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    found = predictions_from(data, name=name)
    return score_predictions(found, names, cluster=cluster, slices=slices, resamples=resamples, seed=seed)


def score_predictions(
    found: Predictions,
    metrics: Sequence[str],
    *,
    cluster: str | None,
    slices: Sequence[str],
    resamples: int,
    seed: int,
) -> Scored:
    """Return the scores of predictions that have been read; see `score`."""
    unknown = [column for column in slices if column not in {*found.table.column_names, *DERIVED}]
    if unknown:
        raise ConfigError(
            f"slices: no column {unknown[0]!r}; the predictions have {', '.join(found.table.column_names)}."
        )
    rows = answered(found.table)
    table, chosen = with_scores(found.table, chosen_metrics(metrics, rows), rows)
    clusters = clusters_of(table, cluster)
    summary = summarize(table, chosen.metrics, clusters, rows, slices=slices, resamples=resamples, seed=seed)
    evidence = Evidence(
        table=table, rows=rows, metrics=chosen.metrics, clusters=clusters.labels, resamples=resamples, seed=seed
    )
    summary["left_out"] = chosen.left_out
    human = human_agreement(table, [metric.name for metric in chosen.metrics])
    if human is not None:
        summary["human"] = human
    if (calibrated := calibration(evidence)) is not None:
        summary["calibration"] = calibrated
    summary["findings"] = [finding.as_json() for finding in find(evidence)]
    return Scored(summary=summary, table=table, dropped=found.dropped, bad=found.bad)
