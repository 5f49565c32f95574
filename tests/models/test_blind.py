"""Baselines that see no picture."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from shelfqa.errors import InputError
from shelfqa.models.blind import BLIND_BASELINES, Majority, MajorityPerType, QuestionOnly
from shelfqa.text import normalize_answer

QUESTIONS = [
    "What color is it?",
    "What color is the mug?",
    "What colour?",
    "How many legs?",
    "How many?",
    "Is it round?",
]
ANSWERS = ["Red", "red.", "blue", "Four", "4", "yes"]


@pytest.mark.parametrize("name", list(BLIND_BASELINES))
def test_shape_order_and_probabilities(name: str) -> None:
    baseline = BLIND_BASELINES.load(name)().fit(QUESTIONS * 5, ANSWERS * 5)
    for answers in baseline.answer([*QUESTIONS, "", "Why?"], top_k=3):
        assert 1 <= len(answers) <= 3
        probabilities = [answer.probability for answer in answers]
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0 <= sum(probabilities) <= 1 + 1e-6
        assert all(answer.text == normalize_answer(answer.text) for answer in answers)
    assert baseline.answer([], top_k=3) == []


@pytest.mark.parametrize("name", list(BLIND_BASELINES))
def test_nothing_to_learn_from(name: str) -> None:
    with pytest.raises(InputError, match="shelfqa split"):
        BLIND_BASELINES.load(name)().fit([], [])


@pytest.mark.parametrize("name", list(BLIND_BASELINES))
def test_one_answer_only(name: str) -> None:
    baseline = BLIND_BASELINES.load(name)().fit(["What?", "Who?"], ["red", "Red"])
    assert baseline.answer(["What?"], top_k=5) == [[("red", 1.0)]]


def test_majority() -> None:
    found = Majority().fit(QUESTIONS, ANSWERS).answer(["How many?"], top_k=2)
    assert found == [[("4", 2 / 6), ("red", 2 / 6)]]


def test_majority_per_type() -> None:
    baseline = MajorityPerType().fit(QUESTIONS, ANSWERS)
    color, count, unseen = baseline.answer(["Which color?", "How many handles?", "What brand is it?"], top_k=1)
    assert [color[0].text, count[0].text, unseen[0].text] == ["red", "4", "4"]


def test_question_only_learns_from_words() -> None:
    questions = [
        f"What is the {word} of item {number}?" for number in range(30) for word in ("color", "material", "shape")
    ]
    answers = ["red", "wood", "round"] * 30
    baseline = QuestionOnly().fit(questions, answers)
    asked = ["Tell me the material", "color?", "the shape of that item"]
    assert [answers[0].text for answers in baseline.answer(asked, top_k=1)] == ["wood", "red", "round"]


def test_question_only_is_deterministic() -> None:
    first, second = (QuestionOnly().fit(QUESTIONS * 5, ANSWERS * 5).answer(QUESTIONS) for _ in range(2))
    assert first == second


def test_questions_without_words_fall_back() -> None:
    baseline = QuestionOnly().fit(["?", "!"], ["red", "blue"])
    assert baseline.answer(["?"], top_k=1)[0][0].text in ("red", "blue")


@pytest.mark.slow
def test_question_only_on_real_questions(abo_slice: Path) -> None:
    with (abo_slice / "questions" / "gemini_three_per_image.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    train, test = ([row for row in rows if row["split"] == split] for split in ("train", "test"))
    baseline = QuestionOnly().fit([row["question"] for row in train], [row["answer"] for row in train])
    found = baseline.answer([row["question"] for row in test], top_k=1)
    right = sum(one[0].text == normalize_answer(row["answer"]) for one, row in zip(found, test, strict=True))
    assert right / len(test) >= 0.41
