"""Batches to the end: found again after a kill, paid once, at half the price."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_providers import FakeBatches, at_once, dollars, failing, priced, reply_to, usage_of

import llm_server
from shelfqa.errors import UserError
from shelfqa.providers import batches, gate
from shelfqa.providers.base import PROVIDERS, BatchState, ProviderError, Reply, Request
from shelfqa.providers.client import Client, Told
from shelfqa.providers.jobs import Job, Outcome
from shelfqa.providers.store import KeptBatch, Store

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

KEY = "sk-secret-0123456789"
NAMES = ("anthropic", "gemini", "openai")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(gate, "LONGEST_WAIT_S", 0.05)
    for name in NAMES:
        monkeypatch.setenv(f"{name.upper()}_API_KEY", KEY)
        monkeypatch.delenv(f"{name.upper()}_BASE_URL", raising=False)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def jobs_of(count: int, *, review: Any = None) -> list[Job]:
    requests = [Request(prompt=f"question {number:04}", max_tokens=50, schema=SCHEMA) for number in range(count)]
    return [Job(id=n, request=request, output_tokens=5, review=review) for n, request in enumerate(requests)]


def ask(folder: Path, provider: Any, jobs: Any, *, seconds: float = 20, **given: Any) -> dict[int, Outcome]:
    """Ask all in batches; what hangs fails."""
    ended: dict[int, Outcome] = {}

    def note(job: Job, outcome: Outcome) -> None:
        assert job.id not in ended
        ended[job.id] = outcome

    async def run() -> None:
        with Store(folder / "replies.sqlite") as store:
            client = Client(provider, priced(**{"batch": True, "poll_s": 0.01, **given}), store, run="run")
            async with asyncio.timeout(seconds):
                await client._complete(jobs, note, Told())

    asyncio.run(run())
    return ended


def spent(folder: Path) -> Any:
    with Store(folder / "replies.sqlite") as store:
        return store.spent("run")


def all_replied(ended: dict[int, Outcome], count: int) -> bool:
    return sorted(ended) == list(range(count)) and all(outcome.reply is not None for outcome in ended.values())


def test_parts_are_made_by_count_and_bytes(tmp_path: Path) -> None:
    fake = FakeBatches()
    jobs = [*jobs_of(25), Job(id=25, request=jobs_of(1)[0].request)]  # one of them twice
    assert all_replied(ask(tmp_path, fake, jobs, batch_requests=10), 26)
    assert [len(items) for _, items in fake.batches.values()] == [10, 10, 5]
    assert set(fake.asked.values()) == {1}
    assert spent(tmp_path).dollars == pytest.approx(sum(fake.billed.values()) / 2)

    fake = FakeBatches()
    fake.batch_bytes = 40_000
    long = [Job(id=n, request=Request(prompt=f"{n}" + "\n" * 8_000)) for n in range(7)]  # twice as long in JSON
    assert all_replied(ask(tmp_path, fake, long), 7)
    assert [len(items) for _, items in fake.batches.values()] == [2, 2, 2, 1]
    fake.batch_bytes = 10
    huge = [Job(id=n, request=Request(prompt=f"{n} again")) for n in range(3)]
    assert all_replied(ask(tmp_path, fake, iter(huge)), 3)  # a generator is gone through once, all the same
    again = FakeBatches()
    assert all_replied(ask(tmp_path, again, jobs), 26)
    assert not again.batches


def test_what_failed_is_handed_in_again(tmp_path: Path) -> None:
    fake = FakeBatches(failing("server", 2, only="7"))
    assert all_replied(ask(tmp_path, fake, jobs_of(20)), 20)
    assert [len(items) for _, items in fake.batches.values()] == [20, 2, 2]
    assert spent(tmp_path).dollars == pytest.approx(sum(fake.billed.values()) / 2)


def test_a_batch_that_is_gone_is_handed_in_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeBatches()
    fake.states = {0: [ProviderError("fake: no such batch (status 404)", kind="model")]}
    assert all_replied(ask(tmp_path, fake, jobs_of(10)), 10)
    assert [len(items) for _, items in fake.batches.values()] == [10, 10]
    assert "batch b0 is gone" in capsys.readouterr().err


def test_what_always_fails_is_listed(tmp_path: Path) -> None:
    async def act(request: Request, before: int) -> Reply:
        if request.prompt.endswith("3"):
            raise ProviderError("fake: no", kind="request")
        return await failing("timeout", 99, only="7")(request, before)

    fake = FakeBatches(act)
    ended = ask(tmp_path, fake, jobs_of(10))
    assert ended[3].failure == ("request", "fake: no")
    assert ended[7].failure == ("timeout", f"fake: timeout ({batches.MOST_ROUNDS} times)")
    assert len(fake.batches) == batches.MOST_ROUNDS
    assert sum(outcome.reply is not None for outcome in ended.values()) == 8


def test_replies_that_will_not_do_are_asked_again_in_the_next_round(tmp_path: Path) -> None:
    def review(reply: Reply) -> str | None:
        return "no digit 4" if "4" in reply.text and "before" not in reply.text else None

    fake = FakeBatches()
    ended = ask(tmp_path, fake, jobs_of(20, review=review))
    assert all_replied(ended, 20)
    assert [len(items) for _, items in fake.batches.values()] == [20, 2]
    assert [ended[number].askings for number in (3, 4, 14)] == [1, 2, 2]
    assert spent(tmp_path).dollars == pytest.approx(sum(fake.billed.values()) / 2)


def test_a_batch_is_looked_at_until_it_has_ended(tmp_path: Path) -> None:
    fake = FakeBatches()
    lost = ProviderError("fake: down", kind="connection")
    fake.states = {0: [BatchState(False, 1), lost, lost, BatchState(False, 3)], 1: [BatchState(False, 0)]}
    assert all_replied(ask(tmp_path, fake, jobs_of(10), batch_requests=5), 10)
    assert len(fake.batches) == 2
    fake.states = {2: [lost] * 10**6}
    with pytest.raises(UserError, match=r"^fake: down\. What was handed in is kept: the same command goes on\.$"):
        ask(tmp_path, fake, jobs_of(11))
    fake.states = {}
    assert all_replied(ask(tmp_path, fake, jobs_of(11)), 11)
    assert len(fake.batches) == 3


def test_results_that_break_off_are_read_again(tmp_path: Path) -> None:
    """And a request that failed in them counts once."""
    fake = FakeBatches(failing("server", 1, only="9"))
    fake.results_fail = 10
    ended = ask(tmp_path, fake, jobs_of(10))
    assert all_replied(ended, 10)
    assert spent(tmp_path).dollars == pytest.approx(10 * dollars(usage_of("question 0000")) / 2)
    assert spent(tmp_path).requests == 10


def test_a_batch_that_fails_for_being_one_too_many_is_handed_in_again(tmp_path: Path) -> None:
    fake = FakeBatches()
    busy = BatchState(True, 0, "fake: too many batches", "busy")
    fake.states = {number: [busy] for number in range(20) if number % 4}
    assert all_replied(ask(tmp_path, fake, jobs_of(20), batch_requests=5), 20)
    assert set(fake.asked.values()) == {1}
    fake.states = {number: [busy] for number in range(1000)}
    with pytest.raises(UserError, match="fake: too many batches"):
        ask(tmp_path, fake, jobs_of(21))
    fake.states = {}
    assert all_replied(ask(tmp_path, fake, jobs_of(21)), 21)  # none was given up


def test_a_batch_that_fails_for_good_ends_the_run(tmp_path: Path) -> None:
    fake = FakeBatches()
    fake.states = {1: [BatchState(True, 0, "fake: a line is odd", "request")]}
    with pytest.raises(UserError, match=r"^fake: a line is odd\.$"):
        ask(tmp_path, fake, jobs_of(15), batch_requests=5)
    fake.states = {}
    assert all_replied(ask(tmp_path, fake, jobs_of(15), batch_requests=5), 15)
    assert set(fake.asked.values()) == {1}


@pytest.mark.parametrize("kind", ["connection", "timeout", "busy", "server"])
def test_a_creation_whose_reply_is_lost_is_looked_for(kind: Any, tmp_path: Path) -> None:
    fake = FakeBatches()
    fake.create = lambda number: ProviderError(f"fake: {kind}", kind=kind) if number in (0, 2) else None
    assert all_replied(ask(tmp_path, fake, jobs_of(30), batch_requests=10), 30)
    assert len(fake.batches) == 3
    assert set(fake.asked.values()) == {1}


@pytest.mark.parametrize("kind", ["key", "quota", "request"])
def test_a_creation_that_is_refused_ends_the_run(kind: Any, tmp_path: Path) -> None:
    fake = FakeBatches()
    fake.create = lambda number: ProviderError(f"fake: {kind}", kind=kind) if number == 1 else None
    with pytest.raises(UserError, match=f"^fake: {kind}. What was handed in is kept"):
        ask(tmp_path, fake, jobs_of(20), batch_requests=10)
    fake.create = lambda number: None
    assert all_replied(ask(tmp_path, fake, jobs_of(20), batch_requests=10), 20)
    assert set(fake.asked.values()) == {1}


def test_the_budget_holds_in_batches(tmp_path: Path) -> None:
    each = dollars(usage_of("question 0000")) / 2
    schema = 4 * len(SCHEMA)  # tokens of the schema are estimated, and not billed by the fake
    fake = FakeBatches()
    with pytest.raises(UserError, match=r"The budget of \$0\.50 is used up: \$0\.\d+ spent\. Give more with --budget"):
        ask(tmp_path, fake, jobs_of(200), budget=0.5, batch_requests=10)
    first = sum(fake.asked.values())
    assert 10 < first < 200
    assert 0.5 - (each * 10 + schema) <= first * each <= 0.5
    assert spent(tmp_path).dollars == pytest.approx(first * each)
    assert all_replied(ask(tmp_path, fake, jobs_of(200), budget=50.0), 200)
    assert set(fake.asked.values()) == {1}


def test_a_batch_of_an_earlier_run_that_was_never_made_is_forgotten(tmp_path: Path) -> None:
    with Store(tmp_path / "replies.sqlite") as store:
        store.keep_batch("run", "fake", "fake-1", KeptBatch("lost", None, time.time(), 1e9, ("a", "b")))
    assert all_replied(ask(tmp_path, FakeBatches(at_once), jobs_of(5), budget=50.0), 5)
    with Store(tmp_path / "replies.sqlite") as store:
        assert not store.open_batches("run")


@pytest.fixture(scope="module")
def running() -> Iterator[llm_server.Server]:
    with llm_server.running() as server:
        yield server


@pytest.fixture
def server(running: llm_server.Server) -> llm_server.Server:
    running.reset()
    running.settings(**UNSET)
    return running


def provider_of(name: str, server: llm_server.Server) -> Any:
    pytest.importorskip({"gemini": "google.genai"}.get(name, name))
    return PROVIDERS.load(name)("model-1", base_url=server.url(name), timeout_s=10)


UNSET: dict[str, Any] = {"key": KEY, "faults": {}, "batches_fail": 0, "batches_expire": 0, "batch_creates_lost": 0}
UNSET |= dict.fromkeys(("batch_s", "batch_errored", "batch_expired", "batch_calls_fail", "batch_output_late_s"), 0.0)
FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "slow": {"batch_s": 0.2},
    "errors": {"batch_errored": 0.2, "batch_expired": 0.2},
    "expired": {"batches_expire": 1},
    "lost": {"batch_creates_lost": 2},
    "calls": {"batch_calls_fail": 0.15},
    "off_schema": {"faults": {"off_schema": 0.3}},
    "late": {"batch_output_late_s": 0.3},
}


def _cases() -> Iterator[Any]:
    """Yield each provider with each fault; those that take seconds are marked slow."""
    for name in NAMES:
        for fault in FAULTS:
            marks = [pytest.mark.slow] if fault == "calls" and name != "openai" else []
            yield pytest.param(name, fault, marks=marks)


@pytest.mark.parametrize(("name", "fault"), list(_cases()))
def test_each_provider_answers_all_and_is_paid_once(
    name: str, fault: str, server: llm_server.Server, tmp_path: Path
) -> None:
    server.settings(**FAULTS[fault])

    def review(reply: Reply) -> str | None:
        return "it is off the schema" if "unexpected" in reply.text else None

    ended = ask(tmp_path, provider_of(name, server), jobs_of(30, review=review), batch_requests=10)
    assert all_replied(ended, 30)
    log = server.log(paid=True)
    assert log["sources"] == {f"{name} batch": log["requests"]}
    told = spent(tmp_path)
    assert told.unknown == 0
    assert told.dollars == pytest.approx(_cost(ended) / 2) or fault == "off_schema"
    if (name, fault) != ("gemini", "expired"):  # then Gemini does not give what was answered
        assert not log["paid_more_than_once"]
        assert told.requests == sum(log["paid_by_identity"].values()) + log["outcomes"].get("off_schema", 0)


def _cost(ended: dict[int, Outcome]) -> float:
    return sum(dollars(outcome.reply.usage) for outcome in ended.values() if outcome.reply is not None)


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/.."]
from fake_providers import priced
from test_batch_drive import jobs_of
from shelfqa.providers.base import PROVIDERS
from shelfqa.providers.client import Client
from shelfqa.providers.store import Store

provider = PROVIDERS.load(sys.argv[3])("model-1", base_url=sys.argv[4], timeout_s=10)
settings = priced(batch=True, poll_s=0.02, batch_requests=10)
with Store(Path(sys.argv[1]) / "replies.sqlite") as store:
    print("begun", flush=True)
    Client(provider, settings, store, run="run").complete(jobs_of(60), lambda *_: None)
"""


@pytest.mark.parametrize(
    ("name", "kills"), [("openai", 2), *(pytest.param(name, 8, marks=[pytest.mark.slow]) for name in NAMES)]
)
def test_a_run_that_is_killed_at_any_moment_pays_nothing_twice(
    name: str, kills: int, server: llm_server.Server, tmp_path: Path
) -> None:
    server.settings(batch_s=0.3, batch_expired=0.1, batch_errored=0.1, batch_creates_lost=1)
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent), name, server.url(name)]
    for attempt in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.05 + attempt * 1.2 / kills)
            process.kill()
    ended = ask(tmp_path, provider_of(name, server), jobs_of(60), batch_requests=10, poll_s=0.02)
    assert all_replied(ended, 60)
    log = server.log(paid=True)
    assert not log["paid_more_than_once"]
    assert len(log["paid_by_identity"]) == 60
    assert spent(tmp_path).dollars == pytest.approx(_cost(ended) / 2)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_key_is_nowhere(
    name: str, batch: bool, server: llm_server.Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    faults = {"server_error": 0.2, "dropped": 0.1, "busy": 0.1, "bad_request_always": 0.1}
    server.settings(faults=faults, batch_errored=0.1, batch_creates_lost=1)
    provider = provider_of(name, server)
    ask(tmp_path, provider, jobs_of(20), batch=batch)
    server.settings(key="sk-another")
    with pytest.raises(UserError, match="is not accepted") as caught:
        ask(tmp_path, provider, jobs_of(30), batch=batch)
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in f"{error}{error!r}"
        error = error.__cause__ or error.__context__
    assert KEY not in caplog.text
    assert KEY not in repr(provider)
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert KEY.encode() not in held
    assert b"question 0" not in held
    assert reply_to("x").text not in caplog.text
