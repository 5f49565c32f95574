"""Which samples a model would cut, by their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def cut_places(model: Any, questions: Sequence[str], answers: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return where questions and where answers are cut, and check that the counts make sense."""
    counts = model.token_counts(questions, answers, [0] * len(questions))
    for count in counts:
        assert 0 <= count.question_cut <= count.question
        assert 0 <= count.answer_cut <= count.answer
        assert count.beyond == 0
    return (
        [place for place, count in enumerate(counts) if count.question_cut],
        [place for place, count in enumerate(counts) if count.answer_cut],
    )
