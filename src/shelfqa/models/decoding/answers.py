"""From a forest of prompts to answers with probabilities: the best that a search finds, or the best of a list."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from shelfqa.models.base import Decoding, Query, distinct_answers, first_word
from shelfqa.models.decoding.beams import beam_search
from shelfqa.models.decoding.candidates import log_likelihoods
from shelfqa.models.decoding.forest import Forest
from shelfqa.records import Answer


def best_written(
    forest: Forest, tokenizer: Any, ends: Sequence[int], *, beams: int, decoding: Decoding
) -> list[list[Answer]]:
    """Return the best beams of each question; of equal spellings the likelier one counts.

    Args:
        forest: the prompts; it grows.
        tokenizer: decodes what is found.
        ends: the tokens that end an answer.
        beams: how many hypotheses are followed.
        decoding: how many answers, and how they are found.

    """

    def text(tokens: Sequence[int]) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=True))

    written = beam_search(
        forest,
        beams=beams,
        ends=ends,
        max_new_tokens=decoding.max_new_tokens,
        stops=(lambda tokens: len(text(tokens).split()) > 1) if decoding.one_word else None,
    )

    def answer(tokens: Sequence[int]) -> str:
        return first_word(text(tokens)) if decoding.one_word else text(tokens)

    return [
        distinct_answers((Answer(answer(one.tokens), math.exp(one.log_probability)) for one in row), decoding.top_k)
        for row in written
    ]


def best_candidates(
    forest: Forest,
    queries: Sequence[Query],
    tokenize: Callable[[Query, str], tuple[int, ...]],
    ends: Sequence[int],
    top_k: int,
) -> list[list[Answer]]:
    """Return the likeliest candidates of each query, with the probability that the model says just that.

    Args:
        forest: the prompts of the queries, in their order.
        queries: each with its candidates.
        tokenize: returns the ids of an answer as they follow a query's prompt.
        ends: the tokens that end an answer.
        top_k: how many to return.

    """
    tokens: dict[int, list[tuple[int, ...]]] = {}
    for query in queries:
        if id(query.candidates) not in tokens:
            tokens[id(query.candidates)] = [tokenize(query, text) for text in query.candidates]
    scores = log_likelihoods(forest, [tokens[id(query.candidates)] for query in queries], ends)
    return [
        likeliest(map(Answer, query.candidates, map(math.exp, row)), top_k)
        for query, row in zip(queries, scores, strict=True)
    ]


def likeliest(answers: Any, top_k: int) -> list[Answer]:
    """Return the `top_k` answers of the highest probability, likeliest first; of equals, the earlier."""
    return distinct_answers(sorted(answers, key=lambda one: -(one.probability or 0.0)), top_k)
