"""From a forest of prompts to answers with probabilities: the best that a search finds, or the best of a list."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from shelfqa.models.base import Decoding, Query, distinct_answers, first_word
from shelfqa.models.decoding.beams import beam_search
from shelfqa.models.decoding.candidates import log_likelihoods
from shelfqa.models.decoding.forest import Forest, LanguageModel, Layout
from shelfqa.records import Answer


def number_of_beams(default: int, decoding: Decoding) -> int:
    """Return how many beams to search: those asked for, or enough for the default and the alternatives wanted.

    >>> [number_of_beams(5, asked) for asked in (Decoding(top_k=3), Decoding(top_k=8), Decoding(beams=1))]
    [5, 8, 1]
    """
    return decoding.beams or max(default, decoding.top_k)


def best_answers(
    model: LanguageModel,
    layout: Layout,
    queries: Sequence[Query],
    tokenize: Callable[[Query, str], tuple[int, ...]],
    tokenizer: Any,
    ends: Sequence[int],
    *,
    default_beams: int,
    decoding: Decoding,
) -> list[list[Answer]]:
    """Return the best beams of each query, or the likeliest of its candidates where it brings some.

    Args:
        model: reads and scores.
        layout: the prompts of the queries.
        queries: in their own order, which is that of the result.
        tokenize: returns the ids of an answer as they follow a query's prompt.
        tokenizer: decodes what is found.
        ends: the tokens that end an answer.
        default_beams: beams where `decoding` names none.
        decoding: how many answers, and how they are found.

    """
    forest = Forest(model, layout.rows)
    if queries[0].candidates:
        in_order = [queries[place] for place in layout.order]
        found = best_candidates(forest, in_order, tokenize, ends, decoding.top_k)
    else:
        beams = number_of_beams(default_beams, decoding)
        found = best_written(forest, tokenizer, ends, beams=beams, decoding=decoding)
    answers: list[list[Answer]] = [[] for _ in queries]
    for place, best in zip(layout.order, found, strict=True):
        answers[place] = best
    return answers


def answer_loss(model: LanguageModel, layout: Layout, wanted: Sequence[tuple[int, ...]]) -> Tensor:
    """Return the mean cross-entropy of answers whose tokens but the last stand at the ends of the rows' branches.

    Args:
        model: reads and scores.
        layout: prompts, each followed by its answer's tokens but the last.
        wanted: the tokens of each query's answer, its end among them.

    """
    forest = Forest(model, layout.rows, grows=False)
    states = [forest.branch_states(number)[-len(wanted[place]) :] for number, place in enumerate(layout.order)]
    labels = torch.tensor([token for place in layout.order for token in wanted[place]], device=states[0].device)
    return cross_entropy(model.score(torch.cat(states)).float(), labels)


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
