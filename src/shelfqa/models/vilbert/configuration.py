"""The sizes of a ViLBERT model, and its table of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from shelfqa.errors import ConfigError, did_you_mean

ACTIVATIONS = ("gelu", "relu", "swish")
FUSION_METHODS = ("mul", "sum")
VQA_TASK_ID = 1
"""The number of visual question answering (VQA v2) among the tasks of arXiv 1912.02315."""

_NEEDED = {"model": "bert", "in_batch_pairs": False, "fast_mode": False}
"""Fields of the authors' JSON that would ask for another model, each with the value that asks for this one."""


class ViLbertConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes of `ViLbertForQuestionAnswering`; the answers are the standard `id2label` and `label2id`.

    The fields are those of the authors' JSON files and have their names; the defaults are those of
    `bert_base_6layer_6conect.json`. What these files hold for pre-training alone (`v_target_size`, `visual_target`,
    `objective`, …) and what the authors' code never reads (`pooling_method`, `bi_intermediate_size`,
    `bi_attention_type`, `v_initializer_range`) is kept and not used.

    Attributes:
        vocab_size: word pieces known to the tokenizer.
        hidden_size: width of the words.
        num_hidden_layers: layers of the language stream.
        num_attention_heads: heads of its attention; they divide `hidden_size`.
        intermediate_size: width inside its feed-forward parts.
        hidden_act: their activation: gelu, relu or swish.
        hidden_dropout_prob: share of its activations dropped in training.
        attention_probs_dropout_prob: share of the attention to words dropped in training.
        max_position_embeddings: longest question, in word pieces.
        type_vocab_size: kinds of segments.
        initializer_range: standard deviation of freshly drawn weights.
        v_feature_size: channels of a region's features.
        v_hidden_size: width of the regions.
        v_num_hidden_layers: layers of the vision stream.
        v_num_attention_heads: heads of its attention; they divide `v_hidden_size`.
        v_intermediate_size: width inside its feed-forward parts.
        v_hidden_act: their activation.
        v_hidden_dropout_prob: share of its activations dropped in training.
        v_attention_probs_dropout_prob: share of the attention to regions dropped in training.
        v_biattention_id: for each co-attention layer, how many vision layers come before it; ascending.
        t_biattention_id: for each co-attention layer, how many language layers come before it; ascending.
        bi_hidden_size: width of co-attention, and of the vector that the answer head reads.
        bi_num_attention_heads: heads of co-attention; they divide `bi_hidden_size`.
        fixed_v_layer: the first so many vision layers, and what is before them, do not learn.
        fixed_t_layer: the first so many language layers, and what is before them, do not learn.
        with_coattention: whether there are co-attention layers; without, the streams meet in the head alone.
        dynamic_attention: whether the words gate the queries and keys of the vision stream.
        fusion_method: how the pooled streams become one vector: `mul` (elementwise product) or `sum`.
        task_specific_tokens: whether a learned token after the first tells which task a question belongs to.

    Raises:
        ConfigError: if a value is not accepted or does not fit the others.

    """

    model_type = "vilbert"

    def __init__(
        self,
        *,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        hidden_act: str = "gelu",
        hidden_dropout_prob: float = 0.1,
        attention_probs_dropout_prob: float = 0.1,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        initializer_range: float = 0.02,
        v_feature_size: int = 2048,
        v_hidden_size: int = 1024,
        v_num_hidden_layers: int = 6,
        v_num_attention_heads: int = 8,
        v_intermediate_size: int = 1024,
        v_hidden_act: str = "gelu",
        v_hidden_dropout_prob: float = 0.1,
        v_attention_probs_dropout_prob: float = 0.1,
        v_biattention_id: Sequence[int] = (0, 1, 2, 3, 4, 5),
        t_biattention_id: Sequence[int] = (6, 7, 8, 9, 10, 11),
        bi_hidden_size: int = 1024,
        bi_num_attention_heads: int = 8,
        fixed_v_layer: int = 0,
        fixed_t_layer: int = 0,
        with_coattention: bool = True,
        dynamic_attention: bool = False,
        fusion_method: str = "mul",
        task_specific_tokens: bool = False,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range
        self.v_feature_size = v_feature_size
        self.v_hidden_size = v_hidden_size
        self.v_num_hidden_layers = v_num_hidden_layers
        self.v_num_attention_heads = v_num_attention_heads
        self.v_intermediate_size = v_intermediate_size
        self.v_hidden_act = v_hidden_act
        self.v_hidden_dropout_prob = v_hidden_dropout_prob
        self.v_attention_probs_dropout_prob = v_attention_probs_dropout_prob
        self.v_biattention_id = list(v_biattention_id)
        self.t_biattention_id = list(t_biattention_id)
        self.bi_hidden_size = bi_hidden_size
        self.bi_num_attention_heads = bi_num_attention_heads
        self.fixed_v_layer = fixed_v_layer
        self.fixed_t_layer = fixed_t_layer
        self.with_coattention = with_coattention
        self.dynamic_attention = dynamic_attention
        self.fusion_method = fusion_method
        self.task_specific_tokens = task_specific_tokens
        super().__init__(**kwargs)
        self._check()

    def _check(self) -> None:
        for field, needed in _NEEDED.items():
            if getattr(self, field, needed) != needed:
                raise ConfigError(f"{field} is {getattr(self, field)!r}: of ViLBERT only {needed!r} is supported.")
        for field, known in (
            ("hidden_act", ACTIVATIONS),
            ("v_hidden_act", ACTIVATIONS),
            ("fusion_method", FUSION_METHODS),
        ):
            value = getattr(self, field)
            if value not in known:
                raise ConfigError(f"{field} is {value!r}.{did_you_mean(str(value), known)}")
        for prefix in ("", "v_", "bi_"):
            size, heads = getattr(self, f"{prefix}hidden_size"), getattr(self, f"{prefix}num_attention_heads")
            if size % heads:
                raise ConfigError(f"{prefix}hidden_size {size} is no multiple of {prefix}num_attention_heads {heads}.")
        if len(self.v_biattention_id) != len(self.t_biattention_id):
            raise ConfigError(
                f"v_biattention_id {self.v_biattention_id} and t_biattention_id {self.t_biattention_id} differ in "
                f"length: each co-attention layer needs a place in both streams."
            )
        for prefix, layers, fixed in (
            ("v", self.v_num_hidden_layers, self.fixed_v_layer),
            ("t", self.num_hidden_layers, self.fixed_t_layer),
        ):
            places = getattr(self, f"{prefix}_biattention_id")
            if places != sorted(places) or not all(fixed <= place < layers for place in places):
                raise ConfigError(
                    f"{prefix}_biattention_id is {places}: expected ascending numbers from fixed_{prefix}_layer "
                    f"({fixed}) to {layers - 1}."
                )
