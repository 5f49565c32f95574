"""Batches of each provider, against a server on 127.0.0.1 that takes them as that provider does."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from batch_server import Batches, batching

from shelfqa.providers.base import (
    PASSING,
    PROVIDERS,
    BatchItem,
    BatchProvider,
    BatchState,
    ProviderError,
    Reply,
    Request,
    Usage,
)
from shelfqa.providers.jsonl import lines_of
from shelfqa.providers.scripted import Scripted

pytest.importorskip("openai")
pytest.importorskip("anthropic")
pytest.importorskip("google.genai")

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

KEY = "sk-secret-0123456789"
NAMES = ("anthropic", "gemini", "openai")
IDS = {"anthropic": "msgbatch_1", "gemini": "batches/b-1", "openai": "batch-1"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
PICTURE = b"\xff\xd8\xff picture"

Found = TypeVar("Found")
Results = dict[str, Reply | ProviderError]


@pytest.fixture(params=NAMES)
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batches]:
    for name in ("GOOGLE_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GEMINI_BASE_URL", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in NAMES:
        monkeypatch.setenv(f"{name.upper()}_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with batching(request.param) as state:
        yield state


@pytest.fixture
def made(request: pytest.FixtureRequest, server: Batches) -> BatchProvider:
    name = request.node.callspec.params["server"]
    provider = PROVIDERS.load(name)("model-1", base_url=server.url, timeout_s=10)
    assert isinstance(provider, BatchProvider)
    return provider


def items(*ids: str) -> list[BatchItem]:
    request = Request(prompt="Colour?", system="You know colours.", schema=SCHEMA, max_tokens=77)
    return [BatchItem(id, request, (PICTURE,)) for id in ids]


def run(made: BatchProvider, doing: Callable[[], Awaitable[Found]]) -> Found:
    async def whole() -> Found:
        try:
            return await doing()
        finally:
            await made.close()

    return asyncio.run(whole())


def results_of(made: BatchProvider, batch: str) -> Results:
    async def read() -> Results:
        return {id: result async for id, result in made.batch_results(batch)}

    return run(made, read)


def failed(made: BatchProvider, doing: Callable[[], Awaitable[object]]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        run(made, doing)
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_batch_goes_in_and_replies_come_out(
    server: Batches, made: BatchProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    batch = run(made, lambda: made.submit_batch("shelfqa-1", items("a-1", "b_2", "c")))
    assert batch == IDS[made.name]
    assert [asked.get("custom_id", asked.get("key")) for asked in server.requests] == ["a-1", "b_2", "c"]
    state = run(made, lambda: made.batch_state(batch))
    assert state == BatchState(ended=False, done=0 if made.name == "gemini" else 2)
    server.state = "done"
    server.outcomes = {"b_2": "refused", "c": "expired"}
    state = run(made, lambda: made.batch_state(batch))
    assert (state.ended, state.error) == (True, None)
    found = results_of(made, batch)
    assert list(found) == ["a-1", "b_2", "c"]
    assert found["a-1"] == Reply(text="navy\u2028a-1", model="model-1-exact", usage=Usage(130, 25))
    refused, expired = found["b_2"], found["c"]
    assert isinstance(refused, ProviderError)
    assert isinstance(expired, ProviderError)
    assert (refused.kind, str(refused)) == (
        "request",
        f"{made.name} at 127.0.0.1: the request is refused (status 400: odd)",
    )
    assert expired.kind in PASSING
    assert KEY not in caplog.text + "".join(server.paths)


def test_the_same_goes_into_a_batch_as_to_the_model_alone(server: Batches, made: BatchProvider) -> None:
    seen: list[Any] = []

    def respond(path: str, body: bytes) -> tuple[dict[str, str], object]:
        seen.append(json.loads(body))
        return {}, {}

    (item,) = items("a")
    run(made, lambda: made.submit_batch("shelfqa-1", [item]))
    server.respond = respond  # type: ignore[method-assign]
    failed(made, lambda: made.ask(item.request, item.pictures))
    (asked,) = server.requests
    assert seen == [asked[{"anthropic": "params", "gemini": "request", "openai": "body"}[made.name]]]
    body = json.dumps(seen)
    for part in ("Colour?", "You know colours.", "77", json.dumps(SCHEMA)):
        assert part in body
    if made.name == "openai":
        assert (asked["method"], asked["url"]) == ("POST", "/v1/chat/completions")


def test_a_batch_whose_id_was_lost_is_found(server: Batches, made: BatchProvider) -> None:
    before = time.time() - 1
    run(made, lambda: made.submit_batch("shelfqa-0", items("a", "b", "c")))
    server.lost = True
    assert failed(made, lambda: made.submit_batch("shelfqa-1", items("a", "b", "c"))).kind == "connection"
    found = run(made, lambda: made.find_batch("shelfqa-1", 3, before, lambda _: False))
    assert found == IDS[made.name].replace("1", "2")
    if made.name == "anthropic":  # which keeps no names
        assert run(made, lambda: made.find_batch("shelfqa-1", 4, before, lambda _: False)) is None
        assert run(made, lambda: made.find_batch("shelfqa-1", 3, time.time() + 1, lambda _: False)) is None
        assert run(made, lambda: made.find_batch("shelfqa-1", 3, before, lambda id: id == found)) == IDS["anthropic"]
    else:
        assert run(made, lambda: made.find_batch("shelfqa-7", 3, before, lambda _: False)) is None


def test_batches_that_end_early_keep_what_they_have(server: Batches, made: BatchProvider) -> None:
    batch = run(made, lambda: made.submit_batch("shelfqa-1", items("a", "b")))
    server.outcomes = {"b": "expired"}
    for server.state in ("expired", "cancelled"):
        state = run(made, lambda: made.batch_state(batch))
        assert (state.ended, state.error) == (True, None)
        found = results_of(made, batch)
        if made.name == "gemini":  # tells no file of results then
            assert found == {}
            continue
        assert isinstance(found["a"], Reply)
        assert isinstance(found["b"], ProviderError)
        assert found["b"].kind in PASSING


def test_a_batch_that_failed_as_a_whole(server: Batches, made: BatchProvider) -> None:
    batch = run(made, lambda: made.submit_batch("shelfqa-1", items("a")))
    server.state = "failed"
    if made.name != "openai":  # Gemini's SDK does not tell why, and Anthropic's batches do not fail
        state = run(made, lambda: made.batch_state(batch))
        assert state.ended
        assert state.error == {"gemini": "gemini at 127.0.0.1: the batch failed"}.get(made.name)
        return
    for code, kind in (
        ("token_limit_exceeded", "busy"),
        ("billing_hard_limit_reached", "quota"),
        ("model_not_found", "model"),
        ("invalid_json_line", "request"),
    ):
        server.failure = {"code": code, "message": f"line 1 of {KEY}\nis odd"}
        state = run(made, lambda: made.batch_state(batch))
        assert (state.ended, state.error_kind) == (True, kind)
        assert state.error is not None
        assert state.error.endswith("line 1 of *** is odd)")
    assert results_of(made, batch) == {}


def test_results_that_cannot_be_read(server: Batches, made: BatchProvider) -> None:
    batch = run(made, lambda: made.submit_batch("shelfqa-1", items("a", "b")))
    server.state, server.outcomes = "done", {"a": "unsaid"}
    found = results_of(made, batch)
    assert isinstance(found["a"], ProviderError)
    assert found["a"].kind == "unreadable"
    assert isinstance(found["b"], Reply)
    server.broken = True
    with pytest.raises(ProviderError, match="cannot be read"):
        results_of(made, batch)


def test_a_setting_that_is_refused_in_a_batch_is_left_out_of_the_next(server: Batches, made: BatchProvider) -> None:
    batch = run(made, lambda: made.submit_batch("shelfqa-1", items("a", "b", "c")))
    assert "temperature" in json.dumps(server.requests)
    server.state, server.outcomes = "done", {"a": "settings", "b": "settings", "c": "settings"}
    found = results_of(made, batch)
    assert {result.kind for result in found.values() if isinstance(result, ProviderError)} == {"server"}
    run(made, lambda: made.submit_batch("shelfqa-2", items("a")))
    assert "temperature" not in json.dumps(server.requests)
    assert json.dumps(SCHEMA) in json.dumps(server.requests)


def test_lines_end_only_where_a_line_feed_is() -> None:
    async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    async def lines(*parts: bytes) -> list[bytes]:
        return [line async for line in lines_of(chunks(*parts))]

    assert asyncio.run(lines(b"a", b"b\nc", b"d\n\n", b"\re\xe2\x80\xa8f\n", b"g")) == [
        b"ab",
        b"cd",
        b"\re\xe2\x80\xa8f",
        b"g",
    ]
    assert asyncio.run(lines()) == []


def test_a_script_takes_no_batches() -> None:
    assert not isinstance(Scripted({}), BatchProvider)
