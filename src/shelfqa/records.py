"""What modules hand each other: small frozen records, and the columns of every table.

The columns are part of shelfqa's public face: other programs read them (docs/artifacts.md).
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa


class Answer(NamedTuple):
    """One answer a model considers, with its probability in [0, 1]; None where the model does not tell."""

    text: str
    probability: float | None


class Interval(NamedTuple):
    """A mean with the bounds of its 95% interval."""

    mean: float
    low: float
    high: float


class Drop(NamedTuple):
    """A row that was left out: where it stands, a short reason for counting, and what exactly is wrong."""

    file: str
    line: int
    product_id: str | None
    reason: str
    detail: str


_text = pa.string()
_texts = pa.list_(pa.string())

PRODUCT_COLUMNS = pa.schema(
    {
        "product_id": _text,
        "image_path": _text,  # relative to the images folder that the manifest names
        "other_image_paths": _texts,
        "product_type": _text,  # lower case, words separated by a space: "cellular phone case"
        "name": _text,
        "brand": _text,
        "color": _text,
        "material": _text,
        "bullet_points": _texts,
        "keywords": _texts,
        "description": _text,
        "attributes": _text,  # a JSON object of every other field: pattern, shape, style, model_name, …
        "language": _text,
        "domain": _text,
        "richness": pa.int64(),  # how many of color, bullet_points and keywords are present, 0 to 3
    }
)

IMAGE_COLUMNS = pa.schema(
    {
        "image_path": _text,
        "width_px": pa.int64(),
        "height_px": pa.int64(),
        "file_bytes": pa.int64(),
        "content_hash": pa.binary(),  # 16 bytes, BLAKE2b of the file; null where it could not be opened
        "perceptual_hash": pa.binary(),  # 32 bytes, see shelfqa.images.perceptual_hash; null where unreadable
        "blank": pa.bool_(),  # one colour all over, see shelfqa.images.BLANK_SHARE
        "error": _text,
        "same_file": _text,  # the first image_path of those with equal bytes; its own where there is no other
        "same_picture": _text,  # the first image_path of those that look the same; null where unreadable
        "product_ids": _texts,  # every product that shows it
    }
)

DROPPED_COLUMNS = pa.schema({"file": _text, "line": pa.int64(), "product_id": _text, "reason": _text, "detail": _text})

SOURCE = pa.struct(
    {
        "provider": _text,  # metadata, file, gemini, …
        "model": _text,  # the model's name; for `file`, the file's stem
        "prompt_version": _text,  # version of the prompt or of the wording template
        "field": _text,  # the listing field that the answer comes from, where known
    }
)

QUESTION_COLUMNS = pa.schema(
    {
        "question_id": _text,
        "product_id": _text,
        "image_paths": _texts,
        "question": _text,
        "answer": _text,
        "task": _text,  # what the question asks about: one of shelfqa.question_types.QUESTION_TYPES
        "difficulty": pa.int64(),
        "used_metadata": pa.bool_(),
        "source": SOURCE,
        "product_type": _text,
        "split": _text,  # train, validation, test; null before `split`
    }
)

ALTERNATIVES = pa.list_(pa.struct({"answer": _text, "probability": pa.float64()}))

PREDICTION_COLUMNS = pa.schema(
    {
        "question_id": _text,
        "model": _text,
        "prediction": _text,  # null when it failed; "" when the model said nothing
        "error": _text,  # why it failed, else null
        "reply": _text,  # what the model said in full, where the prediction was drawn from it
        "alternatives": ALTERNATIVES,  # best first; the first is the prediction
        "seconds": pa.float64(),  # share of the batch's time
        "question": _text,
        "answer": _text,
        "product_id": _text,
        "image_paths": _texts,
        "product_type": _text,
        "task": _text,
        "difficulty": pa.int64(),
        "source": SOURCE,
        "split": _text,
    }
)


def attention_columns(cells: int) -> pa.Schema:
    """Return the columns of the table that lies beside predictions of a model that tells where it looked."""
    return pa.schema(
        {
            "question_id": _text,
            "rows": pa.int64(),
            "columns": pa.int64(),
            "shares": pa.list_(pa.float32(), cells),  # of the cells, row by row from the upper left; 1 in all
        }
    )
