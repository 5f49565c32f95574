"""Lines of text files, gzipped or not, with what is broken said by file and line.

A gzip file that breaks off or is corrupt gives the lines before the break, then one `BadRow`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

from isal import isal_zlib

from shelfqa.errors import InputError

_GzipError = cast("type[Exception]", isal_zlib.error)
_CHUNK_BYTES = 1 << 18
_MAX_OUTPUT_BYTES = 1 << 23
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW_BITS = 31
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class BadRow(NamedTuple):
    """A line that cannot be used: where it stands, a short reason for counting, and what exactly is wrong."""

    file: str
    line: int
    reason: str
    detail: str


class Line(NamedTuple):
    """One line without its line end; `number` counts from 1."""

    number: int
    data: bytes


class _Broken(NamedTuple):
    reason: str
    detail: str


def read_lines(path: Path) -> Iterator[Line | BadRow]:
    """Yield the lines of the file at `path`; a byte-order mark is removed and UTF-16 is turned into UTF-8.

    A file named `.gz` is unpacked. Where it breaks off, the lines before the break are followed by one `BadRow`
    with reason `truncated-shard` or `corrupt-shard`; the broken line itself is not yielded.

    Raises:
        InputError: if the file is missing or cannot be read.

    """
    number, rest, first = 0, b"", True
    for chunk in _chunks(path):
        if isinstance(chunk, _Broken):
            yield BadRow(path.name, number + 1, chunk.reason, chunk.detail)
            return
        if first:
            first = False
            if chunk.startswith(_UTF16_MARKS):
                yield from _utf16_lines(path)
                return
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            number += 1
            yield Line(number, line.removesuffix(b"\r"))
    if rest:
        yield Line(number + 1, rest.removesuffix(b"\r"))


def _utf16_lines(path: Path) -> Iterator[Line | BadRow]:
    whole = bytearray()
    for chunk in _chunks(path):
        if isinstance(chunk, _Broken):
            yield BadRow(path.name, 1, chunk.reason, chunk.detail)
            return
        whole += chunk
    try:
        text = whole.decode("utf-16")
    except UnicodeDecodeError as error:
        yield BadRow(path.name, 1, "wrong-encoding", f"opens as UTF-16 but {error.reason}: save the file as UTF-8")
        return
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        yield Line(number, line.removesuffix("\r").encode("utf-8"))


def _chunks(path: Path) -> Iterator[bytes | _Broken]:
    try:
        with path.open("rb") as file:
            opening = file.read(2)
            file.seek(0)
            if path.suffix.lower() == ".gz" and opening in (_GZIP_MAGIC, b"", _GZIP_MAGIC[:1]):
                yield from _unpacked(path)
                return
            while data := file.read(_CHUNK_BYTES):
                yield data
    except FileNotFoundError:
        raise InputError(f"There is no file at {str(path)!r}.") from None
    except OSError as error:
        raise InputError(f"Cannot read {str(path)!r}: {error.strerror}.") from None


def _unpacked(path: Path) -> Iterator[bytes | _Broken]:
    """Yield the unpacked bytes of all members of a gzip file."""
    member_start = position = yielded = 0
    unpacker = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
    with path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            chunk_start, position = position, position + len(data)
            while data:
                if unpacker.eof:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    unpacker, yielded = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS), 0
                    member_start = chunk_start = position - len(data)
                try:
                    unpacked = unpacker.decompress(data, _MAX_OUTPUT_BYTES)
                except _GzipError as error:
                    yield _before_damage(path, range(member_start, chunk_start), position)[yielded:]
                    yield _Broken("corrupt-shard", f"the gzip stream is damaged ({error}); lines before it were kept")
                    return
                yielded += len(unpacked)
                if unpacked:
                    yield unpacked
                data = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if not unpacker.eof:
        yield _Broken("truncated-shard", "the gzip file breaks off; lines before the break were kept")


def _before_damage(path: Path, sound: range, end: int) -> bytes:
    """Unpack a member once more, byte by byte after its sound part, to save what stands before the damage."""
    unpacker = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
    saved = bytearray()
    with path.open("rb") as file:
        file.seek(sound.start)
        try:
            saved += unpacker.decompress(file.read(len(sound)))
            for value in file.read(end - sound.stop):
                saved += unpacker.decompress(bytes((value,)))
        except _GzipError:
            pass
    return bytes(saved)
