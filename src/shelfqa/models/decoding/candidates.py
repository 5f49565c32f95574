"""The likelihood of many answers to many questions at once: the answers share their beginnings in a trie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from shelfqa.models.decoding.forest import Forest

_NODES_AT_ONCE = 512


class _Trie(NamedTuple):
    """Answers as a tree of tokens; node 0 is the root, the state of the question itself."""

    tokens: Tensor
    """[k], of the nodes after the root."""
    depths: Tensor
    """[k], 1 for a first token."""
    among: Tensor
    """[k, k], which nodes are the ancestors of each node, itself among them."""
    steps: Tensor
    """[e, 3]: answer, node that is followed (0: the root), token that follows."""
    last: Tensor
    """[c], the node at which each answer ends."""


def log_likelihoods(
    forest: Forest, candidates: Sequence[Sequence[tuple[int, ...]]], ends: Sequence[int]
) -> list[list[float]]:
    """Return the log-probability that the answer to each question is each of its candidates, their ends included.

    Args:
        forest: the prompts; it is left as it was.
        candidates: for each question the token ids of its answers, one token at least.
        ends: the tokens that end an answer; the likeliest of them counts.

    """
    found: list[list[float]] = [[] for _ in candidates]
    by_list: dict[int, list[int]] = {}
    for question, some in enumerate(candidates):
        by_list.setdefault(id(some), []).append(question)
    for questions in by_list.values():
        whole = tuple(candidates[questions[0]])
        for piece in _pieces(whole):
            scores = _score(forest, questions, _trie(piece), ends)
            for question, row in zip(questions, scores.tolist(), strict=True):
                found[question].extend(row)
    return found


def _pieces(answers: tuple[tuple[int, ...], ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield runs of answers of a bounded number of tokens."""
    run: list[tuple[int, ...]] = []
    for answer in answers:
        if run and sum(map(len, run)) + len(answer) > _NODES_AT_ONCE:
            yield tuple(run)
            run = []
        run.append(answer)
    if run:
        yield tuple(run)


@lru_cache(maxsize=64)
def _trie(answers: tuple[tuple[int, ...], ...]) -> _Trie:
    numbers: dict[tuple[int, ...], int] = {(): 0}
    for answer in answers:
        for length in range(1, len(answer) + 1):
            numbers.setdefault(answer[:length], len(numbers))
    nodes = [prefix for prefix in numbers if prefix]
    among = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    for prefix in nodes:
        for length in range(1, len(prefix) + 1):
            among[numbers[prefix] - 1, numbers[prefix[:length]] - 1] = True
    steps = [
        (place, numbers[answer[:length]], token)
        for place, answer in enumerate(answers)
        for length, token in enumerate(answer)
    ]
    return _Trie(
        torch.tensor([prefix[-1] for prefix in nodes]),
        torch.tensor([len(prefix) for prefix in nodes]),
        among,
        torch.tensor(steps),
        torch.tensor([numbers[answer] for answer in answers]),
    )


def _score(forest: Forest, questions: Sequence[int], trie: _Trie, ends: Sequence[int]) -> Tensor:
    """Return the log-likelihoods [q, c]."""
    device = forest.states.device
    asked = torch.tensor(questions, device=device)
    count, wide = len(questions), len(trie.tokens)
    states, _ = forest.grow(
        asked,
        trie.tokens.to(device).expand(count, -1),
        forest.next_position[asked].unsqueeze(1) + trie.depths.to(device) - 1,
        forest.seen[asked].unsqueeze(1).expand(-1, wide, -1),
        trie.among.to(device).expand(count, -1, -1),
        keep=False,
    )
    states = torch.cat([forest.states[asked].unsqueeze(1), states], dim=1)
    answer, node, token = trie.steps.to(device).unbind(1)
    totals = torch.zeros(count, len(trie.last), device=device)
    for row in range(count):  # a question at a time: its scores of the whole vocabulary take memory
        scores = forest.score(states[row])
        totals[row].index_add_(0, answer, scores[node, token])
        totals[row] += scores[trie.last.to(device)][:, list(ends)].amax(-1)
    return totals
