"""Unpacking: nothing lands outside the folder, and no file is ever half there."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from shelfqa.catalogue import archives
from shelfqa.errors import InputError
from tar_files import PICTURES, files_below, tar_of


def odd(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    member.size = 4 if kind == tarfile.REGTYPE else 0
    return member


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    members = [
        odd(str(tmp_path / "absolute")),
        odd("../above"),
        odd("images/../../above"),
        odd("C:\\windows"),
        odd("..\\above"),
        odd("link", tarfile.SYMTYPE, str(tmp_path)),
        odd("link/through"),
        odd("hard", tarfile.LNKTYPE, "../secret"),
        odd("null", tarfile.CHRTYPE),
        odd("pipe", tarfile.FIFOTYPE),
        odd(".download.json"),
        odd("abo-images-small.tar"),
        odd("x" * 300),
    ]
    (tmp_path / "a.tar").write_bytes(tar_of({"good/file": b"good"}, *members))
    out = tmp_path / "out"
    done = archives.unpack(tmp_path / "a.tar", out, resume=False)
    assert done.refused == {
        "absolute path": 2,
        "device": 2,
        "link": 2,
        "name of ours": 2,
        "path with ..": 3,
        "unusable name": 1,
    }
    assert files_below(out) == {"good/file": b"good", "link/through": b"evil"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "out", "secret"]
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_link_that_lies_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "images").symlink_to(tmp_path / "elsewhere")
    (out / "README.md").symlink_to(tmp_path / "elsewhere" / "file")
    (tmp_path / "a.tar").write_bytes(tar_of({"images/small/a.jpg": b"1", "images/file": b"2", "README.md": b"3"}))
    done = archives.unpack(tmp_path / "a.tar", out, resume=False)
    assert done.refused == {"leads outside": 2}
    assert files_below(tmp_path / "elsewhere") == {"file": b"mine"}
    assert (out / "README.md").read_bytes() == b"3"


def test_a_broken_archive_is_one_line(tmp_path: Path) -> None:
    whole = tar_of(PICTURES)
    header = 512 + 512  # behind the first member, whose contents take one block
    for name, data in {
        "empty": b"",
        "page": b"<html>no</html>" * 100,
        "cut in a file": whole[:700],
        "cut between files": whole[:header],
        "bad header": whole[:header] + b"\1" * 512 + whole[header + 512 :],
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="is no whole tar archive") as caught:
            archives.unpack(tmp_path / name, tmp_path / "out", resume=False)
        assert "delete it" in str(caught.value)
    assert all(PICTURES[name] == data for name, data in files_below(tmp_path / "out").items() if name in PICTURES)
    assert "images/small/01/001.jpg" not in files_below(tmp_path / "out")


def test_unpacking_goes_on_and_never_shows_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of(PICTURES))
    out = tmp_path / "out"
    copies = 0

    def killed(source: Any, file: Any, _size: int) -> None:
        nonlocal copies
        copies += 1
        data = source.read()
        file.write(data if copies < 15 else data[:100])
        if copies == 15:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", killed)
        with pytest.raises(KeyboardInterrupt):
            archives.unpack(tmp_path / "a.tar", out, resume=True)
    there = files_below(out)
    assert {name: PICTURES[name] for name in there if name in PICTURES} == {
        name: data for name, data in there.items() if name in PICTURES
    }
    assert len([name for name in there if name in PICTURES]) == 14
    missing = archives.missing_bytes(tmp_path / "a.tar", out)
    assert missing == 4096 * (len(PICTURES) - 14)
    done = archives.unpack(tmp_path / "a.tar", out, resume=True)
    assert (done.written, done.present) == (len(PICTURES) - 14, 14)
    assert files_below(out) == PICTURES
