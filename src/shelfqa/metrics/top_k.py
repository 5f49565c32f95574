"""Top-k exact match: is the answer among the k that the model found likeliest?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from shelfqa.metrics.base import Answered, Metric, Scores
from shelfqa.metrics.exact import comparable


def top_k_score(alternatives: Sequence[str], answer: str, k: int) -> float:
    """Return 1.0 if one of the first `k` alternatives is the answer once both are normalised, else 0.0.

    Formula: max over i <= k of [norm(alternative_i) = norm(answer)], in {0, 1}; never falls as k grows, and k = 1 is
    exact match. Alternatives are best first; those that are the same once normalised take one place. Source: the
    top-5 error of ImageNet (arXiv 1409.0575, section 4.1), on texts.

    >>> top_k_score(["navy", "blue"], "Blue", 1), top_k_score(["navy", "blue"], "Blue", 3)
    (0.0, 1.0)
    """
    distinct = list(dict.fromkeys(comparable(alternative) for alternative in alternatives))
    return float(comparable(answer) in distinct[:k])


class TopK(Metric):
    """Share of answers that are among the model's first k alternatives."""

    symmetric: ClassVar[bool] = False

    def __init__(self, k: int) -> None:
        self.k = k
        self.name = f"top_{k}"

    def lacking(self, rows: Answered) -> str | None:
        """Return what the rows lack: at least one of them must have `k` alternatives."""
        most = rows.longest_alternatives()
        if most >= self.k:
            return None
        return f"alternatives: {most} at most where {self.k} are needed (shelfqa predict --top-k {self.k})"

    def score(self, rows: Answered) -> Scores:
        """Return `top_k_score` per row; a row without alternatives is judged by its prediction alone."""
        alternatives = rows.alternatives if rows.alternatives is not None else [None] * len(rows)
        return np.array(
            [
                0.0 if prediction is None else top_k_score(considered or [prediction], answer, self.k)
                for prediction, answer, considered in zip(rows.predictions, rows.answers, alternatives, strict=True)
            ],
            dtype=np.float64,
        )


def top_1() -> TopK:
    """Share of answers that are the model's first alternative."""
    return TopK(1)


def top_3() -> TopK:
    """Share of answers that are among the model's first three alternatives."""
    return TopK(3)


def top_5() -> TopK:
    """Share of answers that are among the model's first five alternatives."""
    return TopK(5)
