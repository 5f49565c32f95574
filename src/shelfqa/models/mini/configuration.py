"""The sizes of a `mini` model, and its table of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig

from shelfqa.models.mini.calibration import Calibration
from shelfqa.models.mini.vision import HEAD_WIDTH, LITE2_STAGES, STEM_WIDTH, Stage


class MiniConfig(PretrainedConfig):  # type: ignore[misc]
    """Sizes of `MiniForQuestionAnswering`; the answers are the standard `id2label` and `label2id`."""

    model_type = "shelfqa-mini"

    def __init__(
        self,
        *,
        vocab_size: int = 6000,
        hidden_size: int = 384,
        intermediate_size: int = 1536,
        num_attention_heads: int = 12,
        text_layers: int = 3,
        fusion_layers: int = 2,
        query_vectors: int = 4,
        pooled_size: int = 512,
        max_tokens: int = 48,
        image_side_px: int = 256,
        stem_width: int = STEM_WIDTH,
        vision_stages: Sequence[Sequence[int]] = LITE2_STAGES,
        vision_head_width: int = HEAD_WIDTH,
        dropout: float = 0.1,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-12,
        temperature: float = 1.0,
        unanswerable_below: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Describe a model.

        Args:
            vocab_size: word pieces known to the tokenizer.
            hidden_size: width of words and of projected image positions.
            intermediate_size: width inside the feed-forward parts.
            num_attention_heads: heads of every attention; they divide `hidden_size`.
            text_layers: layers that read the question alone.
            fusion_layers: layers whose query vectors read the question and the picture.
            query_vectors: vectors a question that look at the picture.
            pooled_size: width of the vector that the answer head reads.
            max_tokens: longest question, in pieces.
            image_side_px: side of the square picture, a multiple of 32.
            stem_width: channels after the tower's first convolution.
            vision_stages: repeats, kernel, stride, expansion and width of each stage of the tower.
            vision_head_width: channels after the tower's last convolution.
            dropout: share of activations dropped in training.
            initializer_range: standard deviation of freshly drawn weights.
            layer_norm_eps: added to the variance in layer norms.
            temperature: what logits are divided by, so that probabilities are true shares of right answers; over 0.
            unanswerable_below: the probability under which the best answer stands for "I do not know", in [0, 1].
            kwargs: what every `PretrainedConfig` takes, among it `id2label` and `label2id`.

        Raises:
            InputError: if `temperature` or `unanswerable_below` is out of range.

        """
        calibration = Calibration.checked(temperature, unanswerable_below)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_attention_heads = num_attention_heads
        self.text_layers = text_layers
        self.fusion_layers = fusion_layers
        self.query_vectors = query_vectors
        self.pooled_size = pooled_size
        self.max_tokens = max_tokens
        self.image_side_px = image_side_px
        self.stem_width = stem_width
        self.vision_stages = [list(stage) for stage in vision_stages]
        self.vision_head_width = vision_head_width
        self.dropout = dropout
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        self.answer_temperature = calibration.temperature
        self.unanswerable_below = calibration.unanswerable_below
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Return what config.json holds.

        There the temperature is called `temperature`; as an attribute of that name transformers takes it for a setting
        of text generation, and refuses to save it.
        """
        settings: dict[str, Any] = super().to_dict()
        settings["temperature"] = settings.pop("answer_temperature")
        return settings

    @property
    def image_positions(self) -> int:
        """Cells of the image grid."""
        return (self.image_side_px // 32) ** 2

    @property
    def stages(self) -> tuple[Stage, ...]:
        """`vision_stages` as records."""
        return tuple(Stage(*stage) for stage in self.vision_stages)
