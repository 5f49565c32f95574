from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfqa.question_types import QUESTION_TYPES, question_type
from shelfqa.text import answer_tokens, normalize_answer


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("The Mug.", "mug"),
        ("TWO", "2"),
        ("none", "0"),
        ("a an the", ""),
        ("T-Shirt", "t shirt"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("white/black", "white black"),
        ("  dark   blue ", "dark blue"),
        ("women's", "women's"),
        ("'quoted'", "quoted"),
        ("Café", "café"),
        ("twelve", "twelve"),
        ("", ""),
        ("茶", "茶"),
    ],
)
def test_normalises(raw: str, normal: str) -> None:
    assert normalize_answer(raw) == normal


@given(st.text())
def test_normalising_twice_changes_nothing(raw: str) -> None:
    once = normalize_answer(raw)
    assert normalize_answer(once) == once


@given(st.text())
def test_tokens_hold_no_white_space(raw: str) -> None:
    assert all(token and token.strip() == token for token in answer_tokens(raw))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What color is the mug?", "colour"),
        ("What colour are the legs", "colour"),
        ("How many drawers are there?", "count"),
        ("What is the chair made of?", "material"),
        ("What pattern is on the shirt?", "pattern"),
        ("What shape is the clock?", "shape"),
        ("Which brand is printed on the box?", "brand"),
        ("Is the lamp on?", "yes/no"),
        ("What kind of product is this?", "what-kind"),
        ("What is this?", "what-kind"),
        ("Where is the handle?", "other"),
        ("", "other"),
    ],
)
def test_question_types(question: str, expected: str) -> None:
    assert question_type(question) == expected
    assert expected in QUESTION_TYPES
