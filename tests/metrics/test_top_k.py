"""Top-k exact match."""

from __future__ import annotations

import pytest

from shelfqa.metrics.base import Answered
from shelfqa.metrics.top_k import TopK, top_k_score


@pytest.mark.parametrize(
    ("alternatives", "k", "expected"),
    [
        (["navy", "blue"], 1, 0.0),
        (["navy", "blue"], 2, 1.0),
        (["Navy", "navy.", "blue"], 2, 1.0),  # the first two are one answer
        (["navy", "the Blue"], 5, 1.0),
        ([], 5, 0.0),
    ],
)
def test_score(alternatives: list[str], k: int, expected: float) -> None:
    assert top_k_score(alternatives, "blue", k) == expected


def test_never_falls_as_k_grows() -> None:
    alternatives = ["red", "navy", "blue", "black"]
    scores = [top_k_score(alternatives, "blue", k) for k in range(1, 6)]
    assert scores == sorted(scores)


def test_row_without_alternatives_is_judged_by_its_prediction() -> None:
    rows = Answered(predictions=["blue", "blue"], answers=["blue", "red"], alternatives=[None, ["blue", "red"]])
    assert TopK(3).score(rows).tolist() == [1.0, 1.0]


def test_says_what_is_lacking() -> None:
    rows = Answered(predictions=["blue"], answers=["blue"], alternatives=[["blue", "red"]])
    assert TopK(1).lacking(rows) is None
    assert "2 at most where 5 are needed" in (TopK(5).lacking(rows) or "")
