"""The classifier family: models that choose from a table of answers. Here: `mini`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from shelfqa.models.base import Truncation, VqaModel
from shelfqa.records import Answer
from shelfqa.text import normalize_answer

_NOT_IN_TABLE = -100


class MiniVqa(VqaModel):
    """Drives `MiniForQuestionAnswering`; answers are compared and learned in normalised form."""

    family = "classifier"

    def __init__(self, module: Any, processor: Any, name: str) -> None:
        self.module = module
        self.processor = processor
        self.name = name
        self._added: list[str] = []
        self._read_table()

    @classmethod
    def from_pretrained(cls, source: str, name: str, *, dtype: torch.dtype) -> MiniVqa:
        """Read a checkpoint folder."""
        from shelfqa.models.mini.modeling import MiniForQuestionAnswering
        from shelfqa.models.mini.processing import MiniProcessor

        module = MiniForQuestionAnswering.from_pretrained(source, dtype=dtype, use_safetensors=True)
        return cls(module, MiniProcessor.from_pretrained(source), name)

    def _read_table(self) -> None:
        table = self.module.config.id2label
        self._answers = [str(table[index]) for index in range(len(table))]
        self._index = {normalize_answer(text): index for index, text in reversed(list(enumerate(self._answers)))}

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Scale onto white squares."""
        pixels: Tensor = self.processor.images(images)
        return pixels

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Run the vision tower."""
        features: Tensor = self.module.encode_images(pixels.to(self.device, self.dtype))
        return features

    def _forward(
        self, features: Tensor, image_index: Sequence[int], questions: Sequence[str], labels: Tensor | None = None
    ) -> Any:
        tokens = {key: value.to(self.device) for key, value in self.processor.questions(questions).items()}
        index = torch.as_tensor(list(image_index), device=self.device)
        # Only the pictures asked about pass the connector, each once.
        used, index = torch.unique(index, return_inverse=True)
        pictures = features[used.to(features.device)].to(self.device)
        if not torch.is_autocast_enabled(self.device.type):
            pictures = pictures.to(self.dtype)
        return self.module(
            image_features=pictures,
            image_index=index,
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            labels=labels,
        )

    def answer(
        self, features: Tensor, image_index: Sequence[int], questions: Sequence[str], *, top_k: int
    ) -> list[list[Answer]]:
        """Return the likeliest answers of the table; the probabilities are those of a softmax over all of it."""
        logits = self._forward(features, image_index, questions).logits
        best = logits.float().softmax(-1).topk(min(top_k, logits.shape[-1]), dim=-1)
        return [
            [Answer(self._answers[index], probability) for index, probability in zip(*row, strict=True)]
            for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def loss(
        self, features: Tensor, image_index: Sequence[int], questions: Sequence[str], answers: Sequence[str]
    ) -> Tensor:
        """Return the mean cross-entropy over the questions whose answer is in the table."""
        ids = [self._index.get(normalize_answer(answer), _NOT_IN_TABLE) for answer in answers]
        loss: Tensor = self._forward(
            features, image_index, questions, labels=torch.tensor(ids, device=self.device)
        ).loss
        return loss

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """As the model itself names them."""
        return {group: (prefix,) for group, prefix in self.module.module_groups().items()}

    def truncation(self, questions: Sequence[str], answers: Sequence[str]) -> Truncation:
        """Count questions beyond the tokenizer's limit; answers are whole by construction."""
        encodings = self.processor.tokenizer.encode_batch(list(questions))
        return Truncation(sum(bool(encoding.overflowing) for encoding in encodings), 0)

    def prepare_for_training(self, answers: Counter[str]) -> int:
        """Add normalised `answers` that the table lacks, most frequent first."""
        new = [text for text in answers if text and text not in self._index]
        new.sort(key=lambda text: (-answers[text], text))
        self._extend(new)
        return len(new)

    def _extend(self, new: Sequence[str]) -> None:
        if new:
            self.module.extend_answers(list(new))
            self._added.extend(new)
            self._read_table()

    def learnable(self, answers: Sequence[str]) -> list[bool]:
        """An answer can be learned if the table holds it."""
        return [normalize_answer(answer) in self._index for answer in answers]

    def adapter_state(self) -> dict[str, list[str]]:
        """The answers that were added."""
        return {"added_answers": list(self._added)}

    def restore_adapter_state(self, state: Mapping[str, list[str]]) -> None:
        """Add the answers again, in the same order."""
        self._extend(state.get("added_answers", []))

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration and processor."""
        self.module.save_pretrained(folder)
        self.processor.save_pretrained(folder)
