"""METEOR: words matched as they are, by stem and by synonym, with a penalty for broken order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import numpy as np

from shelfqa.metrics.base import PairMetric, Scores
from shelfqa.metrics.porter import porter_stem
from shelfqa.metrics.wordnet import WordNet, wordnet
from shelfqa.metrics.words import words_of

_Places = list[tuple[int, str]]


def meteor_score(
    prediction: str,
    answer: str,
    *,
    alpha: float = 0.9,
    beta: float = 3.0,
    gamma: float = 0.5,
    strip_punctuation: bool = False,
) -> float:
    """Return METEOR of a prediction against one answer, in [0, 1).

    Formula: (1 - gamma * (chunks / m) ** beta) * p r / (alpha p + (1 - alpha) r); m words match, p = m / |prediction|,
    r = m / |answer|, chunks is the number of runs of matches that stand in the same order in both. Words match as
    they are, else by Porter's stem, else where the one's stem shares a WordNet sense with the other's; each stage
    goes through the prediction from its end and takes the last free word of the answer. Source: Lavie and Agarwal 2007
    (ACL W07-0734); the same as nltk's `meteor_score([answer.split()], prediction.split())`.

    Words are what stands between spaces, so that `Yes!` does not match `yes`: this is how studies called nltk. With
    `strip_punctuation` they are those of `words_of`, and it does.

    A perfect answer of n words is one chunk and scores 1 - gamma / n ** beta: a perfect single word gets 0.5, not 1,
    two words 0.9375. So on single words METEOR is half of "right, or a synonym of it", and its mean says little. An
    empty text scores 0.
    """
    words: Callable[[str], Sequence[str]] = words_of if strip_punctuation else _spaced
    predicted, true = words(prediction), words(answer)
    matches = _align(predicted, true, wordnet())
    if not matches:
        return 0.0
    precision, recall = len(matches) / len(predicted), len(matches) / len(true)
    mean = precision * recall / (alpha * precision + (1 - alpha) * recall)
    follows = ((b[0] - a[0], b[1] - a[1]) == (1, 1) for a, b in pairwise(matches))
    chunks = len(matches) - sum(follows)
    penalty: float = gamma * (chunks / len(matches)) ** beta
    return (1 - penalty) * mean


def _spaced(text: str) -> list[str]:
    return text.lower().split()


def _align(predicted: Sequence[str], true: Sequence[str], words: WordNet) -> list[tuple[int, int]]:
    """Return the pairs of positions of matching words, by position in the prediction."""
    ours, theirs = list(enumerate(predicted)), list(enumerate(true))
    matches, ours, theirs = _match(ours, theirs, lambda word: (word,))
    if ours and theirs:
        by_stem, ours, theirs = _match(_stems(ours), _stems(theirs), lambda word: (word,))
        matches += by_stem
    if ours and theirs:
        matches += _match(ours, theirs, lambda word: _synonyms(words, word))[0]
    return sorted(matches)


def _stems(side: _Places) -> _Places:
    return [(place, porter_stem(word)) for place, word in side]


def _match(
    ours: _Places, theirs: _Places, accepted: Callable[[str], Iterable[str]]
) -> tuple[list[tuple[int, int]], _Places, _Places]:
    """Match each of our words, the last first, with the last free one of theirs that it accepts; and the rest."""
    free: dict[str, list[int]] = defaultdict(list)
    for place, word in theirs:
        free[word].append(place)
    matches = []
    for place, word in reversed(ours):
        found = max((free[each] for each in accepted(word) if free.get(each)), key=lambda left: left[-1], default=None)
        if found:
            matches.append((place, found.pop()))
    taken, given = {match[0] for match in matches}, {match[1] for match in matches}
    return matches, [each for each in ours if each[0] not in taken], [each for each in theirs if each[0] not in given]


@lru_cache(maxsize=1 << 15)
def _synonyms(words: WordNet, word: str) -> frozenset[str]:
    return words.synonyms(word)


class Meteor(PairMetric):
    """METEOR: words matched as they are, by stem or synonym; a perfect single word gets 0.5 by its definition."""

    name = "meteor"
    symmetric: ClassVar[bool] = False
    perfect_is_high: ClassVar[bool] = False

    def __init__(self, strip_punctuation: bool = False) -> None:
        self.strip_punctuation = strip_punctuation

    @property
    def settings(self) -> Mapping[str, object]:
        """Whether punctuation around words is left out."""
        return {"strip_punctuation": self.strip_punctuation}

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `meteor_score` of each pair."""
        pairs = zip(predictions, answers, strict=True)
        return np.array([meteor_score(*pair, strip_punctuation=self.strip_punctuation) for pair in pairs])
