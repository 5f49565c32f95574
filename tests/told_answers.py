"""Answers in a form in which two models' can be compared: `assert told(found) == nearly(expected)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from shelfqa.records import Answer


def told(found: Sequence[Sequence[Answer]]) -> list[list[tuple[str, Any]]]:
    """Return text and probability of each answer to each question."""
    return [[(answer.text, answer.probability) for answer in answers] for answers in found]


def nearly(expected: Sequence[Sequence[Answer]]) -> list[list[tuple[str, Any]]]:
    """Return the same, with probabilities that may be 1e-4 off."""
    return [[(text, pytest.approx(probability, abs=1e-4)) for text, probability in row] for row in told(expected)]
