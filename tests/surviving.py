"""Runs of `shelfqa generate` that are killed at random moments, what a server says to them, and what they send."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import llm_faults
from llm_app import WIRES
from llm_faults import Faults, identity_of, unit
from llm_server import Server
from llm_wire import Asked
from predicting import forked
from shelfqa.artifacts import image_folder, read_manifest, read_table
from shelfqa.providers.base import Request
from shelfqa.providers.jobs import Replies
from shelfqa.providers.store import Store
from shelfqa.questions.from_model import Questionnaire
from shelfqa.questions.styles import load_style

MODEL = "model-1"
PRICES = {"input": 1.0, "output": 10.0}
"""Dollars a million tokens."""


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
