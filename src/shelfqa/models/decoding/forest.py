"""Trees of tokens in one sequence: prompts that share their beginning, and answers that branch off them.

A row holds what all questions about the same pictures have in common once, then each question's own tokens, then the
tokens of its answers. A mask lets every token see its own past only, and positions are counted as if each question
stood alone, so results are those of one question at a time (tree attention, as in SpecInfer, arXiv 2305.09781).
Nothing in the cache is ever copied or reordered: the hypotheses of a beam search see different parts of it.

    row 1   [what precedes question 1 and 2][question 1][question 2][answers 1][answers 2]
    row 2   [what precedes question 3      ][question 3][padding   ][answers 3][padding  ]

Shapes: r rows, q questions, s slots (tokens in the cache), k new tokens a question, d channels, a axes of positions (1,
or 3 for the M-RoPE of Qwen2-VL, arXiv 2409.12191).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Piece(NamedTuple):
    """A run of tokens."""

    embeddings: Tensor
    """[t, d]."""
    positions: Tensor
    """[a, t]."""


class Row(NamedTuple):
    """Questions that share a beginning."""

    trunk: Piece
    """What they share; may be empty."""
    branches: Sequence[Piece]
    """Each question's own tokens, one at least."""
    two_way: int = 0
    """How many tokens of a lone branch see each other in both directions, as in the prefix language model PaliGemma."""

    @classmethod
    def sharing(cls, whole: Sequence[Piece], shared: int, two_way: int = 0) -> Row:
        """Return the row of whole prompts whose first `shared` tokens are the same."""
        trunk = Piece(whole[0].embeddings[:shared], whole[0].positions[:, :shared])
        return cls(trunk, [Piece(one.embeddings[shared:], one.positions[:, shared:]) for one in whole], two_way)


class Layout(NamedTuple):
    """Queries laid out in rows."""

    order: list[int]
    """Which query each question of the rows is, row after row."""
    rows: list[Row]


class LanguageModel(NamedTuple):
    """The parts of a transformers model that read embeddings and score tokens."""

    read: Callable[..., Any]
    """Takes inputs_embeds, attention_mask [r, 1, t, s], position_ids, past_key_values; returns last_hidden_state."""
    score: Callable[[Tensor], Tensor]
    """Maps states [..., d] to logits [..., vocabulary]."""
    embed: Callable[[Tensor], Tensor]
    """Maps token ids [...] to embeddings [..., d]."""
    additive_mask: bool = False
    """Whether attention adds its mask to the scores (transformers' `eager`) instead of taking true and false."""


class Forest:
    """Rows of prompts as a language model has read them, ready to grow."""

    def __init__(self, model: LanguageModel, rows: Sequence[Row], *, grows: bool = True) -> None:
        """Read the prompts in one pass; without `grows` no cache is kept."""
        from transformers import DynamicCache

        self._model = model
        self._cache = DynamicCache() if grows else None
        self._device = rows[0].branches[0].embeddings.device
        laid_out = [_LaidOut.of(row) for row in rows]
        longest = max(len(row.owner) for row in laid_out)
        mask = torch.stack([row.mask(longest) for row in laid_out]).to(self._device)
        embeddings = torch.stack([_padded(row.embeddings, longest) for row in laid_out])
        positions = torch.stack([_padded(row.positions.T, longest).T for row in laid_out], dim=1)
        self._prompts = self._read(embeddings, mask, positions)
        self._spans = [(number, start, end) for number, row in enumerate(laid_out) for start, end in row.spans]
        rows_of, last = [row for row, _, _ in self._spans], [end - 1 for _, _, end in self._spans]
        self.states = self._prompts[rows_of, last]
        """[q, d], the state after the last token of each question."""
        self.seen = mask[rows_of, last]
        """[q, s], which slots come before the next token of each question."""
        branches = [branch for row in rows for branch in row.branches]
        self.next_position = torch.tensor(
            [int(branch.positions[:, -1].max()) + 1 for branch in branches], device=self._device
        )
        """[q], position of the next token."""
        self._axes = positions.shape[0]
        self._rows = len(rows)
        self._row_of = torch.tensor(rows_of, device=self._device)

    def branch_states(self, question: int) -> Tensor:
        """Return the states [t, d] of a question's own tokens."""
        row, start, end = self._spans[question]
        return self._prompts[row, start:end]

    def score(self, states: Tensor) -> Tensor:
        """Return the log-probabilities [..., vocabulary] of the token after each state, in float32."""
        return self._model.score(states).float().log_softmax(-1)

    def grow(
        self, questions: Tensor, tokens: Tensor, positions: Tensor, seen: Tensor, among: Tensor, *, keep: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Read k new tokens for each of some questions.

        Args:
            questions: [q], each at most once.
            tokens: [q, k], ids.
            positions: [q, k].
            seen: [q, k, s], which slots each token sees.
            among: [q, k, k], which of its question's new tokens each token sees; itself among them.
            keep: whether the tokens stay in the cache.

        Returns:
            The states [q, k, d], and which slots [q, k, s + new] a successor of each token sees.

        """
        count, wide = tokens.shape
        rows = self._row_of[questions]
        seat = _seats(rows)
        seats = int(seat.max()) + 1
        order = torch.arange(count, device=self._device)
        own = torch.zeros(count, wide, seats, wide, dtype=torch.bool, device=self._device)
        own[order, :, seat] = among
        seen = torch.cat([seen, own.flatten(2)], dim=-1)

        slots = seen.shape[-1]
        mask = torch.zeros(self._rows, seats, wide, slots, dtype=torch.bool, device=self._device)
        mask[..., slots - seats * wide :] = torch.eye(seats * wide, dtype=torch.bool, device=self._device).view(
            1, seats, wide, seats * wide
        )  # what nobody takes a seat in sees itself, or attention would divide by zero
        mask[rows, seat] = seen
        embeddings = self._model.embed(tokens)
        fed = embeddings.new_zeros(self._rows, seats, wide, embeddings.shape[-1])
        fed[rows, seat] = embeddings
        places = positions.new_zeros(self._rows, seats, wide)
        places[rows, seat] = positions
        states = self._read(
            fed.flatten(1, 2), mask.flatten(1, 2), places.flatten(1).expand(self._axes, -1, -1)
        ).unflatten(1, (seats, wide))[rows, seat]
        if not keep and self._cache is not None:
            self._cache.crop(-seats * wide)  # a negative number is how many to forget
        return states, seen

    def _read(self, embeddings: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Return the states [r, t, d] of embeddings [r, t, d] under a mask [r, t, s] at positions [a, r, t]."""
        shown: Tensor = mask.unsqueeze(1)
        if self._model.additive_mask:
            lowest = torch.finfo(embeddings.dtype).min
            shown = torch.zeros(shown.shape, dtype=embeddings.dtype, device=shown.device).masked_fill(~shown, lowest)
        states: Tensor = self._model.read(
            inputs_embeds=embeddings,
            attention_mask=shown,
            position_ids=positions[0] if positions.shape[0] == 1 else positions,
            past_key_values=self._cache,
            use_cache=self._cache is not None,
        ).last_hidden_state
        return states


class _LaidOut(NamedTuple):
    """A row as one sequence."""

    embeddings: Tensor
    positions: Tensor
    owner: Tensor
    """[t], the question that each token belongs to; -1 for the trunk."""
    spans: list[tuple[int, int]]
    """Where each question's own tokens stand."""
    two_way: int

    @classmethod
    def of(cls, row: Row) -> _LaidOut:
        lengths = [row.trunk.embeddings.shape[0], *(branch.embeddings.shape[0] for branch in row.branches)]
        ends = torch.tensor(lengths).cumsum(0).tolist()
        pieces = [row.trunk, *row.branches]
        return cls(
            torch.cat([piece.embeddings for piece in pieces]),
            torch.cat([piece.positions for piece in pieces], dim=1),
            torch.arange(-1, len(row.branches)).repeat_interleave(torch.tensor(lengths)),
            list(pairwise(ends)),
            row.two_way,
        )

    def mask(self, longest: int) -> Tensor:
        """Return which token sees which, [longest, longest]; padding sees itself alone."""
        size = len(self.owner)
        allowed = ((self.owner[None, :] == -1) | (self.owner[None, :] == self.owner[:, None])).tril()
        allowed[: self.two_way, : self.two_way] = True
        mask = torch.eye(longest, dtype=torch.bool)
        mask[:size, :size] = allowed
        return mask


def _padded(values: Tensor, length: int) -> Tensor:
    """Return [length, …] with zeros after the values."""
    return torch.cat([values, values.new_zeros(length - values.shape[0], *values.shape[1:])])


def _seats(rows: Tensor) -> Tensor:
    """Return for each entry how many before it have the same row.

    >>> _seats(torch.tensor([0, 1, 0, 0, 1])).tolist()
    [0, 0, 1, 2, 1]
    """
    same = rows[:, None] == rows[None, :]
    return same.tril(-1).sum(1)
