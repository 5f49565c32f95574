"""A finding about scores, and the rows that findings are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shelfqa.metrics.base import Answered, Metric
from shelfqa.metrics.exact import ExactMatch, comparable
from shelfqa.metrics.overlap import TokenF1

Floats = NDArray[np.float64]

MOST_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason to look twice."""

    id: str
    severity: Literal["warning", "note"]
    """`warning`: a number does not mean what it seems to; `note`: good to know when reading it."""
    message: str
    examples: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the finding as `summary.json` holds it."""
        return {"id": self.id, "severity": self.severity, "message": self.message, "examples": self.examples}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the checks look at: the scored table, its columns for metrics, the metrics, and the clusters."""

    table: pa.Table
    rows: Answered
    metrics: Sequence[Metric]
    clusters: NDArray[Any]
    resamples: int = 2000
    seed: int = 0

    @cached_property
    def exact(self) -> Floats:
        """Exact match per row, shape [rows]."""
        return ExactMatch().score(self.rows)

    @cached_property
    def overlap(self) -> Floats:
        """Token F1 per row, shape [rows]."""
        return TokenF1().score(self.rows)

    @cached_property
    def said(self) -> NDArray[np.bool_]:
        """Whether there is a prediction, shape [rows]."""
        return np.array([bool(prediction and prediction.strip()) for prediction in self.rows.predictions], dtype=bool)

    @cached_property
    def single(self) -> NDArray[np.bool_]:
        """Whether the answer is one word, shape [rows]."""
        return np.array([len(answer.split()) == 1 for answer in self.rows.answers], dtype=bool)

    def column(self, *names: str) -> tuple[str, Floats] | None:
        """Return the first numeric column of one of these names, computed or of the file's own; NaN for null."""
        for name in names:
            if name in self.table.column_names:
                kind = self.table[name].type
                if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                    values = _numbers(self.table[name])
                    if values is not None:
                        return name, values
                elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
                    return name, np.asarray(self.table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)
        return None

    def bertscore(self) -> tuple[str, Floats] | None:
        """Return BERTScore F1 per row, if it was computed or stands in the file."""
        computed = [metric.name for metric in self.metrics if metric.name.startswith("bertscore_f1")]
        return self.column(*computed, "bertscore_f1", "bertscore", "bert_score", "bert_score_f1")

    def examples(self, places: Sequence[int] | NDArray[np.int64], **columns: Floats) -> list[dict[str, Any]]:
        """Return the first few of the rows, with question, answer, prediction and the given scores."""
        questions = self.table["question"]
        return [
            {
                "question": shortened(questions[int(row)].as_py()),
                "answer": shortened(self.rows.answers[row]),
                "prediction": shortened(self.rows.predictions[row]),
                **{name: round(float(values[row]), 4) for name, values in columns.items()},
            }
            for row in list(places)[:MOST_EXAMPLES]
        ]


def counted(answers: Sequence[str]) -> Counter[str]:
    """Return how often each answer comes, once normalised."""
    return Counter(comparable(answer) for answer in answers)


def commonest(answers: Sequence[str]) -> tuple[str, int]:
    """Return the commonest answer, once normalised, and how often it comes."""
    return min(counted(answers).items(), key=lambda item: (-item[1], item[0]))


def _numbers(column: Any) -> Floats | None:
    try:
        return np.array([np.nan if value is None else float(value) for value in column.to_pylist()])
    except ValueError:
        return None


def shortened(text: str | None, most: int = 120) -> str | None:
    """Return the text, cut to `most` characters."""
    return text if text is None or len(text) <= most else f"{text[: most - 1]}…"
