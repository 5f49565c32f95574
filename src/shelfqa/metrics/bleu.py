"""Sentence BLEU: precision of the prediction's runs of words, shortness punished."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np

from shelfqa.errors import ConfigError
from shelfqa.metrics.base import PairMetric, Scores

_SPACED = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


@lru_cache(maxsize=1 << 16)
def tokens_13a(text: str) -> tuple[str, ...]:
    """Return the words of a text in lower case, punctuation apart: sacrebleu's tokenizer `13a`, that of WMT.

    >>> tokens_13a("Dark-blue, 2.5 in.")
    ('dark-blue', ',', '2.5', 'in', '.')
    """
    line = text.lower().rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in line:
        for entity, character in _ENTITIES:
            line = line.replace(entity, character)
    line = f" {line} "
    for pattern, replacement in _SPACED:
        line = pattern.sub(replacement, line)
    return tuple(line.split())


def bleu_score(prediction: str, answer: str, max_order: int = 4) -> float:
    """Return the sentence BLEU of a prediction against one answer, in [0, 1].

    Formula: min(1, exp(1 - |answer| / |prediction|)) * (prod over n of p_n) ** (1 / N); p_n is the share of the
    prediction's runs of n words that are in the answer, counted as bags, and N is `max_order` or the prediction's
    length, whichever is less ("effective order"). An order without a match is smoothed as in mteval-v13a ("exp"): the
    k-th such has p_n = 1 / (2**k * runs); where not a word matches the score is 0. Source: Papineni et al. 2002 (ACL
    P02-1040); smoothing: Chen and Cherry 2014 (W14-3346), method 3; a hundredth of sacrebleu's sentence score (arXiv
    1804.08771) with lowercase, tokenize 13a, smooth_method exp, effective_order. An empty prediction scores 0.

    On single words BLEU is exact match on other rules, and says nothing more.

    >>> bleu_score("blue", "Blue"), round(bleu_score("navy", "dark navy"), 4)
    (1.0, 0.3679)
    """
    predicted, true = tokens_13a(prediction), tokens_13a(answer)
    if not predicted:
        return 0.0
    if predicted == true:
        return 1.0
    logs, misses = [], 0
    for order in range(1, min(max_order, len(predicted)) + 1):
        runs = _runs(predicted, order)
        matches = (runs & _runs(true, order)).total()
        if matches == 0:
            if order == 1:
                return 0.0
            misses += 1
        share = matches or 0.5**misses
        logs.append(math.log(share / (len(predicted) - order + 1)))
    shortness = min(0.0, 1 - len(true) / len(predicted))
    return math.exp(shortness + sum(logs) / len(logs))


def _runs(tokens: tuple[str, ...], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


class Bleu(PairMetric):
    """BLEU with runs of up to `max_order` words."""

    symmetric: ClassVar[bool] = False
    perfect_is_high: ClassVar[bool] = False

    def __init__(self, max_order: int = 4) -> None:
        if max_order < 1:
            raise ConfigError(f"BLEU: max_order is at least 1, not {max_order!r}.")
        self.max_order = max_order
        self.name = "bleu" if max_order == 4 else f"bleu_{max_order}"

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `bleu_score` of each pair."""
        return np.array([bleu_score(*pair, self.max_order) for pair in zip(predictions, answers, strict=True)])


def bleu() -> Bleu:
    """Sentence BLEU with runs of up to four words, smoothed as sacrebleu does."""
    return Bleu()


def bleu_1() -> Bleu:
    """BLEU of single words alone: word precision times a penalty for short predictions."""
    return Bleu(1)
