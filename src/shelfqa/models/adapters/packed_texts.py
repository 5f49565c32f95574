"""Texts that begin alike, side by side in one row, so that a causal encoder reads their beginning once.

    row   <start> question : what color ? answer : | red <end> | dark blue <end> | green <end> | padding
    sees  what stands before it here               | and in its own part, but no other part

Each token has the position that it would have in its own text, so that all is computed as if each text stood alone:
from a quarter to a sixth of the tokens where one question has 360 short answers, and a seventh of the time on a CPU
(`benchmarks/shared_inputs.py`). This is the tree attention of speculative decoding (Miao et al. 2023, arXiv 2305.09781)
with a tree of one fork.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_BEGINNING, _PADDING = 0, -1


class Row(NamedTuple):
    """Texts that share a row."""

    beginning: Sequence[int]
    """The tokens that all of them begin with."""
    parts: list[Sequence[int]]
    """How each goes on; at least one token."""
    texts: list[int]
    """Which texts they are."""

    def __len__(self) -> int:
        return len(self.beginning) + sum(map(len, self.parts))


class PackedTexts(NamedTuple):
    """Some rows as an encoder reads them: r rows of w tokens."""

    ids: Tensor
    """[r, w]"""
    positions: Tensor
    """[r, w]"""
    visible: Tensor
    """[r, 1, w, w]: which tokens (last dimension) each token sees."""
    ends: tuple[Tensor, Tensor]
    """The row and the place in it of each text's last token."""


def rows_of(texts: Sequence[list[int]], groups: Sequence[Sequence[int]], width: int) -> list[Row]:
    """Return rows of at most `width` tokens that hold all texts, the longest rows first.

    Args:
        texts: tokens of each text, at most `width`.
        groups: the places of texts that are likely to begin alike; each place once.
        width: the longest row.

    """
    rows: list[Row] = []
    for group in groups:
        shared = _shared_beginning([texts[place] for place in group])
        beginning = texts[group[0]][:shared]
        row = Row(beginning, [], [])
        for place in sorted(group, key=lambda place: (-len(texts[place]), place)):
            part = texts[place][shared:]
            if row.parts and len(row) + len(part) > width:
                rows.append(row)
                row = Row(beginning, [], [])
            row.parts.append(part)
            row.texts.append(place)
        rows.append(row)
    return sorted(rows, key=len, reverse=True)


def pack(rows: Sequence[Row], padding_id: int) -> PackedTexts:
    """Return rows as tensors on the CPU."""
    width = max(map(len, rows))
    ids, positions, parts = [], [], []
    ends: list[tuple[int, int]] = []
    for number, row in enumerate(rows):
        shared = len(row.beginning)
        row_ids, row_positions, row_parts = list(row.beginning), list(range(shared)), [_BEGINNING] * shared
        for own, part in enumerate(row.parts, start=1):
            row_ids.extend(part)
            row_positions.extend(range(shared, shared + len(part)))
            row_parts.extend([own] * len(part))
            ends.append((number, len(row_ids) - 1))
        rest = width - len(row_ids)
        ids.append(row_ids + [padding_id] * rest)
        positions.append(row_positions + [0] * rest)
        parts.append(row_parts + [_PADDING] * rest)
    part = torch.tensor(parts)
    within = (part[:, None, :] == _BEGINNING) | (part[:, None, :] == part[:, :, None])
    visible = within & torch.ones(width, width, dtype=torch.bool).tril()
    end_rows, end_places = torch.tensor(ends).unbind(1)
    return PackedTexts(torch.tensor(ids), torch.tensor(positions), visible[:, None], (end_rows, end_places))


def _shared_beginning(texts: Sequence[list[int]]) -> int:
    """Return how many tokens all texts begin with, short of the last token of any.

    >>> _shared_beginning([[1, 2, 3, 9], [1, 2, 4, 5, 9]]), _shared_beginning([[1, 2, 9]])
    (2, 2)
    """
    first, last = min(texts), max(texts)
    most = min(map(len, texts)) - 1
    return next((place for place in range(most) if first[place] != last[place]), most)
