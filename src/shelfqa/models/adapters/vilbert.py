"""ViLBERT (arXiv 1908.02265, 1912.02315), of the classifier family: two streams that read each other by co-attention.

In the published models the streams meet before the first layer of the vision stream, so that only the regions'
embeddings serve all questions of a picture. They are one more than the regions: the first stands for the whole picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor

from shelfqa.models.adapters.region_classifier import RegionVqa
from shelfqa.models.adapters.regions import PaddedRegions
from shelfqa.models.base import Loading
from shelfqa.models.vilbert.regions import with_global_region


class ViLbertVqa(RegionVqa):
    """Drives `ViLbertForQuestionAnswering`."""

    question_tokens = 23

    @classmethod
    def load_module(cls, source: str, loading: Loading) -> Any:
        """Read the model."""
        from shelfqa.models.vilbert.modeling import ViLbertForQuestionAnswering

        return ViLbertForQuestionAnswering.from_pretrained(source, **loading.of_model())

    @staticmethod
    def feature_size(config: Any) -> int:
        """Return how many channels a region has."""
        return int(config.v_feature_size)

    def embed(self, regions: PaddedRegions) -> Tensor:
        """Put the region of the whole picture first, and embed all."""
        visual = with_global_region(regions.features, regions.boxes, regions.mask)
        return cast(Tensor, self.module.vision.embeddings(visual.visual_features, visual.visual_positions))

    def score(self, input_ids: Tensor, attention_mask: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Run both streams."""
        from shelfqa.models.vilbert.modeling_streams import Elements

        words = self.module.language.embeddings(input_ids, attention_mask, None, None)
        return cast(Tensor, self.module.score(words, Elements(states, mask)))

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """As the model itself names them."""
        return {group: (prefix,) for group, prefix in self.module.module_groups().items()}
