"""The loss of a BLIP model on held-out questions, by one function for whoever trained it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from training_loop import Row, load_processor

from shelfqa.images import load_image


class Losses(NamedTuple):
    """Loss on the held-out questions, in nats a token."""

    as_asked: float
    """From the start token of `generate`, which shelfqa teaches."""
    as_taught: float
    """From the start token that transformers' labels begin with; the study's loop teaches that one."""


class HeldOut:
    """The questions that both sides are asked, one at a time, so that nothing is padded."""

    def __init__(self, module: Any, checkpoint: Path, rows: Sequence[Row]) -> None:
        """Encode the pictures of `rows`; the tower is the same on both sides, and is not trained.

        Args:
            module: transformers' `BlipForQuestionAnswering`, on its device, with LoRA in it.
            checkpoint: where its processor is read.
            rows: the questions.

        """
        self._module = module
        self._processor = load_processor(checkpoint)
        self._rows = rows
        pictures = dict.fromkeys(row.picture for row in rows)
        module.eval()
        with torch.no_grad():
            self._states: Mapping[Path, Tensor] = {path: self._encoded(path) for path in pictures}

    def _encoded(self, path: Path) -> Tensor:
        pixels = self._processor.image_processor(images=[load_image(path)], return_tensors="pt")["pixel_values"]
        states: Tensor = self._module.vision_model(pixel_values=pixels.to(self._module.device)).last_hidden_state
        return states

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def losses(self) -> Losses:
        """Return the mean cross-entropy over the tokens of all answers and their ends, in float32."""
        self._module.eval()
        starts = (self._module.decoder_start_token_id, self._processor.tokenizer.cls_token_id)
        sums = torch.zeros(len(starts))
        tokens = 0
        for row in self._rows:
            answer = self._processor.tokenizer(row.answer, add_special_tokens=False)["input_ids"]
            words = torch.tensor([*answer, self._processor.tokenizer.sep_token_id], device=self._module.device)
            states = self._read(row)
            sums += torch.tensor([self._loss(states, start, words) for start in starts])
            tokens += len(words)
        return Losses(*(sums / tokens).tolist())

    def _read(self, row: Row) -> Tensor:
        """Return the states [1, t, d] of a question that has seen its picture."""
        tokens = self._processor.tokenizer(row.question, return_tensors="pt").to(self._module.device)
        picture = self._states[row.picture]
        states: Tensor = self._module.text_encoder(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            encoder_hidden_states=picture,
            encoder_attention_mask=torch.ones(picture.shape[:2], dtype=torch.long, device=picture.device),
        ).last_hidden_state
        return states

    def _loss(self, states: Tensor, start: int, words: Tensor) -> float:
        """Return the sum of the cross-entropies of the words, the first of which follows the start token."""
        read = torch.cat([words.new_tensor([start]), words[:-1]])[None]
        seen = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        logits = self._module.text_decoder(
            input_ids=read, encoder_hidden_states=states, encoder_attention_mask=seen
        ).logits
        return float(cross_entropy(logits[0].float(), words, reduction="sum"))
