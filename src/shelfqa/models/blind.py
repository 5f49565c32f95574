"""Blind baselines: what can be had without looking at the picture.

A model that reads pictures is worth what it adds to these. Each learns from the questions and answers of the training
split alone, and answers with normalised answers (`shelfqa.text`).
"""

from __future__ import annotations

import abc
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from shelfqa.errors import InputError
from shelfqa.question_types import question_type
from shelfqa.records import Answer
from shelfqa.registry import Registry
from shelfqa.text import normalize_answer

BLIND_BASELINES = Registry(
    "blind baseline",
    {
        "majority": "shelfqa.models.blind:Majority",
        "majority-per-type": "shelfqa.models.blind:MajorityPerType",
        "question-only": "shelfqa.models.blind:QuestionOnly",
    },
)


class BlindBaseline(abc.ABC):
    """Answers from the wording of the question alone."""

    def fit(self, questions: Sequence[str], answers: Sequence[str]) -> Self:
        """Learn from the training split, in place.

        Raises:
            InputError: if there is nothing to learn from.

        """
        if not questions:
            raise InputError("A blind baseline learns from the split 'train', which is empty: run shelfqa split first.")
        self._fit(questions, [normalize_answer(answer) for answer in answers])
        return self

    @abc.abstractmethod
    def answer(self, questions: Sequence[str], *, top_k: int = 5) -> list[list[Answer]]:
        """Return for each question at most `top_k` answers, likeliest first, with their probabilities."""

    @abc.abstractmethod
    def _fit(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        """Learn from questions and their normalised answers."""


class Majority(BlindBaseline):
    """The commonest answer of the training split, to every question."""

    def answer(self, questions: Sequence[str], *, top_k: int = 5) -> list[list[Answer]]:
        """Return the commonest answers with their shares of the training split."""
        return [self._commonest[:top_k] for _ in questions]

    def _fit(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        self._commonest = _shares(answers)


class MajorityPerType(BlindBaseline):
    """The commonest answer of the training split to questions of the same type (`shelfqa.question_types`)."""

    def answer(self, questions: Sequence[str], *, top_k: int = 5) -> list[list[Answer]]:
        """Return the commonest answers to questions of that type; of all types, for one that was never seen."""
        return [self._by_type.get(question_type(question), self._commonest)[:top_k] for question in questions]

    def _fit(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        by_type: dict[str, list[str]] = {}
        for question, answer in zip(questions, answers, strict=True):
            by_type.setdefault(question_type(question), []).append(answer)
        self._by_type = {name: _shares(of_type) for name, of_type in by_type.items()}
        self._commonest = _shares(answers)


class QuestionOnly(BlindBaseline):
    """A text classifier over the commonest answers, which sees the question's words but no picture.

    TF-IDF of words and pairs of words into a small neural network, the mean of several seeds. Of what was tried on
    the questions of Amazon Berkeley Objects this came out best; docs/decisions.md has the numbers. It is strong on
    purpose: half of what a visual question answering model gets right, it can get right from the wording.
    """

    def __init__(self, *, classes: int = 500, hidden: int = 128, epochs: int = 8, networks: int = 3, seed: int = 0):
        self.classes = classes
        """Rarer answers than the commonest this many are never given."""
        self.hidden = hidden
        self.epochs = epochs
        self.networks = networks
        self.seed = seed

    def answer(self, questions: Sequence[str], *, top_k: int = 5) -> list[list[Answer]]:
        """Return the likeliest answers with their probabilities under the mean of the networks."""
        if not self._models or not questions:
            return self._fallback.answer(questions, top_k=top_k)
        distinct = list(dict.fromkeys(questions))
        features = self._vectorizer.transform(distinct).astype(np.float32)
        probabilities = np.mean([model.predict_proba(features) for model in self._models], axis=0)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
        names = self._models[0].classes_
        of_question = {
            question: [Answer(str(names[place]), float(row[place])) for place in places]
            for question, row, places in zip(distinct, probabilities, best, strict=True)
        }
        return [of_question[question] for question in questions]

    def _fit(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._fallback = Majority().fit(questions, answers)
        self._models: list[Any] = []
        known = {answer.text for answer in self._fallback.answer([""], top_k=self.classes)[0]}
        kept = [row for row, answer in enumerate(answers) if answer in known]
        self._vectorizer = TfidfVectorizer(
            ngram_range=(1, 2),
            min_df=2 if len(questions) >= 200 else 1,
            sublinear_tf=True,
            token_pattern=r"(?u)\b\w+\b",
        )
        texts, labels = [questions[row] for row in kept], np.array([answers[row] for row in kept])
        if len(known) < 2:
            return
        try:
            features = self._vectorizer.fit_transform(texts).astype(np.float32)
        except ValueError:  # No question holds a single word.
            return
        self._models = [self._network(features, labels, self.seed + number) for number in range(self.networks)]

    def _network(self, features: Any, labels: np.ndarray[Any, Any], seed: int) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        network = MLPClassifier(
            (self.hidden,),
            alpha=3e-5,
            batch_size=min(256, len(labels)),
            learning_rate_init=2e-3,
            max_iter=max(self.epochs, min(40, self.epochs * 10_000 // len(labels))),
            random_state=seed,
        )
        with warnings.catch_warnings(), threadpool_limits(1):  # The products are too small to gain from threads.
            warnings.simplefilter("ignore", ConvergenceWarning)  # The few epochs are meant: more of them overfit.
            return network.fit(features, labels)


def _shares(answers: Sequence[str]) -> list[Answer]:
    """Return the distinct answers with their shares, commonest first, ties in alphabetical order."""
    counted = sorted(Counter(answers).items(), key=lambda item: (-item[1], item[0]))
    return [Answer(answer, number / len(answers)) for answer, number in counted]
