"""Token overlap: which share of the words do prediction and answer have in common?

Bags, not sets: `red red` against `red` has precision 1/2. One published study computed these on sets and called the
result SQuAD F1; SQuAD's own evaluation counts repetitions, and so do we. The published variant is `token_f1_sets`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from shelfqa.metrics.base import PairMetric, Scores
from shelfqa.metrics.exact import comparable


class Overlap(NamedTuple):
    """Precision, recall and their harmonic mean, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def token_overlap(prediction: str, answer: str) -> Overlap:
    """Return how far the words of the normalised prediction are those of the normalised answer.

    With c the size of the intersection of both bags of words: precision = c / |prediction|, recall = c / |answer|,
    F1 = 2c / (|prediction| + |answer|), each in [0, 1]. Two empty texts agree (1); an empty one agrees with no other.
    Source: SQuAD (arXiv 1606.05250, section 6.1) and its evaluation script, with the normalisation of
    `shelfqa.text`, which also evens out number words.

    >>> token_overlap("dark navy blue", "navy blue")
    Overlap(precision=0.6666666666666666, recall=1.0, f1=0.8)
    """
    predicted, true = comparable(prediction).split(), comparable(answer).split()
    if not predicted or not true:
        same = float(predicted == true)
        return Overlap(same, same, same)
    common = (Counter(predicted) & Counter(true)).total()
    return Overlap(common / len(predicted), common / len(true), 2 * common / (len(predicted) + len(true)))


def token_precision_score(prediction: str, answer: str) -> float:
    """Return the share of the prediction's words that are in the answer; see `token_overlap`."""
    return token_overlap(prediction, answer).precision


def token_recall_score(prediction: str, answer: str) -> float:
    """Return the share of the answer's words that are in the prediction; see `token_overlap`."""
    return token_overlap(prediction, answer).recall


def token_f1_score(prediction: str, answer: str) -> float:
    """Return the harmonic mean of token precision and recall; see `token_overlap`.

    >>> token_f1_score("light brown", "brown")
    0.6666666666666666
    """
    return token_overlap(prediction, answer).f1


def token_f1_sets_score(prediction: str, answer: str) -> float:
    """Return the harmonic mean of token precision and recall on sets of words: repetitions do not count.

    With c the number of distinct words in common: F1 = 2c / (distinct words of both, added), in [0, 1]. Two empty
    texts agree. This is the Dice coefficient (Dice 1945, Ecology 26(3)); a study of VQA on ABO published it as F1.

    >>> token_f1_sets_score("red red", "red"), token_f1_score("red red", "red")
    (1.0, 0.6666666666666666)
    """
    predicted, true = set(comparable(prediction).split()), set(comparable(answer).split())
    if not predicted or not true:
        return float(predicted == true)
    return 2 * len(predicted & true) / (len(predicted) + len(true))


class TokenPrecision(PairMetric):
    """Share of the prediction's words that are in the answer."""

    name = "token_precision"
    symmetric: ClassVar[bool] = False

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `token_precision_score` of each pair."""
        return np.array([token_precision_score(*pair) for pair in zip(predictions, answers, strict=True)])


class TokenRecall(PairMetric):
    """Share of the answer's words that are in the prediction."""

    name = "token_recall"
    symmetric: ClassVar[bool] = False

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `token_recall_score` of each pair."""
        return np.array([token_recall_score(*pair) for pair in zip(predictions, answers, strict=True)])


class TokenF1(PairMetric):
    """Harmonic mean of token precision and recall, on bags of words: partly right answers count in part."""

    name = "token_f1"

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `token_f1_score` of each pair."""
        return np.array([token_f1_score(*pair) for pair in zip(predictions, answers, strict=True)])


class TokenF1Sets(PairMetric):
    """Token F1 on sets of words, as one study published it: repetitions do not count."""

    name = "token_f1_sets"

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `token_f1_sets_score` of each pair."""
        return np.array([token_f1_sets_score(*pair) for pair in zip(predictions, answers, strict=True)])
