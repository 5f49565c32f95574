"""Texts as token ids: padded into a batch, and counted where they are too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def padded(tokenizer: Any, texts: Sequence[str], most_tokens: int) -> Any:
    """Return ids and mask [q, t] of texts, padded on the right whatever the tokenizer is set to, cut to a limit."""
    return tokenizer(
        list(texts),
        padding=True,
        padding_side="right",
        truncation=True,
        max_length=most_tokens,
        return_tensors="pt",
    )


def count_longer(tokenizer: Any, texts: Sequence[str], most_tokens: int) -> int:
    """Count the texts of more than `most_tokens` tokens, special tokens counted in."""
    # A token has at least one byte, and few tokenizers add more than two special ones.
    suspects = [text for text in texts if len(text.encode()) + 2 > most_tokens]
    return sum(len(ids) > most_tokens for ids in tokenizer(suspects, verbose=False)["input_ids"]) if suspects else 0
