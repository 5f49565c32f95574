"""Question-answer pairs as every provider hands them on, and as tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa

from shelfqa.question_types import question_type
from shelfqa.records import QUESTION_COLUMNS, Drop


class Source(NamedTuple):
    """Where a pair comes from; the fields of `records.SOURCE`."""

    provider: str
    model: str
    prompt_version: str | None = None
    field: str | None = None


class Pair(NamedTuple):
    """A question about a product's pictures, and its answer."""

    product_id: str
    product_type: str | None
    image_paths: tuple[str, ...]
    question: str
    answer: str
    source: Source
    difficulty: int | None = None
    used_metadata: bool | None = None
    split: str | None = None
    task: str | None = None
    """What the model was asked to write; by default what the question asks about."""

    @property
    def question_id(self) -> str:
        """An id that depends on nothing but what is asked, about what, and by whom."""
        return digest(self.source.provider, self.source.model, *self.image_paths, self.question, self.answer)


class Made(NamedTuple):
    """What a provider made of what it read: `read` = pairs and drops together."""

    pairs: list[Pair]
    drops: list[Drop]

    @property
    def read(self) -> int:
        """How many rows or fields were looked at."""
        return len(self.pairs) + len(self.drops)


def digest(*parts: object) -> str:
    """Return 16 hexadecimal digits that stand for the parts."""
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8"), digest_size=8).hexdigest()


def questions_table(pairs: Iterable[Pair]) -> pa.Table:
    """Return the pairs as `QUESTION_COLUMNS`, sorted by picture, then by source and id."""
    ordered = sorted(pairs, key=lambda pair: (pair.image_paths, pair.source.model, pair.question_id))
    rows = [
        {
            "question_id": pair.question_id,
            "product_id": pair.product_id,
            "image_paths": pair.image_paths,
            "question": pair.question,
            "answer": pair.answer,
            "task": pair.task or question_type(pair.question),
            "difficulty": pair.difficulty,
            "used_metadata": pair.used_metadata,
            "source": pair.source._asdict(),
            "product_type": pair.product_type,
            "split": pair.split,
        }
        for pair in ordered
    ]
    return pa.Table.from_pylist(rows, schema=QUESTION_COLUMNS)
