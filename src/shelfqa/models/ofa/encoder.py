"""OFA's encoder: image patches and question tokens in one sequence, patches first.

Shapes: b rows, p patches, t tokens, s = p + t, d model width, h heads, c channels of the vision tower.
Positions never enter the sequence (unless `entangle_position_embedding`): they bias every layer's attention, by the
product of two position vectors (alike in all layers) and by a table over distances (one each layer). Both depend on
the sizes alone, not on a row's content, and are computed once for a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils.generic import ModelOutput

from shelfqa.errors import InputError
from shelfqa.models.ofa import positions
from shelfqa.models.ofa.configuration import RESNET_BLOCKS, OfaConfig
from shelfqa.models.ofa.layers import OfaEncoderLayer
from shelfqa.models.ofa.regularization import drop_path_rates
from shelfqa.models.ofa.resnet import RESNET_CHANNELS, ResNet

PATCH_SIDE_PX = 16


@dataclass
class OfaEncoderOutput(ModelOutput):  # type: ignore[misc]
    """What the encoder returns.

    Attributes:
        last_hidden_state: [b, s, d].
        attention_mask: [b, s], true where there is a patch or a token.
        image_grid: rows and columns of patches; (0, 0) without a picture.
        position_keys: [h, s, d / h], what the decoder's attention biases need of the source; filled by the model
            when the output is first used, so that later decoding steps find it.

    """

    last_hidden_state: Tensor | None = None
    attention_mask: Tensor | None = None
    image_grid: tuple[int, int] | None = None
    position_keys: Tensor | None = None


class OfaEncoder(nn.Module):  # type: ignore[misc]
    """Mixes questions with the patches of their pictures."""

    main_input_name = "input_ids"

    def __init__(self, config: OfaConfig) -> None:
        """Build the encoder; it owns the token embedding."""
        super().__init__()
        size, heads, depth = config.d_model, config.encoder_attention_heads, config.encoder_layers
        self.config = config
        self.embed_scale = math.sqrt(size) if config.scale_embedding else 1.0
        self.embed_tokens = nn.Embedding(config.vocab_size, size, config.pad_token_id)
        self.layernorm_embedding = _norm_if(config.layernorm_embedding, size)
        self.type_embedding = nn.Embedding(2, size) if config.add_type_embedding else None
        self.embed_images = ResNet(RESNET_BLOCKS[config.resnet_type], config.resnet_drop_path_rate)
        self.image_proj = nn.Linear(RESNET_CHANNELS, size)
        self.patch_layernorm_embedding = _norm_if(config.patch_layernorm_embedding, size)
        self.embed_positions = nn.Embedding(config.max_position_embeddings + 2, size)
        self.embed_image_positions = nn.Embedding(config.image_bucket_size**2 + 1, size)
        self.pos_ln = nn.LayerNorm(size)
        self.image_pos_ln = nn.LayerNorm(size)
        self.pos_q_linear = nn.Linear(size, size)
        self.pos_k_linear = nn.Linear(size, size)
        self.pos_scale = (size / heads * config.attn_scale_factor) ** -0.5
        buckets = 2 * config.token_bucket_size - 1
        image_buckets = positions.image_bucket_count(config.image_bucket_size)
        self.token_rel_pos_table_list = nn.ModuleList(nn.Embedding(buckets, heads) for _ in range(depth))
        self.image_rel_pos_table_list = nn.ModuleList(nn.Embedding(image_buckets, heads) for _ in range(depth))
        rates = drop_path_rates(config.encoder_drop_path_rate, depth)
        self.layers = nn.ModuleList(OfaEncoderLayer(config, rate) for rate in rates)
        self.layer_norm = _norm_if(config.encoder_normalize_before, size)
        self.dropout = nn.Dropout(config.dropout)

    def encode_images(self, pixel_values: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Run the vision tower on [n, 3, height, width]; return features [n, p, c] and their grid."""
        patches = self.embed_images(pixel_values)
        return patches.flatten(2).transpose(1, 2), (patches.shape[2], patches.shape[3])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_features: Tensor | None = None,
        image_grid: tuple[int, int] | None = None,
        **_: Any,
    ) -> OfaEncoderOutput:
        """Encode questions about pictures, or texts alone.

        Args:
            input_ids: [b, t], padded at the right.
            attention_mask: [b, t], 1 where there is a token; default: where there is no padding token.
            pixel_values: [b, 3, height, width].
            image_features: [b, p, c] from `encode_images`, instead of `pixel_values`.
            image_grid: rows and columns of `image_features`; default: a square.

        Raises:
            InputError: the picture has more patches than the table of positions, or p is no square and no grid given.

        """
        if pixel_values is not None:
            image_features, image_grid = self.encode_images(pixel_values)
        grid = self._grid(image_features, image_grid)
        there = input_ids != self.config.pad_token_id if attention_mask is None else attention_mask.bool()
        if image_features is not None:
            there = torch.cat([there.new_ones(image_features.shape[:2]), there], dim=1)
        x = self._embedded(input_ids, image_features, grid)
        padded = not bool(there.all())
        if padded:
            x = x * there[..., None].to(x.dtype)
        x = self._mixed(x, grid, there if padded else None)
        return OfaEncoderOutput(last_hidden_state=self.layer_norm(x), attention_mask=there, image_grid=grid)

    def position_embedding(self, grid: tuple[int, int], tokens: int) -> Tensor:
        """Return the normalised position vectors of a source of a picture and `tokens` tokens, [s, d]."""
        words = self.pos_ln(self.embed_positions.weight[:tokens])
        if not grid[0]:
            return cast(Tensor, words)
        return torch.cat([self.image_pos_ln(self._image_positions(grid)), words])

    def _grid(self, image_features: Tensor | None, given: tuple[int, int] | None) -> tuple[int, int]:
        if image_features is None:
            return (0, 0)
        patches = image_features.shape[1]
        side = math.isqrt(patches)
        rows, columns = given or (side, side)
        if rows * columns != patches:
            raise InputError(f"{patches} image features are no grid of {rows} x {columns}: give image_grid")
        largest = self.config.image_bucket_size
        if max(rows, columns) > largest:
            raise InputError(
                f"a picture of {columns * PATCH_SIDE_PX} x {rows * PATCH_SIDE_PX} pixels is too large for this model: "
                f"give one with sides of at most {largest * PATCH_SIDE_PX}"
            )
        return rows, columns

    def _image_positions(self, grid: tuple[int, int]) -> Tensor:
        """Return the position vectors of the patches, [p, d]."""
        weight = self.embed_image_positions.weight
        known = self.config.orig_patch_image_size // PATCH_SIDE_PX
        if not self.config.interpolate_position or grid[0] * grid[1] <= known**2:
            return self._table_of_positions(grid, weight)
        trained = self._table_of_positions((known, known), weight).T.unflatten(1, (known, known))
        return F.interpolate(trained[None], size=grid, mode="bilinear")[0].flatten(1).T

    def _table_of_positions(self, grid: tuple[int, int], weight: Tensor) -> Tensor:
        ids = positions.image_position_ids(grid, self.config.image_bucket_size, weight.device)
        return cast(Tensor, self.embed_image_positions(ids))

    def _embedded(self, input_ids: Tensor, image_features: Tensor | None, grid: tuple[int, int]) -> Tensor:
        """Return the sequence that the layers read, [b, s, d]."""
        entangled = self.config.entangle_position_embedding
        words = self.embed_tokens(input_ids) * self.embed_scale
        if entangled:
            words = words + self.embed_positions.weight[: input_ids.shape[1]]
        if self.type_embedding is not None:
            words = words + self.type_embedding.weight[0]
        words = self.dropout(self.layernorm_embedding(words))
        if image_features is None:
            return cast(Tensor, words)
        patches = self.image_proj(image_features) * self.embed_scale
        if entangled:
            patches = patches + self._image_positions(grid)
        if self.type_embedding is not None:
            patches = patches + self.type_embedding.weight[1]
        patches = self.dropout(self.patch_layernorm_embedding(patches))
        return torch.cat([patches, words], dim=1)

    def _mixed(self, x: Tensor, grid: tuple[int, int], there: Tensor | None) -> Tensor:
        """Run the layers on x [b, s, d]; `there` [b, s] is false at padding, None without any."""
        patches = grid[0] * grid[1]
        tokens = x.shape[1] - patches
        where = self.position_embedding(grid, tokens)
        heads = self.config.encoder_attention_heads
        queries = positions.split_heads(self.pos_q_linear(where), heads) * self.pos_scale
        keys = positions.split_heads(self.pos_k_linear(where), heads)
        product = queries @ keys.transpose(-2, -1)
        of_tokens = positions.token_buckets(torch.arange(tokens, device=x.device), self.config.token_bucket_size)
        of_patches = positions.image_buckets(grid, self.config.image_bucket_size, x.device)
        for layer, token_table, image_table in zip(
            self.layers, self.token_rel_pos_table_list, self.image_rel_pos_table_list, strict=True
        ):
            if self.training and float(torch.rand(())) < self.config.encoder_layerdrop:
                continue
            bias = product.clone()
            bias[:, patches:, patches:] += positions.relative_bias(token_table, of_tokens)
            bias[:, :patches, :patches] += positions.relative_bias(image_table, of_patches)
            x = layer(x, bias[None], there)
        return x


def _norm_if(wanted: bool, size: int) -> nn.Module:
    return nn.LayerNorm(size) if wanted else nn.Identity()
