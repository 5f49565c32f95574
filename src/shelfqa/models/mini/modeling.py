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

from shelfqa.models.mini.configuration import MiniConfig
from shelfqa.models.mini.language import Language
from shelfqa.models.mini.vision import VisionTower

IGNORED_LABEL = -100


@dataclass
class MiniOutput(ModelOutput):  # type: ignore[misc]
    """What `forward` returns.

    Attributes:
        loss: mean cross-entropy over the labels that are in the table; None without labels.
        logits: [q, answers].

    """

    loss: Tensor | None = None
    logits: Tensor | None = None


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
        **_: Any,
    ) -> MiniOutput:
        """Score every answer for each question.

        Args:
            image_features: [n, positions, channels], from `encode_images`.
            image_index: [q], which image each question is about.
            input_ids: [q, tokens].
            attention_mask: [q, tokens], 1 where there is a token.
            labels: [q], position of the right answer in the table; -100 where it is not in the table.

        """
        pictures = self.connector(image_features)
        pooled = self.language(pictures, image_index, input_ids, attention_mask)
        logits = self.answer_head(pooled)
        loss = None
        if labels is not None:
            total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED_LABEL, reduction="sum")
            loss = total / (labels != IGNORED_LABEL).sum().clamp(min=1)
        return MiniOutput(loss=loss, logits=logits)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def extend_answers(self, new: Sequence[str]) -> None:
        """Add answers that the table lacks; what is already there keeps its logits.

        A new row starts near the mean of the others with the lowest of their biases: unlikely until trained.
        """
        known = set(self.config.label2id)
        added = [word for word in dict.fromkeys(new) if word not in known]
        if not added:
            return
        old = self.answer_head
        mean = old.weight.mean(0, keepdim=True)
        generator = torch.Generator().manual_seed(len(known))
        noise = torch.randn(len(added), old.in_features, generator=generator) * float(old.weight.float().std())
        head = nn.Linear(
            old.in_features, old.out_features + len(added), device=old.weight.device, dtype=old.weight.dtype
        )
        head.weight.copy_(torch.cat([old.weight, mean + 0.1 * noise.to(mean)]))
        head.bias.copy_(torch.cat([old.bias, old.bias.min().expand(len(added))]))
        head.requires_grad_(old.weight.requires_grad)
        self.answer_head = head
        answers = [self.config.id2label[index] for index in range(len(known))] + added
        self.config.id2label = dict(enumerate(answers))
        self.config.label2id = {answer: index for index, answer in enumerate(answers)}
