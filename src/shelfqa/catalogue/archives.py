"""Unpacking a tar archive that came from the network, so that nothing lands outside the folder it is meant for.

Stricter than the `data` filter of tarfile (PEP 706), which mends some names: only regular files and folders with
relative names are written, everything else is refused and counted. Owners, modes and times are not taken over.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, NamedTuple

from shelfqa.artifacts import storage_errors
from shelfqa.errors import InputError, StorageError

_SCRATCH = ".unpacking.partial"
_BLOCK = 512
_DISK_BLOCK = 4096
_LONGEST_NAME = 255
_COPY_BYTES = 1 << 20


class Unpacked(NamedTuple):
    """What one archive gave: files written, files that were there already, members refused by reason."""

    written: int
    present: int
    refused: dict[str, int]


def unpack(archive: Path, folder: Path, *, resume: bool, tick: Callable[[int], None] = lambda _: None) -> Unpacked:
    """Write the regular files of a tar into `folder`, each whole or not at all.

    Args:
        archive: an uncompressed tar.
        folder: where its names are relative to; made if missing.
        resume: leave files of the right size alone, since an earlier run wrote them from this same archive.
        tick: is given the place in the archive, in bytes.

    Raises:
        InputError: if the archive is truncated, broken or no tar; what was written before stays.
        StorageError: if a file cannot be written.

    """
    written = present = 0
    refused: Counter[str] = Counter()
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _SCRATCH).unlink(missing_ok=True)
    within = _Within(folder)
    for tar, member in _members(archive):
        reason = _refusal(member) or within.refusal(member)
        if reason is not None:
            refused[reason] += 1
            continue
        target = folder.joinpath(*_parts(member.name))
        if member.isdir():
            with writing_to(target):
                target.mkdir(parents=True, exist_ok=True)
        elif resume and _is_there(target, member.size):
            present += 1
        else:
            _write(tar, member, target, folder / _SCRATCH, archive)
            written += 1
        tick(tar.offset)
    return Unpacked(written, present, dict(sorted(refused.items())))


def missing_bytes(archive: Path, folder: Path) -> int:
    """Return the disk space, in bytes, that the files of `archive` take which are not in `folder` at their size yet.

    Raises:
        InputError: if the archive is truncated, broken or no tar.

    """
    return sum(
        -(-member.size // _DISK_BLOCK) * _DISK_BLOCK
        for _, member in _members(archive)
        if _refusal(member) is None and member.isfile()
        if not _is_there(folder.joinpath(*_parts(member.name)), member.size)
    )


def unpacked_bytes_estimate(archive_bytes: int, files: int) -> int:
    """Return about how much disk an archive of so many files takes once unpacked, in bytes.

    Contents are stored as they are, so they take what the archive takes, and each file wastes half a disk block of
    4 KiB; its header and padding in the archive (768 bytes) stand for its inode. An archive of n bytes holds at most
    n / 1024 files.

    >>> unpacked_bytes_estimate(3_000_000_000, 400_000)
    3819200000
    """
    return archive_bytes + min(files, archive_bytes // (2 * _BLOCK)) * (_DISK_BLOCK // 2)


class _Within:
    """Tells whether a member stays inside the folder, links that lie there already taken into account."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder.resolve()
        self._known: set[tuple[str, ...]] = set()

    def refusal(self, member: tarfile.TarInfo) -> str | None:
        parts = _parts(member.name)
        home = parts if member.isdir() else parts[:-1]
        if home not in self._known:
            if not self._folder.joinpath(*home).resolve().is_relative_to(self._root):
                return "leads outside"
            self._known.add(home)
        return None


def _members(archive: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    try:
        with archive.open("rb") as file, _tar_errors(archive), tarfile.open(fileobj=file, mode="r:") as tar:
            yield from _walk(tar)
            _require_end(tar, file)
    except OSError as error:
        raise InputError(f"Cannot read {str(archive)!r}: {error.strerror or error}.") from None


def _walk(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    place = -1
    while (member := tar.next()) is not None:
        if tar.offset <= place:
            raise tarfile.ReadError(f"a member at byte {member.offset} leads back")
        place = tar.offset
        yield tar, member
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header: 400 MB for 400,000 pictures


def _require_end(tar: tarfile.TarFile, file: BinaryIO) -> None:
    """Raise where the walk stopped short of the block of zeros that ends a tar: tarfile stops at a bad header silently.

    https://docs.python.org/3/library/tarfile.html#tarfile.TarFile.next
    """
    file.seek(tar.offset)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise tarfile.ReadError(f"no valid header at byte {tar.offset}")


@contextmanager
def _tar_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise InputError(
            f"{str(archive)!r} is no whole tar archive ({error}): delete it, then run the same command again."
        ) from None


def _refusal(member: tarfile.TarInfo) -> str | None:
    """Return why a member is not written, judged by its header alone."""
    if member.issym() or member.islnk():
        return "link"
    if member.issparse():
        return "sparse file"
    if not (member.isreg() or member.isdir()):
        return "device"
    name = member.name
    if name.startswith(("/", "\\")) or PureWindowsPath(name).drive:
        return "absolute path"
    if ".." in re.split(r"[/\\]", name):
        return "path with .."
    parts = _parts(name)
    if "\0" in name or (not parts and not member.isdir()):
        return "unusable name"
    if any(len(part.encode("utf-8", "surrogateescape")) > _LONGEST_NAME for part in parts):
        return "unusable name"
    if len(parts) == 1 and (parts[0].startswith(".") or ".tar" in parts[0]):
        return "name of ours"
    return None


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _is_there(target: Path, size: int) -> bool:
    try:
        return target.is_file() and not target.is_symlink() and target.stat().st_size == size
    except OSError:
        return False


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, scratch: Path, archive: Path) -> None:
    with _tar_errors(archive):
        source = tar.extractfile(member)
    assert source is not None, "a regular file has contents"
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file, _tar_errors(archive):
            shutil.copyfileobj(source, file, _COPY_BYTES)
        scratch.replace(target)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn every failure of the disk into one line that says what to do."""
    try:
        with storage_errors(path):
            yield
    except OSError as error:
        raise StorageError(f"Cannot write {str(path)!r}: {error.strerror or error}. Give another --out.") from None
