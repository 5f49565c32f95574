from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from shelfqa.errors import InputError
from shelfqa.lines import BadRow, Line, read_lines

LINES = [f"{number} " + "".join(random.Random(number).choices("abcdefgh", k=80)) for number in range(8000)]
WHOLE = ("\n".join(LINES) + "\n").encode()


def texts(found: list[Line | BadRow]) -> list[str]:
    return [line.data.decode() for line in found if isinstance(line, Line)]


def test_plain_gzipped_and_several_members_give_the_same_lines(tmp_path: Path) -> None:
    plain, packed, members = tmp_path / "a.json", tmp_path / "a.json.gz", tmp_path / "b.json.gz"
    plain.write_bytes(WHOLE)
    packed.write_bytes(gzip.compress(WHOLE))
    members.write_bytes(gzip.compress(WHOLE[:5000]) + gzip.compress(WHOLE[5000:]))
    assert (
        texts(list(read_lines(plain))) == texts(list(read_lines(packed))) == texts(list(read_lines(members))) == LINES
    )


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.97])
def test_a_truncated_gzip_gives_the_lines_before_the_break(tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.json.gz"
    packed = gzip.compress(WHOLE)
    path.write_bytes(packed[: int(len(packed) * share)])
    *lines, last = read_lines(path)
    assert isinstance(last, BadRow)
    assert (last.file, last.reason, last.line) == ("cut.json.gz", "truncated-shard", len(lines) + 1)
    assert texts(lines) == LINES[: len(lines)]
    assert len(lines) >= len(LINES) * share - 120


def test_a_damaged_gzip_gives_the_lines_before_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "hurt.json.gz"
    packed = bytearray(gzip.compress(WHOLE))
    middle = len(packed) // 2
    packed[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(packed)
    *lines, last = read_lines(path)
    assert isinstance(last, BadRow)
    assert last.reason == "corrupt-shard"
    assert texts(lines)[:3500] == LINES[:3500]


def test_marks_line_ends_and_utf16(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\nc,d")
    assert [line.data for line in read_lines(path) if isinstance(line, Line)] == [b"a,b", b"c,d"]
    path.write_bytes("a,ü\r\nc,d\r\n".encode("utf-16"))
    assert texts(list(read_lines(path))) == ["a,ü", "c,d"]
    path.write_bytes(b"\xff\xfea")
    assert [line.reason for line in read_lines(path) if isinstance(line, BadRow)] == ["wrong-encoding"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json"):
        list(read_lines(tmp_path / "nowhere.json"))
