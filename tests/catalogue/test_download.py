"""`shelfqa download` against a server on 127.0.0.1 that serves ranges, drops connections and lies."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import shelfqa.cli
from archive_server import Handler, Seen, Server
from local_server import serving
from shelfqa.catalogue import archives, download
from shelfqa.errors import InputError, StorageError, UserError
from shelfqa.stages.download import DownloadConfig, download_abo
from tar_files import PICTURES, files_below, tar_of

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

LISTINGS, SMALL = "abo-listings.tar", "abo-images-small.tar"
BLOB = hashlib.shake_128(b"blob").digest(400_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "RETRY_WAIT_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server()
    with serving(type("Handler", (Handler,), {"state": state})) as state.url:
        yield state


@pytest.fixture
def abo(server: Server) -> Server:
    server.files[LISTINGS] = tar_of({"listings/metadata/listings_0.json.gz": b"listing", "README.md": b"read me"})
    server.files[SMALL] = tar_of({"images/metadata/images.csv.gz": b"table", **PICTURES})
    return server


def fetch_blob(server: Server, target: Path) -> None:
    download.fetch(download.probe(f"{server.url}/blob", target), target)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["shelfqa", *words])
    with pytest.raises(SystemExit) as exit_:
        shelfqa.cli.main()
    return int(exit_.value.code or 0)


# --- fetching ---


def test_dropped_connections_are_taken_up_where_they_broke(server: Server, tmp_path: Path) -> None:
    server.files["blob"] = BLOB
    server.drops = [30_000] * (download.TRIES + 3)
    fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert [seen.range for seen in server.gets()] == [
        None,
        *(f"bytes={30_000 * n}-" for n in range(1, download.TRIES + 4)),
    ]
    assert {seen.if_range for seen in server.gets()[1:]} == {server.etag("blob")}
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]


def test_a_later_run_goes_on_with_what_lies_there(server: Server, tmp_path: Path) -> None:
    server.files["blob"] = BLOB
    server.drops = [123_456, *[0] * download.TRIES]
    with pytest.raises(UserError, match=r"dropped \(at 123\.5 kB of 400\.0 kB, which are kept\)"):
        fetch_blob(server, tmp_path / "blob")
    assert not (tmp_path / "blob").exists()
    server.drops, server.seen = [], []
    fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert server.gets()[0].range == "bytes=123456-"


def test_an_interrupt_leaves_what_came(server: Server, tmp_path: Path) -> None:
    server.files["blob"] = BLOB

    def stop(have: int, _note: str) -> None:
        if have > 100_000:
            raise KeyboardInterrupt

    remote = download.probe(f"{server.url}/blob", tmp_path / "blob")
    with pytest.raises(KeyboardInterrupt):
        download.fetch(remote, tmp_path / "blob", stop)
    have = download.resumable_bytes(remote, tmp_path / "blob")
    assert have > 100_000
    assert (tmp_path / "blob.partial").read_bytes() == BLOB[:have]
    fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.files["blob"], server.ranges = BLOB, False
    server.drops = [200_000, 50_000]
    fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert len(server.gets()) == 3


def test_no_progress_without_ranges_is_given_up(server: Server, tmp_path: Path) -> None:
    server.files["blob"], server.ranges = BLOB, False
    server.drops = [50_000] * 50
    with pytest.raises(UserError, match="dropped"):
        fetch_blob(server, tmp_path / "blob")
    assert len(server.gets()) == download.TRIES


def test_a_file_that_changes_on_the_way_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.files["blob"] = BLOB
    server.drops = [200_000]
    newer = BLOB[::-1][:390_000]

    def change(seen: Seen) -> None:
        if seen.range:
            server.files["blob"] = newer

    server.before = change
    fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == newer


def test_a_part_of_an_older_file_is_dropped(server: Server, tmp_path: Path) -> None:
    server.files["blob"], server.drops = BLOB, [200_000, *[0] * 50]
    with pytest.raises(UserError):
        fetch_blob(server, tmp_path / "blob")
    server.files["blob"], server.drops, server.seen = BLOB[::-1], [], []
    fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB[::-1]
    assert [seen.range for seen in server.gets()] == [None]


@pytest.mark.parametrize(("times", "last_range"), [(1, "bytes=200000-"), (2, None)])
def test_a_range_refused_once_is_asked_again_then_the_file_starts_over(
    server: Server, tmp_path: Path, times: int, last_range: str | None
) -> None:
    server.files["blob"], server.drops = BLOB, [200_000]

    def refuse(seen: Seen) -> None:
        nonlocal times
        if seen.range and times:
            times -= 1
            server.statuses = [416]

    server.before = refuse
    fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert server.gets()[-1].range == last_range


def test_a_login_page_does_not_cost_what_came(server: Server, tmp_path: Path) -> None:
    server.files["blob"], server.drops = BLOB, [200_000]

    def capture(seen: Seen) -> None:
        if seen.range:
            server.ranges, server.content_type, server.files["blob"] = False, "text/html", b"<html>Log in</html>"

    server.before = capture
    with pytest.raises(UserError, match="a web page came"):
        fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob.partial").read_bytes() == BLOB[:200_000]


def test_a_size_that_differs_between_answers_is_an_error(server: Server, tmp_path: Path) -> None:
    server.files["blob"], server.claim = BLOB, 1000
    with pytest.raises(UserError, match="its size differs"):
        fetch_blob(server, tmp_path / "blob")
    assert not (tmp_path / "blob").exists()


def test_bytes_that_differ_from_the_md5_are_an_error(server: Server, tmp_path: Path) -> None:
    server.files["blob"] = BLOB
    server.etags["blob"] = f'"{"0" * 32}"'
    with pytest.raises(UserError, match="another MD5"):
        fetch_blob(server, tmp_path / "blob")
    assert list(tmp_path.iterdir()) == []
    server.etags["blob"] = f'"{"0" * 32}-7"'
    fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB


def test_a_passing_fault_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.files["blob"], server.statuses = BLOB, [503, 500]
    fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB


def test_a_server_without_head_is_asked_by_get(server: Server, tmp_path: Path) -> None:
    server.files["blob"], server.statuses = BLOB, [405]
    fetch_blob(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == BLOB


@pytest.mark.parametrize(
    ("status", "requests", "message"),
    [(403, 1, "403 Forbidden. Check the network"), (404, 1, "404 Not Found. Check --base-url"), (500, 6, "500 Inter")],
)
def test_a_refusal_is_one_line(server: Server, tmp_path: Path, status: int, requests: int, message: str) -> None:
    server.statuses = [status] * 50
    with pytest.raises(UserError, match=message) as caught:
        fetch_blob(server, tmp_path / "blob")
    assert f"{server.url}/blob" in str(caught.value)
    assert str(tmp_path / "blob") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.seen) == requests


def test_a_network_that_says_no_is_one_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
    assert run(monkeypatch, "download", "abo", "--out", str(tmp_path / "a"), "--base-url", closed) == 2
    assert f"{closed}/{LISTINGS}: the connection was refused. Check" in capsys.readouterr().err
    monkeypatch.setenv("https_proxy", closed)
    assert run(monkeypatch, "download", "abo", "--out", str(tmp_path / "a")) == 2
    assert "the connection was refused. Check the network and the proxy" in capsys.readouterr().err
    monkeypatch.setenv("https_proxy", server.url)
    assert run(monkeypatch, "download", "abo", "--out", str(tmp_path / "a")) == 2
    assert "Tunnel connection failed: 501" in capsys.readouterr().err
    monkeypatch.delenv("https_proxy")
    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    assert run(monkeypatch, "download", "abo", "--out", str(tmp_path / "a")) == 2
    error = capsys.readouterr().err
    assert "the name of the server cannot be resolved" in error
    assert error.count("\n") == 1


def unresolved(*_: Any, **__: Any) -> None:
    raise socket.gaierror(-2, "Name or service not known")


# --- the command ---


def test_the_command_fetches_unpacks_and_does_nothing_twice(
    abo: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    abo.drops = [5_000, 20_000]
    out = tmp_path / "abo"
    words = ("download", "abo", "--out", str(out), "--base-url", abo.url + "/")
    assert run(monkeypatch, *words) == 0
    text = capsys.readouterr().out.splitlines()
    assert text[0].startswith("43 files in 2 archives, ")
    assert text[1] == f"Images and listings (c) Amazon.com, CC BY 4.0. Next:  shelfqa curate {out} --out curated"
    found = files_below(out)
    assert {name: found[name] for name in PICTURES} == PICTURES
    assert set(found) - set(PICTURES) == {
        ".download.json",
        "README.md",
        "images/metadata/images.csv.gz",
        "listings/metadata/listings_0.json.gz",
    }
    abo.seen = []
    assert run(monkeypatch, *words, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["unpacked"] == []
    assert [(entry["name"], entry["files"]) for entry in summary["archives"]] == [(LISTINGS, 2), (SMALL, 41)]
    assert summary["archives"][1]["etag"] == abo.etag(SMALL)
    assert abo.seen == []
    (out / "images" / "small").rename(tmp_path / "gone")
    assert run(monkeypatch, *words) == 0
    assert {seen.path for seen in abo.seen} == {SMALL}


def test_archives_are_kept_and_used_without_a_network(abo: Server, tmp_path: Path) -> None:
    kept = DownloadConfig(images="none", base_url=abo.url, keep_archives=True)
    assert download_abo(tmp_path / "a", kept).unpacked == [LISTINGS]
    assert (tmp_path / "a" / LISTINGS).read_bytes() == abo.files[LISTINGS]
    (tmp_path / "b").mkdir()
    for name, data in abo.files.items():
        (tmp_path / "b" / name).write_bytes(data)
    abo.seen = []
    assert download_abo(tmp_path / "b", DownloadConfig(base_url=abo.url)).unpacked == [LISTINGS, SMALL]
    assert abo.seen == []
    assert not (tmp_path / "b" / SMALL).exists()


def test_an_unpacking_that_was_broken_off_goes_on_without_a_network(
    abo: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DownloadConfig(base_url=abo.url)
    replaced = 0
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal replaced
        replaced += target.suffix == ".jpg"
        if replaced == 10:
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            download_abo(tmp_path, config)
    first = tmp_path / "images/small/00/000.jpg"
    written = first.stat().st_ino
    abo.seen = []
    download_abo(tmp_path, config)
    assert abo.seen == []
    assert first.stat().st_ino == written
    assert {name: (tmp_path / name).read_bytes() for name in PICTURES} == PICTURES


def test_an_archive_of_another_kind_is_refused(abo: Server, tmp_path: Path) -> None:
    abo.files[LISTINGS] = tar_of({"something/else": b"1"})
    with pytest.raises(InputError, match="holds no listings/metadata"):
        download_abo(tmp_path, DownloadConfig(images="none", base_url=abo.url))


def test_too_little_space_is_told_before_anything_is_fetched(
    abo: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10**9

    def usage(_path: Path) -> Any:
        return SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    sizes = {name: len(data) for name, data in abo.files.items()}
    estimate = {name: archives.unpacked_bytes_estimate(size, 400_000) for name, size in sizes.items()}
    listings = archives.unpacked_bytes_estimate(sizes[LISTINGS], 20)
    needed = max(sizes[LISTINGS] + listings, listings + sizes[SMALL] + estimate[SMALL])
    free = needed - 1
    with pytest.raises(StorageError, match=r"need about \d+\.\d kB, \d+\.\d kB are free\. Free some, take --images"):
        download_abo(tmp_path, DownloadConfig(base_url=abo.url))
    assert abo.gets() == []
    free = needed
    download_abo(tmp_path, DownloadConfig(base_url=abo.url))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "No data set 'nonsense' to download. Known: abo."),
        (["abbo", "--out", "x"], "Did you mean 'abo'?"),
        (["abo", "--out", "x", "--base-url", "file:///etc"], "expected an address that begins with https://"),
    ],
)
def test_wrong_names_are_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "download", *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
