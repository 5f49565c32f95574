"""Replies on disk: there before they are used, whatever happens to the process, the disk and its neighbours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_providers import Fake, failing, priced

from shelfqa.errors import StorageError
from shelfqa.providers import store as stores
from shelfqa.providers.base import Reply, Request, Usage
from shelfqa.providers.client import Client
from shelfqa.providers.jobs import Job
from shelfqa.providers.store import Failure, KeptBatch, Spent, Store, open_store

REPLY = Reply(text="blue", model="m-exact", usage=Usage(10, 5), cut=True)
WRITES = """
import sys
from pathlib import Path
from shelfqa.providers.base import Reply
from shelfqa.providers.store import Store

name, count = sys.argv[2], int(sys.argv[3])
with Store(Path(sys.argv[1])) as store:
    for number in range(0, count, 5):
        waiting = [
            (f"{name}-{n}", store.keep(f"{name}-{n}", "fake", "m", Reply(text=f"{name} {n}", model="m")))
            for n in range(number, number + 5)
        ]
        for key, done in waiting:
            done.result()
            print(key, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITES, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def within(doing: Callable[[], object], seconds: float = 10.0) -> None:
    """Run it in a thread; what hangs fails."""
    thread = threading.Thread(target=doing, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"


def raised(doing: Callable[[], object]) -> BaseException:
    """Return what it raises; what hangs fails."""
    found: list[BaseException] = []

    def run() -> None:
        try:
            doing()
        except BaseException as error:
            found.append(error)

    within(run)
    assert len(found) == 1, "it raises nothing"
    return found[0]


def test_a_reply_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a" / "replies.sqlite"
    with Store(path) as store:
        assert store.reply("key") is None
        store.keep("key", "fake", "m", REPLY).result()
        assert store.reply("key") == REPLY
        store.keep("odd", "fake", "m", Reply(text="\0 \ud800 é", model="\udcff", refused=True)).result()
        assert store.reply("odd") == Reply(text="\0 ? é", model="?", refused=True)
    with Store(path) as store:
        assert store.reply("key") == REPLY
        store.forget(["key", "none"])
        assert store.reply("key") is None


def test_writes_that_are_pending_are_made_at_the_end(tmp_path: Path) -> None:
    with Store(tmp_path / "replies.sqlite") as store:
        waiting = [store.keep(str(number), "fake", "m", REPLY) for number in range(3000)]
    assert all(one.done() and one.exception() is None for one in waiting)
    with Store(tmp_path / "replies.sqlite") as store:
        assert all(store.reply(str(number)) == REPLY for number in range(3000))


def test_what_was_acknowledged_outlives_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    for attempt in range(4):
        with writer(path, f"run{attempt}", 10**6) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(random.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            lines = (first + process.stdout.read()).split("\n")[:-1]  # the last may be half a line
        assert lines
        with Store(path) as store:
            assert all(store.reply(line) is not None for line in lines)


def test_processes_that_begin_and_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    processes = [writer(path, f"p{number}", 200) for number in range(4)]
    for process in processes:
        with process:
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert len(out.splitlines()) == 200
    with Store(path) as store:
        for number in range(4):
            reply = store.reply(f"p{number}-199")
            assert reply is not None
            assert reply.text == f"p{number} 199"


def test_a_file_that_another_process_has_locked_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
        with Store(path) as store:
            store.keep("key", "fake", "m", REPLY).result()
            assert store.reply("key") == REPLY


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SQLite find the disk full after some pages."""
    connect = stores._connect

    def limited(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 14}")
        return connection

    monkeypatch.setattr(stores, "_connect", limited)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    big = Reply(text="x" * 20_000, model="m")

    def fill() -> None:
        with Store(tmp_path / "replies.sqlite") as store:
            store.keep("before", "fake", "m", REPLY).result()
            error = raised(lambda: [store.keep(str(n), "fake", "m", big).result(10) for n in range(9)])
            assert isinstance(error, StorageError)
            assert str(error).endswith(
                "replies.sqlite': database or disk is full. Mend that, then run the same command again."
            )
            assert store.reply("before") == REPLY  # it still reads, and fails anew instead of hanging
            assert isinstance(raised(lambda: store.keep("more", "fake", "m", big).result(10)), StorageError)

    within(fill)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_ends_a_run(tmp_path: Path) -> None:
    async def act(request: Request, before: int) -> Reply:
        await asyncio.sleep(0.01)
        return Reply(text="x" * 10_000, model="m", usage=Usage(1, 1))

    def run() -> None:
        with Store(tmp_path / "replies.sqlite") as store:
            jobs = [Job(id=n, request=Request(prompt=f"question {n}")) for n in range(500)]
            Client(fake, priced(concurrency=4), store, run="run").complete(jobs, lambda *_: None)

    fake = Fake(act)
    assert isinstance(raised(run), StorageError)
    assert sum(fake.asked.values()) < 50


def test_a_value_that_sqlite_does_not_take_is_told(tmp_path: Path) -> None:
    with Store(tmp_path / "replies.sqlite") as store:
        error = raised(store.keep("key", "fake", "m", Reply(text="", model="m", usage=Usage(2**70, 0))).result)
        assert isinstance(error, StorageError)
        within(store.keep("key", "fake", "m", REPLY).result)
        assert store.reply("key") == REPLY


def test_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "replies.sqlite"
    with Store(path) as store:
        store.keep("key", "fake", "m", REPLY).result()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **given: connect(f"file:{file}?mode=ro", uri=True, **given))
    with pytest.raises(StorageError) as caught:
        Store(path)
    assert str(caught.value) == (
        f"Cannot keep replies in {str(path)!r}: attempt to write a readonly database. Give another file: --store FILE."
    )


def test_files_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, but long enough to look like one" * 20)
    (tmp_path / "folder").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "other.sqlite")) as other:
        other.execute("CREATE TABLE requests (what TEXT)")
    for name in ("text", "folder", "text/below", "other.sqlite"):
        with pytest.raises(StorageError, match="Give another file: --store FILE") as caught:
            Store(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_file_that_breaks_under_way_is_told(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    with Store(path) as store:
        for number in range(500):
            store.keep(f"key {number}", "fake", "m", Reply(text="x" * 500, model="m"))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 8)
        file.write(os.urandom(size - 4096 * 8))
    with Store(path) as store, pytest.raises(StorageError, match="Cannot read the replies in"):
        [store.reply(f"key {number}") for number in range(500)]


def test_a_write_is_made_though_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    async def leave(store: Store) -> None:
        task = asyncio.ensure_future(asyncio.wrap_future(store.keep("left", "fake", "m", REPLY)))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with Store(tmp_path / "replies.sqlite") as store:
        with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # so that the write is still to come when it is left
            asyncio.run(leave(store))
            other.execute("COMMIT")
        within(store.keep("after", "fake", "m", REPLY).result)
        assert store.reply("left") == REPLY


def test_what_a_run_has_spent_and_what_is_unknown(tmp_path: Path) -> None:
    with Store(tmp_path / "replies.sqlite") as store:
        assert store.spent("run") == Spent(0, 0, 0, 0)
        now = time.time()
        for number, at in enumerate((now - 100, now - 5, now)):
            store.sent(number, "run", "fake", "m", "key", at, 100, 0.5)
        store.sent(9, "other", "fake", "m", "key", now, 7, 7.0)
        store.ended(0, "reply", 120, 0.25)
        store.ended(1, "server", 100, 0.0).result()
        assert store.spent("run") == Spent(0.75, 3, 320, 1)
        assert store.sent_since("fake", "m", now - 60) == [(now - 5, 100), (now, 100), (now, 7)]
        assert store.sent_since("fake", "another", now - 60) == []
        for _ in range(2):  # read again after a kill
            store.paid_in_batch("batch", "run", "fake", "m", "key", 30, 0.125)
        store.paid_in_batch("batch 2", "run", "fake", "m", "key", 30, 0.125)
        store.keep("key", "fake", "m", REPLY).result()
        assert store.spent("run") == Spent(1.0, 5, 380, 1)
        assert len(store.sent_since("fake", "m", 0)) == 4


def test_failures_are_those_of_a_run(tmp_path: Path) -> None:
    with Store(tmp_path / "replies.sqlite") as store:
        store.fail("run", "key", Failure("request", "no")).result()
        assert store.failure("run", "key") == Failure("request", "no")
        assert store.failure("other", "key") is None
        store.fail("other", "key", Failure("server", "so")).result()
        store.forget_failures("run")
        assert store.failure("run", "key") is None
        assert store.failure("other", "key") == Failure("server", "so")


def test_batches_are_kept_until_their_results_are(tmp_path: Path) -> None:
    first, second = KeptBatch("one", None, 1.0, 0.5, ("a", "b")), KeptBatch("two", "id-2", 2.0, 0.0, ("c",))
    with Store(tmp_path / "replies.sqlite") as store:
        for batch in (second, first):
            store.keep_batch("run", "fake", "m", batch)
        store.keep_batch("other", "fake", "m", first._replace(name="three"))
    with Store(tmp_path / "replies.sqlite") as store:
        assert store.open_batches("run") == [first, second]
        assert (store.knows_batch("id-1"), store.knows_batch("id-2")) == (False, True)
        store.keep_batch("run", "fake", "m", first._replace(batch="id-1"))
        assert store.knows_batch("id-1")
        store.end_batch("one")
        assert store.open_batches("run") == [second]
        assert store.knows_batch("id-1")  # so that no other run takes it for its own


def test_no_prompt_and_no_key_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with Store(tmp_path / "replies.sqlite") as store:
        request = Request(prompt="what colour is zebra-4711?", system="be brief-4712")
        fake = Fake(failing("server", 1))
        Client(fake, priced(), store, run="run").complete([Job(id="job-4713", request=request)], lambda *_: None)
        assert store.spent("run").requests == 2
        held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in (b"sk-very-secret", b"what colour is", b"4712", b"4713"):
        assert secret not in held.replace(b"reply to what colour is zebra-4711?", b"")


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(None, beside=tmp_path) as store:
        assert store.path == tmp_path / "replies.sqlite"
    with open_store(str(tmp_path / "own"), beside=tmp_path) as store:
        assert store.path == tmp_path / "own"
    with open_store(None) as store:
        gone = store.path.parent
        store.keep("key", "fake", "m", REPLY).result()
    assert not gone.exists()
    monkeypatch.setenv("SHELFQA_CACHE", "on")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with open_store(None, beside=tmp_path) as store:
        assert store.path.is_relative_to(tmp_path / "cache")
