"""One layer of OFA's encoder, and one of its decoder.

Shapes: b rows, t positions of this side, s positions of the source, d model width, h heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from shelfqa.models.ofa.attention import OfaAttention
from shelfqa.models.ofa.regularization import DropPath

if TYPE_CHECKING:
    from shelfqa.models.ofa.configuration import OfaConfig


class _Layer(GradientCheckpointingLayer):  # type: ignore[misc]
    """What both layers have: self-attention, a feed-forward part, and how a sublayer is wrapped."""

    def __init__(
        self, config: OfaConfig, *, heads: int, width: int, norm_first: bool, drop_path_rate: float, number: int | None
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.self_attn = OfaAttention(config, heads, number)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.self_attn_mid_layer_norm = _extra_norm(config, config.d_model)
        self.fc1 = nn.Linear(config.d_model, width)
        self.fc2 = nn.Linear(width, config.d_model)
        self.ffn_layer_norm = _extra_norm(config, width)
        self.final_layer_norm = nn.LayerNorm(config.d_model)
        self.activation = ACT2FN[config.activation_function]
        self.activation_dropout = nn.Dropout(config.activation_dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.drop_path = DropPath(drop_path_rate)

    def wrapped(self, x: Tensor, norm: nn.Module, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Add what `sublayer` makes of x to x, with `norm` before it or after the sum; [b, t, d]."""
        branch = self.drop_path(self.dropout(sublayer(norm(x) if self.norm_first else x)))
        return cast(Tensor, x + branch if self.norm_first else norm(x + branch))

    def attended(self, x: Tensor, bias: Tensor, *, seen: Tensor | None = None, cache: Any = None) -> Tensor:
        """Run self-attention, [b, t, d]."""
        return cast(Tensor, self.self_attn_mid_layer_norm(self.self_attn(x, bias, seen=seen, cache=cache)))

    def fed_forward(self, x: Tensor) -> Tensor:
        """Run the feed-forward part, [b, t, d]."""
        inner = self.activation_dropout(self.activation(self.fc1(x)))
        return cast(Tensor, self.fc2(self.ffn_layer_norm(inner)))


class OfaEncoderLayer(_Layer):
    """Self-attention and feed-forward part."""

    def __init__(self, config: OfaConfig, drop_path_rate: float) -> None:
        """`drop_path_rate` is the share of rows whose sublayers are dropped in training."""
        super().__init__(
            config,
            heads=config.encoder_attention_heads,
            width=config.encoder_ffn_dim,
            norm_first=config.encoder_normalize_before,
            drop_path_rate=drop_path_rate,
            number=None,
        )

    def forward(self, x: Tensor, bias: Tensor, seen: Tensor | None) -> Tensor:
        """Map x [b, t, d] to the same shape; `bias` is [1, h, t, t], and `seen` [b, t] false at padding."""
        x = self.wrapped(x, self.self_attn_layer_norm, lambda y: self.attended(y, bias, seen=seen))
        return self.wrapped(x, self.final_layer_norm, self.fed_forward)


class OfaDecoderLayer(_Layer):
    """Self-attention, attention to the encoder's states, feed-forward part."""

    def __init__(self, config: OfaConfig, drop_path_rate: float, number: int) -> None:
        """`number` is the layer's place in the cache."""
        heads = config.decoder_attention_heads
        super().__init__(
            config,
            heads=heads,
            width=config.decoder_ffn_dim,
            norm_first=config.decoder_normalize_before,
            drop_path_rate=drop_path_rate,
            number=number,
        )
        self.cross_attn = OfaAttention(config, heads, number)
        self.cross_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.cross_attn_mid_layer_norm = _extra_norm(config, config.d_model)

    def forward(self, x: Tensor, bias: Tensor, source: Tensor, source_bias: Tensor, past_key_values: Any) -> Tensor:
        """Map x [b, t, d] to the same shape.

        Args:
            x: the tokens read in this call.
            bias: [1 or b, h, t, past and t], which hides what comes later.
            source: the encoder's states, [b, s, d].
            source_bias: [1 or b, h, t, s].
            past_key_values: an `EncoderDecoderCache`, or None.

        """
        x = self.wrapped(x, self.self_attn_layer_norm, lambda y: self.attended(y, bias, cache=past_key_values))

        def looked_up(y: Tensor) -> Tensor:
            found = self.cross_attn(y, source_bias, source=source, cache=past_key_values)
            return cast(Tensor, self.cross_attn_mid_layer_norm(found))

        x = self.wrapped(x, self.cross_attn_layer_norm, looked_up)
        return self.wrapped(x, self.final_layer_norm, self.fed_forward)


def _extra_norm(config: OfaConfig, width: int) -> nn.Module:
    return nn.LayerNorm(width) if config.normformer else nn.Identity()
