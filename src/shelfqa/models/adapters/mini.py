"""`mini`, the bundled model, as a classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from PIL import Image
from torch import Tensor

from shelfqa.models.adapters.classifier import ClassifierVqa
from shelfqa.models.adapters.texts import counted
from shelfqa.models.base import Decoding, Explained, Features, Loading, PictureInputs, Query, TokenCount

if TYPE_CHECKING:
    from shelfqa.models.mini.modeling import MiniOutput


class MiniVqa(ClassifierVqa):
    """Drives `MiniForQuestionAnswering`."""

    fixed_resolution = True
    tells_attention = True

    def __init__(self, module: Any, processor: Any, name: str) -> None:
        super().__init__(module, name)
        self.processor = processor

    @classmethod
    def from_pretrained(cls, source: str, name: str, loading: Loading) -> Self:
        """Read a checkpoint folder."""
        from shelfqa.models.mini.modeling import MiniForQuestionAnswering
        from shelfqa.models.mini.processing import MiniProcessor

        module = MiniForQuestionAnswering.from_pretrained(source, **loading.of_model())
        return cls(module, MiniProcessor.from_pretrained(source), name)

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Scale onto a white square."""
        return {"pixel_values": self.processor.images([image])}

    def encode(self, pictures: Sequence[PictureInputs]) -> Tensor:
        """Run the vision tower."""
        pixels = torch.cat([picture["pixel_values"] for picture in pictures])
        features: Tensor = self.module.encode_images(self.placed(pixels))
        return features

    def logits(self, features: Features, queries: Sequence[Query]) -> Tensor:
        """Read the questions, look at the pictures: only those asked about pass the connector, each once."""
        logits: Tensor = self._output(features, queries).logits
        return logits

    def explain(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[Explained]:
        """Tell what the query vectors took from each cell of the white square (docs/mini.md)."""
        found = self._output(features, queries, tell_attention=True)
        attention: Tensor = found.attention
        cells = math.isqrt(attention.shape[-1])
        maps = attention.cpu().numpy().reshape(-1, cells, cells)
        answers = self.ranked(found.logits, queries, decoding)
        return [Explained(best, seen) for best, seen in zip(answers, maps, strict=True)]

    def _output(self, features: Features, queries: Sequence[Query], *, tell_attention: bool = False) -> MiniOutput:
        tokens = self.processor.questions([query.question for query in queries])
        pictures, index = self.distinct_images(features, queries)
        output: MiniOutput = self.module(
            image_features=pictures,
            image_index=index,
            input_ids=tokens["input_ids"].to(self.device),
            attention_mask=tokens["attention_mask"].to(self.device),
            tell_attention=tell_attention,
        )
        return output

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """As the model itself names them."""
        return {group: (prefix,) for group, prefix in self.module.module_groups().items()}

    def token_counts(
        self, questions: Sequence[str], answers: Sequence[str], pictures: Sequence[int]
    ) -> list[TokenCount]:
        """Count questions; answers are chosen whole."""
        found = self.processor.tokenizer.encode_batch(list(questions))
        lengths = [
            sum(one.attention_mask) + sum(part.special_tokens_mask.count(0) for part in one.overflowing)
            for one in found
        ]
        return counted(lengths, [0] * len(answers), pictures, most_question=self.processor.max_tokens)

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration and processor."""
        self.module.save_pretrained(folder)
        self.processor.save_pretrained(folder)
