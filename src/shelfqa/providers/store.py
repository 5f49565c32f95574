"""Replies on disk, each before it is used: what has been paid for is never asked again.

One SQLite file in WAL mode. Writes go through one thread that commits all that has come in since the last commit and
waits for the disk, so a few hundred replies a second cost some dozen commits. Several runs may share the file.
Keys of APIs, prompts and pictures are not in it: requests are known by digests.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from shelfqa.errors import StorageError
from shelfqa.machine import cache_folder
from shelfqa.providers.base import Reply, Usage

_TABLES = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, provider TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL, replied_by TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, refused INTEGER NOT NULL, cut INTEGER NOT NULL,
    made_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, key TEXT NOT NULL,
    sent_at REAL NOT NULL, tokens INTEGER NOT NULL, dollars REAL NOT NULL, outcome TEXT
);
CREATE INDEX IF NOT EXISTS requests_by_time ON requests (provider, model, sent_at);
CREATE INDEX IF NOT EXISTS requests_by_run ON requests (run);
CREATE TABLE IF NOT EXISTS failures (
    run TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL, PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY, run TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, batch TEXT,
    made_at REAL NOT NULL, dollars REAL, keys TEXT NOT NULL, ended INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""


_VERSION = 1
"""Of the tables; written whenever the file is opened, so that one that cannot be written is found out then."""
_LOCKED_S = 60.0
"""How long another process may write before we give up."""


class Failure(NamedTuple):
    """Why a request got no reply: one of `base.ErrorKind`, and a line."""

    kind: str
    message: str


class Spent(NamedTuple):
    """What a run has cost so far."""

    dollars: float
    requests: int
    tokens: int
    unknown: int
    """Requests that were under way when a run was killed: perhaps paid for, the reply is lost."""


class KeptBatch(NamedTuple):
    """A batch that was handed in, or was about to be."""

    name: str
    batch: str | None
    """The provider's id; None if the run was killed before it came."""
    made_at: float
    dollars: float
    """What it was estimated to cost."""
    keys: tuple[str, ...]


@contextlib.contextmanager
def open_store(file: str | None, *, beside: Path | None = None) -> Iterator[Store]:
    """Open the store in `file`, or else the user's own in the cache folder.

    Where the cache is switched off it is `replies.sqlite` in the folder `beside`, or a file that goes with the run.

    Raises:
        StorageError: if it cannot be written.

    """
    with contextlib.ExitStack() as stack:
        folder = cache_folder() or beside
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shelfqa-")))
        yield stack.enter_context(Store(Path(file) if file is not None else folder / "replies.sqlite"))


class Store:
    """Replies by the digest of their request, failures and spending by run, open batches."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            StorageError: if it is no such file, or cannot be written.

        """
        self.path = path
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        with contextlib.ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._writing = stack.enter_context(contextlib.closing(_connect(path)))
                self._writing.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT")
                self._reading = stack.enter_context(contextlib.closing(_connect(path)))
            except (OSError, sqlite3.Error) as error:
                raise StorageError(
                    f"Cannot keep replies in {str(path)!r}: {error}. Give another file: --store FILE."
                ) from None
            self._connections = stack.pop_all()
        self._thread = threading.Thread(target=self._write_all, name="store", daemon=True)
        self._thread.start()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._jobs.put(None)
        self._thread.join()
        self._connections.close()

    def reply(self, key: str) -> Reply | None:
        """Return the reply that is kept under `key`."""
        rows = self._read(
            "SELECT text, replied_by, input_tokens, output_tokens, refused, cut FROM replies WHERE key = ?", key
        )
        if not rows:
            return None
        text, model, tokens_in, tokens_out, refused, cut = rows[0]
        return Reply(text=text, model=model, usage=Usage(tokens_in, tokens_out), refused=bool(refused), cut=bool(cut))

    def keep(self, key: str, provider: str, model: str, reply: Reply) -> Future[int]:
        """Keep a reply under `key`; it is on disk when the future is done. Lone surrogates become `?`."""
        text, replied_by = (part.encode("utf-8", "replace").decode() for part in (reply.text, reply.model))
        return self._write(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, provider, model, text, replied_by, *reply.usage, reply.refused, reply.cut, time.time()),
        )

    def forget(self, keys: Iterable[str]) -> None:
        """Remove the replies under `keys`, so that they are asked for again."""
        for done in [self._write("DELETE FROM replies WHERE key = ?", (key,)) for key in keys]:
            done.result()

    def sent(
        self, number: int, run: str, provider: str, model: str, key: str, sent_at: float, tokens: int, dollars: float
    ) -> Future[int]:
        """Note under `number` that a request goes out, `sent_at` seconds after 1970, and what it may cost."""
        return self._write(
            "INSERT INTO requests (id, run, provider, model, key, sent_at, tokens, dollars) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (number, run, provider, model, key, sent_at, tokens, dollars),
        )

    def ended(self, number: int, outcome: str, tokens: int, dollars: float) -> Future[int]:
        """Note what became of a request, and what it cost; 0 where the price is not known."""
        return self._write(
            "UPDATE requests SET outcome = ?, tokens = ?, dollars = ? WHERE id = ?", (outcome, tokens, dollars, number)
        )

    def sent_since(self, provider: str, model: str, since: float) -> list[tuple[float, int]]:
        """Return time and tokens of each request to a model since `since`, oldest first; those of batches are none."""
        return self._read(
            "SELECT sent_at, tokens FROM requests WHERE provider = ? AND model = ? AND sent_at > ? AND outcome IS NOT "
            "'batch' ORDER BY sent_at",
            provider,
            model,
            since,
        )

    def paid_in_batch(self, name: str, run: str, provider: str, model: str, key: str, tokens: int, cost: float) -> None:
        """Note what a request in the batch `name` cost; a second time the note is the same."""
        number = int.from_bytes(hashlib.blake2b(f"{name} {key}".encode(), digest_size=7).digest())
        self._write(
            "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'batch')",
            (number, run, provider, model, key, time.time(), tokens, cost),
        )

    def spent(self, run: str) -> Spent:
        """Return what `run` has cost."""
        ((dollars, requests, tokens, unknown),) = self._read(
            "SELECT coalesce(sum(dollars), 0), count(*), coalesce(sum(tokens), 0), coalesce(sum(outcome IS NULL), 0) "
            "FROM requests WHERE run = ?",
            run,
        )
        return Spent(dollars, requests, tokens, unknown)

    def has_replied(self, run: str) -> bool:
        """Say whether a request of `run` got a reply."""
        return bool(self._read("SELECT 1 FROM requests WHERE run = ? AND outcome IN ('reply', 'batch') LIMIT 1", run))

    def fail(self, run: str, key: str, failure: Failure) -> Future[int]:
        """Keep why a request of `run` got no reply."""
        return self._write("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (run, key, *failure))

    def failure(self, run: str, key: str) -> Failure | None:
        """Return why a request of `run` got no reply."""
        rows = self._read("SELECT kind, message FROM failures WHERE run = ? AND key = ?", run, key)
        return Failure(*rows[0]) if rows else None

    def forget_failures(self, run: str) -> None:
        """Remove all failures of `run`."""
        self._write("DELETE FROM failures WHERE run = ?", (run,)).result()

    def keep_batch(self, run: str, provider: str, model: str, batch: KeptBatch) -> None:
        """Keep a batch, new or changed; it is on disk when this returns."""
        self._write(
            "INSERT OR REPLACE INTO batches (name, run, provider, model, batch, made_at, dollars, keys) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (batch.name, run, provider, model, batch.batch, batch.made_at, batch.dollars, "\n".join(batch.keys)),
        ).result()

    def end_batch(self, name: str) -> None:
        """Note that all results of a batch are kept."""
        self._write("UPDATE batches SET ended = 1 WHERE name = ?", (name,)).result()

    def open_batches(self, run: str) -> list[KeptBatch]:
        """Return the batches of `run` whose results are not all kept, oldest first."""
        rows = self._read(
            "SELECT name, batch, made_at, dollars, keys FROM batches WHERE run = ? AND NOT ended ORDER BY made_at",
            run,
        )
        return [KeptBatch(name, batch, at, cost, tuple(keys.split("\n"))) for name, batch, at, cost, keys in rows]

    def knows_batch(self, batch: str) -> bool:
        """Say whether a batch of that id is kept, by whatever run."""
        return bool(self._read("SELECT 1 FROM batches WHERE batch = ?", batch))

    def _read(self, query: str, *values: Any) -> list[Any]:
        try:
            with self._lock:
                return self._reading.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"Cannot read the replies in {str(self.path)!r}: {error}.") from None

    def _write(self, statement: str, values: Sequence[Any]) -> Future[int]:
        write = _Write(statement, tuple(values), Future())
        write.done.set_running_or_notify_cancel()  # whoever waits may go away; what is to be written is written
        self._jobs.put(write)
        return write.done

    def _write_all(self) -> None:
        """Commit whatever is waiting, until None comes."""
        while (first := self._jobs.get()) is not None:
            writes = [first]
            with contextlib.suppress(queue.Empty):
                while (following := self._jobs.get_nowait()) is not None:
                    writes.append(following)
                self._jobs.put(None)
            self._commit(self._writing, writes)

    def _commit(self, connection: sqlite3.Connection, writes: list[_Write]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            numbers = [connection.execute(write.statement, write.values).lastrowid or 0 for write in writes]
            connection.execute("COMMIT")
        except Exception as error:  # of SQLite, or a value that it does not take; whoever waits must hear of it
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            failed = StorageError(
                f"Cannot keep replies in {str(self.path)!r}: {error}. Mend that, then run the same command again."
            )
            for write in writes:
                write.done.set_exception(failed)
        else:
            for write, number in zip(writes, numbers, strict=True):
                write.done.set_result(number)


class _Write(NamedTuple):
    statement: str
    values: tuple[Any, ...]
    done: Future[int]


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_LOCKED_S, isolation_level=None, check_same_thread=False)
    try:
        _turn_to_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _turn_to_wal(connection: sqlite3.Connection) -> None:
    """Set the mode of a file, for which SQLite does not wait as long as another process has it locked."""
    give_up = time.monotonic() + _LOCKED_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return
