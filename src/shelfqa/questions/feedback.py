"""What customers said about products, with personal data taken out before anyone else sees it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from shelfqa.errors import InputError
from shelfqa.questions.redaction import redact
from shelfqa.records import Drop
from shelfqa.rows import read_rows

_PRODUCT = ("product_id", "item_id", "sku", "asin", "id")
_TEXT = ("text", "feedback", "review", "comment", "body", "review_text", "review_body")


class Feedback(NamedTuple):
    """Texts by product, redacted."""

    texts: dict[str, list[str]]
    drops: list[Drop]
    redacted: dict[str, int]
    """How many personal data of each kind were taken out."""


def read_feedback(file: Path, products: pa.Table) -> Feedback:
    """Return what the rows of a CSV, TSV, JSON-lines or Parquet file say about `products`.

    The columns are found by name: `product_id` (or item_id, sku, asin, id) and `text` (or feedback, review, comment,
    body). Words of a product's own name and brand are nobody's name.

    Raises:
        InputError: if the file is unreadable or lacks a column.

    """
    described = products.select(["product_id", "name", "brand", "product_type"])
    known = {product["product_id"]: _own_words(product) for product in described.to_pylist()}
    rows = read_rows(file)
    product_column, text_column = (_column(file, rows.columns, names) for names in (_PRODUCT, _TEXT))
    feedback = Feedback({}, [Drop(bad.file, bad.line, None, bad.reason, bad.detail) for bad in rows.bad], {})
    counts: Counter[str] = Counter()
    for row in rows.rows:
        product_id, text = (" ".join(str(row.values.get(name) or "").split()) for name in (product_column, text_column))
        if product_id not in known or not text:
            reason = "empty-feedback" if not text else "feedback-without-product"
            feedback.drops.append(Drop(file.name, row.line, product_id or None, reason, product_column))
            continue
        found = redact(text, known=known[product_id])
        counts.update(found.counts)
        feedback.texts.setdefault(product_id, []).append(found.text)
    feedback.redacted.update(sorted(counts.items()))
    return feedback


def _own_words(product: dict[str, Any]) -> frozenset[str]:
    texts = (product["name"], product["brand"], product["product_type"])
    return frozenset(word for text in texts if text for word in text.split())


def _column(file: Path, present: list[str], names: tuple[str, ...]) -> str:
    by_name = {name.casefold(): name for name in reversed(present)}
    for name in names:
        if name in by_name:
            return by_name[name]
    raise InputError(f"{str(file)!r} lacks the column {names[0]!r}; it has {', '.join(present) or 'none'}.")
