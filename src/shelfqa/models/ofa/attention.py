"""Attention with position biases and a gain for each head (arXiv 2202.03052, section 3).

Shapes: b rows, t query and s key positions, d model width, h heads, e = d / h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shelfqa.models.ofa.positions import split_heads

if TYPE_CHECKING:
    from shelfqa.models.ofa.configuration import OfaConfig

MASKED = -6e4
"""The bias of a key that must not be seen: its weight underflows to 0, and no float type overflows."""
_SPARE_CHANNELS = 8
"""Channels added to every head to hide keys; one would do, but GPU kernels want widths that 8 divides."""


def hide_keys(bias: Tensor, seen: Tensor) -> Tensor:
    """Put `MASKED` where `seen` [b, 1 or t, s] is false into a bias [1 or b, h, t, s]."""
    return bias.masked_fill(~seen[:, None], MASKED)


class OfaAttention(nn.Module):  # type: ignore[misc]
    """Multi-head attention whose logits get a bias and whose heads have a learned gain (arXiv 2110.09456)."""

    def __init__(self, config: OfaConfig, heads: int, layer: int | None = None) -> None:
        """`layer` is the number under which keys and values are cached; None: they never are."""
        super().__init__()
        size = config.d_model
        if size % heads:
            raise ValueError(f"d_model {size} is not divisible by {heads} attention heads")
        self.heads = heads
        self.layer = layer
        self.scale = (size // heads * config.attn_scale_factor) ** -0.5
        self.dropout = config.attention_dropout
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, size)
        self.v_proj = nn.Linear(size, size)
        self.out_proj = nn.Linear(size, size)
        self.c_attn = nn.Parameter(torch.ones(heads))

    def forward(
        self,
        x: Tensor,
        bias: Tensor,
        *,
        seen: Tensor | None = None,
        source: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Let x [b, t, d] attend to itself, or to `source` [b, s, d]; return [b, t, d].

        Args:
            x: what asks.
            bias: [1 or b, h, t, s], added to the logits.
            seen: [b, s], false at keys to hide from a row; this way, one bias serves all rows. None: hide none.
            source: what is attended to, if it is not x.
            cache: an `EncoderDecoderCache`; keys and values of x are appended to it, those of `source` kept in it.

        """
        keys, values = self._keys_values(x, cache) if source is None else self._source(source, cache)
        queries = split_heads(self.q_proj(x), self.heads)
        width = queries.shape[-1]
        if seen is not None:
            queries, keys, values = _hidden(queries, keys, values, seen, self.scale)
        mixed = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=bias.to(queries.dtype),
            dropout_p=self.dropout if self.training else 0.0,
            scale=self.scale,
        )
        mixed = mixed[..., :width] * self.c_attn.to(mixed.dtype)[:, None, None]
        return cast(Tensor, self.out_proj(mixed.transpose(1, 2).flatten(2)))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return split_heads(self.k_proj(x), self.heads), split_heads(self.v_proj(x), self.heads)

    def _keys_values(self, x: Tensor, cache: Any) -> tuple[Tensor, Tensor]:
        keys, values = self._project(x)
        if cache is not None:
            keys, values = cache.self_attention_cache.update(keys, values, self.layer)
        return keys, values

    def _source(self, source: Tensor, cache: Any) -> tuple[Tensor, Tensor]:
        if cache is None:
            return self._project(source)
        kept = cache.cross_attention_cache
        if not cache.is_updated.get(self.layer):
            kept.update(*self._project(source), self.layer)
            cache.is_updated[self.layer] = True
        return kept.layers[self.layer].keys, kept.layers[self.layer].values


def _hidden(queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Add channels to each head whose product adds `MASKED` to the logits of keys that are not `seen`."""
    spare = (0, _SPARE_CHANNELS)
    queries, keys, values = F.pad(queries, spare), F.pad(keys, spare), F.pad(values, spare)
    queries[..., -1] = 1.0 / scale
    keys[..., -1] = keys.new_zeros(seen.shape).masked_fill(~seen, MASKED)[:, None]
    return queries, keys, values
