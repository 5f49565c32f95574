"""From a file or folder of questions to rows that a table of predictions can hold, and the pictures they are about."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shelfqa.artifacts import StageRun, image_folder, read_table
from shelfqa.errors import InputError
from shelfqa.question_types import question_type
from shelfqa.rows import PICTURE_NAMES, Row, Rows, read_rows


def read_questions(run: StageRun, path: Path) -> list[dict[str, Any]]:
    """Return the rows of the questions, with all columns of a predictions table that the input can fill.

    Raises:
        InputError: if the input is unreadable or lacks the question or the picture.

    """
    if path.is_dir():
        table = read_table(path, "questions", ("question_id", "image_paths", "question"))
        found = Rows(table.column_names, [Row(line, row) for line, row in enumerate(table.to_pylist(), 1)], [])
    else:
        found = read_rows(path)
    image_column = next((name for name in PICTURE_NAMES if name in found.columns), None)
    lacking = "question" if "question" not in found.columns else None if image_column else "image_path"
    if lacking is not None or image_column is None:
        raise InputError(
            f"{str(path)!r} lacks the column {lacking!r}; it has {', '.join(found.columns) or 'none'}. Expected "
            f"question and one of {', '.join(PICTURE_NAMES)}."
        )
    for bad in found.bad:
        run.drop(bad.reason)
    return [_question(row.values, row.line, image_column, path) for row in found.rows]


def _question(values: dict[str, Any], line: int, image_column: str, path: Path) -> dict[str, Any]:
    images = values.get(image_column)
    question = "" if values.get("question") is None else str(values["question"])
    difficulty = str(values.get("difficulty") or "").strip()
    texts = {name: values.get(name) for name in ("answer", "product_id", "product_type", "task", "split")}
    source = values.get("source")
    if not isinstance(source, dict):
        source = {"provider": "file", "model": path.stem, "prompt_version": None, "field": None}
    return {
        "question_id": str(values.get("question_id") or f"row-{line}"),
        "question": question,
        "image_paths": [str(one) for one in images if one] if isinstance(images, list) else [images] if images else [],
        **{name: None if value is None else str(value) for name, value in texts.items()},
        "task": texts["task"] or question_type(question),
        "difficulty": int(difficulty) if difficulty.lstrip("-").isdigit() else None,
        "source": source,
    }


def of_splits(
    table: list[dict[str, Any]], wanted: Sequence[str] | None, limit: int | None, path: Path
) -> list[dict[str, Any]]:
    """Return the first `limit` rows of the wanted splits; by default of `test` where rows have a split, else of all.

    Raises:
        InputError: if there are none.

    """
    present = Counter(row["split"] for row in table if row["split"] is not None)
    splits = wanted or (["test"] if present else None)
    rows = [row for row in table if splits is None or row["split"] in splits]
    if not rows:
        known = ", ".join(f"{name} ({count:,})" for name, count in sorted(present.items())) or "no splits"
        of = f" of split {', '.join(splits)}" if splits else ""
        raise InputError(f"{str(path)!r} has no questions{of}; it has {known}. Choose others with --splits.")
    return rows[:limit]


def folder_of_pictures(rows: list[dict[str, Any]], questions: Path, images: Path | None) -> Path:
    """Return the folder that the rows' image paths are relative to.

    Raises:
        InputError: if nothing says which it is.

    """
    if not questions.is_dir() and images is None:
        paths = [Path(path) for row in rows for path in row["image_paths"][:1]]
        if paths and all(path.is_absolute() for path in paths):
            return Path(paths[0].anchor)
    return image_folder(questions, images)


def shuffled(rows: Sequence[dict[str, Any]], *, seed: int) -> list[list[str]]:
    """Return for each row the pictures of another product, instead of its own.

    Raises:
        InputError: if all rows are about one product.

    """
    other = derangement(_products(rows), seed=seed)
    return [[other[path] for path in row["image_paths"]] for row in rows]


def _products(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the product that each picture is of; products that share a picture count as one."""
    leads_to: dict[str, str] = {}

    def first(name: str) -> str:
        while (other := leads_to.setdefault(name, name)) != name:
            name = other
        return name

    for row in rows:
        for path in row["image_paths"]:
            one = first(f"product {row['product_id']}" if row["product_id"] else f"picture {row['image_paths'][0]}")
            leads_to[first(f"picture {path}")] = one
    return {path: first(f"picture {path}") for row in rows for path in row["image_paths"]}


def derangement(product_of: dict[str, str], *, seed: int) -> dict[str, str]:
    """Return for each picture one of another product, drawn by `seed`; each is used once where that is possible.

    Raises:
        InputError: if all pictures are of one product.

    """
    generator = random.Random(seed)
    by_product: dict[str, list[str]] = {}
    for path, product in sorted(product_of.items()):
        by_product.setdefault(product, []).append(path)
    if len(by_product) < 2:
        raise InputError("Shuffling pictures needs those of two products at least; the questions are all about one.")
    products = list(by_product.values())
    generator.shuffle(products)
    for paths in products:
        generator.shuffle(paths)
    ring = [path for paths in products for path in paths]
    largest = max(map(len, products))
    if 2 * largest <= len(ring):
        # Pictures of a product stand together, so a turn by the largest product takes each to another one.
        return {path: ring[(place + largest) % len(ring)] for place, path in enumerate(ring)}
    return {path: generator.choice([other for other in ring if product_of[other] != product_of[path]]) for path in ring}
