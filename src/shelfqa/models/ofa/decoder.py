"""OFA's decoder: writes the answer token by token, looking at the encoder's states.

Shapes: b rows, t tokens of this call, k tokens so far, s source positions, d model width, h heads.
As in the encoder, positions only bias attention. The biases are computed for positions 0 ... k - 1, whatever the row;
rows whose prompt is padded at the left pick theirs.
The tables by which OFA writes image codes are left out: an answer holds none.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from shelfqa.models.ofa import positions
from shelfqa.models.ofa.attention import hide_keys
from shelfqa.models.ofa.configuration import OfaConfig
from shelfqa.models.ofa.layers import OfaDecoderLayer
from shelfqa.models.ofa.regularization import drop_path_rates


class OfaDecoder(nn.Module):  # type: ignore[misc]
    """Scores the next token of each answer."""

    def __init__(self, config: OfaConfig) -> None:
        """Build the decoder; the model ties its embedding to the encoder's."""
        super().__init__()
        size, heads, depth = config.d_model, config.decoder_attention_heads, config.decoder_layers
        self.config = config
        self.embed_scale = math.sqrt(size) if config.scale_embedding else 1.0
        self.embed_tokens = nn.Embedding(config.vocab_size, size, config.pad_token_id)
        self.layernorm_embedding = nn.LayerNorm(size) if config.layernorm_embedding else nn.Identity()
        self.embed_positions = nn.Embedding(config.max_position_embeddings + 2, size)
        self.pos_ln = nn.LayerNorm(size)
        self.self_pos_q_linear = nn.Linear(size, size)
        self.self_pos_k_linear = nn.Linear(size, size)
        self.cross_pos_q_linear = nn.Linear(size, size)
        self.cross_pos_k_linear = nn.Linear(size, size)
        self.pos_scale = (size / heads * config.attn_scale_factor) ** -0.5
        buckets = 2 * config.token_bucket_size - 1
        self.token_rel_pos_table_list = nn.ModuleList(nn.Embedding(buckets, heads) for _ in range(depth))
        rates = drop_path_rates(config.decoder_drop_path_rate, depth)
        self.layers = nn.ModuleList(OfaDecoderLayer(config, rate, number) for number, rate in enumerate(rates))
        self.layer_norm = nn.LayerNorm(size) if config.decoder_normalize_before else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.output_projection = nn.Linear(size, config.vocab_size, bias=False)

    def source_position_keys(self, position_embedding: Tensor) -> Tensor:
        """Project the source's position vectors [s, d] for attention biases, [h, s, d / h]."""
        return self._split(self.cross_pos_k_linear(position_embedding))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        source: Tensor,
        source_mask: Tensor,
        source_position_keys: Tensor,
        past_key_values: Any = None,
    ) -> Tensor:
        """Return the scores of the token after each given one, [b, t, vocabulary].

        Args:
            input_ids: [b, t], the tokens that the cache lacks.
            attention_mask: [b, k], 0 at padding, which is left of a prompt or right of an answer; None: no padding.
            source: [b, s, d].
            source_mask: [b, s], true where there is something.
            source_position_keys: from the method of that name.
            past_key_values: an `EncoderDecoderCache`; None: `input_ids` is everything so far.

        """
        past = 0 if past_key_values is None else int(past_key_values.get_seq_length())
        total = past + input_ids.shape[1]
        where = self.embed_positions.weight[:total]
        at = None if attention_mask is None else positions.tokens_read(attention_mask)
        x = self.embed_tokens(input_ids) * self.embed_scale
        if self.config.decoder_entangle_position_embedding:
            x = x + (where[past:] if at is None else where[at[:, past:]])
        x = self.dropout(self.layernorm_embedding(x))

        normed = self.pos_ln(where)
        product = self._self_product(normed)
        source_bias = self._source_bias(normed, at, past, source_position_keys, source_mask)
        seen = torch.ones(total, total, dtype=torch.bool, device=x.device).tril()[None, past:]
        if attention_mask is not None:
            seen = seen & attention_mask.bool()[:, None]
        buckets = positions.token_buckets(torch.arange(total, device=x.device), self.config.token_bucket_size)
        for layer, table in zip(self.layers, self.token_rel_pos_table_list, strict=True):
            if self.training and float(torch.rand(())) < self.config.decoder_layerdrop:
                continue
            bias = _pick_pairs(product + positions.relative_bias(table, buckets), at, past)
            x = layer(x, hide_keys(bias, seen), source, source_bias, past_key_values=past_key_values)
        return cast(Tensor, self.output_projection(self.layer_norm(x)))

    def _split(self, x: Tensor) -> Tensor:
        return positions.split_heads(x, self.config.decoder_attention_heads)

    def _self_product(self, where: Tensor) -> Tensor:
        """Return the bias of each pair of token positions that all layers share, [h, k, k]."""
        queries = self._split(self.self_pos_q_linear(where)) * self.pos_scale
        return queries @ self._split(self.self_pos_k_linear(where)).transpose(-2, -1)

    def _source_bias(self, where: Tensor, at: Tensor | None, past: int, keys: Tensor, there: Tensor) -> Tensor:
        """Return the bias of attention to the source, [1 or b, h, t, s]."""
        queries = self._split(self.cross_pos_q_linear(where)) * self.pos_scale  # [h, k, d / h]
        picked = queries[None, :, past:] if at is None else queries[:, at[:, past:]].transpose(0, 1)
        bias = picked @ keys.transpose(-2, -1)
        return bias if bool(there.all()) else hide_keys(bias, there[:, None])


def _pick_pairs(table: Tensor, at: Tensor | None, past: int) -> Tensor:
    """[h, k, k] over positions -> [1 or b, h, t, k] over tokens, of which `at` [b, k] tells the positions."""
    if at is None:
        return table[None, :, past:]
    return table[:, at[:, past:, None], at[:, None, :]].transpose(0, 1)
