"""Small tar archives for tests, and what is in a folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

PICTURES = {f"images/small/{n % 4:02x}/{n:03d}.jpg": bytes([n]) * (500 + 37 * n) for n in range(40)}


def tar_of(files: dict[str, bytes], *odd: tarfile.TarInfo) -> bytes:
    """A tar of regular files, with further members in front."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in odd:
            tar.addfile(member, io.BytesIO(b"evil" * (member.size // 4)) if member.size else None)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
