"""Asking many things to the end: nothing lost, nothing twice, nothing hangs."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fake_providers import Fake, dollars, failing, priced, reply_to, usage_of

from shelfqa.errors import UserError
from shelfqa.providers import client as clients
from shelfqa.providers import gate as gates
from shelfqa.providers.base import ProviderError, Reply, Request
from shelfqa.providers.client import MOST_FAILURES, Client, run_async
from shelfqa.providers.jobs import Job, Outcome
from shelfqa.providers.settings import ClientConfig
from shelfqa.providers.store import Store


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(gates, "LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr(gates, "PATIENCE_S", 0.6)
    monkeypatch.setattr(clients, "_SPARE_S", 0.0)


def jobs_of(*prompts: str) -> list[Job]:
    requests = [Request(prompt=prompt, max_tokens=5) for prompt in prompts]
    return [Job(id=number, request=request, output_tokens=5) for number, request in enumerate(requests)]


def ask(folder: Path, fake: Fake, jobs: Any, on_end: Any = None, *, seconds: float = 30, **given: Any) -> list[Any]:
    """Ask all; return (job's id, outcome) in the order in which they ended. What hangs fails."""
    ended: list[Any] = []

    def note(job: Job, outcome: Outcome) -> None:
        ended.append((job.id, outcome))
        if on_end is not None:
            on_end(job, outcome)

    async def run() -> None:
        with Store(folder / "replies.sqlite") as store:
            client = Client(fake, priced(**given), store, run="run")
            async with asyncio.timeout(seconds):
                await client._complete(jobs, note, clients.Told())
            assert fake.closed

    asyncio.run(run())
    return ended


def kept(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "replies.sqlite")) as connection:
        return {text.removeprefix("reply to ") for (text,) in connection.execute("SELECT text FROM replies")}


def spent(folder: Path) -> Any:
    with Store(folder / "replies.sqlite") as store:
        return store.spent("run")


def test_every_job_ends_once_and_the_same_is_asked_once(tmp_path: Path) -> None:
    prompts = [f"question {number % 100}" for number in range(500)]
    fake = Fake(latency_s=0.005)
    ended = ask(tmp_path, fake, jobs_of(*prompts), concurrency=16)
    assert sorted(id for id, _ in ended) == list(range(500))
    assert all(outcome.reply.text == f"reply to {prompts[id]}" for id, outcome in ended)
    assert fake.asked == Counter(set(prompts))
    assert 8 <= fake.most_at_once <= 16
    assert spent(tmp_path).dollars == pytest.approx(sum(fake.billed.values()))
    again = Fake()
    assert len(ask(tmp_path, again, iter(jobs_of(*prompts)))) == 500  # any iterable will do
    assert not again.asked


def test_jobs_end_in_the_order_of_their_replies_and_are_asked_in_their_own(tmp_path: Path) -> None:
    async def act(request: Request, before: int) -> Reply:
        await asyncio.sleep(0.3 if request.prompt == "question 0" else 0.001)
        return reply_to(request.prompt)

    fake = Fake(act)
    ended = [id for id, _ in ask(tmp_path, fake, jobs_of(*(f"question {n}" for n in range(60))), concurrency=2)]
    assert ended[-1] == 0 or ended.index(0) > 20
    order = [int(prompt.split()[1]) for prompt in fake.asked]
    assert all(abs(number - place) <= 8 for place, number in enumerate(order))  # as many as are under way


def test_no_more_are_read_than_are_under_way(tmp_path: Path) -> None:
    read = 0

    def jobs() -> Iterator[Job]:
        nonlocal read
        for job in jobs_of(*(f"question {number}" for number in range(200))):
            read += 1
            yield job

    ends: list[int] = []
    ask(tmp_path, Fake(), jobs(), lambda job, _: ends.append(read), concurrency=4)
    assert all(count - place <= 10 for place, count in enumerate(ends))


def test_a_provider_that_hangs_is_asked_again(tmp_path: Path) -> None:
    async def act(request: Request, before: int) -> Reply:
        if before < 2 and request.prompt.endswith("3"):
            await asyncio.sleep(900)
        return reply_to(request.prompt)

    fake = Fake(act)
    ended = ask(tmp_path, fake, jobs_of(*(f"question {number}" for number in range(10))), timeout_s=0.2)
    assert all(outcome.reply is not None for _, outcome in ended)
    assert fake.asked["question 3"] == 3


@pytest.mark.parametrize("kind", ["server", "timeout", "connection", "unreadable", "busy"])
def test_what_fails_for_a_while_gets_its_reply(kind: str, tmp_path: Path) -> None:
    fake = Fake(failing(kind, 5, only="odd"))
    ended = ask(tmp_path, fake, jobs_of(*(f"question {number}" for number in range(50)), "odd one"))
    assert all(outcome.reply is not None for _, outcome in ended)
    assert fake.asked["odd one"] == 6


@pytest.mark.parametrize(("kind", "times"), [("server", MOST_FAILURES), ("busy", clients.MOST_BUSY), ("request", 1)])
def test_what_always_fails_is_listed(kind: str, times: int, tmp_path: Path) -> None:
    fake = Fake(failing(kind, 10**6, only="odd"), latency_s=0.002)
    ended = ask(tmp_path, fake, jobs_of("odd one", *(f"question {number}" for number in range(200))), concurrency=2)
    (odd,) = [outcome for _, outcome in ended if outcome.reply is None]
    assert len(ended) == 201
    assert odd.failure.kind == kind
    assert odd.failure.message.startswith(f"fake: {kind}")
    assert fake.asked["odd one"] >= times
    assert fake.asked["odd one"] <= 2 * times
    again = Fake()
    assert len(ask(tmp_path, again, jobs_of("odd one", "question 1"))) == 2
    assert not again.asked  # a failure is kept for the run


@pytest.mark.parametrize("last", [["odd one"], ["odd one", "odd two"], ["odd one"] * 40])
def test_the_last_ones_that_hang_hold_up_nothing(last: list[str], tmp_path: Path) -> None:
    async def act(request: Request, before: int) -> Reply:
        if "odd" in request.prompt:
            await asyncio.sleep(900)
        return reply_to(request.prompt)

    started = time.monotonic()
    ended = ask(tmp_path, Fake(act), jobs_of("question", *last), timeout_s=0.05)
    assert len(ended) == 1 + len(last)
    assert [outcome.failure.kind for id, outcome in ended if id] == ["timeout"] * len(last)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("broken", ["jobs", "on_end", "review", "ask"])
def test_an_error_ends_the_run_and_loses_nothing(broken: str, tmp_path: Path) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError(broken)

    async def act(request: Request, before: int) -> Reply:
        await asyncio.sleep(0.1)
        return fail() if broken == "ask" and request.prompt == "question 3" else reply_to(request.prompt)

    def jobs() -> Iterator[Job]:
        for number in range(1000):
            if broken == "jobs" and number == 20:
                fail()
            odd = broken == "review" and number == 3
            yield Job(id=number, request=Request(prompt=f"question {number}"), review=fail if odd else None)

    fake = Fake(act)
    with pytest.raises(ZeroDivisionError, match=broken):
        ask(tmp_path, fake, jobs(), fail if broken == "on_end" else None, concurrency=4)
    assert fake.under_way == 0
    assert kept(tmp_path) == set(fake.asked) - ({"question 3"} if broken == "ask" else set())
    assert 3 <= len(fake.billed) < 30
    assert spent(tmp_path).dollars >= sum(fake.billed.values()) - 1e-9


INTERRUPTED = """
import sys, threading, os, signal
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fake_providers import Fake, priced
from shelfqa.providers.client import Client
from shelfqa.providers.base import Request
from shelfqa.providers.jobs import Job
from shelfqa.providers.store import Store
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in what a shell has put in the background
folder = Path(sys.argv[1])
fake = Fake(latency_s=float(sys.argv[3]), bills=folder / "bills")
with Store(folder / "replies.sqlite") as store:
    client = Client(fake, priced(concurrency=8), store, run="run")
    requests = [Request(prompt=f"question {n}", max_tokens=5) for n in range(int(sys.argv[4]))]
    jobs = [Job(id=n, request=request, output_tokens=5) for n, request in enumerate(requests)]
    def run():
        client.complete(jobs, lambda job, outcome: print(job.id, flush=True))
    if sys.argv[5] == "notebook":
        import asyncio
        async def cell():
            run()
        asyncio.new_event_loop().run_until_complete(cell())
    else:
        run()
"""


def child(folder: Path, latency_s: float, count: int, how: str = "") -> subprocess.Popen[str]:
    arguments = [str(folder), str(Path(__file__).parent), str(latency_s), str(count), how]
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", INTERRUPTED, *arguments], stdout=pipe, stderr=pipe, text=True)


def bills(folder: Path) -> list[tuple[float, str]]:
    lines = (folder / "bills").read_text().splitlines()
    return [(float(cost), prompt) for cost, prompt in (line.split(" ", 1) for line in lines)]


@pytest.mark.parametrize("how", ["script", "notebook"])
def test_ctrl_c_keeps_what_is_under_way(how: str, tmp_path: Path) -> None:
    with child(tmp_path, 0.2, 500, how) as process:
        assert process.stdout is not None
        for _ in range(10):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    assert "Stopping: what is under way is waited for." in said
    asked = bills(tmp_path)
    assert 10 < len(asked) < 100
    assert kept(tmp_path) == {prompt for _, prompt in asked}
    known = spent(tmp_path)
    assert known.unknown == 0
    assert known.dollars == pytest.approx(sum(cost for cost, _ in asked))


KILLS = 2


def test_the_ledger_is_what_was_billed_also_over_killed_runs(tmp_path: Path) -> None:
    for attempt in range(KILLS):
        with child(tmp_path, 0.03, 200) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.1 * attempt)
            process.kill()
    fake = Fake()
    ended = ask(tmp_path, fake, jobs_of(*(f"question {number}" for number in range(200))))
    assert len(ended) == 200
    billed = Counter(prompt for _, prompt in bills(tmp_path))
    before = kept(tmp_path) - set(fake.billed)
    assert before <= set(billed)
    repaid = {prompt: billed[prompt] + fake.asked[prompt] - 1 for prompt in kept(tmp_path)}
    assert sum(repaid.values()) <= KILLS * 8  # what was under way at a kill
    with closing(sqlite3.connect(tmp_path / "replies.sqlite")) as connection:
        query = "SELECT key, sum(dollars), count(*) FROM requests WHERE outcome = 'reply' GROUP BY key"
        told = list(connection.execute(query))
    assert all(count == 1 for _, _, count in told)
    assert len(told) >= 200 - KILLS * 8
    each = {round(dollars(usage_of(f"question {number}")), 9) for number in (1, 11, 111)}
    assert {round(cost, 9) for _, cost, _ in told} <= each
    known = spent(tmp_path)
    assert known.unknown <= KILLS * 8
    total = sum(cost for cost, _ in bills(tmp_path)) + sum(fake.billed.values())
    assert -KILLS * 8 * max(each) <= known.dollars - total <= known.unknown * max(each) + 1e-9


def test_within_the_event_loop_of_a_notebook(tmp_path: Path) -> None:
    ended: list[object] = []

    async def cell(fake: Fake, count: int) -> None:
        with Store(tmp_path / "replies.sqlite") as store:
            jobs = jobs_of(*(f"question {number}" for number in range(count)))
            Client(fake, ClientConfig(), store, run="run").complete(jobs, lambda job, _: ended.append(job.id))

    asyncio.run(cell(Fake(), 30))
    assert sorted(ended) == list(range(30))  # type: ignore[type-var]
    with pytest.raises(UserError, match=r"^fake: key\.$"):
        asyncio.run(cell(Fake(failing("key", 9)), 40))
    assert not [thread for thread in threading.enumerate() if thread.name == "store"]


def test_what_a_coroutine_raises_comes_out() -> None:
    async def divide(by: int) -> float:
        return 1 / by

    async def within(by: int) -> float:
        return run_async(lambda: divide(by))

    assert run_async(lambda: divide(1)) == asyncio.run(within(1)) == 1
    with pytest.raises(ZeroDivisionError):
        asyncio.run(within(0))


def test_replies_that_tell_no_tokens_are_priced_as_estimated(tmp_path: Path) -> None:
    async def act(request: Request, before: int) -> Reply:
        return Reply(text="x", model="m")

    fake = Fake(act)
    jobs = [Job(id=n, request=Request(prompt=f"question {n:03}", max_tokens=50), output_tokens=50) for n in range(30)]
    with pytest.raises(UserError, match="The budget of"):
        ask(tmp_path, fake, jobs, budget=0.6)
    assert 4 <= sum(fake.asked.values()) <= 6
    assert 0.5 < spent(tmp_path).dollars <= 0.6


MEMORY = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fake_providers import Fake, priced, reply_to
from shelfqa.providers.client import Client
from shelfqa.providers.base import Request
from shelfqa.providers.jobs import Job
from shelfqa.providers.store import Store

class Forgetful(Fake):
    async def ask(self, request, pictures):
        return reply_to(request.prompt)
count, seen, marks = int(sys.argv[3]), 0, []
def jobs():
    for n in range(count):
        yield Job(id=n, request=Request(prompt=f"question {n}", max_tokens=5))
def end(job, outcome):
    global seen
    seen += outcome.reply.text == f"reply to question {job.id}"
    if seen in (count // 10, count):
        marks.append(int(open("/proc/self/statm").read().split()[1]) * 4096)
with Store(Path(sys.argv[1]) / "replies.sqlite") as store:
    Client(Forgetful(), priced(), store, run="run").complete(jobs(), end)
print(seen, marks[1] - marks[0])
"""


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_memory_stays_flat(count: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path), str(Path(__file__).parent), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen, grown = map(int, done.stdout.split())
    assert seen == count
    assert grown < 30e6


def test_a_run_that_goes_on_bears_refusals_alone(tmp_path: Path) -> None:
    """What is left of a broken-off run may all be refused; that the model answers is known from before."""

    async def act(request: Request, before: int) -> Reply:
        if int(request.prompt.split()[-1]) < 20:
            raise ProviderError("fake: refused", kind="request")
        return reply_to(request.prompt)

    jobs = [Job(id=n, request=Request(prompt=f"question {n}")) for n in reversed(range(40))]
    for run in ("first", "first", "second"):
        ended: list[tuple[Job, Outcome]] = []
        with Store(tmp_path / "replies.sqlite") as store:
            store.forget_failures(run)
            client = Client(Fake(act), ClientConfig(concurrency=1), store, run=run)
            client.complete(jobs, lambda *end: ended.append(end))  # noqa: B023
        assert sorted(job.id for job, outcome in ended if outcome.reply is None) == list(range(20))
