"""ViLBERT's two streams and the layers between them.

Shapes: b questions, t words, r regions, d the width of the words, v the width of the regions, f region features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from shelfqa.models.vilbert.configuration import VQA_TASK_ID
from shelfqa.models.vilbert.modeling_layers import LAYER_NORM_EPS, Gates, Layer, StreamSizes

if TYPE_CHECKING:
    from shelfqa.models.vilbert.configuration import ViLbertConfig

_TASKS = 20
_BOX_NUMBERS = 5


class Elements(NamedTuple):
    """The words or the regions of a batch: `states` [b, n, width], and `mask` [b, n], true where there is one."""

    states: Tensor
    mask: Tensor

    @property
    def attention_mask(self) -> Tensor:
        """[b, 1, 1, n]."""
        return self.mask[:, None, None, :]


def language_sizes(config: ViLbertConfig) -> StreamSizes:
    """Return the sizes of the language stream's layers."""
    return StreamSizes(
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.hidden_act,
        config.hidden_dropout_prob,
        config.attention_probs_dropout_prob,
    )


def vision_sizes(config: ViLbertConfig) -> StreamSizes:
    """Return the sizes of the vision stream's layers."""
    return StreamSizes(
        config.v_hidden_size,
        config.v_intermediate_size,
        config.v_num_attention_heads,
        config.v_hidden_act,
        config.v_hidden_dropout_prob,
        config.v_attention_probs_dropout_prob,
    )


class WordEmbeddings(nn.Module):  # type: ignore[misc]
    """Word pieces with their positions and segments and, in multi-task models, a token that names the task."""

    def __init__(self, config: ViLbertConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_types = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.tasks = nn.Embedding(_TASKS, config.hidden_size) if config.task_specific_tokens else None
        self.norm = nn.LayerNorm(config.hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None, task_ids: Tensor | None
    ) -> Elements:
        """Embed ids [b, t]; the task's token is put after the first word, without a position or segment of its own."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        states = self.words(input_ids) + self.positions(positions) + self.token_types(token_type_ids)
        mask = attention_mask.bool()
        if self.tasks is not None:
            if task_ids is None:
                task_ids = input_ids.new_full((len(input_ids),), VQA_TASK_ID)
            states = torch.cat([states[:, :1], self.tasks(task_ids)[:, None], states[:, 1:]], dim=1)
            mask = torch.cat([mask[:, :1], torch.ones_like(mask[:, :1]), mask[:, 1:]], dim=1)
        return Elements(self.dropout(self.norm(states)), mask)


class Language(nn.Module):  # type: ignore[misc]
    """The stream of words: BERT."""

    def __init__(self, config: ViLbertConfig) -> None:
        super().__init__()
        self.fixed = config.fixed_t_layer
        self.embeddings = WordEmbeddings(config)
        self.layers = nn.ModuleList(Layer(language_sizes(config)) for _ in range(config.num_hidden_layers))
        self.pooler = nn.Linear(config.hidden_size, config.bi_hidden_size)

    def run(self, words: Elements, first: int, end: int) -> Elements:
        """Pass words [b, t, d] through the layers from `first` up to, not including, `end`."""
        states = words.states
        for index in range(first, end):
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= self.fixed):
                states = self.layers[index](states, states, words.attention_mask)
        return words._replace(states=states)

    def pool(self, words: Elements) -> Tensor:
        """Map words [b, t, d] to one vector a question, from the first word: [b, bi_hidden_size]."""
        return cast(Tensor, self.pooler(words.states[:, 0]).relu())


class RegionEmbeddings(nn.Module):  # type: ignore[misc]
    """Region features and where the regions are."""

    def __init__(self, config: ViLbertConfig) -> None:
        super().__init__()
        self.features = nn.Linear(config.v_feature_size, config.v_hidden_size)
        self.boxes = nn.Linear(_BOX_NUMBERS, config.v_hidden_size)
        self.norm = nn.LayerNorm(config.v_hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, features: Tensor, positions: Tensor) -> Tensor:
        """Map features [b, r, f] at positions [b, r, 5] to [b, r, v]."""
        return cast(Tensor, self.dropout(self.norm(self.features(features) + self.boxes(positions))))


class WordGate(nn.Module):  # type: ignore[misc]
    """Lets the mean of the words strengthen channels of the queries and keys of a vision layer, by 1 to 2 times."""

    def __init__(self, config: ViLbertConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.hidden_size, config.v_hidden_size)
        self.key = nn.Linear(config.hidden_size, config.v_hidden_size)

    def forward(self, words: Elements) -> Gates:
        """Map words [b, t, d] to gates."""
        weight = words.mask[:, :, None].to(words.states.dtype)
        mean = ((words.states * weight).sum(1) / weight.sum(1))[:, None]
        return Gates(1 + self.query(mean).sigmoid(), 1 + self.key(mean).sigmoid())


class Vision(nn.Module):  # type: ignore[misc]
    """The stream of regions."""

    def __init__(self, config: ViLbertConfig) -> None:
        super().__init__()
        count = config.v_num_hidden_layers
        self.fixed = config.fixed_v_layer
        self.embeddings = RegionEmbeddings(config)
        self.layers = nn.ModuleList(Layer(vision_sizes(config)) for _ in range(count))
        self.gates = nn.ModuleList(WordGate(config) for _ in range(count if config.dynamic_attention else 0))
        self.pooler = nn.Linear(config.v_hidden_size, config.bi_hidden_size)

    def run(self, regions: Elements, first: int, end: int, words: Elements) -> Elements:
        """Pass regions [b, r, v] through the layers from `first` up to, not including, `end`; `words` may gate them."""
        states = regions.states
        for index in range(first, end):
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= self.fixed):
                gates = self.gates[index](words) if self.gates else None
                states = self.layers[index](states, states, regions.attention_mask, gates)
        return regions._replace(states=states)

    def pool(self, regions: Elements) -> Tensor:
        """Map regions [b, r, v] to one vector a picture, from region 0: [b, bi_hidden_size]."""
        return cast(Tensor, self.pooler(regions.states[:, 0]).relu())


class CoAttention(nn.Module):  # type: ignore[misc]
    """A layer in which regions read words while words read regions (arXiv 1908.02265, figure 2b)."""

    def __init__(self, config: ViLbertConfig) -> None:
        super().__init__()
        language, vision = language_sizes(config), vision_sizes(config)
        inner, heads = config.bi_hidden_size, config.bi_num_attention_heads
        self.vision = Layer(vision, language, inner=inner, heads=heads)
        self.language = Layer(language, vision, inner=inner, heads=heads)

    def forward(self, words: Elements, regions: Elements) -> tuple[Elements, Elements]:
        """Map words [b, t, d] and regions [b, r, v] to both, each after it has read the other as it was before."""
        return (
            words._replace(states=self.language(words.states, regions.states, regions.attention_mask)),
            regions._replace(states=self.vision(regions.states, words.states, words.attention_mask)),
        )
