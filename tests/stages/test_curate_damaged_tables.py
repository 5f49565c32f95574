"""Seeded corruptions of tables: each is read to its last row, or refused in one line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from corruption import DEPTHS, NUMBERS, SHAPES, TEXTS, Raw, curated, flipped, joined, not_blank, seeds
from shelfqa.catalogue import tabular
from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.settings import CurateConfig
from shelfqa.errors import UserError
from shelfqa.stages.curate import curate

HEADER = ["sku", "image", "title", "category", "colour", "tags", "weight", "attributes", "other_images"]


def table_rows(rng: random.Random) -> list[list[str]]:
    rows = []
    for number in range(rng.randint(3, 8)):
        color, weight = rng.choice(["red", "blå", ""]), rng.choice(["3 kg", "2,5 lb", ""])
        rows.append(
            [
                f"S{number}",
                f"{number}.png",
                f"Mug {rng.random()}",
                "mug",
                color,
                "a;b",
                weight,
                '{"x": 1}',
                "1.png|2.png",
            ]
        )
    return rows


class TableCase(NamedTuple):
    """A damaged table; `rows` is None where a quote may join lines, and no other count than shelfqa's is at hand."""

    name: str
    data: bytes
    rows: int | None


def written(rows: list[list[str]], rng: random.Random, header: list[str] | None = None) -> tuple[str, str]:
    """A name and the text of a file with these rows."""
    delimiter, ending = rng.choice([(",", ".csv"), (";", ".csv"), ("\t", ".tsv"), ("|", ".csv")])
    file = io.StringIO()
    end = rng.choice(["\n", "\r\n"])
    csv.writer(file, delimiter=delimiter, lineterminator=end).writerows([HEADER if header is None else header, *rows])
    return ending, file.getvalue()


def unquoted(ending: str, data: bytes) -> TableCase:
    """Count rows by lines where no quote can join them."""
    return TableCase(ending, data, not_blank(data) - 1 if b'"' not in data else None)


def odd_cells(rng: random.Random) -> TableCase:
    rows = table_rows(rng)
    odd = ["", "  ", "NaN", "-inf", "9" * 5000, "1e999", "'; DROP TABLE parts; --", "../x.png", "/etc/passwd", "//x.y/"]
    odd += [
        "http://[x",
        "https://x.y/%00.png",
        "[" * 5000,
        '{"a":' * 2000,
        '["a',
        "[1, null, {}]",
        "x" * 300_000,
        "a\x1fb",
    ]
    odd += [
        "line\nbreak",
        'quo"te',
        "a;b,c|d\te",
        "\u2028",
        "=1+1",
        "<p>" * 2000,
        "&#x110000;",
        '{"a": 1e400}',
        "9" * 400,
    ]
    odd += ['{"\\ud800": "\\ud800"}', '{"a": NaN}', '{"number_of_items": ' + "9" * 400 + "}", '["' + "[" * 990 + '"]']
    for _ in range(rng.randint(1, 6)):
        rng.choice(rows)[rng.randrange(len(HEADER))] = rng.choice(odd)
    ending, whole = written(rows, rng)
    return TableCase(ending, whole.encode(), len(rows))


def cells_lost_and_added(rng: random.Random) -> TableCase:
    rows = [[cell.replace('"', "") for cell in row] for row in table_rows(rng)]
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        row[:] = rng.choice([row[:-1], [*row, "x"], row[:1], [*row, *row], [""]])
    ending, whole = written([row for row in rows if row != [""]], rng)
    return unquoted(ending, whole.encode())


def open_quotes(rng: random.Random) -> TableCase:
    ending, whole = written([[cell.replace('"', "") for cell in row] for row in table_rows(rng)], rng)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(whole.index("\n"), len(whole))
        whole = whole[:place] + rng.choice(['"', '""', '"x', "'", '"\n', '\n"']) + whole[place:]
    return TableCase(ending, whole.encode(), None)


def odd_headers(rng: random.Random) -> TableCase:
    header = list(HEADER)
    for _ in range(rng.randint(0, 2)):
        header[rng.randrange(len(header))] = rng.choice(
            ["sku", "image", "", " ", "ID", "\0", "x" * 9999, "é", "language"]
        )
    header = rng.choice([header, header, header[:-1], [*header, "x"], []])
    _, whole = written([[cell.replace('"', "") for cell in row] for row in table_rows(rng)], rng, header)
    opening = rng.choice(["", "", "\n\n", "sep=,\n", "sep=;\n", "\ufeff", "a comment\n"])
    return TableCase(".csv", (opening + whole).encode(), None)


def table_bytes(rng: random.Random) -> TableCase:
    ending, whole = written([[cell.replace('"', "") for cell in row] for row in table_rows(rng)], rng)
    data, start = whole.encode(), whole.index("\n") + 1
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(start, len(data))
        put = rng.choice([b"\xff", b"\0", b"\xc3", b"\xed\xa0\x80", b"\x1a", b"\n", b"\n\n", b"\x0b"])
        data = data[:place] + put + data[place:]
    return unquoted(ending, data)


def table_encodings(rng: random.Random) -> TableCase:
    ending, whole = written(rows := table_rows(rng), rng)
    kind = rng.choice(["utf-8-sig", "utf-16", "utf-16-be", "gz", "latin-1", "end", "empty", "header", "utf-16 cut"])
    if kind == "gz":
        data = gzip.compress(whole.encode(), mtime=0)
        return TableCase(f"{ending}.gz", data, len(rows)) if rng.random() < 0.3 else TableCase(
            f"{ending}.gz", rng.choice([data[: rng.randrange(len(data))], flipped(data, rng)]), None
        )  # fmt: skip
    if kind == "utf-16-be":
        return TableCase(ending, b"\xfe\xff" + whole.encode("utf-16-be"), len(rows))
    if kind == "utf-16 cut":
        return TableCase(ending, whole.encode("utf-16")[: -1 - 2 * rng.randrange(9)], None)
    if kind == "latin-1":
        return TableCase(ending, whole.encode("latin-1"), len(rows) if whole.isascii() else None)
    if kind in ("end", "empty", "header"):
        data = {"end": whole.rstrip(), "empty": rng.choice(["", "\n", " ", "\0"]), "header": ",".join(HEADER)}[
            kind
        ].encode()
        return TableCase(ending if kind != "header" else ".csv", data, len(rows) if kind == "end" else None)
    return TableCase(ending, whole.encode(kind), len(rows))


def json_lines(rng: random.Random) -> TableCase:
    lines = [json.dumps(dict(zip(HEADER, row, strict=True))).encode() for row in table_rows(rng)]
    values = [*NUMBERS, *TEXTS, *SHAPES, *DEPTHS]
    for _ in range(rng.randint(1, 4)):
        value = rng.choice(values)
        put = value if isinstance(value, Raw) else json.dumps(value)
        name = rng.choice([*HEADER, "number_of_items", "dimensions", "item_weight", "bullet_points", "odd"])
        place = rng.randrange(1, len(lines))
        lines[place] = lines[place].rstrip(b"}") + f', "{name}": {put}}}'.encode("utf-8", "surrogatepass")
    lines += rng.choices([b"", b"{}", b"7", b"[]", b"null", b"{", b"\xff", b'{"sku": "\xff"}', b"\0"], k=2)
    return TableCase(rng.choice([".jsonl", ".ndjson", ".json"]), joined(lines), not_blank(joined(lines)))


def json_damaged(rng: random.Random) -> TableCase:
    rows = [dict(zip(HEADER, row, strict=True)) for row in table_rows(rng)]
    whole = json.dumps([*rows, *rng.choices([7, None, [], "x", {}], k=rng.randint(0, 2))], indent=rng.choice([None, 1]))
    if rng.random() < 0.4:
        return TableCase(".json", flipped(whole.encode(), rng), None)
    if rng.random() < 0.3:
        return TableCase(".json", whole.encode()[: rng.randrange(len(whole))], None)
    return TableCase(".json", whole.encode(rng.choice(["utf-8", "utf-16", "utf-8-sig"])), len(json.loads(whole)))


def parquet_damaged(rng: random.Random) -> TableCase:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = [dict(zip(HEADER, row, strict=True)) for row in table_rows(rng)]
    odd: list[Any] = [None, b"\xff", float("nan"), [1], {"a": 1}]
    value = rng.choice(odd)
    name = rng.choice([*HEADER, "odd"])
    for row in rows:
        row[name] = rng.choice([value, None])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    data = sink.getvalue().to_pybytes()
    if rng.random() < 0.4:
        return TableCase(".parquet", data, len(rows))
    return TableCase(
        ".parquet", rng.choice([data[: rng.randrange(len(data))], flipped(data, rng, len(data) - 8)]), None
    )


TABLES: dict[str, Callable[[random.Random], TableCase]] = {
    "odd cells": odd_cells,
    "cells lost and added": cells_lost_and_added,
    "open quotes": open_quotes,
    "odd headers": odd_headers,
    "bytes put in": table_bytes,
    "encodings": table_encodings,
    "JSON lines": json_lines,
    "JSON arrays": json_damaged,
    "Parquet": parquet_damaged,
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_row_of_a_damaged_table_is_read_or_told(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / "tables"
    whole.mkdir()
    total, refused = 0, []
    for number, rng in enumerate(seeds(kind)):
        case = TABLES[kind](rng)
        file = whole / f"table_{number:03}{case.name}"
        file.write_bytes(case.data)
        try:
            reading = tabular.read_tables([file], tmp_path, {}, Languages(), mapping="auto")
        except UserError as error:
            refused.append(str(error))
            file.unlink()
            continue
        except Exception as error:
            raise AssertionError(f"{kind} {number}: {error!r} for {case.data[:300]!r}") from error
        joined_rows = reading.notes["row joined to its product"]
        if case.rows is not None:
            assert reading.read + joined_rows == case.rows, (kind, number, case.data[:600])
        total += reading.read
    assert total > 0
    assert [error for error in refused if "\n" in error] == []
    assert curated(whole, tmp_path / "out", preset="score-and-cap") == total


@pytest.mark.parametrize("rows", [1, 4])
def test_a_quote_left_open_costs_one_row(tmp_path: Path, rows: int) -> None:
    lines = ["sku,image,title", 'A,a.png,"open', *(f"B{number},b.png,Mug" for number in range(rows))]
    (tmp_path / "shop.csv").write_text("\n".join(lines))
    manifest = curate(tmp_path / "shop.csv", tmp_path / "out", CurateConfig(check_images="none"))
    assert (manifest.counts.read, manifest.counts.dropped["malformed-row"]) == (rows + 1, 1)
