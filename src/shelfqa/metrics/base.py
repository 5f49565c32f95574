"""What a metric is, and scoring each distinct pair once."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The columns that metrics read, each of one length; a failed prediction is None and scores 0."""

    predictions: Sequence[str | None]
    answers: Sequence[str]
    alternatives: Sequence[Sequence[str] | None] | None = None
    """Per row the answers that the model considered, best first; None where the file has no such column."""

    def __post_init__(self) -> None:
        columns = [self.answers] if self.alternatives is None else [self.answers, self.alternatives]
        if any(len(column) != len(self.predictions) for column in columns):
            raise ValueError("predictions, answers and alternatives differ in length")

    def __len__(self) -> int:
        return len(self.predictions)

    def longest_alternatives(self) -> int:
        """Return how many alternatives the row with the most has; 0 where there are none."""
        return max((len(row) for row in self.alternatives or () if row is not None), default=0)


class Metric(abc.ABC):
    """A score for every row, the higher the better, in the range `low` to `high`."""

    name: str
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    symmetric: ClassVar[bool] = True
    """Whether prediction and answer may change places."""

    @abc.abstractmethod
    def score(self, rows: Answered) -> Scores:
        """Return one score per row, shape [rows]; `low` where the prediction failed."""

    def lacking(self, rows: Answered) -> str | None:
        """Return what the rows lack for this metric, or None when they have all that it needs."""
        return None


class PairMetric(Metric):
    """A metric that depends on prediction and answer alone; subclasses score distinct pairs."""

    @abc.abstractmethod
    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return the score of each pair, shape [pairs]; no pair comes twice."""

    def score(self, rows: Answered) -> Scores:
        """Return one score per row, calling `score_pairs` once with the distinct pairs."""
        positions: dict[tuple[str, str], int] = {}
        of_row = np.full(len(rows), -1, dtype=np.int64)
        for row, (prediction, answer) in enumerate(zip(rows.predictions, rows.answers, strict=True)):
            if prediction is not None:
                of_row[row] = positions.setdefault((prediction, answer), len(positions))
        scores = np.full(len(rows), self.low, dtype=np.float64)
        if positions:
            predictions, answers = zip(*positions, strict=True)
            answered = of_row >= 0
            scores[answered] = self.score_pairs(predictions, answers)[of_row[answered]]
        return scores
