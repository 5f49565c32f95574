"""ROUGE-1 and ROUGE-L: words, and the longest common subsequence of words, shared with the answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np

from shelfqa.metrics.base import PairMetric, Scores
from shelfqa.metrics.porter import porter_stem
from shelfqa.metrics.strings import rapidfuzz_distance

_WORD = re.compile(r"[a-z0-9]+")


@lru_cache(maxsize=1 << 16)
def rouge_tokens(text: str, stem: bool = False) -> tuple[str, ...]:
    """Return the runs of a-z and 0-9 in lower case, as rouge-score reads a text; nothing of other scripts is left.

    With `stem`, words of more than three letters are stemmed, as by rouge-score's `use_stemmer`.
    """
    words = _WORD.findall(text.lower())
    return tuple(porter_stem(word) if stem and len(word) > 3 else word for word in words)


def rouge_1_score(prediction: str, answer: str, stem: bool = False) -> float:
    """Return the F1 of ROUGE-1, in [0, 1].

    Formula: 2 c / (|prediction| + |answer|) with c the size of the intersection of both bags of words, of their stems
    with `stem`. It differs from `token_f1` in the words alone: articles count, number words are not evened out.
    Source: Lin 2004 (ACL W04-1013); the same as the rouge-score package. A text without a-z and 0-9 scores 0, against
    itself too: for other scripts use `token_f1` or `levenshtein`.

    >>> rouge_1_score("blue navy", "navy blue"), rouge_l_score("blue navy", "navy blue")
    (1.0, 0.5)
    """
    predicted, true = rouge_tokens(prediction, stem), rouge_tokens(answer, stem)
    if not predicted or not true:
        return 0.0
    return 2 * (Counter(predicted) & Counter(true)).total() / (len(predicted) + len(true))


def rouge_l_score(prediction: str, answer: str, stem: bool = False) -> float:
    """Return the F1 of ROUGE-L, in [0, 1].

    Formula: 2 c / (|prediction| + |answer|) with c the length of the longest common subsequence of words, of their
    stems with `stem` (one study of VQA on ABO published these: `boots` counts as `boot`). Source: Lin 2004 (ACL
    W04-1013, section 3.1) with beta = 1; the same as the rouge-score package, see `rouge_1_score` for other scripts.
    """
    predicted, true = rouge_tokens(prediction, stem), rouge_tokens(answer, stem)
    if not predicted or not true:
        return 0.0
    if len(predicted) == 1 or len(true) == 1:
        common = int(predicted[0] in true if len(predicted) == 1 else true[0] in predicted)
    else:
        number = {word: position for position, word in enumerate(dict.fromkeys(predicted + true))}
        common = rapidfuzz_distance("LCSseq").similarity(
            [number[word] for word in predicted], [number[word] for word in true]
        )
    return 2 * common / (len(predicted) + len(true))


class _Rouge(PairMetric):
    perfect_is_high: ClassVar[bool] = False

    def __init__(self, stem: bool = False) -> None:
        self.stem = stem

    @property
    def settings(self) -> Mapping[str, object]:
        """Whether words are stemmed."""
        return {"stem": self.stem}


class Rouge1(_Rouge):
    """ROUGE-1 F1: words in common, articles included."""

    name = "rouge_1"

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `rouge_1_score` of each pair."""
        return np.array([rouge_1_score(*pair, self.stem) for pair in zip(predictions, answers, strict=True)])


class RougeL(_Rouge):
    """ROUGE-L F1: the longest common subsequence of words, so that their order counts."""

    name = "rouge_l"

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `rouge_l_score` of each pair."""
        return np.array([rouge_l_score(*pair, self.stem) for pair in zip(predictions, answers, strict=True)])
