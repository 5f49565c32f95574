"""Rows of CSV, TSV, JSON-lines and Parquet files, each with its line, and those that are broken with the reason.

Every row that is present in the file is either in `Rows.rows` or in `Rows.bad`.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shelfqa.errors import InputError
from shelfqa.lines import BadRow, Line, read_lines

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
"""What `read_rows` reads; all but Parquet may be followed by `.gz`. It reads `.txt` too, as CSV, if handed one."""

PICTURE_NAMES = ("image_paths", "image_path", "image", "path")
"""The names under which a file of questions or answers may hold its pictures; the first that is there counts."""

_SEPARATOR_LINE = re.compile(rb'"?sep=([,;\t|])"?', re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One record; `line` is the line it starts on, or its number in a Parquet file, counted from 1."""

    line: int
    values: dict[str, Any]


class Rows(NamedTuple):
    """All that a file holds; `columns` in the file's order, `preamble` the lines that are neither header nor rows."""

    columns: list[str]
    rows: list[Row]
    bad: list[BadRow]
    preamble: tuple[str, ...] = ()


class HeaderPlace(NamedTuple):
    """Where the header stands among the first lines, from 0, and how many records after it are no data."""

    line: int = 0
    skipped: int = 0


FindHeader = Callable[[Sequence[str]], HeaderPlace]
"""Given the first lines of a CSV or TSV file, of which the first is not blank, says where its header is."""

_OPENING_LINES = 12
_MAX_DEPTH = 100
_TOO_DEEP = "is nested too deeply"


class RowError(Exception):
    """A record that cannot be read; `reason` is a short slug for counting."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def is_table(path: Path) -> bool:
    """Return whether the name is one that `read_rows` reads."""
    return path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def read_rows(path: Path, find_header: FindHeader | None = None) -> Rows:
    """Return the rows of the file at `path`.

    Cells of CSV and TSV files are strings as they stand; an empty cell is None. CSV files may be separated by
    commas, semicolons, tabs or bars, which the header tells, or a line `sep=;` before it, as Excel writes it.

    Args:
        path: the file.
        find_header: tells where the header of a CSV or TSV file is, if not in its first line.

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
    if name.endswith((".csv", ".tsv", ".txt")):
        return _csv(path, "\t" if name.endswith(".tsv") else None, find_header)
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
    if data.count(b"[") + data.count(b"{") > _MAX_DEPTH and _is_deep(value):
        raise RowError("broken-json", _TOO_DEEP)
    return value


def parse_cell(text: str, default: Any = None) -> Any:
    """Return the JSON value that a cell of a table holds, or `default` where it is none."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return default
    return default if _is_deep(value) else value


def _is_deep(value: Any) -> bool:
    """Return whether lists and objects stand in each other more than `_MAX_DEPTH` times."""
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        nested = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = list(chain.from_iterable(nested))
    return bool(level)


def _lenient(data: bytes) -> Any:
    """Read what msgspec refuses and Python accepts: NaN, infinities, lone surrogates."""
    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_constant=lambda _: None)
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except UnicodeDecodeError as error:
        raise RowError("wrong-encoding", f"byte {error.start} is not UTF-8: save the file as UTF-8") from None
    except RecursionError:
        raise RowError("broken-json", _TOO_DEEP) from None
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
        if isinstance(value, dict) and _is_deep(value):
            bad.append(BadRow(path.name, number, "broken-json", _TOO_DEEP))
        elif isinstance(value, dict):
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


def opening_lines(path: Path) -> list[str]:
    """Return the first lines of a text file, as `find_header` is given them."""
    lines = _Lines(read_lines(path))
    return [line.data.decode("utf-8", "replace") for line in islice(lines, _OPENING_LINES)] if lines.more() else []


def _csv(path: Path, delimiter: str | None, find_header: FindHeader | None) -> Rows:
    lines = _Lines(read_lines(path))
    opening = list(islice(lines, _OPENING_LINES)) if lines.more() else []
    if not opening:
        why = f" ({lines.bad[0].detail})" if lines.bad else ""
        raise InputError(f"{str(path)!r} has no header line{why}: the first line must name the columns.")
    separator = _SEPARATOR_LINE.fullmatch(opening[0].data.strip())
    if separator and len(opening) > 1:
        opening, delimiter = opening[1:], separator[1].decode()
        while len(opening) > 1 and not opening[0].data.strip():
            del opening[0]
    texts = [line.data.decode("utf-8", "replace") for line in opening]
    place = find_header(texts) if find_header is not None else HeaderPlace()
    header = opening[place.line]
    lines.push(opening[place.line + 1 :])
    delimiter = delimiter or _delimiter(header.data)
    lines.push([header])
    try:
        columns = [name.strip() for name in _record(lines, delimiter)[1]]
    except RowError as error:
        raise InputError(f"{path}:{header.number}: the header {error.detail}.") from None
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise InputError(f"{path}:{header.number}: the header names {twice[0]!r} twice: rename one.")
    preamble = texts[: place.line]
    for _ in range(place.skipped):
        if lines.more():
            preamble.append(_skip_record(lines, delimiter))
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
    bad = sorted(lines.bad, key=lambda bad: bad.line)
    return Rows([name for name in columns if name], rows, bad, tuple(preamble))


def _skip_record(lines: _Lines, delimiter: str) -> str:
    try:
        return delimiter.join(_record(lines, delimiter)[1])
    except RowError:
        return lines.taken[0].data.decode("utf-8", "replace")


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
