"""Texts as token ids: padded into a batch, and counted where they are too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shelfqa.models.base import TokenCount

_TEXTS_AT_ONCE = 4096


def padded(tokenizer: Any, texts: Sequence[str], most_tokens: int) -> Any:
    """Return ids and mask [q, t] of texts, padded on the right whatever the tokenizer is set to, cut to a limit."""
    return tokenizer(
        list(texts),
        padding=True,
        padding_side="right",
        truncation=True,
        max_length=most_tokens,
        return_tensors="pt",
    )


def token_lengths(tokenizer: Any, texts: Sequence[str], *, special: bool = True) -> list[int]:
    """Return the number of tokens of each text, uncut; special tokens are counted in unless `special` is false."""
    lengths: dict[str, int] = dict.fromkeys(texts, 0)
    distinct = list(lengths)
    for start in range(0, len(distinct), _TEXTS_AT_ONCE):
        some = distinct[start : start + _TEXTS_AT_ONCE]
        found = tokenizer(some, add_special_tokens=special, verbose=False)["input_ids"]
        lengths.update(zip(some, map(len, found), strict=True))
    return [lengths[text] for text in texts]


def counted(
    questions: Sequence[int],
    answers: Sequence[int],
    pictures: Sequence[int],
    *,
    most_question: int,
    most_answer: int | None = None,
) -> list[TokenCount]:
    """Return counts of samples whose questions and answers are cut apart from each other, each at a limit.

    Args:
        questions: tokens of each question.
        answers: tokens of each answer.
        pictures: tokens of each picture; they take no room from the question.
        most_question: tokens that are read of a question.
        most_answer: tokens that are learned of an answer; None where it is never cut.

    """
    return [
        TokenCount(
            question,
            answer,
            picture,
            question_cut=max(0, question - most_question),
            answer_cut=max(0, answer - most_answer) if most_answer is not None else 0,
        )
        for question, answer, picture in zip(questions, answers, pictures, strict=True)
    ]
