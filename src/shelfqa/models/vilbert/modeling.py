"""ViLBERT for visual question answering: a classifier over a table of answers.

    regions --> vision (embeddings, layers) ----+--------+--> pooler --+
                                            connector.0  …          fusion --> answer_head --> logits
    words ----> language (embeddings, layers) --+--------+--> pooler --+

The connector's layers stand at the places that `v_biattention_id` and `t_biattention_id` name. Region 0 stands for the
whole picture, and its final state for all regions: see `shelfqa.models.vilbert.regions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from shelfqa.models.answer_table import add_labels, new_answers, with_more_rows
from shelfqa.models.vilbert.configuration import ViLbertConfig
from shelfqa.models.vilbert.modeling_layers import LAYER_NORM_EPS
from shelfqa.models.vilbert.modeling_streams import CoAttention, Elements, Language, Vision

IGNORED_LABEL = -100
_FUSED_DROPOUT = 0.1


@dataclass
class ViLbertOutput(ModelOutput):  # type: ignore[misc]
    """What `forward` returns.

    Attributes:
        loss: mean cross-entropy over the labels that are in the table; None without labels.
        logits: [b, answers].

    """

    loss: Tensor | None = None
    logits: Tensor | None = None


class AnswerHead(nn.Module):  # type: ignore[misc]
    """Scores the answers for a fused vector: linear, GELU, layer norm, linear."""

    def __init__(self, size: int, answers: int) -> None:
        super().__init__()
        self.expand = nn.Linear(size, 2 * size)
        self.norm = nn.LayerNorm(2 * size, eps=LAYER_NORM_EPS)
        self.answers = nn.Linear(2 * size, answers)

    def forward(self, fused: Tensor) -> Tensor:
        """Map [b, size] to logits [b, answers]."""
        return cast(Tensor, self.answers(self.norm(F.gelu(self.expand(fused)))))


class ViLbertForQuestionAnswering(PreTrainedModel):  # type: ignore[misc]
    """Answers questions about the regions of a picture from an extensible table of answers.

    Source: arXiv 1908.02265; task tokens of arXiv 1912.02315. The loss departs from theirs, which is binary
    cross-entropy with a soft score for each of a question's ten answers: here a question has one answer.
    """

    config_class = ViLbertConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _no_split_modules = ("Layer", "CoAttention")

    def __init__(self, config: ViLbertConfig) -> None:
        """Build the model with fresh weights."""
        super().__init__(config)
        self.vision = Vision(config)
        self.language = Language(config)
        layers = len(config.v_biattention_id) if config.with_coattention else 0
        self.connector = nn.ModuleList(CoAttention(config) for _ in range(layers))
        self.dropout = nn.Dropout(_FUSED_DROPOUT)
        self.answer_head = AnswerHead(config.bi_hidden_size, config.num_labels)
        self.post_init()

    def module_groups(self) -> dict[str, str]:
        """Return the module name of each group that adapters may be put on."""
        return {"vision": "vision", "connector": "connector", "language": "language", "head": "answer_head"}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        *,
        visual_features: Tensor,
        visual_positions: Tensor,
        visual_attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> ViLbertOutput:
        """Score every answer for each question.

        Args:
            input_ids: [b, tokens], `[CLS] question [SEP]`, padded on the right.
            attention_mask: [b, tokens], 1 where there is a token.
            token_type_ids: [b, tokens]; all 0 if absent.
            visual_features: [b, regions, v_feature_size], region 0 being the mean of the others.
            visual_positions: [b, regions, 5]: x1, y1, x2, y2 as shares of width and height, and the share of the area.
            visual_attention_mask: [b, regions], 1 where there is a region; all are there if absent.
            task_ids: [b], the task of each question, for models with task tokens; `VQA_TASK_ID` if absent.
            labels: [b], position of the right answer in the table; -100 where it is not in the table.

        """
        if visual_attention_mask is None:
            visual_attention_mask = visual_features.new_ones(visual_features.shape[:2])
        words = self.language.embeddings(input_ids, attention_mask, token_type_ids, task_ids)
        regions = Elements(self.vision.embeddings(visual_features, visual_positions), visual_attention_mask.bool())
        logits = self.score(words, regions)
        loss = None
        if labels is not None:
            total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED_LABEL, reduction="sum")
            loss = total / (labels != IGNORED_LABEL).sum().clamp(min=1)
        return ViLbertOutput(loss=loss, logits=logits)

    def score(self, words: Elements, regions: Elements) -> Tensor:
        """Return the logits [b, answers] for embedded words and regions, as both streams' `embeddings` make them."""
        words, regions = self._read(words, regions)
        pooled_words, pooled_regions = self.language.pool(words), self.vision.pool(regions)
        multiply = self.config.fusion_method == "mul"
        fused = pooled_words * pooled_regions if multiply else pooled_words + pooled_regions
        return cast(Tensor, self.answer_head(self.dropout(fused)))

    def _read(self, words: Elements, regions: Elements) -> tuple[Elements, Elements]:
        """Run both streams, the words first, and let them meet at the places that the configuration names."""
        config = self.config
        word_layer = region_layer = 0
        for number, (word_end, region_end) in enumerate(
            zip(config.t_biattention_id, config.v_biattention_id, strict=True)
        ):
            words = self.language.run(words, word_layer, word_end)
            regions = self.vision.run(regions, region_layer, region_end, words)
            if config.with_coattention:
                words, regions = self.connector[number](words, regions)
            word_layer, region_layer = word_end, region_end
        # What is left of the vision stream is gated by the words as they were at the last meeting.
        regions = self.vision.run(regions, region_layer, config.v_num_hidden_layers, words)
        words = self.language.run(words, word_layer, config.num_hidden_layers)
        return words, regions

    def extend_answers(self, new: Sequence[str]) -> None:
        """Add answers that the table lacks; what is already there keeps its logits."""
        added = new_answers(self.config, new)
        if added:
            self.answer_head.answers = with_more_rows(self.answer_head.answers, len(added))
            add_labels(self.config, added)
