"""`mini`: a classifier over a table of short answers, for a question about a photograph.

    pictures -> vision_tower -> connector --keys, values--+
                                                          v
    questions ------------> language (text layers, fusion layers, pooler) -> answer_head -> logits

Pictures are encoded once (`encode_images`), however many questions are about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from shelfqa.models.answer_table import add_labels, new_answers, with_more_rows
from shelfqa.models.mini.configuration import MiniConfig
from shelfqa.models.mini.language import Language
from shelfqa.models.mini.vision import VisionTower

IGNORED_LABEL = -100


@dataclass
class MiniOutput(ModelOutput):  # type: ignore[misc]
    """What `forward` returns.

    Attributes:
        loss: mean cross-entropy over the labels that are in the table; None without labels.
        logits: [q, answers], divided by the configuration's temperature.
        attention: [q, positions], where it looked: shares, 1 in all (`language.Attention.taken`); None unless asked.

    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    attention: Tensor | None = None


class Connector(nn.Module):  # type: ignore[misc]
    """Standardises the tower's channels, projects them to the language's width and adds where each cell is."""

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, config: MiniConfig, channels: int) -> None:
        """`feature_mean` and `feature_scale` are set once, from training features, and not trained."""
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(channels))
        self.register_buffer("feature_scale", torch.ones(channels))
        self.project = nn.Linear(channels, config.hidden_size)
        self.places = nn.Parameter(torch.zeros(config.image_positions, config.hidden_size))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, image_features: Tensor) -> Tensor:
        """Map [n, p, channels] to [n, p, d]."""
        standard = (image_features - self.feature_mean) * self.feature_scale
        projected = F.gelu(self.project(standard)) + self.places
        return cast(Tensor, self.dropout(self.norm(projected)))


class MiniForQuestionAnswering(PreTrainedModel):  # type: ignore[misc]
    """Answers short questions about product photographs from a fixed, extensible table of answers."""

    config_class = MiniConfig
    base_model_prefix = ""
    main_input_name = "image_features"
    _no_split_modules = ("InvertedResidual", "TextLayer", "FusionLayer")

    def __init__(self, config: MiniConfig) -> None:
        """Build the model with fresh weights."""
        super().__init__(config)
        self.vision_tower = VisionTower(config.stages, config.stem_width, config.vision_head_width)
        self.connector = Connector(config, self.vision_tower.channels)
        self.language = Language(config)
        self.answer_head = nn.Linear(config.pooled_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # transformers marks what a checkpoint filled, and its `init` functions leave that alone.
        super()._init_weights(module)
        if isinstance(module, Connector):
            nn.init.zeros_(module.places)
            nn.init.zeros_(module.feature_mean)
            nn.init.ones_(module.feature_scale)
        if isinstance(module, Language):
            nn.init.normal_(module.queries, std=self.config.initializer_range)

    def module_groups(self) -> dict[str, str]:
        """Return the module name of each group that adapters may be put on."""
        return {"vision": "vision_tower", "connector": "connector", "language": "language", "head": "answer_head"}

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [n, 3, side, side] to features [n, positions, channels] by the vision tower alone."""
        return cast(Tensor, self.vision_tower(pixel_values))

    def forward(
        self,
        image_features: Tensor,
        image_index: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor | None = None,
        tell_attention: bool = False,
        **_: Any,
    ) -> MiniOutput:
        """Score every answer for each question.

        Args:
            image_features: [n, positions, channels], from `encode_images`.
            image_index: [q], which image each question is about.
            input_ids: [q, tokens].
            attention_mask: [q, tokens], 1 where there is a token.
            labels: [q], position of the right answer in the table; -100 where it is not in the table.
            tell_attention: whether to say where each question looked; logits and loss are the same either way.

        """
        pictures = self.connector(image_features)
        attention: Tensor | None = None
        if tell_attention:
            words = self.language.read(input_ids, attention_mask)
            pooled, attention = self.language.look_and_tell(words, attention_mask, pictures, image_index)
        else:
            pooled = self.language(pictures, image_index, input_ids, attention_mask)
        logits = self.answer_head(pooled) / self.config.answer_temperature
        loss = None
        if labels is not None:
            total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED_LABEL, reduction="sum")
            loss = total / (labels != IGNORED_LABEL).sum().clamp(min=1)
        return MiniOutput(loss=loss, logits=logits, attention=attention)

    def extend_answers(self, new: Sequence[str]) -> None:
        """Add answers that the table lacks; what is already there keeps its logits."""
        added = new_answers(self.config, new)
        if added:
            self.answer_head = with_more_rows(self.answer_head, len(added))
            add_labels(self.config, added)
