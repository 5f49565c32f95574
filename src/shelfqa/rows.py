"""Rows of CSV, TSV, JSON-lines and Parquet files, each with its line, and those that are broken with the reason.

Every row that is present in the file is either in `Rows.rows` or in `Rows.bad`.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shelfqa.errors import InputError
from shelfqa.lines import BadRow, Line, read_lines

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
"""What `read_rows` reads; all but Parquet may be followed by `.gz`."""

PICTURE_NAMES = ("image_paths", "image_path", "image", "path")
"""The names under which a file of questions or answers may hold its pictures; the first that is there counts."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One record; `line` is the line it starts on, or its number in a Parquet file, counted from 1."""

    line: int
    values: dict[str, Any]


class Rows(NamedTuple):
    """All that a file holds; `columns` in the file's order."""

    columns: list[str]
    rows: list[Row]
    bad: list[BadRow]


class RowError(Exception):
    """A record that cannot be read; `reason` is a short slug for counting."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def is_table(path: Path) -> bool:
    """Return whether the name is one that `read_rows` reads."""
    return path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def read_rows(path: Path) -> Rows:
    """Return the rows of the file at `path`.

    Cells of CSV and TSV files are strings as they stand; an empty cell is None. CSV files may be separated by
    commas, semicolons, tabs or bars, which the header tells.

    Raises:
        InputError: if the file is missing, of another kind, unreadable as a whole, or has no header.

    """
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder: give a file ({', '.join(SUFFIXES)}).")
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        return _parquet(path)
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return _json(path)
    if name.endswith((".csv", ".tsv")):
        return _csv(path, "\t" if name.endswith(".tsv") else None)
    raise InputError(f"{str(path)!r} is of an unknown kind: expected a name that ends in {', '.join(SUFFIXES)}.")


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in one line; NaN becomes null, half a surrogate pair becomes `?`.

    Raises:
        RowError: with reason `wrong-encoding`, `broken-json` or `not-an-object`.

    """
    try:
        value = msgspec.json.decode(data)
    except UnicodeDecodeError as error:
        raise RowError("wrong-encoding", f"byte {error.start} is not UTF-8: save the file as UTF-8") from None
    except (msgspec.DecodeError, RecursionError):
        value = _lenient(data)
    if not isinstance(value, dict):
        raise RowError("not-an-object", f"holds a JSON {type(value).__name__}, expected an object")
    return value


def _lenient(data: bytes) -> Any:
    """Read what msgspec refuses and Python accepts: NaN, infinities, lone surrogates."""
    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_constant=lambda _: None)
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except UnicodeDecodeError as error:
        raise RowError("wrong-encoding", f"byte {error.start} is not UTF-8: save the file as UTF-8") from None
    except RecursionError:
        raise RowError("broken-json", "is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise RowError("broken-json", f"{error.msg} at column {error.colno}") from None
    except ValueError as error:
        raise RowError("broken-json", str(error)) from None


def _json(path: Path) -> Rows:
    rows: list[Row] = []
    bad: list[BadRow] = []
    columns: dict[str, None] = {}
    lines = read_lines(path)
    first = next((line for line in lines if isinstance(line, BadRow) or line.data.strip()), None)
    if isinstance(first, Line) and first.data.lstrip().startswith(b"["):
        return _json_array(path)
    for line in () if first is None else _chained(first, lines):
        if isinstance(line, BadRow):
            bad.append(line)
        elif line.data.strip():
            try:
                values = parse_object(line.data)
            except RowError as error:
                bad.append(BadRow(path.name, line.number, error.reason, error.detail))
                continue
            columns.update(dict.fromkeys(values))
            rows.append(Row(line.number, values))
    return Rows(list(columns), rows, bad)


def _chained(first: Line | BadRow, rest: Iterator[Line | BadRow]) -> Iterator[Line | BadRow]:
    yield first
    yield from rest


def _json_array(path: Path) -> Rows:
    pieces = []
    for line in read_lines(path):
        if isinstance(line, BadRow):
            raise InputError(f"{path}: {line.detail}; an array cannot be saved in part, JSON lines can.")
        pieces.append(line.data)
    try:
        values = msgspec.json.decode(b"\n".join(pieces))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: the JSON array is broken: {error}. Mend it, or write one object a line.") from None
    rows = []
    bad = []
    columns: dict[str, None] = {}
    for number, value in enumerate(values, start=1):
        if isinstance(value, dict):
            columns.update(dict.fromkeys(value))
            rows.append(Row(number, value))
        else:
            bad.append(BadRow(path.name, number, "not-an-object", f"holds a JSON {type(value).__name__}"))
    return Rows(list(columns), rows, bad)


def _parquet(path: Path) -> Rows:
    import pyarrow as pa

    from shelfqa.artifacts import read_table

    table: pa.Table = read_table(path, path.stem)
    rows = [Row(number, values) for number, values in enumerate(table.to_pylist(), start=1)]
    return Rows(list(table.column_names), rows, [])


def _csv(path: Path, delimiter: str | None) -> Rows:
    lines = _Lines(read_lines(path))
    header = next((line for line in lines if line.data.strip()), None)
    if header is None:
        why = f" ({lines.bad[0].detail})" if lines.bad else ""
        raise InputError(f"{str(path)!r} has no header line{why}: the first line must name the columns.")
    delimiter = delimiter or _delimiter(header.data)
    lines.push([header])
    try:
        columns = [name.strip() for name in _record(lines, delimiter)[1]]
    except RowError as error:
        raise InputError(f"{path}:{header.number}: the header {error.detail}.") from None
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise InputError(f"{path}:{header.number}: the header names {twice[0]!r} twice: rename one.")
    rows: list[Row] = []
    while lines.more():
        number = lines.next_number
        try:
            number, cells = _record(lines, delimiter)
            if len(cells) != len(columns):
                lines.push_all_but_first()
                raise RowError("malformed-row", f"has {len(cells)} cells, the header {len(columns)}")
        except RowError as error:
            lines.bad.append(BadRow(path.name, number, error.reason, error.detail))
            continue
        rows.append(Row(number, {name: cell or None for name, cell in zip(columns, cells, strict=True) if name}))
    return Rows([name for name in columns if name], rows, sorted(lines.bad, key=lambda bad: bad.line))


def _delimiter(header: bytes) -> str:
    return max(",;\t|", key=lambda mark: header.count(mark.encode()))


class _Lines:
    """Lines that can be pushed back, so that a quote left open costs one row and not the rest of the file."""

    def __init__(self, lines: Iterable[Line | BadRow]) -> None:
        self.bad: list[BadRow] = []
        self.taken: list[Line] = []
        self._lines = iter(lines)
        self._pushed: deque[Line] = deque()

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        if self._pushed:
            return self._pushed.popleft()
        for line in self._lines:
            if isinstance(line, Line):
                return line
            self.bad.append(line)
        raise StopIteration

    def push(self, lines: list[Line]) -> None:
        self._pushed.extendleft(reversed(lines))

    def push_all_but_first(self) -> None:
        """Give back the lines that the last record took after its first."""
        self.push(self.taken[1:])

    def more(self) -> bool:
        """Skip blank lines and return whether there is another."""
        for line in self:
            if line.data.strip():
                self._pushed.appendleft(line)
                return True
        return False

    @property
    def next_number(self) -> int:
        return self._pushed[0].number if self._pushed else 0


def _record(lines: _Lines, delimiter: str) -> tuple[int, list[str]]:
    """Return the next record and the line it starts on; a broken one costs its first line only."""
    first = next(lines)
    lines.taken = [first]
    text = _decoded(first)
    if '"' not in text:
        return first.number, text.split(delimiter)
    try:
        cells = next(csv.reader(_texts(text, lines), delimiter=delimiter, strict=True))
    except RowError:
        lines.push_all_but_first()
        raise
    except csv.Error as error:
        lines.push_all_but_first()
        raise RowError("malformed-row", f"is no valid CSV: {error}") from None
    return first.number, cells


def _texts(first: str, lines: _Lines) -> Iterator[str]:
    """Yield the first line, then as many more as a cell with line breaks asks for."""
    yield first + "\n"
    for line in lines:
        lines.taken.append(line)
        yield _decoded(line) + "\n"


def _decoded(line: Line) -> str:
    try:
        text = line.data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError("wrong-encoding", f"byte {error.start} is not UTF-8: save the file as UTF-8") from None
    if "\0" in text:
        raise RowError("wrong-encoding", "holds a NUL character: save the file as UTF-8")
    return _SURROGATE.sub("?", text)


csv.field_size_limit(1 << 30)
