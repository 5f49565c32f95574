"""LXMERT (Tan and Bansal 2019, arXiv 1908.07490), of the classifier family: two streams, then cross-modality layers.

    regions -> visn_fc -> r_layers --+
                                     +--> x_layers -> pooler -> answer_head
    question -> embeddings -> layer -+

No word reaches the regions before `x_layers`, so that `visn_fc` and `r_layers` run once a picture. The regions' half of
the last cross-modality layer, which no answer depends on, is not computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from shelfqa.hub import load_error
from shelfqa.models.adapters.region_classifier import RegionVqa
from shelfqa.models.adapters.regions import PaddedRegions
from shelfqa.models.answer_table import extend_output_layer
from shelfqa.models.base import Loading

_OUTPUT_LAYER = "answer_head.logit_fc.3"
_VOCABULARY = "unc-nlp/lxmert-base-uncased"
"""Whose word pieces all of the authors' checkpoints read; those for single tasks bring none on the hub."""


class LxmertVqa(RegionVqa):
    """Drives `LxmertForQuestionAnswering`."""

    question_tokens = 20

    @classmethod
    def load_module(cls, source: str, loading: Loading) -> Any:
        """Read the model."""
        from transformers import LxmertForQuestionAnswering

        return LxmertForQuestionAnswering.from_pretrained(source, **loading.of_model())

    @classmethod
    def load_tokenizer(cls, source: str) -> Any:
        """Read the checkpoint's tokenizer or, if it has none, that of the pretrained model.

        AutoTokenizer makes one of special tokens alone where there is no vocabulary.

        Raises:
            UserError: if neither can be had.

        """
        from transformers.utils import cached_file

        files = ("tokenizer.json", "vocab.txt")
        if any(cached_file(source, name, _raise_exceptions_for_missing_entries=False) for name in files):
            return super().load_tokenizer(source)
        try:
            return super().load_tokenizer(_VOCABULARY)
        except (OSError, ValueError) as error:
            raise load_error(_VOCABULARY, error, instead=f"put its vocab.txt beside {source!r}'s weights.") from None

    @staticmethod
    def feature_size(config: Any) -> int:
        """Return how many channels a region has."""
        return int(config.visual_feat_dim)

    def outputs(self) -> int:
        """Return how many answers the head scores; the hub's configuration names two, whatever there are."""
        return int(self.module.get_submodule(_OUTPUT_LAYER).out_features)

    def extend_head(self, new: Sequence[str]) -> None:
        """Give the last layer of the head an output for each new answer."""
        extend_output_layer(self.module, _OUTPUT_LAYER, new)
        self.module.num_qa_labels = self.module.config.num_qa_labels = self.outputs()

    def embed(self, regions: PaddedRegions) -> Tensor:
        """Run the vision encoder: the regions see each other, and no words."""
        encoder = self.module.lxmert.encoder
        states: Tensor = encoder.visn_fc(regions.features, regions.boxes)
        mask = _additive(regions.mask, states.dtype)
        for layer in encoder.r_layers:
            states = layer(states, mask)[0]
        return states

    def score(self, input_ids: Tensor, attention_mask: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Run the language encoder, let both sides read each other, and score the answers by the first word."""
        parts = self.module.lxmert
        words: Tensor = parts.embeddings(input_ids, torch.zeros_like(input_ids))
        word_mask, region_mask = _additive(attention_mask, words.dtype), _additive(mask, words.dtype)
        for layer in parts.encoder.layer:
            words = layer(words, word_mask)[0]
        *earlier, last = parts.encoder.x_layers
        for layer in earlier:
            words, states = layer(words, word_mask, states, region_mask)
        words = last.visual_attention(words, states, ctx_att_mask=region_mask)[0]
        words = last.lang_self_att(words, word_mask)[0]
        words = last.lang_output(last.lang_inter(words), words)
        return cast(Tensor, self.module.answer_head(parts.pooler(words)))

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The cross-modality encoder is the connector."""
        return {
            "vision": ("lxmert.encoder.visn_fc", "lxmert.encoder.r_layers"),
            "connector": ("lxmert.encoder.x_layers", "lxmert.pooler"),
            "language": ("lxmert.embeddings", "lxmert.encoder.layer"),
            "head": ("answer_head",),
        }


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask [b, n] into what is added to scores of attention: [b, 1, 1, n], 0 where there is something."""
    return (1.0 - mask[:, None, None].to(dtype)) * torch.finfo(dtype).min
