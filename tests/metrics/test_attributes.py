"""JSON answers, an attribute at a time."""

from __future__ import annotations

import json

import pytest

from shelfqa.metrics.attributes import AttributeMatch, Share, attribute_match_score, attributes_of
from shelfqa.metrics.base import Answered

ANSWER = json.dumps({"Color": "Navy Blue", "leg_count": 4, "care": ["wash", "iron"], "pattern": None})


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ({"color": "navy blue.", "leg count": "four", "care": ["Iron", "wash"], "pattern": None}, 1.0),
        ({"color": "navy"}, 0.0),
        ({"COLOR": "navy blue", "extra": "ignored"}, 0.25),
        ({"leg_count": 4, "care": "wash"}, 0.25),
        ({}, 0.0),
    ],
)
def test_share_of_attributes(prediction: dict[str, object], expected: float) -> None:
    assert attribute_match_score(json.dumps(prediction), ANSWER) == expected


@pytest.mark.parametrize("text", ["", "navy", "[1]", '"x"', "{", "[" * 10_000, '{"a":' * 10_000, "1" * 10_000, "null"])
def test_what_is_no_object_scores_0(text: str) -> None:
    assert attributes_of(text) is None
    assert attribute_match_score(text, ANSWER) == 0.0


def test_breakdown() -> None:
    rows = Answered(
        predictions=['{"color": "red", "legs": 4}', None, "no JSON", '{"legs": 3}'],
        answers=['{"color": "Red", "legs": "four"}', '{"legs": 4}', '{"legs": 4}', '{"legs": 3}'],
    )
    assert AttributeMatch().by_attribute(rows) == {"legs": Share(2, 4), "color": Share(1, 1)}
    assert AttributeMatch().score(rows).tolist() == [1.0, 0.0, 0.0, 1.0]


def test_says_what_is_lacking() -> None:
    assert AttributeMatch().lacking(Answered(predictions=["red"], answers=["{}"])) is None
    assert "row 1 has 'red'" in (AttributeMatch().lacking(Answered(predictions=["", ""], answers=["{}", "red"])) or "")
