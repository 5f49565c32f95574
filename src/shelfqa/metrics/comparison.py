"""Several scored tables side by side: means on the questions that all were asked, and paired tests between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shelfqa.artifacts import read_table
from shelfqa.errors import InputError
from shelfqa.metrics.evidence import Finding
from shelfqa.metrics.suite import finite, interval_json
from shelfqa.statistics import (
    FEW_CLUSTERS,
    Correction,
    PairTests,
    cluster_labels,
    common_rows,
    compare_all,
    mean_intervals,
)

BLIND_WORDS = ("majority", "question-only", "question_only", "blind")
"""A table whose name holds one of these saw no picture."""


class ScoredTable(NamedTuple):
    """What `score` wrote about one table of predictions."""

    name: str
    summary: Mapping[str, Any]
    table: pa.Table


def read_scored(name: str, folder: Path) -> ScoredTable:
    """Return what a folder of `score` holds.

    Raises:
        InputError: if a file is missing or no such file.

    """
    table = read_table(folder, "scores", ("question", "answer", "prediction"))
    file = folder / "summary.json"
    try:
        summary = msgspec.json.decode(file.read_bytes())
        summary["metrics"], summary["n"], summary["failures"]
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        raise InputError(f"{str(file)!r} is missing or no summary of shelfqa score: run shelfqa score again.") from None
    return ScoredTable(name, summary, table)


def is_blind(name: str) -> bool:
    """Return whether a name is that of a baseline that sees no picture."""
    return any(word in name.casefold() for word in BLIND_WORDS)


def comparison(
    models: Sequence[ScoredTable], *, correction: Correction = "holm", resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Return `comparison.json`: the models in the order given, and the tests of every pair on every common metric.

    Tests are made on the rows that ask the same in all tables; p-values are corrected for the pairs of one metric.
    A metric whose value is no plain mean over rows (macro F1, a weighted mean) is shown, and not tested.
    """
    rows = common_rows([model.table for model in models])
    by = str(models[0].summary.get("cluster_by", "row"))
    labels = cluster_labels(models[0].table, by)[rows[:, 0]]
    shared = [name for name in models[0].summary["metrics"] if all(name in one.summary["metrics"] for one in models)]
    tested = [name for name in shared if all(_is_plain_mean(one, name) for one in models)]
    scores = {name: _scores(models, name, rows) for name in tested}
    paired: dict[str, list[PairTests]] = {}
    common: dict[str, list[dict[str, float | None]]] = {}
    for name, columns in scores.items() if len(rows) else ():
        low, high = min(0.0, float(columns.min())), max(1.0, float(columns.max()))
        bounds = [(low, high)] * len(models)
        intervals = mean_intervals(columns, labels, resamples=resamples, seed=seed, bounds=bounds)
        common[name] = [interval_json(interval) for interval in intervals]
        paired[name] = compare_all(columns, labels, correction=correction, resamples=resamples, seed=seed)
    return {
        "models": [_model_json(model, place, common) for place, model in enumerate(models)],
        "items": len(rows),
        "clusters": len(np.unique(labels)),
        "cluster_by": by,
        "correction": correction,
        "metrics": shared,
        "paired": [_pair_json(models, name, test) for name, tests in paired.items() for test in tests],
        "findings": [finding.as_json() for finding in _findings(models, rows, labels, paired)],
    }


def _is_plain_mean(model: ScoredTable, metric: str) -> bool:
    """Return whether the metric's value is the mean of its column."""
    value = model.summary["metrics"][metric]["mean"]
    if value is None or metric not in model.table.column_names:
        return False
    return abs(float(np.mean(model.table[metric].to_numpy())) - float(value)) < 1e-5


def _scores(models: Sequence[ScoredTable], metric: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the scores of the common rows, shape [common, models]."""
    columns = [model.table[metric].to_numpy()[rows[:, place]] for place, model in enumerate(models)]
    return np.stack(columns, axis=1).astype(np.float64)


def _model_json(model: ScoredTable, place: int, common: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    summary = model.summary
    kept = ("model", "n", "failures", "clusters", "cluster_by", "metrics")
    return {
        "name": model.name,
        "blind": is_blind(model.name),
        **{key: summary.get(key) for key in kept},
        "common": {metric: intervals[place] for metric, intervals in common.items()},
    }


def _pair_json(models: Sequence[ScoredTable], metric: str, test: PairTests) -> dict[str, Any]:
    exact = test.mcnemar
    return {
        "first": models[test.first].name,
        "second": models[test.second].name,
        "metric": metric,
        "difference": interval_json(test.comparison.difference),
        "p_value": finite(test.comparison.p_value),
        "p_adjusted": finite(test.p_adjusted),
        "items": test.comparison.items,
        "clusters": test.comparison.clusters,
        "smallest_detectable_difference": finite(test.smallest_detectable),
        "mcnemar": None
        if exact is None
        else {
            **exact._asdict(),
            "p_value": _exactly(exact.p_value),
            "p_adjusted": _exactly(test.mcnemar_p_adjusted),
        },
    }


def _exactly(p_value: float) -> float | None:
    """Return a p-value to six digits, however small."""
    return float(f"{p_value:.6g}") if np.isfinite(p_value) else None


def _findings(
    models: Sequence[ScoredTable],
    rows: NDArray[np.int64],
    labels: NDArray[Any],
    paired: Mapping[str, Sequence[PairTests]],
) -> list[Finding]:
    found = []
    least, most = min(len(model.table) for model in models), max(len(model.table) for model in models)
    if not len(rows):
        message = "No question stands in all files (same picture, question and answer), so no tests were made."
        found.append(Finding(id="nothing-in-common", severity="warning", message=message))
    elif len(rows) < most:
        sizes = f"the files hold {least:,} to {most:,}" if least < most else f"each file holds {most:,}"
        message = f"Tests are on the {len(rows):,} questions that stand in all files; {sizes}."
        few = len(rows) < least / 2
        if few and len(models) > 2:
            odd = [common_rows([other.table for other in models if other is not model]) for model in models]
            place = int(np.argmax([len(rest) for rest in odd]))
            message += f" Without {models[place].name} there would be {len(odd[place]):,}."
        found.append(Finding(id="rows-left-out", severity="warning" if few else "note", message=message))
    if len(rows) and len(np.unique(labels)) < FEW_CLUSTERS:
        message = f"The tests rest on {len(np.unique(labels))} clusters: too few to trust intervals and p-values."
        found.append(Finding(id="few-clusters", severity="warning", message=message))
    if "exact_match" in paired:
        found += _blind_findings(models, paired["exact_match"], "exact_match")
    return found


def _blind_findings(models: Sequence[ScoredTable], tests: Sequence[PairTests], metric: str) -> list[Finding]:
    """Return a finding for each model that is not better than a baseline that saw no picture."""
    found = []
    for test in tests:
        for blind, seeing, sign in ((test.first, test.second, 1), (test.second, test.first, -1)):
            if not is_blind(models[blind].name) or is_blind(models[seeing].name):
                continue
            mean, low, high = test.comparison.difference
            ahead = (mean, low, high) if sign == 1 else (-mean, -high, -low)
            if not ahead[1] <= 0:
                continue
            worse = "worse" if ahead[2] < 0 else "no better"
            message = (
                f"{models[seeing].name} is {worse} than the blind baseline {models[blind].name}: {metric} differs by "
                f"{ahead[0]:+.3f} [{ahead[1]:+.3f}, {ahead[2]:+.3f}]."
            )
            found.append(Finding(id="no-better-than-blind", severity="warning", message=message))
    return found
