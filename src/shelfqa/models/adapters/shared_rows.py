"""Questions about one picture as one row of an encoder, so that the picture's keys and values are computed once.

Where an encoder looks at a picture by cross-attention, projecting the picture's positions costs more than reading a
short question. Here the questions of a picture stand one behind another; a mask keeps them apart, and each counts its
positions from 0, so that results are those of one question at a time.

Shapes: q questions, r rows, t tokens of the longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

_MOST_TOKENS = 512
"""Of a row, unless a single question has more: attention among them grows with the square."""


class SharedRows(NamedTuple):
    """Questions laid out in rows."""

    ids: Tensor
    """[r, t]."""
    positions: Tensor
    """[r, t]."""
    sees: Tensor
    """[r, t, t], which token sees which; padding sees itself alone."""
    picture: Tensor
    """[r], the picture that each row is about."""
    spans: list[tuple[int, int, int]]
    """Row, start and end of each question."""

    @classmethod
    def of(cls, questions: Sequence[Sequence[int]], pictures: Sequence[int], device: torch.device) -> SharedRows:
        """Lay out questions, given by their token ids and the picture that each is about."""
        rows: list[list[int]] = []
        row_of: dict[int, int] = {}
        picture: list[int] = []
        spans = []
        for ids, about in zip(questions, pictures, strict=True):
            row = row_of.get(about)
            if row is None or len(rows[row]) + len(ids) > _MOST_TOKENS:
                row = row_of[about] = len(rows)
                rows.append([])
                picture.append(about)
            spans.append((row, len(rows[row]), len(rows[row]) + len(ids)))
            rows[row].extend(ids)
        longest = max(map(len, rows))
        padded = torch.zeros(len(rows), longest, dtype=torch.long)
        positions = torch.zeros(len(rows), longest, dtype=torch.long)
        sees = torch.eye(longest, dtype=torch.bool).repeat(len(rows), 1, 1)
        for row, ids in enumerate(rows):
            padded[row, : len(ids)] = torch.tensor(ids)
        for row, start, end in spans:
            positions[row, start:end] = torch.arange(end - start)
            sees[row, start:end, start:end] = True
        return cls(
            padded.to(device), positions.to(device), sees.to(device), torch.tensor(picture, device=device), spans
        )

    def additive_mask(self, dtype: torch.dtype) -> Tensor:
        """Return what attention adds to its scores, [r, 1, t, t]."""
        mask = torch.zeros(self.sees.shape, dtype=dtype, device=self.sees.device)
        return mask.masked_fill(~self.sees, torch.finfo(dtype).min).unsqueeze(1)

    def apart(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return each question's states [q, longest, d] out of the rows' [r, t, d], and their mask [q, longest]."""
        found = [states[row, start:end] for row, start, end in self.spans]
        lengths = torch.tensor([len(one) for one in found], device=states.device)
        mask = torch.arange(int(lengths.max()), device=states.device) < lengths[:, None]
        return pad_sequence(found, batch_first=True), mask.long()
