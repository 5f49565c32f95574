"""What a report is made from: scored models, and whatever else of a run there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from shelfqa.artifacts import Manifest
from shelfqa.report.card import Card

BLIND = ("majority", "majority-per-type", "question-only")
SHUFFLED_SUFFIX = "-shuffled"

_LABELS = {
    "majority": "Majority answer",
    "majority-per-type": "Majority per question type",
    "question-only": "Question only, no picture",
    "zero-shot": "Zero-shot",
    "tuned": "Fine-tuned",
}


@dataclass(frozen=True, kw_only=True)
class ScoredModel:
    """One row of the comparison: a folder of `score`, read."""

    name: str
    summary: Mapping[str, Any]
    table: pa.Table
    images: Path | None = None

    @property
    def label(self) -> str:
        """What the report calls it."""
        base = self.name.removesuffix(SHUFFLED_SUFFIX)
        label = _LABELS.get(base, base)
        return f"{label}, shuffled pictures" if base != self.name else label

    @property
    def kind(self) -> str:
        """`blind` if it never saw a picture, `shuffled` if it saw wrong ones, else `model`."""
        if self.name in BLIND:
            return "blind"
        return "shuffled" if self.name.endswith(SHUFFLED_SUFFIX) else "model"

    @property
    def metrics(self) -> Mapping[str, Mapping[str, float | None]]:
        """Each metric's mean and the bounds of its 95% interval."""
        metrics: Mapping[str, Mapping[str, float | None]] = self.summary["metrics"]
        return metrics

    def mean(self, metric: str) -> float:
        """Return the mean of a metric; minus infinity where it was not computed."""
        value = self.metrics.get(metric, {}).get("mean")
        return float("-inf") if value is None else value


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that a report may draw on; what is None or empty is left out of the page."""

    title: str
    models: tuple[ScoredModel, ...]
    """Best first."""
    metric: str
    """The metric that the report leads with."""
    before: ScoredModel | None = None
    after: ScoredModel | None = None
    """The model that errors are shown of; the tuned one, or the best."""
    attention: pa.Table | None = None
    """Where `after` looked, as `predict` keeps it, if it tells."""
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    """The manifest of each stage that left one, in the order of the stages."""
    card: Card | None = None
    """The data card of the catalogue."""
    questions: pa.Table | None = None
    history: pa.Table | None = None
    images: Path | None = None

    @property
    def best_blind(self) -> ScoredModel | None:
        """The best of the models that saw no picture."""
        return next((model for model in self.models if model.kind == "blind"), None)
