"""What of a chat model's reply counts as its answer."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfqa.models.replies import Form, reduce_reply
from shelfqa.text import normalize_answer

GOLDEN = json.loads((Path(__file__).parent / "golden/replies.json").read_text(encoding="utf-8"))
FORMS: tuple[Form, ...] = ("raw", "short", "word")
QUESTIONS = (
    "What color is the mug?",
    "How many legs are there?",
    "Is it round?",
    "Is it round or square?",
    "What is this?",
    "What word is printed on the case?",
    "What covers the windows?",
    "",
)
PIECES = (
    "The color of the mug is", "It's", "There are", "no", "Yes,", "red", "and", "white", "two",
    "12", "a pair of", "made of",
    "**", "\n", "Answer:", ".", ":", "\"LOVE\"", "which", "in the image", "Sure!", "<|im_end|>", "not", "- ", "?", "in",
    "shape", "'", "the", "is",
)  # fmt: skip

questions = st.sampled_from(QUESTIONS)
replies = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map(" ".join))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['question']} {case['reply']}"[:70])
def test_golden_replies(case: dict[str, str]) -> None:
    assert reduce_reply(case["reply"], case["question"], "short") == case["short"]
    if "word" in case:
        assert reduce_reply(case["reply"], case["question"], "word") == case["word"]


@given(replies, questions, st.sampled_from(FORMS))
@settings(deadline=None, max_examples=200)
def test_reducing_twice_changes_nothing_and_empties_nothing(reply: str, question: str, form: Form) -> None:
    once = reduce_reply(reply, question, form)
    assert reduce_reply(once, question, form) == once
    assert bool(once) == bool(reply.strip())
    assert once == once.strip()


@given(st.from_regex(r"[A-Za-z]{1,12}", fullmatch=True), questions, st.sampled_from(FORMS))
@settings(deadline=None)
def test_a_word_stays_that_word(word: str, question: str, form: Form) -> None:
    for reply in (word, f"{word}.", f"**{word}**", f'"{word}"'):
        found = reduce_reply(reply, question, form)
        if form != "raw":
            allowed = {normalize_answer(word), word.casefold()} | ({"yes"} if word.casefold() in YES else set())
            allowed |= {"no"} if word.casefold() in NO else set()
            allowed |= {"1", "2", "12"} if word.casefold() in ("single", "pair", "couple", "both", "dozen") else set()
            assert normalize_answer(found) in allowed | {normalize_answer(each) for each in allowed}


YES = {"yes", "yeah", "yep", "yup", "correct", "true", "indeed", "affirmative"}
NO = {"no", "nope", "nah", "false", "incorrect", "negative", "none", "neither"}


def test_raw_is_only_stripped() -> None:
    assert reduce_reply("  The mug is **red**.\n", "What color?", "raw") == "The mug is **red**."
    assert reduce_reply("   ", "What color?", "short") == ""


def test_a_reply_of_markup_alone_is_kept() -> None:
    assert reduce_reply("...", "What color?", "word") == "..."


def test_long_replies_are_read_at_both_ends() -> None:
    reply = "The picture shows many things. " * 500 + "\nFinal answer: red"
    assert reduce_reply(reply, "What color is the mug?", "short") == "red"


@pytest.mark.parametrize("reply", ["The mug is red. " * 200, "* " * 2000, "in " * 2000, "<think>" * 500, '"' * 4000])
def test_no_reply_takes_long(reply: str) -> None:
    started = time.perf_counter()
    reduce_reply(reply, "What color is the mug?", "word")
    assert time.perf_counter() - started < 0.5


def test_a_usual_reply_takes_less_than_a_millisecond() -> None:
    reduce_reply.cache_clear()
    started = time.perf_counter()
    for case in GOLDEN:
        reduce_reply(case["reply"], case["question"], "word")
    assert (time.perf_counter() - started) / len(GOLDEN) < 0.001
