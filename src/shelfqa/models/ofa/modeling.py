"""OFA for visual question answering (Wang et al. 2022, arXiv 2202.03052): an encoder-decoder that writes its answer.

    pictures -> encoder.embed_images -> features --+
                                                   +-> encoder (patches, then tokens) -> decoder -> answer
    questions -------------------------------------+

Pictures are encoded once (`encode_images`), however many questions are about them.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import Seq2SeqLMOutput

from shelfqa.models.ofa.attention import OfaAttention
from shelfqa.models.ofa.configuration import OfaConfig
from shelfqa.models.ofa.decoder import OfaDecoder
from shelfqa.models.ofa.encoder import OfaEncoder, OfaEncoderOutput
from shelfqa.models.ofa.layers import OfaDecoderLayer, OfaEncoderLayer

IGNORED_LABEL = -100


class OfaForVisualQuestionAnswering(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Answers questions about pictures by writing; its weights have the names of the published ones."""

    config_class = OfaConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = (OfaEncoderLayer.__name__, OfaDecoderLayer.__name__, "Bottleneck")
    _keys_to_ignore_on_load_unexpected = (
        r"\.(token_rp_bucket|image_rp_bucket|image_position_idx)$",
        r"^decoder\.(embed_image_positions|image_pos_ln|image_rel_pos_table_list|code_layernorm_embedding)\.",
    )

    def __init__(self, config: OfaConfig) -> None:
        """Build the model with fresh weights."""
        super().__init__(config)
        self.encoder = OfaEncoder(config)
        self.decoder = OfaDecoder(config)
        self._tied_weights_keys = {"decoder.embed_tokens.weight": "encoder.embed_tokens.weight"}
        if config.share_decoder_input_output_embed:
            self._tied_weights_keys["decoder.output_projection.weight"] = "encoder.embed_tokens.weight"
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # transformers marks what a checkpoint filled, and its `init` functions leave that alone.
        super()._init_weights(module)
        if isinstance(module, OfaAttention):
            nn.init.ones_(module.c_attn)
        elif isinstance(module, OfaEncoder):
            for table in (*module.token_rel_pos_table_list, *module.image_rel_pos_table_list):
                nn.init.zeros_(table.weight)
        elif isinstance(module, OfaDecoder):
            for table in module.token_rel_pos_table_list:
                nn.init.zeros_(table.weight)

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """Return the encoder; for `modality="image"` the vision tower."""
        return self.encoder.embed_images if modality == "image" else self.encoder

    def get_decoder(self) -> nn.Module:
        """Return the decoder."""
        return self.decoder

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding."""
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding of both sides."""
        self.encoder.embed_tokens = value
        self.decoder.embed_tokens = value

    def get_output_embeddings(self) -> nn.Module:
        """Return the output projection."""
        return self.decoder.output_projection

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the output projection."""
        self.decoder.output_projection = value

    def module_groups(self) -> dict[str, tuple[str, ...]]:
        """Return the prefixes of module names of each group; the longest match counts."""
        return {
            "vision": ("encoder.embed_images",),
            "connector": (
                "encoder.image_proj",
                "encoder.patch_layernorm_embedding",
                "encoder.embed_image_positions",
                "encoder.image_pos_ln",
                "encoder.image_rel_pos_table_list",
            ),
            "language": ("encoder", "decoder"),
        }

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [n, 3, height, width] to features [n, patches, 1024] by the vision tower alone, row by row."""
        return self.encoder.encode_images(pixel_values)[0]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_features: Tensor | None = None,
        image_grid: tuple[int, int] | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: OfaEncoderOutput | None = None,
        past_key_values: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """Score the tokens of answers.

        Args:
            input_ids: questions, [b, t], padded at the right.
            attention_mask: [b, t], 1 where there is a token; default: where there is no padding token.
            pixel_values: pictures, [b, 3, height, width].
            image_features: [b, patches, 1024] from `encode_images`, instead of `pixel_values`.
            image_grid: rows and columns of `image_features`; default: a square.
            decoder_input_ids: [b, k], what the decoder reads; default: `labels` behind a start token.
            decoder_attention_mask: [b, past and k], 0 at padding, which is left of a prompt or right of an answer.
            encoder_outputs: the encoder's, instead of everything above that it reads.
            past_key_values: an `EncoderDecoderCache` of earlier calls.
            labels: [b, k], the token after each of `decoder_input_ids`; -100 where it does not count.
            use_cache: make a cache if there is none.

        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask, pixel_values, image_features, image_grid)
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("give decoder_input_ids or labels")
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if past_key_values is None and use_cache:
            past_key_values = EncoderDecoderCache(DynamicCache(), DynamicCache())
        logits = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs.last_hidden_state,
            encoder_outputs.attention_mask,
            self._source_position_keys(encoder_outputs),
            past_key_values,
        )
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED_LABEL)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=past_key_values,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
        )

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """Return [start, label…] without the last label, [b, k]; what does not count becomes padding."""
        shifted = labels.roll(1, dims=-1)
        shifted[:, 0] = self.config.decoder_start_token_id
        return cast(Tensor, shifted.masked_fill(shifted == IGNORED_LABEL, self.config.pad_token_id))

    def _source_position_keys(self, source: OfaEncoderOutput) -> Tensor:
        if source.position_keys is None:
            rows, columns = grid = source.image_grid or (0, 0)
            tokens = cast(Tensor, source.attention_mask).shape[1] - rows * columns
            where = self.encoder.position_embedding(grid, tokens)
            source.position_keys = self.decoder.source_position_keys(where)
        return source.position_keys
