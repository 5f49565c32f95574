"""Where tokens and patches are: ids of positions, and buckets of the distances between two of them.

Shapes: t query and s key positions; a grid is (rows, columns) of image patches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_FARTHEST = 1023
"""Token distance at which the buckets of relative positions end, whatever the longest text."""


def token_buckets(positions: Tensor, bucket_size: int) -> Tensor:
    """Return the bucket of each pair of token positions, [s] -> [s, s] in 0 ... 2 bucket_size - 2.

    Distances up to half of `bucket_size` have their own bucket, farther ones share logarithmically growing ones.
    """
    distance = positions[:, None] - positions[None, :]
    exact = bucket_size // 2
    far = distance.abs().clamp(min=exact)
    growth = torch.log(far / exact) / math.log(_FARTHEST / exact) * (exact - 1)
    shared = (torch.ceil(growth).int() + exact) * distance.sign()
    return torch.where(distance.abs() <= exact, distance, shared).long() + bucket_size - 1


def image_buckets(grid: tuple[int, int], bucket_size: int, device: torch.device) -> Tensor:
    """Return the bucket of each pair of patches, row by row, [p, p]: one for each offset in rows and columns."""
    rows, columns = (axis.flatten() for axis in _axes(grid, device))
    down = rows[:, None] - rows[None, :] + bucket_size - 1
    right = columns[:, None] - columns[None, :] + bucket_size - 1
    return down * (2 * bucket_size - 1) + right


def image_bucket_count(bucket_size: int) -> int:
    """Return the rows of a table of `image_buckets`; the last three are for the image codes that OFA can write."""
    return (2 * bucket_size - 1) ** 2 + 3


def image_position_ids(grid: tuple[int, int], bucket_size: int, device: torch.device) -> Tensor:
    """Return the ids of the patches in the table of `bucket_size` x `bucket_size` positions, [p]; 0 is no patch's."""
    rows, columns = _axes(grid, device)
    return (rows * bucket_size + columns + 1).flatten()


def _axes(grid: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    rows, columns = grid
    down, right = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    return down, right


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[..., t, d] -> [..., heads, t, d / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def relative_bias(table: nn.Module, buckets: Tensor) -> Tensor:
    """Look up what each head adds for each pair, [t, s] -> [heads, t, s]."""
    bias: Tensor = table(buckets)
    return bias.permute(2, 0, 1)


def tokens_read(attention_mask: Tensor) -> Tensor:
    """Return each token's position among the tokens that are there, [b, s]; padding at the left gets 0."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
