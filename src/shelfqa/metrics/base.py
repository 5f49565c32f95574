"""What a metric is, and scoring each distinct pair once."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Scores = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The columns that metrics read, each of one length; a failed prediction is None and scores 0."""

    predictions: Sequence[str | None]
    answers: Sequence[str]
    alternatives: Sequence[Sequence[str] | None] | None = None
    """Per row the answers that the model considered, best first; None where the file has no such column."""
    references: Sequence[Sequence[str] | None] | None = None
    """Per row what several people answered; None where the file has no such column."""
    difficulties: Sequence[int | None] | None = None
    """Per row the level of difficulty; None where the file has no such column."""
    questions: Sequence[str | None] | None = None
    """Per row the question, for metrics that read it."""

    def __post_init__(self) -> None:
        columns = (self.answers, self.alternatives, self.references, self.difficulties, self.questions)
        if any(column is not None and len(column) != len(self.predictions) for column in columns):
            raise ValueError("predictions, answers and the optional columns differ in length")

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
    on_request: ClassVar[str | None] = None
    """Why it is left out of "all metrics" unless it is named."""
    perfect_is_high: ClassVar[bool] = True
    """Whether every prediction that equals the answer scores `high`, an empty one and an emoji included."""

    @abc.abstractmethod
    def score(self, rows: Answered) -> Scores:
        """Return one score per row, shape [rows]; `low` where the prediction failed."""

    def lacking(self, rows: Answered) -> str | None:
        """Return what the rows lack for this metric, or None when they have all that it needs."""
        return None

    @property
    def settings(self) -> Mapping[str, object]:
        """What besides the rows the scores depend on, such as the model, ready for JSON; asked for after `score`."""
        return {}

    def weights(self, rows: Answered) -> Scores | None:
        """Return how much each row counts in the mean, shape [rows], or None where all count the same.

        The mean of a weighted metric is sum(weight * score) / sum(weight), NaN where the weights sum to 0.
        """
        return None


class TableMetric(Metric):
    """A metric of a whole table that is no mean over rows, computed from sums over rows.

    `score` tells which rows are right, for looking at them; the value of a table, of a slice and of a bootstrap's
    resample is `value` of the sums of `tallies` over its rows, so that resampling clusters takes one product of
    matrices: counts [resamples, clusters] @ sums per cluster [clusters, tallies].
    """

    @abc.abstractmethod
    def tallies(self, rows: Answered) -> csr_array:
        """Return what each row adds to the sums, sparse, shape [rows, tallies]."""

    @abc.abstractmethod
    def value(self, sums: Scores) -> Scores:
        """Return the metric of each vector of sums: shape [..., tallies] to shape [...]."""


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
