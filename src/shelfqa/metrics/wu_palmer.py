"""Wu-Palmer similarity and WUPS: how near are prediction and answer in WordNet's tree of nouns?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np

from shelfqa.errors import ConfigError
from shelfqa.metrics.base import PairMetric, Scores
from shelfqa.metrics.exact import comparable
from shelfqa.metrics.wordnet import WordNet, wordnet
from shelfqa.metrics.words import words_of

LONGEST = 100
"""How many distinct words of an answer are looked at, so that an answer of thousands takes bounded time."""

_LONGEST_NOUN = 8
_ARTICLES = frozenset({"a", "an", "the"})


Sense = tuple[str, int]
"""Part of speech and the sense's offset in WordNet's file of it."""


class _Place(NamedTuple):
    """Where a sense stands: longest and shortest way to the root, and the way up to each sense above it."""

    longest: int
    shortest: int
    steps: dict[Sense, int]


class SenseTree:
    """The senses of one WordNet below their roots, with what has been computed kept."""

    def __init__(self, words: WordNet) -> None:
        self.words = words
        self._place = lru_cache(maxsize=1 << 17)(self._find_place)
        self.nouns = lru_cache(maxsize=1 << 16)(self._nouns)

    def _nouns(self, word: str) -> tuple[Sense, ...]:
        return tuple(("n", sense) for sense in self.words.senses(word.replace(" ", "_"), "n"))

    def _find_place(self, sense: Sense) -> _Place:
        part, number = sense
        places = [self._place((part, each)) for each in self.words.synset(part, number).above]
        if not places:
            return _Place(0, 0, {sense: 0})
        steps: dict[Sense, int] = {sense: 0}
        for place in places:
            for ancestor, distance in place.steps.items():
                steps[ancestor] = min(steps.get(ancestor, distance + 1), distance + 1)
        return _Place(1 + max(place.longest for place in places), 1 + min(place.shortest for place in places), steps)

    def similarity(self, first: Sense, second: Sense) -> float:
        """Return 2 d / (d + s1 + d + s2) for two senses, in (0, 1].

        d: number of senses from the root to the lowest common one, the longer way; s1, s2: shortest ways from each
        sense to it. The lowest common one is that with the longest shortest way to the root, as in nltk; ties go to
        `first` itself, else by name. Nouns have one root; other senses get one above all of their tops.
        """
        one, other = self._place(first), self._place(second)
        common = one.steps.keys() & other.steps.keys()
        deepest = max((self._place(sense).shortest for sense in common), default=0)
        lowest = [sense for sense in common if self._place(sense).shortest == deepest]
        if deepest == 0 and first not in lowest and (not common or first[0] != "n"):
            return 2 / (2 + max(one.steps.values()) + 1 + max(other.steps.values()) + 1)
        shared = first if first in lowest else min(lowest, key=lambda sense: self.words.label(*sense))
        root = self._place(shared)
        depth = root.longest + 1
        return 2 * depth / (2 * depth + _shortest(one.steps, root.steps) + _shortest(other.steps, root.steps))

    def nearest(self, first: Sequence[Sense], second: Sequence[Sense]) -> float:
        """Return the most that a pair of senses, one of each, scores; 0 where either has none."""
        return max((self.similarity(one, other) for one in first for other in second), default=0.0)


def _shortest(steps: dict[Sense, int], to: dict[Sense, int]) -> int:
    return min(distance + to[sense] for sense, distance in steps.items() if sense in to)


@lru_cache(maxsize=4)
def _tree_of(words: WordNet) -> SenseTree:
    return SenseTree(words)


def sense_tree() -> SenseTree:
    """Return the senses of the WordNet that `wordnet.find_wordnet` finds."""
    return _tree_of(wordnet())


@lru_cache(maxsize=1 << 18)
def wu_palmer_similarity(prediction: str, answer: str) -> float:
    """Return the Wu-Palmer similarity of two nouns in lower case, the most over all pairs of their senses.

    Formula: max over senses p, a of 2 depth(lcs(p, a)) / (depth(p) + depth(a)), in [0, 1]; lcs is the lowest common
    sense above both and depth counts senses from the root, see `SenseTree.similarity`. A word that WordNet does not
    have as a noun, also after WordNet's rules for plurals, scores 1 against itself and 0 against others. Source:
    Wu and Palmer 1994, "Verb semantics and lexical selection" (ACL); the same as nltk's `wup_similarity`.

    Noun senses alone: adjective senses have no tree. A study whose tagger sent colours to their adjective senses
    published about 0.2 for pairs of colours that score about 0.9 here. Unlike things rarely score below 0.1.
    Symmetric but for a few pairs of senses whose lowest common senses tie.
    """
    if prediction == answer:
        return 1.0
    tree = sense_tree()
    return tree.nearest(tree.nouns(prediction), tree.nouns(answer))


@lru_cache(maxsize=1 << 18)
def any_sense_similarity(prediction: str, answer: str) -> float:
    """Return the Wu-Palmer similarity as a study of VQA on ABO published it, as far as it can be found out.

    A word's senses are its noun senses or, where it has none, all others, below one made-up root as in nltk; words
    that WordNet lacks score 0 even against themselves. Two different adjectives score 0.5, an adjective against a
    noun about 0.2, whatever they mean. In [0, 1]. It agrees with the published column on 94% of its rows; on the
    others the study's part-of-speech tagger chose between noun and adjective.
    """
    tree = sense_tree()
    return tree.nearest(_any_senses(prediction), _any_senses(answer))


def _any_senses(text: str) -> tuple[Sense, ...]:
    tree, word = sense_tree(), text.replace(" ", "_")
    return tree.nouns(word) or tuple((part, sense) for part in "var" for sense in tree.words.senses(word, part))


@lru_cache(maxsize=1 << 16)
def elements(answer: str) -> tuple[str, ...]:
    """Return what an answer is a set of: itself where WordNet has it as one noun (`coffee table`), else its words.

    Articles are left out unless there is nothing else. At most `LONGEST` words are returned, sorted, each once.
    """
    words = tuple(word for word in words_of(answer) if word not in _ARTICLES) or words_of(answer)
    if 1 < len(words) <= _LONGEST_NOUN and sense_tree().nouns(" ".join(words)):
        return (" ".join(words),)
    return tuple(sorted(tuple(dict.fromkeys(words))[:LONGEST]))


def wups_score(prediction: str, answer: str, *, threshold: float = 0.9, down_weight: float = 0.1) -> float:
    """Return WUPS, the set membership measure with down-weighted similarities of Malinowski and Fritz.

    Formula: min(prod over a in A of max over p in P of w(p, a), prod over p in P of max over a in A of w(p, a)), in
    [0, 1]; A and P are the sets of `elements` of answer and prediction, and w is `wu_palmer_similarity`, times
    `down_weight` where it is below `threshold`. For single words it is w itself. At threshold 0 nothing is
    down-weighted. It never rises as the threshold rises: one study prints WUPS 0.9 above WUPS 0.0, which this
    definition makes impossible. Source: arXiv 1410.0210, section 4.1 (equation 8), down-weight 0.1. Two empty texts
    agree (1); an empty one agrees with no other.
    """
    predicted, true = elements(prediction), elements(answer)
    if predicted == true or comparable(prediction) == comparable(answer):
        return 1.0
    if not predicted or not true:
        return 0.0

    def product(members: Sequence[str], best_of: Callable[[str], float]) -> float:
        weighed = 1.0
        for member in members:
            best = best_of(member)
            weighed *= best if best >= threshold else best * down_weight
            if weighed == 0.0:
                break
        return weighed

    return min(
        product(true, lambda word: max(wu_palmer_similarity(other, word) for other in predicted)),
        product(predicted, lambda word: max(wu_palmer_similarity(word, other) for other in true)),
    )


class Wups(PairMetric):
    """Wu-Palmer similarity of sets of words, down-weighted below a threshold."""

    symmetric: ClassVar[bool] = False

    def __init__(self, threshold: float = 0.9, down_weight: float = 0.1, name: str = "wups_weighted") -> None:
        if not (0 <= threshold <= 1 and 0 <= down_weight <= 1):
            raise ConfigError(f"WUPS: threshold and weight are between 0 and 1, not {threshold!r} and {down_weight!r}.")
        self.threshold = threshold
        self.down_weight = down_weight
        self.name = name

    @property
    def settings(self) -> Mapping[str, object]:
        """The threshold, and what similarities below it are multiplied by."""
        return {"threshold": self.threshold, "down_weight": self.down_weight}

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `wups_score` of each pair; the similarity of each pair of words is computed once."""
        wordnet()  # without it even equal answers are an error
        pairs = zip(predictions, answers, strict=True)
        return np.array([wups_score(*pair, threshold=self.threshold, down_weight=self.down_weight) for pair in pairs])


class WuPalmerAnySense(PairMetric):
    """Wu-Palmer similarity as one study published it: all senses where a word has no noun sense, unknown words 0."""

    name = "wu_palmer_any_sense"
    symmetric: ClassVar[bool] = False
    perfect_is_high: ClassVar[bool] = False

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `any_sense_similarity` of each pair of whole answers in lower case."""
        wordnet()  # without it even equal answers are an error
        pairs = zip(predictions, answers, strict=True)
        return np.array([any_sense_similarity(*(" ".join(words_of(text)) for text in pair)) for pair in pairs])


def wu_palmer() -> Wups:
    """Wu-Palmer similarity over WordNet's noun senses: nearly right answers count in part."""
    return Wups(threshold=0.0, name="wu_palmer")


def wups_00() -> Wups:
    """WUPS at threshold 0.0, nothing down-weighted: the same as wu_palmer, under the name of the VQA literature."""
    return Wups(threshold=0.0, name="wups_00")


def wups_09() -> Wups:
    """WUPS at threshold 0.9: similarities below it count a tenth."""
    return Wups(threshold=0.9, name="wups_09")


def wups_weighted(threshold: float = 0.9, weight: float = 0.5) -> Wups:
    """WUPS where similarities below the threshold are multiplied by a weight of one's choice (0.5 unless told)."""
    return Wups(threshold=threshold, down_weight=weight)
