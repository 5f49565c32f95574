"""Fine-tuning BLIP as a course study's notebook does it: row by row, with padding in the labels and in the loss.

It shares no code with shelfqa. The study (rank 16, alpha 16 on queries and values, batches of 8, mixed precision; its
average loss was 7.99) has a data set whose rows are questions: each opens its picture, gives picture and question to
the processor and pads the answer to 20 tokens. Two workers make the rows, in any order; questions are padded to the
longest of a batch. The padded answers are the labels as they are, so that most of the loss is about padding. PEFT's
LoRA lies on transformers' own `forward`, which encodes a picture once for every question about it.

Left out, as it changes neither side's work: the fall of the rate. Added: gradients are clipped, as in another study.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil, BlipProcessor


class Row(NamedTuple):
    """A question about a picture, with its answer."""

    picture: Path
    question: str
    answer: str


class Recipe(NamedTuple):
    """What is trained, how, and how much padding there is."""

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    rate: float
    weight_decay: float
    max_grad_norm: float
    batch_size: int
    steps: int
    dtype: torch.dtype
    """What autocast computes in; weights are in float32."""
    question_tokens: int | None = None
    """Length that questions are padded to; None for the longest of a batch."""
    answer_tokens: int = 20
    """Length that answers are padded to."""
    workers: int = 2
    """Processes that make the rows."""


def load_processor(checkpoint: Path) -> Any:
    """Return the processor of a BLIP checkpoint."""
    images = BlipImageProcessorPil.from_pretrained(checkpoint)
    return BlipProcessor(images, AutoTokenizer.from_pretrained(checkpoint))


class StudyLoop:
    """The model with its LoRA, the data set, and the loop."""

    def __init__(self, checkpoint: Path, rows: Sequence[Row], recipe: Recipe, device: torch.device) -> None:
        """Load the checkpoint onto the device and put fresh LoRA layers on it."""
        self.recipe = recipe
        self.device = device
        self.module = BlipForQuestionAnswering.from_pretrained(checkpoint, dtype=torch.float32)
        self.rows = Rows(rows, load_processor(checkpoint), recipe)
        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules=list(recipe.targets),
            bias="none",
        )
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            self._model = get_peft_model(self.module, config)
        self._model.to(device)
        self._weights = [weight for weight in self._model.parameters() if weight.requires_grad]
        self._scaler = torch.amp.GradScaler(device.type, enabled=recipe.dtype == torch.float16)

    def backward(self, batch: Mapping[str, Tensor]) -> None:
        """Add the gradients of a batch, in training mode."""
        self._model.train()
        inputs = {name: values.to(self.device, non_blocking=True) for name, values in batch.items()}
        with torch.autocast(self.device.type, self.recipe.dtype, enabled=self.recipe.dtype != torch.float32):
            loss = self._model(**inputs).loss
        self._scaler.scale(loss).backward()

    def forget_gradients(self) -> None:
        """Drop the gradients."""
        self._model.zero_grad(set_to_none=True)

    def run(self) -> int:
        """Train for the recipe's steps; return how many samples that took."""
        recipe = self.recipe
        optimizer = torch.optim.AdamW(self._weights, lr=recipe.rate, weight_decay=recipe.weight_decay)
        samples = 0
        for batch in self._batches():
            optimizer.zero_grad()
            self.backward(batch)
            self._scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(self._weights, recipe.max_grad_norm)
            self._scaler.step(optimizer)
            self._scaler.update()
            samples += len(batch["labels"])
        return samples

    def _batches(self) -> Iterator[Mapping[str, Tensor]]:
        """Yield as many batches as there are steps, epoch after epoch."""
        recipe = self.recipe
        loader = DataLoader(
            self.rows,
            batch_size=recipe.batch_size,
            shuffle=True,
            num_workers=recipe.workers,
            pin_memory=self.device.type == "cuda",
            collate_fn=together,
        )
        for epoch in range(math.ceil(recipe.steps / len(loader))):
            left = recipe.steps - epoch * len(loader)
            for _, batch in zip(range(left), loader, strict=False):
                yield batch


class Rows:
    """A row for each question."""

    def __init__(self, rows: Sequence[Row], processor: Any, recipe: Recipe) -> None:
        self._rows = rows
        self._processor = processor
        self._recipe = recipe

    def __len__(self) -> int:
        """Return how many questions there are."""
        return len(self._rows)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        """Open the picture of a question and make the model's inputs of both; the labels keep their padding."""
        return self.inputs_of(self._rows[place])

    def inputs_of(self, row: Row) -> dict[str, Tensor]:
        """Return the model's inputs for any row."""
        with Image.open(row.picture) as opened:
            image = opened.convert("RGB")
        longest = self._recipe.question_tokens
        padding: dict[str, Any] = {"padding": True}
        if longest is not None:
            padding = {"padding": "max_length", "max_length": longest, "truncation": True}
        inputs = self._processor(images=image, text=row.question, return_tensors="pt", **padding)
        labels = self._processor.tokenizer(
            row.answer,
            padding="max_length",
            max_length=self._recipe.answer_tokens,
            truncation=True,
            return_tensors="pt",
        )
        return {name: inputs[name][0] for name in ("pixel_values", "input_ids", "attention_mask")} | {
            "labels": labels["input_ids"][0]
        }


def together(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return rows as a batch."""
    return {
        name: pad_sequence([row[name] for row in rows], batch_first=True)
        if name in ("input_ids", "attention_mask")
        else torch.stack([row[name] for row in rows])
        for name in ("pixel_values", "input_ids", "attention_mask", "labels")
    }
