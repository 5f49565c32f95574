"""The sizes of an OFA model, under the names of the published configurations."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import PreTrainedConfig

RESNET_BLOCKS = {"resnet50": (3, 4, 6), "resnet101": (3, 4, 23), "resnet152": (3, 8, 36)}
"""Blocks in each stage of the truncated ResNets."""
PROMPT_TYPES = ("none", "src", "prev_output")


class OfaConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes and switches of `OfaForVisualQuestionAnswering`; reads the `config.json` of OFA-Sys/ofa-* on the hub."""

    model_type = "ofa"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "num_attention_heads": "encoder_attention_heads",
        "hidden_size": "d_model",
        "num_hidden_layers": "encoder_layers",
        "initializer_range": "init_std",
    }

    vocab_size: int = 59457
    """Tokens known: BART's byte pairs and `<mask>`, 8192 image codes, 1000 coordinate bins."""
    max_position_embeddings: int = 1024
    """Longest text, in tokens."""
    d_model: int = 512
    """Width of tokens and of projected image patches."""
    encoder_layers: int = 4
    """Layers that mix question and picture."""
    encoder_ffn_dim: int = 2048
    """Width inside the encoder's feed-forward parts."""
    encoder_attention_heads: int = 8
    """Heads of the encoder's attention; they divide `d_model`."""
    decoder_layers: int = 4
    """Layers that write the answer."""
    decoder_ffn_dim: int = 2048
    """Width inside the decoder's feed-forward parts."""
    decoder_attention_heads: int = 8
    """Heads of the decoder's attention; they divide `d_model`."""
    activation_function: str = "gelu"
    """Between the two maps of a feed-forward part."""
    encoder_normalize_before: bool = True
    """The encoder's layer norms stand before its sublayers, not after."""
    decoder_normalize_before: bool = True
    """The decoder's layer norms stand before its sublayers, not after."""
    normformer: bool = True
    """Layer norms after attention and inside feed-forward parts too (arXiv 2110.09456)."""
    layernorm_embedding: bool = True
    """Layer norm on token embeddings."""
    patch_layernorm_embedding: bool = True
    """Layer norm on projected image patches."""
    add_type_embedding: bool = True
    """Adds a vector that tells text from picture."""
    scale_embedding: bool = False
    """Multiplies embeddings by the root of `d_model`."""
    share_decoder_input_output_embed: bool = True
    """The output projection is the token embedding."""
    attn_scale_factor: float = 2.0
    """Attention logits are divided by the root of this times the head's width."""
    token_bucket_size: int = 256
    """Half the number of relative text positions; distances up to half of this are exact."""
    image_bucket_size: int = 42
    """Rows and columns of the table of image positions, in patches of 16 x 16 pixels."""
    entangle_position_embedding: bool = False
    """Adds positions to the encoder's inputs, beside the attention biases."""
    decoder_entangle_position_embedding: bool | None = None
    """The same in the decoder; None: as in the encoder."""
    interpolate_position: bool = False
    """Pictures larger than `orig_patch_image_size` stretch its position embeddings."""
    orig_patch_image_size: int = 256
    """Side in pixels of the pictures of pretraining; read with `interpolate_position` alone."""
    resnet_type: str = "resnet101"
    """A key of `RESNET_BLOCKS`."""
    patch_image_size: int = 480
    """Side in pixels of the square pictures that the checkpoint was made for."""
    prompt_type: str = "none"
    """What the decoder reads before the answer: `none`, the question (`src`), or the question without its end token
    (`prev_output`, as in the fine-tuned VQA checkpoints)."""

    dropout: float = 0.1
    """Share of activations dropped in training."""
    attention_dropout: float = 0.0
    """Share of attention weights dropped in training."""
    activation_dropout: float = 0.0
    """Share of activations dropped inside feed-forward parts in training."""
    encoder_layerdrop: float = 0.0
    """Share of encoder layers skipped in training."""
    decoder_layerdrop: float = 0.0
    """Share of decoder layers skipped in training."""
    encoder_drop_path_rate: float = 0.0
    """Share of the encoder's sublayers dropped for a row in training, growing up to this at the last layer."""
    decoder_drop_path_rate: float = 0.0
    """The same in the decoder."""
    resnet_drop_path_rate: float = 0.0
    """Share of residual branches dropped for a picture in training, growing up to this in each stage."""
    init_std: float = 0.02
    """Standard deviation of freshly drawn weights."""

    use_cache: bool = True
    """Whether `generate` keeps keys and values."""
    is_encoder_decoder: bool = True
    pad_token_id: int = 1
    bos_token_id: int = 0
    eos_token_id: int = 2
    decoder_start_token_id: int = 0
    forced_eos_token_id: int | None = 2
    """Ends an answer that reaches the length limit."""
    tie_word_embeddings: bool = True
    """Encoder and decoder have one token embedding; always so."""

    def __post_init__(self, **kwargs: Any) -> None:
        """Check the names.

        Raises:
            ValueError: `resnet_type` or `prompt_type` is unknown.

        """
        if self.resnet_type not in RESNET_BLOCKS:
            raise ValueError(f"unknown resnet_type {self.resnet_type!r}: one of {', '.join(RESNET_BLOCKS)}")
        if self.prompt_type not in PROMPT_TYPES:
            raise ValueError(f"unknown prompt_type {self.prompt_type!r}: one of {', '.join(PROMPT_TYPES)}")
        if self.decoder_entangle_position_embedding is None:
            self.decoder_entangle_position_embedding = self.entangle_position_embedding
        super().__post_init__(**kwargs)
