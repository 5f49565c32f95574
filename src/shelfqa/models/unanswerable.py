"""Saying `unanswerable` in place of an answer that is too improbable."""

from __future__ import annotations

from collections.abc import Sequence

from shelfqa.models.answering import Found
from shelfqa.records import Answer
from shelfqa.text import normalize_answer

UNANSWERABLE = "unanswerable"
"""The word of VizWiz (arXiv 1802.08218) for questions that the picture does not answer."""


def with_unanswerable(found: Sequence[Found], below: float | None) -> tuple[list[Found], int]:
    """Return `or_unanswerable` of each, and how many it changed; of `below` None all as they are."""
    if below is None:
        return list(found), 0
    changed = [or_unanswerable(one, below) for one in found]
    return changed, sum(one is not other for one, other in zip(changed, found, strict=True))


def or_unanswerable(found: Found, below: float) -> Found:
    """Return what was found, headed by `unanswerable` if the probability of the best answer is less than `below`.

    The answers stay behind the word in their order, so that top-k metrics read on and the threshold can be undone. The
    word has no probability, unless it is one of the answers: then it moves to the head with its own. What failed, and a
    best answer without a probability or that is the word already, is left as it is; so is the reply.
    """
    best = found.answers[0] if found.answers else None
    if best is None or best.probability is None or best.probability >= below or _is_the_word(best):
        return found
    said = next((answer for answer in found.answers if _is_the_word(answer)), None)
    word = Answer(UNANSWERABLE, said.probability if said is not None else None)
    return found._replace(answers=[word, *(answer for answer in found.answers if not _is_the_word(answer))])


def _is_the_word(answer: Answer) -> bool:
    return normalize_answer(answer.text) == UNANSWERABLE
