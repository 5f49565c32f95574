"""Whole runs of `shelfqa generate` against servers that fail in every way, killed at random moments and started again.

A server answers each request as its text alone decides, be it well, cut off, off the schema or with a refusal. What
passes (429, 500, 503, hangs, dropped and broken connections) is met by some of the first askings of a request only. So
a run that is killed, and asks once more for what was under way, has to end with the very tables of a run that is not.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import random
import re
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import llm_faults
from generating import write_curated
from llm_faults import Faults, identity_of, unit
from llm_server import Server, running
from llm_wire import WIRES, Asked
from predicting import forked, shelfqa
from shelfqa.artifacts import image_folder, read_manifest, read_table
from shelfqa.providers.base import Request
from shelfqa.providers.jobs import Replies
from shelfqa.providers.store import Store
from shelfqa.questions.from_model import Questionnaire
from shelfqa.questions.styles import load_style

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

SDKS = {"anthropic": "anthropic", "gemini": "google.genai", "openai": "openai"}
KEYS = ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY")
ELSEWHERE = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "GEMINI_BASE_URL", "GOOGLE_API_KEY", "OPENAI_BASE_URL")
MODEL = "model-1"
PRICES = {"input": 1.0, "output": 10.0}
"""Dollars a million tokens."""
CONTENT = frozenset({"ok", "off_schema", "refused"})
"""What is paid for."""


class Size(NamedTuple):
    products: int
    kills: int
    faults: Faults
    timeout_s: float
    concurrency: int
    at_once: bool
    """Whether the run that is not killed goes on beside the one that is."""

    @property
    def under_way(self) -> int:
        """How many products may be under way: requests at the server, and replies that are being kept."""
        return 2 * self.concurrency


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


def said(prompt: str, system: str, schema: Mapping[str, Any] | None, pictures: int) -> str:
    """What the server replies: the same to the same request, and never a pair about some products."""
    product = re.search(r"number (\d+)", prompt)
    if unit("stubborn", product and product[1]) < 0.02:
        return '{"unexpected": true}'
    text = llm_faults.say(prompt, system, schema, pictures)
    kind = unit("kind", system, prompt)
    if kind < 0.03:
        return text[: len(text) * 2 // 3]
    if kind < 0.04:
        return ""
    if kind < 0.08:
        return f"Here you are:\n```json\n{text}\n```"
    answer = next((answer for most, answer in ((0.12, "dark blue"), (0.3, "yes"), (0.4, "no")) if kind < most), None)
    if answer is None:
        return text
    reply = json.loads(text)
    reply["pairs"][1]["answer"] = answer
    return json.dumps(reply)


class Kill(NamedTuple):
    """How things stood when a run had been killed."""

    requests: int
    """That had reached the server."""
    kept: frozenset[str]
    """The keys of all replies in the store."""


class Sent(NamedTuple):
    key: str
    tokens: tuple[int, int]
    """Of the request, and of the server's reply."""


@dataclass
class Noting(Replies):
    """Notes each request that a job leads to, by the server's name for it."""

    sent: dict[str, Request] = field(default_factory=dict)

    def key(self, request: Request) -> str:
        self.sent[identity_of(request.system, request.prompt)] = request
        return super().key(request)


class Run(NamedTuple):
    """What is given to each process, but for its command line."""

    provider: str
    size: Size
    curated: Path
    server: Server

    def command(self, out: Path) -> list[str]:
        size = self.size
        options = {
            "provider": self.provider,
            "model": MODEL,
            "out": out,
            "store": store_of(out),
            "base-url": self.server.url(self.provider),
            "timeout-s": size.timeout_s,
            "concurrency": size.concurrency,
        } | {f"{name}-price": price for name, price in PRICES.items()}
        return ["generate", str(self.curated), *(f"--{name}={value}" for name, value in options.items())]


Start = Callable[[Sequence[str]], int]
"""Starts the command line in a process of its own and returns its number."""


def fork(arguments: Sequence[str]) -> int:
    return forked(*arguments)


def spawn(arguments: Sequence[str]) -> int:
    return os.posix_spawn(sys.executable, [sys.executable, "-m", "shelfqa.cli", *arguments], os.environ)


def store_of(out: Path) -> Path:
    return out.parent / f"{out.name}.sqlite"


def ended(child: int) -> bool:
    """Whether a process that was not killed has ended; it must have ended well."""
    number, status = os.waitpid(child, os.WNOHANG)
    assert not number or os.waitstatus_to_exitcode(status) == 0
    return bool(number)


def wait_for(child: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def end(child: int) -> None:
    """End a process that a failed test has left."""
    with contextlib.suppress(ChildProcessError):  # it has been waited for
        if os.waitpid(child, os.WNOHANG)[0] == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def kept(store: Path) -> frozenset[str]:
    """The keys of the replies in a store that others write to."""
    if not store.is_file():
        return frozenset()
    with contextlib.closing(sqlite3.connect(store, timeout=60)) as connection:
        try:
            return frozenset(key for (key,) in connection.execute("SELECT key FROM replies"))
        except sqlite3.OperationalError:  # no table yet
            return frozenset()


def holds(store: Path, least: int) -> bool:
    return len(kept(store)) >= least


def killed_when(child: int, ready: Callable[[], bool], *, then_s: float = 0.0) -> bool:
    """Kill a process a while after something has come about; False if it has ended before."""
    while not ready():
        if ended(child):
            return False
        time.sleep(0.005)
    time.sleep(then_s)
    if ended(child):
        return False
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    return True


def run_with_kills(run: Run, out: Path, start: Start) -> list[Kill]:
    """Run to the end, killed at random moments and once while the tables are written."""
    size, command, store = run.size, run.command(out), store_of(out)
    generator = random.Random(f"{run.provider} {size.products}")
    kills = []
    for least in sorted(generator.choices(range(size.products * 9 // 10), k=size.kills)):
        ready = functools.partial(holds, store, least)
        assert killed_when(start(command), ready, then_s=generator.uniform(0, 0.1))
        kills.append(Kill(run.server.log()["requests"], kept(store)))
    if killed_when(start(command), (out / ".work" / "finished" / "failures.parquet").is_file):
        kills.append(Kill(run.server.log()["requests"], kept(store)))
    wait_for(start(command))
    return kills


def sent_requests(run: Run, out: Path) -> dict[str, Sent]:
    """All requests that the jobs of a finished run led to, by the server's name for them."""
    products = read_table(run.curated, "products")
    images = image_folder(run.curated, None)
    questionnaire = Questionnaire(products=products, style=load_style("single-word"), images=images, image_side_px=768)
    manifest = read_manifest(out)
    assert manifest is not None
    with Store(store_of(out)) as store:
        replies = Noting(store, run.provider, MODEL, manifest.fingerprint)
        for job in questionnaire:
            replies.next_step(job)
        return {
            identity: Sent(Replies.key(replies, request), tokens_of(run, identity, request))
            for identity, request in replies.sent.items()
        }


def tokens_of(run: Run, identity: str, request: Request) -> tuple[int, int]:
    """What the server counts for a request and its reply."""
    asked = Asked(MODEL, request.system, request.prompt, request.schema, 1, frozenset(), request.max_tokens)
    outcome = run.size.faults.met(0, int(identity, 16), 1_000)
    text = (
        said(request.prompt, request.system, request.schema, 1)
        if outcome != "off_schema"
        else json.dumps({"unexpected": [f"{int(identity, 16):x}"]})
    )
    body = WIRES[run.provider].reply(asked, text, outcome, 0)
    if run.provider == "gemini":
        usage = body["usageMetadata"]
        return usage["promptTokenCount"], usage.get("candidatesTokenCount", 0)
    usage = body["usage"]
    names = ("input_tokens", "output_tokens") if run.provider == "anthropic" else ("prompt_tokens", "completion_tokens")
    return usage[names[0]], usage[names[1]]


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
