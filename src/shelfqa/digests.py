"""Digests of files and folders: what tells one artifact from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from shelfqa.errors import InputError


def size_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def content_digest(path: Path) -> str:
    """Return a digest of a file's bytes, or of the names and bytes of a folder's files.

    Raises:
        InputError: if a file cannot be read.

    """
    if path.is_file():
        return file_digest(path)
    return digest_of(f"{file.relative_to(path).as_posix()} {file_digest(file)}" for file in _files(path))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        InputError: if it cannot be read.

    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"Cannot read {str(path)!r}: {error.strerror}.") from None


def digest_of(parts: Iterable[str]) -> str:
    """Return the SHA-256 of texts, each a line."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
