"""The gate: money, limits of a day, pauses, and when a run ends."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_providers import Act, Fake, dollars, failing, priced, reply_to, usage_of
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfqa.errors import UserError
from shelfqa.providers import gate as gates
from shelfqa.providers.base import ErrorKind, ProviderError, Reply, Request
from shelfqa.providers.client import Client, Told
from shelfqa.providers.gate import Gate, Stopped
from shelfqa.providers.jobs import Job, Outcome
from shelfqa.providers.settings import ClientConfig
from shelfqa.providers.store import Store


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(gates, "LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr(gates, "PATIENCE_S", 0.6)


def within(doing: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    """Run it; a deadlock fails."""

    async def run() -> Any:
        async with asyncio.timeout(seconds):
            return await doing()

    return asyncio.run(run())


def ask(
    folder: Path, act: Act, count: int = 40, *, run: str = "run", **given: Any
) -> tuple[Fake, list[Outcome], UserError | None]:
    """Ask `count` things; return who was asked, the outcomes, and why the run ended early."""
    fake, outcomes, stop = Fake(act), [], None
    jobs = [Job(id=number, request=Request(prompt=f"question {number:04}", max_tokens=5)) for number in range(count)]
    with Store(folder / "replies.sqlite") as store:
        client = Client(fake, priced(**given), store, run=run)
        try:
            within(lambda: client._complete(jobs, lambda _, outcome: outcomes.append(outcome), Told()))
        except UserError as error:
            stop = error
    return fake, outcomes, stop


def error_of(kind: ErrorKind, retry_after_s: float | None = None) -> ProviderError:
    return ProviderError(f"fake: {kind}", kind=kind, retry_after_s=retry_after_s)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 5), st.floats(0, 1)), min_size=1, max_size=40), st.floats(0, 20))
def test_the_budget_is_never_passed(costs: list[tuple[float, float]], budget: float) -> None:
    """Each request costs at most what it may, whatever share of that."""

    async def run() -> Gate:
        gate = Gate(ClientConfig(budget=budget))

        async def one(most: float, share: float) -> None:
            ticket = await gate.enter("key", 1, most)
            await asyncio.sleep(0)
            gate.reply(ticket, 1, most * share)

        done = await asyncio.gather(*(one(*cost) for cost in costs), return_exceptions=True)
        assert all(end is None or isinstance(end, Stopped) for end in done)
        assert (gate.stop is None) == (None in done and not any(done))
        return gate

    gate = within(run)
    assert gate.spent <= budget + 1e-9
    if gate.stop is not None:
        assert f"The budget of ${budget:,.2f} is used up" in str(gate.stop)
        assert gate.spent + max(most for most, _ in costs) > budget


def test_a_run_spends_its_budget_and_goes_on_with_more(tmp_path: Path) -> None:
    each = dollars(usage_of("question 0000"))
    fake, outcomes, stop = ask(tmp_path, failing("server", 0), 40, budget=each * 10.5)
    assert stop is not None
    assert str(stop).startswith(f"The budget of ${each * 10.5:,.2f} is used up: ${each * 10:,.4f} spent, and the next")
    assert "10 replies of this run are kept" in str(stop)
    assert "\n" not in str(stop)
    assert (sum(fake.asked.values()), len(outcomes)) == (10, 10)
    fake, outcomes, stop = ask(tmp_path, failing("server", 0), 40, budget=each * 25.5)
    assert sum(fake.asked.values()) == 15
    assert len(outcomes) == 25
    fake, outcomes, stop = ask(tmp_path, failing("server", 0), 40, budget=each * 40.5)
    assert stop is None
    assert (sum(fake.asked.values()), len(outcomes)) == (15, 40)


def test_the_limit_of_a_day(tmp_path: Path) -> None:
    fake, outcomes, stop = ask(tmp_path, failing("server", 0), 12, requests_per_day=5)
    assert stop is not None
    assert "The 5 requests of a day are used up: run the same command again from " in str(stop)
    assert (sum(fake.asked.values()), len(outcomes)) == (5, 5)
    fake, _, stop = ask(tmp_path, failing("server", 0), 12, run="another run", requests_per_day=7)
    assert stop is not None
    assert sum(fake.asked.values()) == 2
    assert ask(tmp_path, failing("server", 0), 12, requests_per_day=12)[2] is None


def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    times: list[float] = []

    async def act(request: Request, before: int) -> Reply:
        times.append(time.monotonic())
        if len(times) == 5:
            raise error_of("busy", 0.5)
        return reply_to(request.prompt)

    _, outcomes, stop = ask(tmp_path, act, 20, concurrency=1)
    assert stop is None
    assert len(outcomes) == 20
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[4] >= 0.5
    assert max(gaps[:4] + gaps[5:]) < 0.4


def test_a_wait_beyond_all_patience_ends_the_run(tmp_path: Path) -> None:
    async def act(request: Request, before: int) -> Reply:
        raise error_of("busy", 3600)

    _, outcomes, stop = ask(tmp_path, act)
    assert not outcomes
    assert str(stop) == "fake: busy. It asks to wait 60 minutes: run the same command again then."


def test_pauses_grow_and_end_with_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "FIRST_WAIT_S", 0.5)
    monkeypatch.setattr(gates, "LONGEST_WAIT_S", 4.0)

    async def run() -> None:
        gate = Gate(ClientConfig(concurrency=1))
        now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        monkeypatch.setattr(random, "uniform", lambda low, high: high)
        pauses = []
        for _ in range(8):
            ticket = await gate.enter("key", 1, 0)
            gate.failure(ticket, error_of("busy"), 0)
            pauses.append(max(gate._pause_until - now, 0))
            now = max(gate._pause_until, now) + 0.01
        assert pauses == pytest.approx([0, 0.5, 1, 2, 4, 4, 4, 4])
        gate.reply(await gate.enter("key", 1, 0), 1, 0)
        now += 0.01
        gate.failure(await gate.enter("key", 1, 0), error_of("busy"), 0)
        assert gate._pause_until <= now

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["key", "quota", "model"])
def test_what_no_waiting_mends_ends_the_run_at_once(kind: ErrorKind, tmp_path: Path) -> None:
    fake, outcomes, stop = ask(tmp_path, failing(kind, 99), 100)
    assert str(stop) == f"fake: {kind}."
    assert not outcomes
    assert sum(fake.asked.values()) <= 8
    _, outcomes, stop = ask(tmp_path, failing(kind, 0), 100)
    assert stop is None
    assert all(outcome.failure is None for outcome in outcomes)


@pytest.mark.parametrize("kind", ["server", "timeout", "connection", "unreadable", "request"])
@pytest.mark.parametrize("concurrency", [1, 64])
def test_a_service_that_never_replies_ends_the_run(kind: ErrorKind, concurrency: int, tmp_path: Path) -> None:
    started = time.monotonic()
    fake, outcomes, stop = ask(tmp_path, failing(kind, 10**6), 100, concurrency=concurrency)
    assert stop is not None
    assert str(stop).startswith("None of the first 1")
    assert str(stop).endswith(f"requests got a reply: fake: {kind}.")
    assert all(outcome.failure is not None for outcome in outcomes)
    assert bool(outcomes) == (kind == "request")
    assert sum(fake.asked.values()) < 40
    assert time.monotonic() - started < 5


def outage(begins: int, seconds: float, kind: ErrorKind) -> Act:
    """Fail for some time once so many were answered."""
    replies = 0
    since: float | None = None

    async def act(request: Request, before: int) -> Reply:
        nonlocal replies, since
        if replies >= begins:
            since = time.monotonic() if since is None else since
            if time.monotonic() - since < seconds:
                raise error_of(kind)
        replies += 1
        return reply_to(request.prompt)

    return act


@pytest.mark.parametrize("kind", ["busy", "server", "connection"])
@pytest.mark.parametrize("concurrency", [1, 64])
def test_an_outage_that_ends_is_survived(kind: ErrorKind, concurrency: int, tmp_path: Path) -> None:
    fake, outcomes, stop = ask(tmp_path, outage(15, 0.3, kind), 40, concurrency=concurrency)
    assert stop is None
    assert [outcome.failure for outcome in outcomes] == [None] * 40
    assert sum(fake.billed.values()) == pytest.approx(40 * dollars(usage_of("question 0000")))


@pytest.mark.parametrize("kind", ["busy", "server"])
@pytest.mark.parametrize("concurrency", [1, 64])
def test_an_outage_that_does_not_end_ends_the_run(
    kind: ErrorKind, concurrency: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "LONGEST_WAIT_S", 0.003)  # so that each request is tried many times
    _, outcomes, stop = ask(tmp_path, outage(15, 1e9, kind), 40, concurrency=concurrency)
    assert stop is not None
    assert str(stop).startswith(f"No request has got a reply for 0 minutes: fake: {kind}. 15 replies of this run are")
    assert [outcome.failure for outcome in outcomes] == [None] * 15
    _, outcomes, stop = ask(tmp_path, failing("server", 0), 40)
    assert stop is None
    assert [outcome.failure for outcome in outcomes] == [None] * 40  # none was given up in the outage


def test_outages_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        gate = Gate(ClientConfig())
        now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: now)

        async def fail(times: int) -> None:
            nonlocal now
            for number in range(times):
                gate.failure(await gate.enter(f"key {number}", 1, 0), error_of("server"), 0)
                now += 0.1

        for _ in range(5):
            await fail(4)
            gate.reply(await gate.enter("key", 1, 0), 1, 0)
        assert gate.stop is None
        with pytest.raises(Stopped):
            await fail(20)
        assert str(gate.stop).startswith("No request has got a reply")

    within(run)


def test_an_outage_with_one_request_left_ends(tmp_path: Path) -> None:
    """However many jobs wait for that one request."""
    act = outage(1, 1e9, "server")
    jobs = [Job(id=n, request=Request(prompt="first" if n == 0 else "same", max_tokens=5)) for n in range(200)]
    outcomes: list[Outcome] = []
    with Store(tmp_path / "replies.sqlite") as store:
        client = Client(Fake(act), priced(), store, run="run")
        within(lambda: client._complete(jobs, lambda _, outcome: outcomes.append(outcome), Told()), 10)
    assert len(outcomes) == 200
    assert sum(outcome.failure is None for outcome in outcomes) == 1


async def _entered(gate: Gate, key: str) -> None:
    await gate.enter(key, 5, 0.5)


@pytest.mark.parametrize("waits_for", ["turn", "pause", "budget", "concurrency", "rest", "tokens"])
def test_nothing_waits_on_when_the_run_stops(waits_for: str) -> None:
    async def run() -> None:
        given: dict[str, dict[str, Any]] = {
            "budget": {"budget": 1.0},
            "concurrency": {"concurrency": 1},
            "tokens": {"tokens_per_minute": 10},
        }
        gate = Gate(ClientConfig(**given.get(waits_for, {})))
        first = await gate.enter("first", 10, 1.0)
        if waits_for in ("pause", "turn"):
            gate._pause_until = time.monotonic() + 900
        if waits_for == "rest":
            tasks = [asyncio.ensure_future(gate.rest(900)) for _ in range(5)]
        else:
            tasks = [asyncio.ensure_future(_entered(gate, str(number))) for number in range(5)]
        await asyncio.sleep(0.05)
        if waits_for == "turn":
            tasks[0].cancel()
        assert not any(task.done() for task in tasks[1:])
        gate.halt(UserError("stopped"))
        gate.halt(UserError("a later reason"))
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, Stopped) for end in ends[waits_for == "turn" :])
        gate.reply(first, 1, 1.0)
        assert str(gate.stop) == "stopped"

    within(run, 5)


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    async def run() -> None:
        gate = Gate(ClientConfig(requests_per_minute=600))
        gate.remember([(time.time() - 5, 1), (time.time() + 3600, 1)])
        began = time.monotonic()
        await gate.enter("key", 1, 0)
        assert time.monotonic() - began < 1

    within(run, 5)
