"""Beam search over a forest of questions; hypotheses are ranked by their probability alone.

The search is transformers' (5.x, `length_penalty=0`, `early_stopping=False`): of the 2 b best continuations of b beams,
those that end are finished if they are among the b best, and the b best others go on; a question is done when no beam
can get better than its b finished answers any more.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from shelfqa.models.decoding.forest import Forest


class Written(NamedTuple):
    """An answer, without the token that ended it."""

    log_probability: float
    tokens: tuple[int, ...]


def beam_search(
    forest: Forest,
    *,
    beams: int,
    ends: Sequence[int],
    max_new_tokens: int,
    stops: Callable[[Sequence[int]], bool] | None = None,
) -> list[list[Written]]:
    """Return for each question of the forest at most `beams` answers, likeliest first.

    Args:
        forest: the prompts; it grows.
        beams: how many hypotheses are followed.
        ends: the tokens that end an answer.
        max_new_tokens: longest answer, its end counted in.
        stops: says of the tokens of a hypothesis whether it ends here.

    """
    finished: list[list[Written]] = [[] for _ in range(len(forest.states))]
    ending = frozenset(ends)
    active = torch.arange(len(forest.states), device=forest.states.device)
    states, seen = forest.states.unsqueeze(1), forest.seen.unsqueeze(1)
    scores = states.new_zeros(states.shape[:2], dtype=torch.float32)
    running: list[list[tuple[int, ...]]] = [[()] for _ in finished]
    for length in range(1, max_new_tokens + 1):
        total = scores.unsqueeze(-1) + forest.score(states)
        best = total.flatten(1).topk(min(2 * beams, total[0].numel()), dim=-1)
        vocabulary = total.shape[-1]
        kept: list[_Kept] = []
        for seat, question in enumerate(active.tolist()):
            going: list[tuple[float, int, int]] = []
            for rank, (score, place) in enumerate(
                zip(best.values[seat].tolist(), best.indices[seat].tolist(), strict=True)
            ):
                parent, token = divmod(place, vocabulary)
                tokens = running[seat][parent]
                ended = token in ending
                whole = tokens if ended else (*tokens, token)
                if ended or length == max_new_tokens or (stops is not None and stops(whole)):
                    if rank < beams:
                        finished[question].append(Written(score, whole))
                elif len(going) < beams:
                    going.append((score, parent, token))
            finished[question] = heapq.nlargest(beams, finished[question], key=lambda one: one.log_probability)
            if going and not _settled(finished[question], going[0][0], beams):
                kept.append(_Kept(seat, going, [(*running[seat][parent], token) for _, parent, token in going]))
        if not kept:
            break
        states, seen, scores, active = _advance(forest, kept, active, seen, beams, length)
        running = [one.tokens for one in kept]
    return finished


class _Kept(NamedTuple):
    """A question that goes on: its place among the active ones, and (score, parent, token) of its beams."""

    seat: int
    going: list[tuple[float, int, int]]
    tokens: list[tuple[int, ...]]


def _settled(finished: Sequence[Written], best_running: float, beams: int) -> bool:
    return len(finished) >= beams and best_running <= finished[-1].log_probability


def _advance(
    forest: Forest, kept: Sequence[_Kept], active: Tensor, seen: Tensor, beams: int, length: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Read the next token of each hypothesis; return states, what is seen, scores, and the questions that go on."""
    device = seen.device
    seats = torch.tensor([one.seat for one in kept], device=device)
    width = max(len(one.going) for one in kept)
    # A tiny vocabulary can leave fewer beams than wanted: the missing ones repeat the first and never score.
    filled = [one.going + [(-torch.inf, *one.going[0][1:])] * (width - len(one.going)) for one in kept]
    parents = torch.tensor([[parent for _, parent, _ in beam] for beam in filled], device=device)
    tokens = torch.tensor([[token for _, _, token in beam] for beam in filled], device=device)
    scores = torch.tensor([[score for score, _, _ in beam] for beam in filled], device=device)
    for one in kept:
        one.tokens.extend([one.tokens[0]] * (width - len(one.tokens)))
    questions = active[seats]
    positions = (forest.next_position[questions] + length - 1).unsqueeze(1).expand(-1, width)
    among = torch.eye(width, dtype=torch.bool, device=device).expand(len(kept), -1, -1)
    states, now_seen = forest.grow(questions, tokens, positions, seen[seats.unsqueeze(1), parents], among)
    return states, now_seen, scores, questions
