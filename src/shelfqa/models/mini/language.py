"""The language side of `mini`: words that read each other, then the picture.

Shapes: q questions, t tokens, k query vectors, n images, p image positions, d hidden size, h heads.
The text layers have all-MiniLM-L6-v2's form (BERT, normalised after each sum), so that its weights fit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from shelfqa.models.mini.configuration import MiniConfig


class KeysValues(NamedTuple):
    """What an attention reads: keys and values, each [n, h, p, d / h]."""

    keys: Tensor
    values: Tensor


class Looked(NamedTuple):
    """What questions made of their pictures, and where they looked for it."""

    pooled: Tensor
    """[q, pooled size]."""
    attention: Tensor
    """Shares [q, p] of the image positions, 1 in all, in float32: see `Attention.taken`."""


class Seating(NamedTuple):
    """Where each question sits when questions are laid out by image, [n, seats]; seats left over stay empty."""

    place: Tensor
    """[q], image times seats plus seat."""
    images: int
    seats: int

    @classmethod
    def of(cls, image_index: Tensor, images: int) -> Seating:
        """Seat question i at image `image_index[i]`, in order."""
        order = torch.argsort(image_index, stable=True)
        counts = torch.bincount(image_index, minlength=images)
        first = counts.cumsum(0) - counts
        seat = torch.empty_like(order)
        seat[order] = torch.arange(len(order), device=order.device) - first[image_index[order]]
        seats = int(counts.max())
        return cls(image_index * seats + seat, images, seats)

    def seat(self, queries: Tensor) -> Tensor:
        """[q, k, d] -> [n, seats * k, d]."""
        table = queries.new_zeros(self.images * self.seats, *queries.shape[1:])
        return table.index_copy(0, self.place, queries).view(self.images, -1, queries.shape[2])

    def leave(self, table: Tensor, queries: int) -> Tensor:
        """[n, seats * k, d] -> [q, k, d]."""
        return table.reshape(self.images * self.seats, queries, -1).index_select(0, self.place)


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head attention whose keys and values are computed apart from its queries."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.output = nn.Linear(size, size)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, source: Tensor) -> KeysValues:
        """Project what is attended to, [n, p, d]."""
        return KeysValues(self._split(self.key(source)), self._split(self.value(source)))

    def forward(self, x: Tensor, source: KeysValues, mask: Tensor | None = None) -> Tensor:
        """Let x [q, t, d] attend to `source` where `mask` [q, 1, 1, p] is true; return [q, t, d]."""
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(x)),
            source.keys,
            source.values,
            attn_mask=mask,
        )
        return cast(Tensor, self.output(mixed.transpose(1, 2).flatten(2)))

    def taken(self, x: Tensor, source: KeysValues) -> Tensor:
        """Say how much x [q, t, d] takes from each place of `source`: [q, t, p] in float32.

        That is its share of attention times the length of what the place sends: its value after the output layer,
        without that layer's bias (Kobayashi et al. 2020, arXiv 2004.10102, section 3). Summed over heads. Attention to
        a place that says nothing does not count.
        """
        queries = self._split(self.query(x)).float()
        scores = queries @ source.keys.float().transpose(-1, -2) / math.sqrt(queries.shape[-1])
        return (scores.softmax(-1) * self._sent_lengths(source.values)[:, :, None]).sum(1)

    def _sent_lengths(self, values: Tensor) -> Tensor:
        """Return the length of each of `values` [n, h, p, e] after the output layer, [n, h, p].

        The layer is asked for its outputs, not for its weights, so that adapters on it count.
        """
        unit = torch.eye(values.shape[1] * values.shape[3], dtype=values.dtype, device=values.device)
        sent = (self.output(unit) - self.output(torch.zeros_like(unit[:1]))).float()
        each = sent.unflatten(0, (self.heads, -1))  # [h, e, d]
        values = values.float()
        squares = (values @ (each @ each.transpose(1, 2)) * values).sum(-1)
        return squares.clamp(min=0).sqrt()


class FeedForward(nn.Module):  # type: ignore[misc]
    """Two linear maps with GELU between."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., d] to [..., d]."""
        return cast(Tensor, self.contract(F.gelu(self.expand(x))))


class TextLayer(nn.Module):  # type: ignore[misc]
    """Self-attention and feed-forward, each added and then normalised."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        mixed = self.attention(x, self.attention.keys_values(x), mask)
        return cast(Tensor, self.attention_norm(x + self.dropout(mixed)))

    def _transform(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.feed_forward_norm(x + self.dropout(self.feed_forward(x))))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map words [q, t, d] to words, where `mask` [q, 1, 1, t] is true for words that exist."""
        return self._transform(self._attend(x, mask))


class FusionLayer(TextLayer):
    """A layer whose queries read the words, then the picture, then are transformed."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__(config)
        self.picture_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.picture_attention = Attention(config)

    def look(self, queries: Tensor, words: Tensor, mask: Tensor, pictures: Tensor, seating: Seating) -> Tensor:
        """Map queries [q, k, d] to queries that have read `words` [q, t, d] and seen `pictures` [n, p, d]."""
        return self._see(self._read(queries, words, mask), self.picture_attention.keys_values(pictures), seating)

    def look_and_tell(
        self, queries: Tensor, words: Tensor, mask: Tensor, pictures: Tensor, seating: Seating
    ) -> tuple[Tensor, Tensor]:
        """Return what `look` does, and what each query took from each image position, [q, k, p]."""
        queries = self._read(queries, words, mask)
        cells = self.picture_attention.keys_values(pictures)
        taken = self.picture_attention.taken(seating.seat(self.picture_norm(queries)), cells)
        return self._see(queries, cells, seating), seating.leave(taken, queries.shape[1])

    def _read(self, queries: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        mixed = self.attention(queries, self.attention.keys_values(words), mask)
        return cast(Tensor, self.attention_norm(queries + self.dropout(mixed)))

    def _see(self, queries: Tensor, cells: KeysValues, seating: Seating) -> Tensor:
        seen = self.picture_attention(seating.seat(self.picture_norm(queries)), cells)
        return self._transform(queries + self.dropout(seating.leave(seen, queries.shape[1])))


class Embeddings(nn.Module):  # type: ignore[misc]
    """Word pieces and their places."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.places = nn.Embedding(config.max_tokens, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids [q, t] to [q, t, d]."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        return cast(Tensor, self.dropout(self.norm(self.words(input_ids) + self.places(places))))


class Language(nn.Module):  # type: ignore[misc]
    """Reads questions, looks at the pictures they are about, and sums each up in one vector.

    Only a few query vectors a question look at the picture, not all its words: that makes training and answering
    several times cheaper.
    """

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.text = nn.ModuleList(TextLayer(config) for _ in range(config.text_layers))
        self.queries = nn.Parameter(torch.zeros(config.query_vectors, config.hidden_size))
        self.fusion = nn.ModuleList(FusionLayer(config) for _ in range(config.fusion_layers))
        self.pooler = nn.Linear(config.query_vectors * config.hidden_size, config.pooled_size)
        self.pooler_norm = nn.LayerNorm(config.pooled_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def read(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map questions [q, t] to words that have read each other, [q, t, d]."""
        mask = attention_mask[:, None, None, :].bool()
        words = self.embeddings(input_ids)
        for layer in self.text:
            words = layer(words, mask)
        return cast(Tensor, words)

    def look(self, words: Tensor, attention_mask: Tensor, pictures: Tensor, image_index: Tensor) -> Tensor:
        """Return [q, pooled size] for questions read as `words` about `pictures` [n, p, d] at `image_index` [q]."""
        mask = attention_mask[:, None, None, :].bool()
        queries = words[:, :1] + self.queries
        seating = Seating.of(image_index, len(pictures))
        for layer in self.fusion:
            queries = layer.look(queries, words, mask, pictures, seating)
        return self._pool(queries)

    def look_and_tell(self, words: Tensor, attention_mask: Tensor, pictures: Tensor, image_index: Tensor) -> Looked:
        """Return what `look` does, and where each question looked: what its query vectors took in all layers."""
        mask = attention_mask[:, None, None, :].bool()
        queries = words[:, :1] + self.queries
        seating = Seating.of(image_index, len(pictures))
        total = torch.zeros(len(words), pictures.shape[1], device=words.device)
        for layer in self.fusion:
            queries, taken = layer.look_and_tell(queries, words, mask, pictures, seating)
            total = total + taken.sum(1)
        return Looked(self._pool(queries), total / total.sum(-1, keepdim=True))

    def _pool(self, queries: Tensor) -> Tensor:
        pooled = F.gelu(self.pooler(queries.flatten(1)))
        return cast(Tensor, self.dropout(self.pooler_norm(pooled)))

    def forward(self, pictures: Tensor, image_index: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return [q, pooled size] for questions [q, t] about `pictures` [n, p, d] at `image_index` [q]."""
        return self.look(self.read(input_ids, attention_mask), attention_mask, pictures, image_index)
