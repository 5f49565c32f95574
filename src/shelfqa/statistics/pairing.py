"""Which rows of several tables ask the same, so that models can be compared on the same items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def item_keys(table: pa.Table) -> list[tuple[Any, ...]]:
    """Return what tells a question from the others: its id, picture, wording and answer, and which repetition.

    Ids that are mere row numbers do not count, nor do capitals: one tool writes `Red` where another writes `red`. The
    table needs question_id, image_paths, question and answer.
    """
    columns = [table[name].to_pylist() for name in ("image_paths", "question", "answer")]
    ids = table["question_id"].to_pylist()
    numbered = all(value is not None and str(value).isdecimal() for value in ids)
    seen: Counter[Any] = Counter()
    keys = []
    for question_id, images, question, answer in zip(ids, *columns, strict=True):
        texts = (None if text is None else str(text).casefold().strip() for text in (question, answer))
        key = (None if numbered else question_id, tuple(images or ()), *texts)
        keys.append((*key, seen[key]))
        seen[key] += 1
    return keys


def common_rows(tables: Sequence[pa.Table]) -> NDArray[np.int64]:
    """Return the positions [common, tables] of the questions that all tables hold, in the order of the last."""
    *others, last = [item_keys(table) for table in tables]
    places = [{key: row for row, key in reversed(list(enumerate(keys)))} for keys in others]
    rows = [
        [*(place[key] for place in places), row]
        for row, key in enumerate(last)
        if all(key in place for place in places)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, len(tables))


def cluster_labels(table: pa.Table, column: str) -> NDArray[Any]:
    """Return the label per row of what is drawn together: the value of `column`, or the row where it is missing.

    Where the table has no such column (as for `row`), every row is a cluster of its own.
    """
    if column not in table.column_names:
        return np.arange(len(table))
    values = table[column].to_pylist()
    return np.array([f"row {row}" if value is None else f"= {value}" for row, value in enumerate(values)])
