"""Reading predictions: a folder of `shelfqa predict`, a CSV, JSONL or Parquet file of any tool, or any table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shelfqa.artifacts import read_table
from shelfqa.errors import InputError
from shelfqa.lines import BadRow
from shelfqa.records import ALTERNATIVES, PREDICTION_COLUMNS
from shelfqa.rows import PICTURE_NAMES, SUFFIXES, is_table, parse_cell, read_rows

REQUIRED = ("question", "answer", "prediction")
MISSING_PREDICTION = "no prediction in the file"


class Predictions(NamedTuple):
    """A table with the columns of `records.PREDICTION_COLUMNS`, then the file's own, and what was left out."""

    table: pa.Table
    dropped: dict[str, int]
    """Rows left out, by reason."""
    bad: list[BadRow]
    """Those of them that could not be read."""


def read_predictions(path: Path, *, name: str | None = None) -> Predictions:
    """Return the predictions at `path`, one row a pair, in the file's order.

    A null prediction is a failure and stays; a row without an answer cannot be scored and is left out. Where a CSV
    has nothing between two commas, that is a null. `name` stands in for a missing `model` column.

    Raises:
        InputError: if the file is missing, unreadable, of an unknown kind, empty, or lacks a column.

    """
    file = path / "predictions.parquet" if path.is_dir() else path
    if not file.exists():
        what = "holds no predictions.parquet" if path.is_dir() else "does not exist"
        raise InputError(f"{str(path)!r} {what}: give a folder of shelfqa predict, or a CSV, JSONL or Parquet file.")
    table, bad = _read(file)
    return _predictions(table, bad, repr(str(file)), name or stem(file))


def stem(file: Path) -> str:
    """Return the name of a file without what tells its kind.

    >>> stem(Path("runs/blip2_2.7b.csv.gz"))
    'blip2_2.7b'
    """
    name = file.name.removesuffix(".gz")
    return name.removesuffix(Path(name).suffix) if is_table(Path(name)) else name


def predictions_from(data: Any, *, name: str | None = None) -> Predictions:
    """Return the predictions in a table in memory, or at a path, as `read_predictions` does.

    Args:
        data: a DataFrame of pandas or another library that has `to_arrow`, a pyarrow table, a list of dicts, a dict of
            lists, or a path. Unlike in a CSV file an empty text is a prediction: the model said nothing.
        name: stands in for a missing `model` column.

    Raises:
        InputError: if it is none of these, empty, or lacks a column.

    """
    if isinstance(data, (str, Path)):
        return read_predictions(Path(data), name=name)
    return _predictions(_in_memory(data), [], "the table", name or "table")


def _in_memory(data: Any) -> pa.Table:
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if not isinstance(data, pa.Table) and hasattr(data, "to_arrow"):
        data = data.to_arrow()
    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "columns") and hasattr(data, "isna"):
        missing = {column: data[column].isna().tolist() for column in data.columns}
        data = {
            column: [
                None if gone else value for value, gone in zip(data[column].tolist(), missing[column], strict=True)
            ]
            for column in data.columns
        }
    elif isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        data = {name: [row.get(name) for row in data] for name in names}
    if not isinstance(data, Mapping):
        raise InputError(
            f"a {type(data).__name__} cannot be scored: give a path, a DataFrame, a pyarrow table, a list of dicts or "
            "a dict of lists."
        )
    columns = {str(column): list(values) for column, values in data.items()}
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the columns differ in length: {lengths}.")
    return pa.table({column: _arrow(values, column) for column, values in columns.items()})


def _without_missing(column: Any) -> list[Any]:
    """Return the values of a column of pandas, what it calls missing as None."""
    return [None if gone else value for value, gone in zip(column.tolist(), column.isna().tolist(), strict=True)]


def _predictions(table: pa.Table, bad: list[BadRow], where: str, name: str) -> Predictions:
    table = _with_answer(table)
    lacking = [column for column in REQUIRED if column not in table.column_names]
    if lacking:
        raise InputError(f"{where} lacks the column {lacking[0]!r}; it has {', '.join(table.column_names) or 'none'}.")
    table = _standard(table, where, name)
    dropped = dict(Counter(row.reason for row in bad))
    unanswered = pc.is_null(table["answer"])
    if number := pc.sum(unanswered).as_py() or 0:
        dropped["no-answer"] = number
        table = table.filter(pc.invert(unanswered))
    if not len(table):
        raise InputError(f"{where} holds no row that can be scored: expected at least one with an answer.")
    return Predictions(table, dropped, bad)


def _read(file: Path) -> tuple[pa.Table, list[BadRow]]:
    if not is_table(file):
        raise InputError(f"{str(file)!r} is of no kind that can be scored: expected {', '.join(SUFFIXES)}.")
    if file.suffix.lower() == ".parquet":
        return read_table(file, "predictions"), []
    found = read_rows(file)
    columns = {name: [row.values.get(name) for row in found.rows] for name in found.columns}
    table = pa.table({name: _arrow(values, name) for name, values in columns.items()})
    return table, found.bad


def _arrow(values: list[Any], name: str) -> pa.Array:
    """Return the values as a column: of the known type if they are so, else inferred, else as JSON texts."""
    known = PREDICTION_COLUMNS.field(name).type if name in PREDICTION_COLUMNS.names else None
    for kind in (known, None):
        try:
            return pa.array(values, type=kind)
        except (pa.ArrowException, TypeError, ValueError):
            continue
    return pa.array([value if isinstance(value, str) else _text(value) for value in values], type=pa.string())


def _with_answer(table: pa.Table) -> pa.Table:
    """Return the table with the commonest of the human `answers` as `answer`, where it has none of its own."""
    if "answer" in table.column_names or "answers" not in table.column_names:
        return table
    given = [answers_of(value) for value in table["answers"].to_pylist()]
    commonest = [Counter(answers).most_common(1)[0][0] if answers else None for answers in given]
    return table.append_column("answer", pa.array(commonest, type=pa.string()))


def answers_of(value: Any) -> list[str] | None:
    """Return the human answers in a cell: a list of texts or of `{"answer": …}` as VQA v2 has them, or JSON of one.

    >>> answers_of('[{"answer": "red", "answer_id": 1}, {"answer": "dark red"}]'), answers_of(None)
    (['red', 'dark red'], None)
    """
    if isinstance(value, str):
        value = parse_cell(value, default=[value])
    if not isinstance(value, (list, tuple, np.ndarray)):
        return None if value is None else [str(value)]
    texts = [one.get("answer") if isinstance(one, Mapping) else one for one in value]
    return [str(text) for text in texts if text is not None] or None


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _standard(table: pa.Table, where: str, name: str) -> pa.Table:
    """Return the table with all columns of PREDICTION_COLUMNS, those that it lacks null, and its own behind them."""
    rows = len(table)
    columns: dict[str, Any] = {}
    for field in PREDICTION_COLUMNS:
        source = table[field.name] if field.name in table.column_names else None
        columns[field.name] = _cast(source, field, where) if source is not None else pa.nulls(rows, field.type)
    columns["image_paths"] = _image_paths(table)
    if "question_id" not in table.column_names:
        columns["question_id"] = pa.array([str(row) for row in range(rows)])
    if "model" not in table.column_names:
        columns["model"] = pa.array([name] * rows, type=pa.string())
    failed = pc.is_null(columns["prediction"])
    reasons = pc.if_else(pc.is_null(columns["error"]), MISSING_PREDICTION, columns["error"])
    columns["error"] = pc.if_else(failed, reasons, columns["error"])
    own = {column: table[column] for column in table.column_names if column not in PREDICTION_COLUMNS.names}
    return pa.table(columns | own)


def _cast(column: Any, field: pa.Field, where: str) -> Any:
    if column.type == field.type:
        return column
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if field.type == ALTERNATIVES and text:
        return pa.nulls(len(column), field.type)
    if pa.types.is_struct(field.type) and not pa.types.is_struct(column.type):
        model = column.cast(pa.string())
        return pc.make_struct(
            *(model if part.name == "model" else pa.nulls(len(column), part.type) for part in field.type),
            field_names=[part.name for part in field.type],
        )
    if pa.types.is_string(field.type) and pa.types.is_floating(column.type):
        return pa.array([None if value is None or isnan(value) else f"{value:.15g}" for value in column.to_pylist()])
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        if pa.types.is_string(field.type):
            return pa.array([_text(value) for value in column.to_pylist()], type=pa.string())
        if field.name in ("difficulty", "seconds", "alternatives", "image_paths"):
            return pa.nulls(len(column), field.type)
        raise InputError(f"{where}, column {field.name!r}: {str(error).splitlines()[0]}.") from None


def _image_paths(table: pa.Table) -> Any:
    kind = PREDICTION_COLUMNS.field("image_paths").type
    for name in PICTURE_NAMES:
        if name in table.column_names:
            column = table[name]
            if pa.types.is_list(column.type):
                return column.cast(kind)
            values = column.cast(pa.string()).to_pylist()
            return pa.array([None if value is None else [value] for value in values], type=kind)
    return pa.nulls(len(table), kind)
