"""Fetching a large file by HTTP: goes on where it was broken off, and checks what arrived.

While `NAME` is under way, `NAME.partial` holds what has come so far and `NAME.partial.json` which remote file it is a
part of. Proxies come from the environment (`https_proxy`, `no_proxy`), as urllib reads them.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

import shelfqa
from shelfqa.artifacts import write_atomically
from shelfqa.catalogue.archives import writing_to
from shelfqa.errors import UserError

TIMEOUT_S = 30.0
TRIES = 6
"""Tries in a row that bring nothing new before a download is given up."""
RETRY_WAIT_S = 1.0
"""Wait before the second try; it doubles up to `_LONGEST_WAIT_S`."""

_LONGEST_WAIT_S = 30.0
_MOST_CHANGES = 4
_READ_BYTES = 1 << 18
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_NO_HEAD = frozenset({405, 501})

Tick = Callable[[int, str], None]
"""Call as `tick(bytes_there, note)`."""


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A file on a server as its headers describe it."""

    url: str
    size: int
    """Bytes."""
    etag: str | None = None
    validator: str | None = None
    """What `If-Range` may hold: a strong ETag, or else the time of the last change."""
    md5: str | None = None
    """Digest of the contents in hex, where the ETag is one."""


class _Trouble(Exception):
    """An exchange that failed; `passing` if trying again may help, `unreached` if no server answered."""

    def __init__(self, reason: str, *, passing: bool = False, unreached: bool = False, status: int = 0) -> None:
        super().__init__(reason)
        self.passing = passing
        self.unreached = unreached
        self.status = status


class _Changed(Exception):
    """The remote file is not the one that the partial file belongs to."""


def in_units(size: float) -> str:
    """Return a number of bytes as people write it.

    >>> in_units(83_100_000), in_units(999)
    ('83.1 MB', '999 bytes')
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} bytes"


def probe(url: str, target: Path) -> Remote:
    """Ask the server about a file that is to become `target`.

    Raises:
        UserError: if the network or the server says no, or it does not say how large the file is.

    """
    for number in range(1, TRIES + 1):
        try:
            return _ask(url)
        except _Trouble as trouble:
            if not trouble.passing or number == TRIES:
                raise _refusal(url, target, trouble) from None
            _wait(number)
    raise AssertionError("unreachable")


def resumable_bytes(remote: Remote, target: Path) -> int:
    """Return how many bytes of `remote` lie beside `target` already."""
    partial, note = _beside(target)
    try:
        known = msgspec.json.decode(note.read_bytes(), type=Remote)
        size = partial.stat().st_size
    except (OSError, msgspec.DecodeError):
        return 0
    return size if _same(known, remote) and size <= remote.size else 0


def fetch(remote: Remote, target: Path, tick: Tick = lambda _have, _note: None) -> Remote:
    """Download `remote` to `target`, going on with what an earlier run left; return what was fetched in the end.

    Dropped connections are taken up again, `TRIES` times in a row without progress. Where the remote file changes on
    the way, the download starts over. The size is checked, and the MD5 where the server tells it.

    Raises:
        UserError: if the network or the server says no, or what arrived is not what was promised.
        StorageError: if the disk is full or does not let us write.

    """
    for number in range(_MOST_CHANGES):
        try:
            _fetch_all(remote, target, tick)
        except _Changed:
            before, remote = remote, probe(remote.url, target)
            if number and _same(before, remote):
                _forget(target)
            continue
        _finish(remote, target, tick)
        return remote
    raise UserError(
        f"{remote.url} keeps changing, or its size differs from one answer to the next: try again later, or another "
        "--base-url."
    )


def _fetch_all(remote: Remote, target: Path, tick: Tick) -> None:
    partial, note = _beside(target)
    have = resumable_bytes(remote, target)
    if not have:
        _forget(target)
        with writing_to(partial):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(note, msgspec.json.encode(remote))
            partial.touch()
    furthest, failures = have, 0
    while have < remote.size:
        try:
            _continue(remote, partial, have, tick)
            trouble = _Trouble("the connection was dropped", passing=True)
        except _Trouble as caught:
            trouble = caught
        have = partial.stat().st_size
        if have == remote.size:
            return
        if have > furthest:
            furthest, failures = have, 0
        failures += 1
        if failures >= TRIES or not (trouble.passing or trouble.unreached):
            place = f" (at {in_units(have)} of {in_units(remote.size)}, which are kept)"
            raise _refusal(remote.url, target, trouble, place)
        tick(have, f"{trouble}, trying again")
        _wait(failures)


def _continue(remote: Remote, partial: Path, have: int, tick: Tick) -> None:
    """Ask for the rest of the file and append what comes; returns early if the connection is dropped."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and remote.validator is not None:
        headers["If-Range"] = remote.validator
    try:
        response = _open(urllib.request.Request(remote.url, headers=headers))
    except _Trouble as trouble:
        if trouble.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _Changed from None
        raise
    with response:
        have = _start(response, remote, have)
        with writing_to(partial), partial.open("r+b") as file:
            file.truncate(have)
            file.seek(have)
            for chunk in _chunks(response):
                have += len(chunk)
                if have > remote.size:
                    raise _Changed
                file.write(chunk)
                tick(have, "")


def _start(response: Any, remote: Remote, have: int) -> int:
    """Return where the answer's bytes begin; raises `_Changed` if they are of another file."""
    answered = _remote(remote.url, response)
    if remote.validator is not None and answered.validator not in (None, remote.validator):
        raise _Changed
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if found is None or int(found[1]) != have or found[2] not in (str(remote.size), "*"):
            raise _Changed
        return have
    if answered.size not in (remote.size, -1):
        raise _Changed
    return 0


def _chunks(response: Any) -> Iterator[bytes]:
    while True:
        with _exchange():
            chunk = response.read1(_READ_BYTES)
        if not chunk:
            return
        yield chunk


def _finish(remote: Remote, target: Path, tick: Tick) -> None:
    """Check the digest where it is known, and give the file its name."""
    partial, note = _beside(target)
    with writing_to(partial), partial.open("r+b") as file:
        os.fsync(file.fileno())
        if remote.md5 is not None and _md5(file, remote.size, tick) != remote.md5:
            _forget(target)
            raise UserError(
                f"What arrived from {remote.url} has another MD5 than the server tells, and was deleted: run the same "
                "command again; if it happens twice, something between here and there changes the bytes."
            )
    with writing_to(target):
        partial.replace(target)
        note.unlink(missing_ok=True)


def _md5(file: BinaryIO, size: int, tick: Tick) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := file.read(_READ_BYTES):
        digest.update(chunk)
        tick(size, "checking")
    return digest.hexdigest()


def _ask(url: str) -> Remote:
    try:
        response = _open(urllib.request.Request(url, method="HEAD"))
    except _Trouble as trouble:
        if trouble.status not in _NO_HEAD:
            raise
        response = _open(urllib.request.Request(url))
    with response:
        remote = _remote(url, response)
        if response.headers.get_content_type() == "text/html":
            raise _Trouble("a web page came in place of the archive, perhaps a proxy's or a login page")
        if remote.size < 0:
            raise _Trouble("the server does not say how large the file is")
    return remote


def _remote(url: str, response: Any) -> Remote:
    """Return what an answer's headers say; the size is -1 where they do not."""
    headers = response.headers
    length = headers.get("Content-Length", "")
    etag = headers.get("ETag")
    strong = etag if etag is not None and etag.startswith('"') else None
    keyed = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    keyed = keyed or "x-amz-server-side-encryption-customer-algorithm" in headers
    plain = re.fullmatch(r'"([0-9a-f]{32})"', etag or "")
    return Remote(
        url=url,
        size=int(length) if re.fullmatch(r"\d+", length) else -1,
        etag=etag,
        validator=strong or headers.get("Last-Modified"),
        md5=plain[1] if plain is not None and not keyed else None,
    )


def _open(request: urllib.request.Request) -> Any:
    request.add_header("User-Agent", f"shelfqa/{shelfqa.__version__}")
    with _exchange():
        return urllib.request.build_opener().open(request, timeout=TIMEOUT_S)


@contextmanager
def _exchange() -> Iterator[None]:
    """Turn whatever urllib raises into a `_Trouble` that says what happened."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"the server answered {error.code} {error.reason}"
        raise _Trouble(reason, passing=error.code in _TRANSIENT, status=error.code) from None
    except urllib.error.URLError as error:
        raise _trouble(error.reason) from None
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise _trouble(error) from None


def _trouble(error: str | BaseException) -> _Trouble:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _Trouble(
            f"its certificate cannot be verified ({error.verify_message}); where a proxy inspects TLS, name its "
            "certificate in SSL_CERT_FILE"
        )
    if isinstance(error, socket.gaierror):
        return _Trouble("the name of the server cannot be resolved", unreached=True)
    if isinstance(error, ConnectionRefusedError):
        return _Trouble("the connection was refused", unreached=True)
    if isinstance(error, TimeoutError):
        return _Trouble(f"no answer within {TIMEOUT_S:.0f} s", passing=True)
    if isinstance(error, ConnectionError | http.client.IncompleteRead):
        return _Trouble("the connection was dropped", passing=True)
    if isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN):
        return _Trouble("there is no way to the server", unreached=True)
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return _Trouble(" ".join(text.split()), unreached=isinstance(error, OSError))


def _refusal(url: str, target: Path, trouble: _Trouble, place: str = "") -> UserError:
    check = "Check --base-url" if trouble.status in (404, 410) else "Check the network and the proxy (https_proxy)"
    return UserError(
        f"Cannot download {url}: {trouble}{place}. {check}, then run the same command again; or fetch that address by "
        f"other means, put the file at {str(target)!r} and run the same command again."
    )


def _wait(failures: int) -> None:
    time.sleep(min(RETRY_WAIT_S * 2 ** (failures - 1), _LONGEST_WAIT_S))


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(f"{target.name}.partial"), target.with_name(f"{target.name}.partial.json")


def _same(one: Remote, other: Remote) -> bool:
    return one.size == other.size and one.validator == other.validator


def _forget(target: Path) -> None:
    for path in _beside(target):
        with writing_to(path):
            path.unlink(missing_ok=True)
