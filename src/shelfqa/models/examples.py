"""Solved examples to show before a question: picked by hand, or of the same product type from the training split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from shelfqa.errors import ConfigError, InputError
from shelfqa.models.answering import Example

SAME_TYPE = "same-type"
Examples = Callable[[Mapping[str, Any]], tuple[Example, ...]]
"""Maps a row of questions to the examples that are shown before it."""


def examples_from(
    source: str, count: int, training: Sequence[Mapping[str, Any]], images: Path, *, seed: int
) -> Examples:
    """Return what gives each question its examples: the same for all about a product, none of the product itself.

    Args:
        source: `same-type`, or a file with the columns question, answer and perhaps image_path and product_id.
        count: how many to show; of a file the first so many.
        training: rows of the training split, for `same-type`.
        images: the folder that image paths are relative to.
        seed: decides which of the same type are shown.

    Raises:
        ConfigError: if the source is neither.
        InputError: if there is nothing to show.

    """
    if source != SAME_TYPE:
        return _picked(_from_file(Path(source), images), count, images)
    by_type: dict[str | None, list[Mapping[str, Any]]] = {}
    for row in training:
        if row["image_paths"] and (row["question"] or "").strip() and (row["answer"] or "").strip():
            by_type.setdefault(row["product_type"], []).append(row)
            by_type.setdefault(None, []).append(row)
    if not by_type:
        raise InputError(
            "Examples of the same product type are taken from the split 'train', which is empty: run shelfqa split "
            "first, or give a file of examples."
        )
    chosen: dict[tuple[str, str | None], tuple[Example, ...]] = {}

    def of(row: Mapping[str, Any]) -> tuple[Example, ...]:
        product = _product(row)
        key = (product, row["product_type"])
        if key not in chosen:
            pool = by_type.get(row["product_type"], [])
            pool = pool if len({_product(other) for other in pool}) > count else by_type[None]
            chosen[key] = _choose(pool, product, count, images, seed)
        return chosen[key]

    return of


def _product(row: Mapping[str, Any]) -> str:
    return str(row["product_id"] or (row["image_paths"] or [""])[0])


def _choose(
    pool: Sequence[Mapping[str, Any]], product: str, count: int, images: Path, seed: int
) -> tuple[Example, ...]:
    """Return examples of `count` other products, as a hash of product and seed orders them."""

    def order(row: Mapping[str, Any]) -> bytes:
        return hashlib.blake2b(f"{seed} {product} {row['question_id']}".encode(), digest_size=8).digest()

    found: dict[str, Example] = {}
    for row in sorted(pool, key=order):
        other = _product(row)
        if other != product and other not in found:
            found[other] = Example(row["question"], row["answer"], (images / row["image_paths"][0],))
            if len(found) == count:
                break
    return tuple(found.values())


class _Picked(NamedTuple):
    """An example of a file, and the product that it says it is about."""

    example: Example
    product: str


def _picked(picked: Sequence[_Picked], count: int, images: Path) -> Examples:
    """Return what gives each question the first `count` examples that are not about its own product or picture."""

    def of(row: Mapping[str, Any]) -> tuple[Example, ...]:
        own = {images / path for path in row["image_paths"]}
        others = (
            one.example
            for one in picked
            if own.isdisjoint(one.example.pictures) and not (one.product and one.product == row["product_id"])
        )
        return tuple(islice(others, count))

    return of


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


def _from_file(path: Path, images: Path) -> list[_Picked]:
    from shelfqa.rows import PICTURE_NAMES, is_table, read_rows

    if not is_table(path):
        raise ConfigError(
            f"predict.examples is {str(path)!r}: expected {SAME_TYPE}, or a table (.csv, .jsonl, .parquet) with the "
            "columns question, answer and image_path."
        )
    table = read_rows(path)
    for column in ("question", "answer"):
        if column not in table.columns:
            raise InputError(f"{str(path)!r} lacks the column {column!r}; it has {', '.join(table.columns)}.")
    for bad in table.bad:
        raise InputError(f"{str(path)!r}, line {bad.line}: {bad.detail}.")
    picture = next((name for name in PICTURE_NAMES if name in table.columns), None)
    found = []
    for row in table.rows:
        question, answer, product = (_text(row.values.get(name)) for name in ("question", "answer", "product_id"))
        if not (question and answer):
            raise InputError(f"{str(path)!r}, line {row.line}: an example needs a question and an answer.")
        shown = row.values.get(picture) if picture else None
        paths = tuple(images / str(one) for one in (shown if isinstance(shown, list) else [shown]) if one)
        for file in paths:
            if not file.is_file():
                raise InputError(f"{str(path)!r}, line {row.line}: there is no picture {str(file)!r}.")
        found.append(_Picked(Example(question, answer, paths), product))
    if not found:
        raise InputError(f"{str(path)!r} holds no examples.")
    return found
