"""`mini`, the bundled model, as a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from shelfqa.models.adapters.classifier import ClassifierVqa
from shelfqa.models.base import Features, Loading, PictureInputs, Query, Truncation


class MiniVqa(ClassifierVqa):
    """Drives `MiniForQuestionAnswering`."""

    fixed_resolution = True

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
        tokens = self.processor.questions([query.question for query in queries])
        pictures, index = self.distinct_images(features, queries)
        logits: Tensor = self.module(
            image_features=pictures,
            image_index=index,
            input_ids=tokens["input_ids"].to(self.device),
            attention_mask=tokens["attention_mask"].to(self.device),
        ).logits
        return logits

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """As the model itself names them."""
        return {group: (prefix,) for group, prefix in self.module.module_groups().items()}

    def truncation(self, questions: Sequence[str], answers: Sequence[str]) -> Truncation:
        """Count questions beyond the tokenizer's limit; answers are whole by construction."""
        encodings = self.processor.tokenizer.encode_batch(list(questions))
        return Truncation(sum(bool(encoding.overflowing) for encoding in encodings), 0)

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration and processor."""
        self.module.save_pretrained(folder)
        self.processor.save_pretrained(folder)
