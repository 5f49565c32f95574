"""What all of ViLBERT is made of: a layer in which one sequence reads another, or itself.

Shapes: b questions, t elements that read, s elements that are read, d the reader's width. Every sum is normalised
after it is made, as in BERT (arXiv 1810.04805).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional as F

LAYER_NORM_EPS = 1e-12
ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "swish": F.silu}


class StreamSizes(NamedTuple):
    """The sizes of the layers of one stream."""

    hidden: int
    intermediate: int
    heads: int
    activation: str
    dropout: float
    attention_dropout: float
    """Of the attention to this stream's elements, whoever reads them."""


class Gates(NamedTuple):
    """Factors for queries and keys, each [b, 1, inner width]."""

    query: Tensor
    key: Tensor


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head attention, added to what reads and normalised."""

    def __init__(self, reader: StreamSizes, source: StreamSizes, *, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = source.attention_dropout
        self.query = nn.Linear(reader.hidden, inner)
        self.key = nn.Linear(source.hidden, inner)
        self.value = nn.Linear(source.hidden, inner)
        self.output = nn.Linear(inner, reader.hidden)
        self.norm = nn.LayerNorm(reader.hidden, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(reader.dropout)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor, gates: Gates | None = None) -> Tensor:
        """Let x [b, t, d] read `source` [b, s, source width] where `mask` [b, 1, 1, s] is true; return [b, t, d]."""
        query, key = self.query(x), self.key(source)
        if gates is not None:
            query, key = query * gates.query, key * gates.key
        mixed = F.scaled_dot_product_attention(
            self._split(query),
            self._split(key),
            self._split(self.value(source)),
            attn_mask=mask,
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        return cast(Tensor, self.norm(x + self.dropout(self.output(mixed.transpose(1, 2).flatten(2)))))


class FeedForward(nn.Module):  # type: ignore[misc]
    """Two linear maps with an activation between, added to their input and normalised."""

    def __init__(self, sizes: StreamSizes) -> None:
        super().__init__()
        self.activation = ACTIVATION_FUNCTIONS[sizes.activation]
        self.expand = nn.Linear(sizes.hidden, sizes.intermediate)
        self.contract = nn.Linear(sizes.intermediate, sizes.hidden)
        self.norm = nn.LayerNorm(sizes.hidden, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., d] to [..., d]."""
        return cast(Tensor, self.norm(x + self.dropout(self.contract(self.activation(self.expand(x))))))


class Layer(nn.Module):  # type: ignore[misc]
    """Attention and feed-forward; by default a sequence reads itself."""

    def __init__(
        self,
        reader: StreamSizes,
        source: StreamSizes | None = None,
        *,
        inner: int | None = None,
        heads: int | None = None,
    ) -> None:
        super().__init__()
        self.attention = Attention(reader, source or reader, inner=inner or reader.hidden, heads=heads or reader.heads)
        self.feed_forward = FeedForward(reader)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor, gates: Gates | None = None) -> Tensor:
        """Let x [b, t, d] read `source` [b, s, source width] where `mask` [b, 1, 1, s] is true; return [b, t, d]."""
        return cast(Tensor, self.feed_forward(self.attention(x, source, mask, gates)))
