"""Replies of a judge on disk, so that no verdict is paid for twice: one SQLite file, written reply by reply."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import msgspec

from shelfqa.errors import StorageError

_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, provider TEXT, model TEXT, template TEXT,
    question TEXT, prediction TEXT, answer TEXT, reply TEXT NOT NULL, replied_by TEXT NOT NULL,
    made_at TEXT DEFAULT CURRENT_TIMESTAMP
) WITHOUT ROWID
"""
_AT_ONCE = 500
"""Keys of one query; SQLite takes at most 999 in old versions."""


class Case(msgspec.Struct, frozen=True):
    """What a verdict is about, and who gives it: equal cases have one reply."""

    provider: str
    model: str
    template: str
    """A digest of the prompt's template."""
    question: str
    prediction: str
    answer: str

    @property
    def key(self) -> str:
        """A digest of all fields."""
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.astuple(self))).hexdigest()


class Kept(msgspec.Struct, frozen=True):
    """A reply as it came."""

    text: str
    replied_by: str


def default_cache() -> Path:
    """Return `judge.sqlite` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "shelfqa" / "judge.sqlite"


class JudgeCache:
    """Replies by case; each is on disk when `keep` returns."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; one that is no SQLite file, or cannot be written, is a `StorageError`."""
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"Cannot keep verdicts in {str(path)!r}: {error}; give cache=FILE.") from None

    def __enter__(self) -> JudgeCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def known(self, cases: Iterable[Case]) -> dict[Case, Kept]:
        """Return the replies that are kept already."""
        by_key = {case.key: case for case in cases}
        keys = list(by_key)
        found = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            query = f"SELECT key, reply, replied_by FROM replies WHERE key IN ({','.join('?' * len(some))})"
            for key, text, model in self._connection.execute(query, some):
                found[by_key[key]] = Kept(text, model)
        return found

    def keep(self, case: Case, kept: Kept) -> None:
        """Write a reply."""
        values = (case.key, *msgspec.structs.astuple(case), *msgspec.structs.astuple(kept))
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO replies (key, provider, model, template, question, prediction, answer, reply, "
                "replied_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
        except sqlite3.Error as error:
            raise StorageError(f"Cannot keep verdicts in {str(self._path)!r}: {error}.") from None
