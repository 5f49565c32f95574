"""Likeness of spellings: Levenshtein similarity and ANLS, through rapidfuzz."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from shelfqa.errors import ConfigError
from shelfqa.metrics.base import Answered, PairMetric, Scores


def rapidfuzz_distance(name: str) -> Any:
    """Return a module of rapidfuzz.distance.

    Raises:
        ConfigError: where rapidfuzz is not installed.

    """
    try:
        return importlib.import_module(f"rapidfuzz.distance.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError("This metric needs rapidfuzz: pip install 'shelfqa[metrics]'.") from error


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def levenshtein_score(prediction: str, answer: str) -> float:
    """Return how alike two spellings are once case and spaces are evened out.

    Formula: 1 - d(prediction, answer) / max(|prediction|, |answer|), in [0, 1]; d is the least number of characters to
    insert, remove or replace (Levenshtein 1966, Soviet Physics Doklady 10(8)), lengths are in Unicode characters. Two
    empty texts agree. Symmetric.

    >>> levenshtein_score("grey", "Gray"), levenshtein_score("", "red")
    (0.75, 0.0)
    """
    return float(rapidfuzz_distance("Levenshtein").normalized_similarity(_plain(prediction), _plain(answer)))


def anls_score(prediction: str, answers: Sequence[str], threshold: float = 0.5) -> float:
    """Return the similarity of the nearest answer, 0 where it is not near enough.

    Formula: max over answers a of s(a) where 1 - s(a) < `threshold`, else 0; s is `levenshtein_score`. In {0} and
    (1 - threshold, 1]. Source: average normalised Levenshtein similarity, ST-VQA (arXiv 1905.13648, section 4).

    >>> anls_score("grey", ["Gray", "silver"]), anls_score("black", ["white"])
    (0.75, 0.0)
    """
    best = max((levenshtein_score(prediction, answer) for answer in answers), default=0.0)
    return best if 1 - best < threshold else 0.0


class Levenshtein(PairMetric):
    """Likeness of spellings: the share of characters that need no change."""

    name = "levenshtein"

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `levenshtein_score` of each pair."""
        similarity = rapidfuzz_distance("Levenshtein").normalized_similarity
        plain = zip(map(_plain, predictions), map(_plain, answers), strict=True)
        return np.array([similarity(prediction, answer) for prediction, answer in plain])


class Anls(PairMetric):
    """Likeness of spellings to the nearest of the reference answers, 0 below a half."""

    name = "anls"

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `anls_score` of each pair."""
        scores = Levenshtein().score_pairs(predictions, answers)
        return np.where(1 - scores < self.threshold, scores, 0.0)

    def score(self, rows: Answered) -> Scores:
        """Return one score per row: the most over the answer and, where the row has some, its references."""
        best = super().score(rows)
        if rows.references is None:
            return best
        owners = [row for row, given in enumerate(rows.references) for _ in given or ()]
        others = super().score(
            Answered(
                predictions=[rows.predictions[row] for row in owners],
                answers=[answer for given in rows.references for answer in given or ()],
            )
        )
        np.maximum.at(best, owners, others)
        return best
