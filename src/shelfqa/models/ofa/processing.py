"""What OFA reads: questions as byte pairs of BART with OFA's own tokens, pictures as normalised squares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import RobertaTokenizer, ViTImageProcessorPil
from transformers.utils import cached_file

from shelfqa.errors import InputError

IMAGE_CODES = 8192
COORDINATE_BINS = 1000
MAX_QUESTION_WORDS = 80
"""Words that the authors' fine-tuning keeps."""
MAX_QUESTION_TOKENS = 256
"""Tokens that are kept of these words, some three times what such questions have, special ones counted in."""
_VOCABULARY, _MERGES, _WHOLE_TOKENIZER = "vocab.json", "merges.txt", "tokenizer.json"
_PREPROCESSING = "preprocessor_config.json"


def question_text(question: str, max_words: int = MAX_QUESTION_WORDS) -> str:
    """Return a question as OFA was fine-tuned on: lower case, a space before it, one question mark at its end.

    >>> question_text("What  color is the T-shirt")
    ' what color is the t shirt?'
    """
    text = question.lower().lstrip(",.!?*#:;~").replace("-", " ").replace("/", " ")
    words = re.sub(r"\s{2,}", " ", text).rstrip("\n").strip(" ").split(" ")
    text = " ".join(words[:max_words])
    return f" {text}" if text.endswith("?") else f" {text}?"


def answer_text(answer: str) -> str:
    """Return an answer as OFA was fine-tuned on: lower case, a space before it."""
    return f" {answer.strip().lower()}"


def load_tokenizer(source: str | Path) -> Any:
    """Read the published `vocab.json` and `merges.txt`, or a saved `tokenizer.json`, and know OFA's own tokens.

    `source` is a folder or a name on the hub.

    Raises:
        InputError: the folder holds neither.

    """
    folder = Path(source)
    published = (folder / _VOCABULARY).is_file() and (folder / _MERGES).is_file()
    if folder.is_dir() and not published and not (folder / _WHOLE_TOKENIZER).is_file():
        raise InputError(
            f"no {_WHOLE_TOKENIZER}, nor {_VOCABULARY} with {_MERGES}, in {str(source)!r}: "
            "give the folder of an OFA checkpoint from the hub"
        )
    tokenizer = RobertaTokenizer.from_pretrained(source)
    tokenizer.add_tokens([f"<code_{number}>" for number in range(IMAGE_CODES)])
    tokenizer.add_tokens([f"<bin_{number}>" for number in range(COORDINATE_BINS)])
    return tokenizer


def make_image_processor(side_px: int) -> Any:
    """Return an image processor that makes squares of `side_px` by bicubic resizing, with values from -1 to 1."""
    return ViTImageProcessorPil(
        do_convert_rgb=True,
        size={"height": side_px, "width": side_px},
        resample=Image.Resampling.BICUBIC,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


class OfaProcessor:
    """Turns questions into padded token ids, pictures into pixels, and token ids into answers."""

    def __init__(self, tokenizer: Any, image_processor: Any) -> None:
        """Wrap what `load_tokenizer` and `make_image_processor` return."""
        self.tokenizer = tokenizer
        self.image_processor = image_processor

    @classmethod
    def from_pretrained(cls, source: str | Path, *, image_side_px: int = 480) -> OfaProcessor:
        """Read a checkpoint's folder, or its name on the hub.

        `image_side_px` counts where there is no preprocessing configuration, as in the published checkpoints.
        """
        tokenizer = load_tokenizer(source)
        saved = cached_file(source, _PREPROCESSING, _raise_exceptions_for_missing_entries=False)
        images = ViTImageProcessorPil.from_pretrained(source) if saved else make_image_processor(image_side_px)
        return cls(tokenizer, images)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write tokenizer and preprocessing configuration into `folder`."""
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Return pixels [n, 3, side, side] from -1 to 1."""
        pixels: Tensor = self.image_processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        return pixels

    def questions(self, questions: Sequence[str]) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask` [q, t] of prepared questions, padded at the right."""
        return self._padded([self._ids(question_text(question)) for question in questions])

    def prompts(self, questions: Sequence[str], prompt_type: str) -> dict[str, Tensor]:
        """Return `decoder_input_ids` and `decoder_attention_mask` [q, k] for `generate`, padded at the left.

        `prompt_type` is the configuration's: `none`, `src` or `prev_output`; with `none` there is nothing to give.
        """
        if prompt_type == "none":
            return {}
        end = -1 if prompt_type == "prev_output" else None
        rows = [self._ids(question_text(question))[:end] for question in questions]
        return {f"decoder_{name}": ids for name, ids in self._padded(rows, left=True).items()}

    def answers(self, token_ids: Tensor) -> list[str]:
        """Return the texts of [q, k] token ids, without special tokens and outer spaces."""
        return [text.strip() for text in self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)]

    def question_lengths(self, questions: Sequence[str]) -> list[tuple[int, int]]:
        """Return how many tokens each question has, and how many of them `questions` and `prompts` leave out."""
        if not questions:
            return []
        found = self.tokenizer([question_text(one, max_words=len(one) + 1) for one in questions], verbose=False)
        whole = [len(ids) for ids in found["input_ids"]]
        return [
            (length, max(0, length - len(self._ids(question_text(one)))))
            # a word or a token has a byte at least
            if len(one.encode()) >= MAX_QUESTION_WORDS
            else (length, 0)
            for one, length in zip(questions, whole, strict=True)
        ]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, truncation=True, max_length=MAX_QUESTION_TOKENS)["input_ids"]
        return ids

    def _padded(self, rows: Sequence[Sequence[int]], *, left: bool = False) -> dict[str, Tensor]:
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            place = slice(longest - len(row), None) if left else slice(0, len(row))
            ids[number, place] = torch.tensor(row)
            mask[number, place] = 1
        return {"input_ids": ids, "attention_mask": mask}
