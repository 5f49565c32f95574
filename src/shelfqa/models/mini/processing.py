"""Photographs to pixels, questions to token ids: what `mini` reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from shelfqa.errors import InputError
from shelfqa.models.mini.square import levels

TOKENIZER_FILE = "tokenizer.json"
PROCESSOR_FILE = "processor_config.json"
_PIXEL_MEAN, _PIXEL_SCALE = 127.0, 128.0


class MiniProcessor:
    """Turns RGB pictures into pixel tensors and questions into padded token ids."""

    def __init__(self, tokenizer: Tokenizer, *, image_side_px: int = 256, max_tokens: int = 48) -> None:
        """Wrap `tokenizer`; pictures become squares of `image_side_px`, questions at most `max_tokens` pieces."""
        self.tokenizer = tokenizer
        self.image_side_px = image_side_px
        self.max_tokens = max_tokens
        tokenizer.enable_truncation(max_tokens)
        tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"), pad_token="[PAD]")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MiniProcessor:
        """Read what `save_pretrained` wrote.

        Raises:
            InputError: `folder` lacks a file.

        """
        folder = Path(folder)
        for name in (TOKENIZER_FILE, PROCESSOR_FILE):
            if not (folder / name).is_file():
                raise InputError(
                    f"no {name} in {str(folder)!r}: give a folder written by MiniProcessor.save_pretrained"
                )
        settings: dict[str, Any] = json.loads((folder / PROCESSOR_FILE).read_text(encoding="utf-8"))
        return cls(
            Tokenizer.from_file(str(folder / TOKENIZER_FILE)),
            image_side_px=int(settings["image_side_px"]),
            max_tokens=int(settings["max_tokens"]),
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the tokenizer and the settings into `folder`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / TOKENIZER_FILE))
        settings = {"image_side_px": self.image_side_px, "max_tokens": self.max_tokens}
        (folder / PROCESSOR_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pad each RGB picture to a white square and scale it; return float32 [n, 3, side, side] in (-1, 1]."""
        pixels = torch.from_numpy(levels(pictures, self.image_side_px)).float()
        return (pixels.permute(0, 3, 1, 2) - _PIXEL_MEAN) / _PIXEL_SCALE

    def questions(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask`, int64 [n, longest], padded to the longest question."""
        encodings = self.tokenizer.encode_batch(list(texts))
        return {
            "input_ids": torch.tensor([encoding.ids for encoding in encodings], dtype=torch.long),
            "attention_mask": torch.tensor([encoding.attention_mask for encoding in encodings], dtype=torch.long),
        }
