"""Exact match: is the prediction the answer, once both are normalised?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shelfqa.metrics.base import PairMetric, Scores
from shelfqa.text import normalize_answer


def comparable(answer: str) -> str:
    """Return the normalised answer; where nothing is left of it (`The`, `A`, `?!`), the text in lower case.

    So an empty prediction never equals an answer that consists of an article, such as the size `A`.
    """
    return normalize_answer(answer) or answer.casefold().strip()


def exact_match_score(prediction: str, answer: str) -> float:
    """Return 1.0 if prediction and answer are the same once normalised, else 0.0.

    Formula: [norm(prediction) = norm(answer)], in {0, 1}; norm follows the VQA v2 evaluation (arXiv 1612.00837), see
    `shelfqa.text`. Source of the measure: SQuAD (arXiv 1606.05250, section 6.1). Symmetric.

    >>> exact_match_score("The two", "2"), exact_match_score("mugs", "mug")
    (1.0, 0.0)
    """
    return float(comparable(prediction) == comparable(answer))


class ExactMatch(PairMetric):
    """Share of answers that are exactly right once case, punctuation, articles and number words are evened out."""

    name = "exact_match"

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `exact_match_score` of each pair."""
        return np.array([exact_match_score(*pair) for pair in zip(predictions, answers, strict=True)])
