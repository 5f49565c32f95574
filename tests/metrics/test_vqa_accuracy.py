"""VQA accuracy beside the published evaluation, and ANLS over several references."""

from __future__ import annotations

import random

import pytest

from shelfqa.errors import ConfigError
from shelfqa.metrics.base import Answered
from shelfqa.metrics.strings import Anls, anls_score
from shelfqa.metrics.suite import chosen_metrics
from shelfqa.metrics.vqa_accuracy import VqaAccuracy, vqa_accuracy_score


def official(prediction: str, references: list[str]) -> float:
    """Return what the code published with VQA v2 computes."""
    given = list(enumerate(references))
    shares = []
    for one in given:
        others = [other for other in given if other != one]
        shares.append(min(1.0, len([other for other in others if other[1] == prediction]) / 3))
    return sum(shares) / len(shares)


def test_same_as_the_published_evaluation() -> None:
    rng = random.Random(0)
    for _ in range(500):
        references = rng.choices(["red", "pink", "blue"], k=rng.randint(1, 12))
        assert vqa_accuracy_score("red", references) == pytest.approx(official("red", references))


@pytest.mark.parametrize(("same", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_ten_people(same: int, expected: float) -> None:
    references = ["Red."] * same + ["pink"] * (10 - same)
    rows = Answered(predictions=["the red", None], answers=["red", "red"], references=[references] * 2)
    assert VqaAccuracy().score(rows).tolist() == pytest.approx([expected, 0.0])


def test_rows_without_several_references_are_judged_by_exact_match() -> None:
    rows = Answered(
        predictions=["red", "red", "blue"],
        answers=["Red", "blue", "red"],
        references=[None, ["red"], ["pink"] * 10],
    )
    assert VqaAccuracy().score(rows).tolist() == [1.0, 1.0, 0.0]


def test_says_what_is_lacking() -> None:
    with pytest.raises(ConfigError, match="answers of several people"):
        chosen_metrics(["vqa_accuracy"], Answered(predictions=["red"], answers=["red"]))


def test_anls_takes_the_nearest_reference() -> None:
    rows = Answered(
        predictions=["grey", "grey", None], answers=["silver", "gray", "red"], references=[["gray", "x"], None, ["red"]]
    )
    assert Anls().score(rows).tolist() == [0.75, 0.75, 0.0]
    assert anls_score("grey", []) == 0.0
