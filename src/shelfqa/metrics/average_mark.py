"""Average Mark: exact match with harder questions counting more."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shelfqa.errors import ConfigError
from shelfqa.metrics.base import Answered, Metric, Scores
from shelfqa.metrics.exact import ExactMatch

WEIGHTS: Mapping[int, float] = {0: 1.0, 1: 2.0, 2: 4.0, 3: 8.0, 5: 20.0}
"""What a question of each level of difficulty counts."""


class AverageMark(Metric):
    """Exact match with each question weighted by its difficulty (1, 2, 4, 8, 20 for levels 0, 1, 2, 3, 5).

    Formula: sum(w(level) * right) / sum(w(level)), in [0, 1]; right is exact match. Rows without a level count nothing.
    Source: the mark of a study of VQA on ABO whose questions have levels 0, 1, 2, 3 and 5; there is no level 4. With
    equal weights it is exact match.
    """

    name = "average_mark"

    def __init__(self, weights: Mapping[int, float] | str | None = None) -> None:
        """Take weights that join or replace those of `WEIGHTS`; as text: `4:12` or `4:12,6:30`."""
        added = _parsed(weights) if isinstance(weights, str) else weights
        self.by_level = {**WEIGHTS, **(added or {})}
        if any(not 0 <= weight < float("inf") for weight in self.by_level.values()):
            raise ConfigError(f"average_mark: weights are numbers from 0, not {weights!r}.")

    @property
    def settings(self) -> Mapping[str, object]:
        """The weight of each level."""
        return {"weights": {str(level): weight for level, weight in sorted(self.by_level.items())}}

    def lacking(self, rows: Answered) -> str | None:
        """Return what the rows lack: at least one of them must have a level."""
        if any(level is not None for level in rows.difficulties or ()):
            return None
        return "levels of difficulty (a column difficulty with whole numbers)"

    def score(self, rows: Answered) -> Scores:
        """Return 1.0 for each row that is exactly right, else 0.0; raises as `weights` does."""
        self.weights(rows)
        return ExactMatch().score(rows)

    def weights(self, rows: Answered) -> Scores:
        """Return the weight of each row's level, 0 where it has none.

        Raises:
            ConfigError: for a level that has no weight.

        """
        levels = rows.difficulties if rows.difficulties is not None else [None] * len(rows)
        unknown = sorted({level for level in levels if level is not None} - self.by_level.keys())
        if unknown:
            known = ", ".join(f"{level}: {weight:g}" for level, weight in sorted(self.by_level.items()))
            raise ConfigError(
                f"average_mark: difficulty level {unknown[0]} has no weight (known are {known}). Set it with the "
                f"metric's name: average_mark:weights={unknown[0]}:WEIGHT."
            )
        return np.array([0.0 if level is None else self.by_level[level] for level in levels], dtype=np.float64)


def _parsed(text: str) -> dict[int, float]:
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return {int(level): float(weight) for level, weight in pairs}
    except ValueError:
        raise ConfigError(
            f"average_mark: weights={text!r}: expected LEVEL:WEIGHT,LEVEL:WEIGHT, such as 4:12."
        ) from None
