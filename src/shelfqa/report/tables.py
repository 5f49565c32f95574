"""The numbers of a report: comparisons of models, slices, confusions, counts; and how they are written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shelfqa.records import Interval
from shelfqa.report.material import Material, ScoredModel
from shelfqa.statistics import FEW_CLUSTERS, McNemar, cluster_labels, common_rows, compare_paired, mcnemar_exact

METRIC_LABELS = {
    "exact_match": "Exact match",
    "token_f1": "Token F1",
    "token_precision": "Token precision",
    "token_recall": "Token recall",
    "top_1": "Top 1",
    "top_3": "Top 3",
    "top_5": "Top 5",
    "token_f1_sets": "Token F1, on sets",
    "vqa_accuracy": "VQA accuracy",
    "bleu": "BLEU",
    "bleu_1": "BLEU-1",
    "rouge_1": "ROUGE-1 F1",
    "rouge_l": "ROUGE-L F1",
    "meteor": "METEOR",
    "wu_palmer": "Wu-Palmer",
    "wu_palmer_any_sense": "Wu-Palmer, any sense",
    "wups_00": "WUPS 0.0",
    "wups_09": "WUPS 0.9",
    "wups_weighted": "WUPS, weighted",
    "anls": "ANLS",
    "macro_f1": "Macro F1",
    "bertscore_precision": "BERTScore precision",
    "bertscore_recall": "BERTScore recall",
    "bertscore_f1": "BERTScore F1",
    "sbert_cosine": "SBERT cosine",
    "bartscore": "BARTScore",
    "bartscore_precision": "BARTScore precision",
    "bartscore_recall": "BARTScore recall",
}


def metric_label(name: str) -> str:
    """Return what readers call a metric."""
    return METRIC_LABELS.get(name, name.replace("_", " ").capitalize())


def number_text(value: float | None, *, signed: bool = False) -> str:
    """Return a score with two decimals and a true minus sign; a dash for none.

    >>> number_text(0.638), number_text(None), number_text(-0.02, signed=True)
    ('0.64', '–', '−0.02')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{'+' if signed else ''}.2f}".replace("-", "−")


def interval_text(interval: Mapping[str, float | None] | Interval | None, *, signed: bool = False) -> str:
    """Return a mean with its 95% interval.

    >>> interval_text(Interval(0.638, 0.621, 0.662))
    '0.64 [0.62, 0.66]'
    """
    if interval is None:
        return "–"
    parts = interval._asdict() if isinstance(interval, Interval) else interval
    mean = number_text(parts.get("mean"), signed=signed)
    if parts.get("low") is None or not math.isfinite(parts["low"] or 0.0):
        return mean
    bounds = ", ".join(number_text(parts.get(side), signed=signed) for side in ("low", "high"))
    return f"{mean} [{bounds}]"


def p_text(p_value: float, *, smallest: float = 0.001) -> str:
    """Return a p-value as readers expect it.

    >>> p_text(0.0004), p_text(0.0312)
    ('p < 0.001', 'p = 0.031')
    """
    if not math.isfinite(p_value):
        return "p unknown"
    return f"p < {smallest:g}" if p_value <= smallest else f"p = {p_value:.3f}"


class Paired(NamedTuple):
    """Two models on the items that both were asked."""

    first: ScoredModel
    second: ScoredModel
    metric: str
    difference: Interval
    p_value: float
    items: int
    clusters: int
    mcnemar: McNemar | None

    @property
    def apart(self) -> bool:
        """Whether the interval of the difference lies on one side of zero."""
        return self.difference.low > 0 or self.difference.high < 0

    def as_json(self) -> dict[str, Any]:
        """Return the comparison for `results.json`; positive differences favour `second`."""
        return {
            "first": self.first.name,
            "second": self.second.name,
            "metric": self.metric,
            "difference": {name: _finite(value) for name, value in self.difference._asdict().items()},
            "p_value": _finite(self.p_value),
            "items": self.items,
            "clusters": self.clusters,
            "mcnemar": self.mcnemar._asdict() if self.mcnemar is not None else None,
        }


def paired(first: ScoredModel, second: ScoredModel, metric: str, *, resamples: int, seed: int) -> Paired | None:
    """Return how far `second` is ahead of `first` on their common items; None where they have none."""
    if metric not in first.metrics or metric not in second.metrics:
        return None
    rows = common_rows([first.table, second.table])
    if not len(rows):
        return None
    before = first.table[metric].to_numpy()[rows[:, 0]]
    after = second.table[metric].to_numpy()[rows[:, 1]]
    labels = cluster_labels(second.table, second.summary.get("cluster_by", "row"))[rows[:, 1]]
    result = compare_paired(before, after, labels, resamples=resamples, seed=seed)
    binary = bool(np.isin(before, (0, 1)).all() and np.isin(after, (0, 1)).all())
    mcnemar = mcnemar_exact(before, after) if binary else None
    return Paired(first, second, metric, result.difference, result.p_value, result.items, result.clusters, mcnemar)


def paired_tests(material: Material, *, resamples: int, seed: int) -> list[Paired]:
    """Return the comparisons that a report makes: the model it is about against before, blind and shuffled."""
    after = material.after
    if after is None:
        return []
    shuffled = next((model for model in material.models if model.name == f"{after.name}-shuffled"), None)
    named = [material.before, material.best_blind, shuffled]
    rivals = [rival for rival in named if rival is not None and rival is not after]
    rivals = rivals or [model for model in material.models if model is not after][:3]
    found = [paired(rival, after, material.metric, resamples=resamples, seed=seed) for rival in rivals]
    return [test for test in found if test is not None]


class SliceRow(NamedTuple):
    """A slice of the questions, with the lead metric before and after."""

    value: str
    n: int
    before: Mapping[str, float | None] | None
    after: Mapping[str, float | None]
    few: bool
    """Whether there are so few products in it that its interval rests on little."""

    @property
    def gain(self) -> float | None:
        """Difference of the means."""
        if self.before is None or self.before["mean"] is None or self.after["mean"] is None:
            return None
        return self.after["mean"] - self.before["mean"]


def slice_rows(material: Material, column: str, *, most: int) -> list[SliceRow]:
    """Return the largest slices by `column`, at most `most` of them."""
    if material.after is None:
        return []
    values = material.after.summary.get("slices", {}).get(column, {})
    earlier = material.before.summary.get("slices", {}).get(column, {}) if material.before is not None else {}
    rows = []
    for value, of_slice in values.items():
        before = earlier.get(value, {}).get("metrics", {}).get(material.metric)
        after = of_slice["metrics"].get(material.metric)
        if after is not None:
            few = of_slice.get("clusters", of_slice["n"]) < FEW_CLUSTERS
            rows.append(SliceRow(value, of_slice["n"], before, after, few))
    return sorted(rows, key=lambda row: (-row.n, row.value))[:most]


def confusions(model: ScoredModel, metric: str, *, most: int) -> list[tuple[str, str, int]]:
    """Return the commonest wrong answers as (answer, prediction, how often), those that came at least twice."""
    from shelfqa.text import normalize_answer

    counted = Counter(
        (normalize_answer(answer), normalize_answer(prediction) or "(nothing)")
        for answer, prediction, score in zip(
            *(model.table[name].to_pylist() for name in ("answer", "prediction", metric)), strict=True
        )
        if prediction is not None and score == 0
    )
    common = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [(answer, prediction, number) for (answer, prediction), number in common[:most] if number > 1]


def failure_counts(models: Sequence[ScoredModel]) -> list[tuple[ScoredModel, str, int]]:
    """Return (model, reason, how often) for all failed predictions, commonest first."""
    counted: list[tuple[ScoredModel, str, int]] = []
    for model in models:
        reasons = Counter(
            str(error).split(":")[0]
            for error, prediction in zip(
                model.table["error"].to_pylist(), model.table["prediction"].to_pylist(), strict=True
            )
            if prediction is None
        )
        counted += [(model, reason, number) for reason, number in reasons.most_common(3)]
    return counted


def value_counts(table: pa.Table, column: str, *, most: int) -> list[tuple[str, int]]:
    """Return the commonest values of a column with their numbers; the rest summed up as `(n others)`."""
    if column not in table.column_names:
        return []
    counted = Counter(str(value) for value in table[column].to_pylist() if value is not None)
    common = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    head, tail = common[:most], common[most:]
    return [*head, (f"({len(tail)} others)", sum(number for _, number in tail))] if tail else head


def results(material: Material, tests: Sequence[Paired]) -> dict[str, Any]:
    """Return what `results.json` holds: models best first, and the paired tests."""
    return {
        "title": material.title,
        "metric": material.metric,
        "before": material.before.name if material.before is not None else None,
        "after": material.after.name if material.after is not None else None,
        "models": [
            {
                "name": model.name,
                "label": model.label,
                "model": model.summary.get("model"),
                "kind": model.kind,
                "n": model.summary["n"],
                "failures": model.summary["failures"],
                "clusters": model.summary.get("clusters"),
                "cluster_by": model.summary.get("cluster_by"),
                "metrics": model.metrics,
                "calibration": model.summary.get("calibration"),
            }
            for model in material.models
        ],
        "paired": [test.as_json() for test in tests],
    }


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
