from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shelfqa.errors import InputError
from shelfqa.rows import RowError, parse_object, read_rows

CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc"), max_codepoint=0x2FF) | st.just("\n"), max_size=8)


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    rows = [{"id": "1", "name": "a, b"}, {"id": "2", "name": 'say "x"'}]
    (tmp_path / "a.csv").write_text('id,name\n1,"a, b"\n2,"say ""x"""\n')
    (tmp_path / "a.tsv").write_text('id\tname\n1\ta, b\n2\t"say ""x"""\n')
    (tmp_path / "b.csv").write_text('id;name\n1;a, b\n2;"say ""x"""\n')
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.csv", "a.tsv", "b.csv", "a.jsonl", "a.json", "a.parquet"):
        found = read_rows(tmp_path / name)
        assert [row.values for row in found.rows] == rows, name
        assert found.columns == ["id", "name"]


def test_a_broken_csv_row_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\n1,"x\ny"\n2,"open\n3,ok\n4,"fine"\n5,\xff\n6\n7,"q"x\n\n8" mug,c\n9,"never\n10,z\n')
    found = read_rows(path)
    assert [row.values["a"] for row in found.rows] == ["1", "3", "4", '8" mug', "10"]
    assert [(bad.line, bad.reason) for bad in found.bad] == [
        (4, "malformed-row"),
        (7, "wrong-encoding"),
        (8, "malformed-row"),
        (9, "malformed-row"),
        (12, "malformed-row"),
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=8))
def test_what_csv_writes_is_read_back(tmp_path: Path, cells: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["a", "b", "c"], *cells])
    (tmp_path / "a.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    found = read_rows(tmp_path / "a.csv")
    assert found.bad == []
    assert [[value or "" for value in row.values.values()] for row in found.rows] == cells


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=12), max_size=12))
def test_no_bytes_crash_the_csv_reader_or_are_lost(tmp_path: Path, lines: list[bytes]) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n" + b"\n".join(lines))
    found = read_rows(tmp_path / "a.csv")
    taken = [row.line for row in found.rows] + [bad.line for bad in found.bad]
    assert len(taken) == len(set(taken))
    if b'"' not in b"".join(lines):
        present = [line for line in b"\n".join(lines).split(b"\n") if line.removesuffix(b"\r").strip()]
        assert len(taken) == len(present)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": ', "broken-json"),
        (b"[1, 2]", "not-an-object"),
        (b'{"a": "\xff"}', "wrong-encoding"),
        (b"[" * 5000, "broken-json"),
    ],
)
def test_what_is_no_object_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_object(data)
    assert caught.value.reason == reason


def test_nan_and_half_surrogates_are_read() -> None:
    assert parse_object(b'{"a": NaN, "b": "x\\ud800"}') == {"a": None, "b": "x?"}


def test_files_that_are_no_tables_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("\n")
    (tmp_path / "twice.csv").write_text("a,b,a\n")
    (tmp_path / "broken.json").write_text("[1,")
    (tmp_path / "a.xlsx").write_text("")
    (tmp_path / "a.parquet").write_text("no")
    for name, said in (
        ("empty.csv", "no header"),
        ("twice.csv", "twice"),
        ("broken.json", "broken"),
        ("a.xlsx", "unknown kind"),
        ("a.parquet", "Parquet"),
        ("gone.csv", "no file"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            read_rows(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
