"""What models that write have in common: beams ranked by probability, and candidates by their likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from shelfqa.models.base import Decoding, Query, distinct_answers, first_word
from shelfqa.models.decoding.answers import likeliest, number_of_beams
from shelfqa.records import Answer

_SCORED_AT_ONCE = 128
"""Answers whose likelihood is computed in one batch."""


def best_sequences(
    generate: Callable[..., Any],
    tokenizer: Any,
    ends: Sequence[int],
    *,
    start: int,
    default_beams: int,
    decoding: Decoding,
) -> list[list[Answer]]:
    """Return the best answers that transformers finds, each with the probability of the whole sequence.

    Args:
        generate: transformers' `generate`, called with the settings of the search.
        tokenizer: decodes what is found.
        ends: the tokens that end an answer.
        start: how many tokens of each sequence are not the answer's.
        default_beams: beams where `decoding` names none.
        decoding: how many answers, and how they are found.

    """
    beams = number_of_beams(default_beams, decoding)
    stop = _SecondWord(tokenizer, start)
    found = generate(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        eos_token_id=list(ends),
        num_beams=beams,
        num_return_sequences=beams,
        length_penalty=0.0,  # a beam's score is then the logarithm of its probability
        repetition_penalty=1.0,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=beams == 1,
        stopping_criteria=StoppingCriteriaList([stop] if decoding.one_word else []),
    )
    texts = tokenizer.batch_decode(found.sequences[:, start:], skip_special_tokens=True)
    if decoding.one_word:
        texts = list(map(first_word, texts))
    scores = found.sequences_scores.float() if beams > 1 else _greedy_scores(found, start, ends, stop)
    answers = list(map(Answer, texts, scores.exp().tolist()))
    return [distinct_answers(answers[row : row + beams], decoding.top_k) for row in range(0, len(answers), beams)]


@contextmanager
def expanded_before(module: Any) -> Iterator[None]:
    """Let `generate` take inputs that hold each question once for every beam.

    Its own way is to repeat every tensor row by row. Where a question has several pictures or tiles, which most models
    take one after another, that gives beams the pictures of others.
    """

    def expanded(*, input_ids: Any, expand_size: int, is_encoder_decoder: bool, **inputs: Any) -> Any:
        return input_ids, inputs

    module._expand_inputs_for_generation = expanded
    try:
        yield
    finally:
        del module._expand_inputs_for_generation


def _greedy_scores(found: Any, start: int, ends: Sequence[int], stop: _SecondWord) -> Tensor:
    """Return the log-probability [q] of each sequence up to its end; what follows is padding."""
    chosen = found.sequences[:, start:]
    steps = torch.stack([logits.float().log_softmax(-1) for logits in found.logits], dim=1)
    is_end = torch.isin(chosen, torch.tensor(list(ends), device=chosen.device))
    after = (is_end.cumsum(1) - is_end.long()) > 0
    for row, length in stop.stopped_at.items():
        after[row, length - start :] = True
    return steps.gather(2, chosen.unsqueeze(-1)).squeeze(-1).masked_fill(after, 0.0).sum(-1)


class _SecondWord(StoppingCriteria):  # type: ignore[misc]
    """Ends a sequence once a second word begins in its answer."""

    def __init__(self, tokenizer: Any, start: int) -> None:
        self._tokenizer = tokenizer
        self._start = start
        self.stopped_at: dict[int, int] = {}
        """The length at which each sequence was ended."""

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        texts = self._tokenizer.batch_decode(input_ids[:, self._start :], skip_special_tokens=True)
        stopped = [len(text.split()) > 1 for text in texts]
        for row, yes in enumerate(stopped):
            if yes:
                self.stopped_at.setdefault(row, input_ids.shape[1])
        return torch.tensor(stopped, device=input_ids.device)


def score_candidates(
    queries: Sequence[Query],
    top_k: int,
    score: Callable[[Sequence[int], Sequence[str]], Tensor],
    *,
    at_once: int | None = None,
) -> list[list[Answer]]:
    """Return the likeliest candidates of each query, with the probability that the model says just that.

    Args:
        queries: each with its candidates.
        top_k: how many to return.
        score: maps rows of queries and as many texts to log-likelihoods [c].
        at_once: most texts that `score` is given; by default as many as suit short prompts.

    """
    at_once = at_once or _SCORED_AT_ONCE
    pairs = [(row, text) for row, query in enumerate(queries) for text in query.candidates]
    scores: list[float] = []
    for begin in range(0, len(pairs), at_once):
        some = pairs[begin : begin + at_once]
        scores.extend(score([row for row, _ in some], [text for _, text in some]).float().exp().tolist())
    found: list[list[Answer]] = [[] for _ in queries]
    for (row, text), probability in zip(pairs, scores, strict=True):
        found[row].append(Answer(text, probability))
    return [likeliest(answers, top_k) for answers in found]
