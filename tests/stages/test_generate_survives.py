"""Whole runs of `shelfqa generate` against servers that fail in every way, killed at random moments and started again.

A server answers each request as its text alone decides, be it well, cut off, off the schema or with a refusal. What
passes (429, 500, 503, hangs, dropped and broken connections) is met by some of the first askings of a request only. So
a run that is killed, and asks once more for what was under way, has to end with the very tables of a run that is not.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from generating import write_curated
from llm_faults import Faults
from llm_server import running
from predicting import shelfqa
from shelfqa.artifacts import read_manifest, read_table
from surviving import (
    PRICES,
    Kill,
    Run,
    Size,
    Start,
    end,
    fork,
    kept,
    run_with_kills,
    said,
    sent_requests,
    spawn,
    store_of,
    wait_for,
)

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

SDKS = {"anthropic": "anthropic", "gemini": "google.genai", "openai": "openai"}
KEYS = ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY")
ELSEWHERE = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "GEMINI_BASE_URL", "GOOGLE_API_KEY", "OPENAI_BASE_URL")
CONTENT = frozenset({"ok", "off_schema", "refused"})
"""What is paid for."""
QUICK = Size(
    150,
    4,
    Faults(
        busy=0.03, busy_retry_after=0.03, server_error=0.03, unavailable=0.02, hang=0.004, dropped=0.02,
        broken_off=0.02, refused_always=0.03, off_schema_always=0.03, bad_request_always=0.12, hang_s=3,
    ),
    timeout_s=1.5,
    concurrency=16,
    at_once=True,
)  # fmt: skip
FULL = Size(
    14_798,
    20,
    Faults(
        busy=0.02, busy_retry_after=0.02, server_error=0.02, unavailable=0.01, hang=0.002, dropped=0.01,
        broken_off=0.01, refused_always=0.005, off_schema_always=0.02, bad_request_always=0.003, hang_s=20,
    ),
    timeout_s=10,
    concurrency=64,
    at_once=False,
)  # fmt: skip


def paid_records(arrivals: Sequence[Sequence[Any]]) -> dict[str, list[int]]:
    """Where in the server's log the replies to each request are that were written to the end."""
    found: dict[str, list[int]] = {}
    for number, (_, identity, outcome, written, _) in enumerate(arrivals):
        if written and outcome in CONTENT:
            found.setdefault(identity, []).append(number)
    return found


def check_payments(run: Run, out: Path, kills: Sequence[Kill]) -> dict[str, Any]:
    """Compare the server's log with what was kept, and with what the run says that it spent; return some numbers."""
    arrivals, most_at_once = run.server.arrivals(), run.server.log()["most_at_once"]
    assert most_at_once <= run.size.concurrency
    sent = sent_requests(run, out)
    for kill in kills:
        asked_after = {sent[row[1]].key for row in arrivals[kill.requests :]}
        assert not asked_after & kill.kept, "a reply that was kept was asked for again"
    paid = paid_records(arrivals)
    assert {sent[identity].key for identity in paid} == kept(store_of(out)), "a reply was lost"
    twice = [pair for records in paid.values() for pair in itertools.pairwise(records)]
    for first, second in twice:
        assert any(first < kill.requests <= second for kill in kills), "paid twice, and no kill between"
    for start, kill in itertools.pairwise([Kill(0, frozenset()), *kills]):
        here = range(start.requests, kill.requests)
        lost = [
            one for one, records in paid.items() if sent[one].key not in kill.kept and any(at in here for at in records)
        ]
        assert len(lost) <= run.size.under_way, "more was lost than was under way"

    with contextlib.closing(sqlite3.connect(store_of(out))) as connection:
        ledger = {
            outcome: (count, tokens, dollars)
            for outcome, count, tokens, dollars in connection.execute(
                "SELECT outcome, count(*), sum(tokens), sum(dollars) FROM requests GROUP BY outcome"
            )
        }
    manifest = read_manifest(out)
    assert manifest is not None
    spent = manifest.details["spent"]
    served = Counter(
        {
            name: sum(sent[one].tokens[place] * len(times) for one, times in paid.items())
            for place, name in enumerate(PRICES)
        }
    )
    dollars = sum(served[name] * price for name, price in PRICES.items()) / 1e6
    count, tokens, booked = ledger["reply"]
    replies = sum(map(len, paid.values()))
    if kills:
        assert 0 <= replies - count <= len(kills) * run.size.under_way
        assert booked <= dollars + 1e-9
    else:
        assert (count, tokens) == (replies, served.total())
        assert booked == pytest.approx(dollars)
    lost = sum(ledger.get(kind, (0, 0, 0.0))[2] for kind in ("timeout", "connection", "unreadable"))
    unknown = ledger.get(None, (0, 0, 0.0))
    assert spent["unknown"] == unknown[0]
    assert spent["dollars"] == pytest.approx(booked + lost + unknown[2], abs=1e-5)
    return {
        "requests": len(arrivals),
        "replies": replies,
        "twice": len(twice),
        "most_at_once": most_at_once,
        "server_dollars": round(dollars, 4),
        "booked": round(booked, 4),
        "booked_replies": count,
        "spent": spent,
        "outcomes": dict(Counter(row[2] for row in arrivals)),
    }


def check_products(run: Run, out: Path) -> None:
    """Every product has a question or a reason, and the reasons are those of the server."""
    products = read_table(run.curated, "products")["product_id"].to_pylist()
    answered = set(read_table(out, "questions")["product_id"].to_pylist())
    failed = read_table(out, "failures").to_pylist()
    assert answered | {row["product_id"] for row in failed} == set(products)
    assert not answered & {row["product_id"] for row in failed}
    assert len(failed) == len({row["product_id"] for row in failed})
    reasons = Counter(row["reason"] for row in failed)
    assert set(reasons) <= {"refused", "request", "off-schema"}
    outcomes: dict[str, set[str]] = {}
    for _, identity, outcome, _, _ in run.server.arrivals():
        outcomes.setdefault(outcome, set()).add(identity)
    assert reasons["request"] == len(outcomes["bad_request"]) > 0
    assert reasons["refused"] == len(outcomes["refused"]) > 0


def check_run(provider: str, size: Size, folder: Path, start_one: Start) -> None:
    pytest.importorskip(SDKS[provider])
    curated = write_curated(folder / "curated", size.products)
    settings = {"faults": size.faults, "say": said, "latency_s": 0.02, "latency_spread": 0.5}
    whole, broken = folder / "whole", folder / "broken"
    with running(**settings) as server, running(**settings) as other, contextlib.ExitStack() as started:

        def start(arguments: Sequence[str]) -> int:
            child = start_one(arguments)
            started.callback(end, child)
            return child

        run, killed = Run(provider, size, curated, server), Run(provider, size, curated, other)
        if start_one is fork:  # what this process has imported, none of the others has to
            assert shelfqa(*run.command(folder / "warm"), "--limit=1") == 0
            server.reset()
        began = [time.monotonic()]
        child = start(run.command(whole))
        if not size.at_once:
            wait_for(child)
        began.append(time.monotonic())
        kills = run_with_kills(killed, broken, start)
        began.append(time.monotonic())
        if size.at_once:
            wait_for(child)
        of_whole, of_broken = check_payments(run, whole, []), check_payments(killed, broken, kills)
        check_products(run, whole)
    assert len(kills) >= size.kills
    for name in ("questions", "dropped", "failures"):
        assert read_table(broken, name).equals(read_table(whole, name)), name
    print(f"{provider} whole {began[1] - began[0]:.1f} s {of_whole}")
    print(f"{provider} with {len(kills)} kills {began[2] - began[1]:.1f} s {of_broken}")


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ELSEWHERE:
        monkeypatch.delenv(name, raising=False)
    for name in KEYS:
        monkeypatch.setenv(name, "sk-test-0123456789")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("provider", SDKS)
def test_killed_at_random_it_ends_as_if_it_had_not_been(provider: str, tmp_path: Path) -> None:
    check_run(provider, QUICK, tmp_path, fork)


@pytest.mark.slow
@pytest.mark.parametrize("provider", SDKS)
def test_a_whole_catalogue_and_twenty_kills(provider: str, tmp_path: Path) -> None:
    check_run(provider, FULL, tmp_path, spawn)
