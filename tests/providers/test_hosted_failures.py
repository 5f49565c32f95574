"""Errors, and settings that a model refuses: what the hosted providers make of them, at a server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Mapping
from typing import Any

import pytest
from hosted_server import KEY, NAMES, Answering, ask, failure, prompt_of, provider, reply, schema_of, server

from shelfqa.providers.base import Provider, ProviderError, Reply, Request

pytest.importorskip("openai")
pytest.importorskip("anthropic")
pytest.importorskip("google.genai")

__all__ = ["server"]  # the fixture
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

SCHEMA = {
    "type": "object",
    "properties": {"colour_of_it": {"type": "string"}},
    "required": ["colour_of_it"],
    "additionalProperties": False,
}


def why(made: Provider, **request: Any) -> ProviderError:
    """The error of a request that fails."""
    with pytest.raises(ProviderError) as caught:
        ask(made, **request)
    line = str(caught.value)
    assert "\n" not in line
    assert KEY not in line + repr(caught.value) + repr(made)
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_tried_again(name: str, server: Answering) -> None:
    made = provider(name, server)
    for status in (408, 409, 429, 500, 503, 529):
        server.asked, server.answers = [], [failure(status, "slow down"), reply(name, "yes")]
        why(made)
        assert len(server.asked) == 1


FAILURES = [
    (401, f"Incorrect API key provided: {KEY}", "key", "is not accepted (status 401)"),
    (400, f"API key not valid: {KEY}", "key", "is not accepted (status 400)"),
    (403, f"{KEY} may not", "key", "not permitted (status 403)"),
    (402, "Insufficient credits", "quota", "the quota or the credit is used up (status 402: Insufficient credits)"),
    (404, "no model-1", "model", "no such model or address (status 404: no model-1)"),
    (400, f"bad\nrequest of {KEY}", "request", "the request is refused (status 400: bad request of ***)"),
    (413, "too large", "request", "the request is refused (status 413: too large)"),
    (422, "odd", "request", "the request is refused (status 422: odd)"),
    (408, "late", "timeout", "no reply in time (status 408: late)"),
    (429, "You exceeded your quota", "busy", "too many requests (status 429: You exceeded your quota)"),
    (529, "Overloaded", "busy", "too many requests (status 529: Overloaded)"),
    (500, "oh", "server", "the server failed (status 500: oh)"),
    (503, "oh", "server", "the server failed (status 503: oh)"),
    (400, "Your credit balance is too low to access it.", "quota", "credit balance is too low to access it.)"),
    (400, "You have reached your specified API usage limits.", "quota", "specified API usage limits.)"),
]


@pytest.mark.parametrize("name", NAMES)
def test_failures_are_one_line_of_a_kind(name: str, server: Answering, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = provider(name, server)
    for status, message, kind, expected in FAILURES:
        server.answers = [failure(status, message)]
        error = why(made)
        assert (error.kind, error.retry_after_s) == (kind, None)
        assert str(error).endswith(expected)
        assert str(error).startswith(f"{name} at 127.0.0.1: ")
    assert KEY not in caplog.text


QUOTAS: list[tuple[str, int, Mapping[str, object], str]] = [
    ("openai", 429, {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}, "quota"),
    ("openai", 400, {"message": "m", "type": "e", "code": "billing_hard_limit_reached"}, "quota"),
    ("openai", 429, {"message": "m", "type": "tokens", "code": "rate_limit_exceeded"}, "busy"),
    ("openai", 429, {"message": "Rate limit exceeded: free-models-per-day", "code": 429}, "quota"),
    ("openai", 403, {"message": "m", "code": 403, "metadata": {"flagged_input": "x"}}, "request"),
    ("anthropic", 400, {"type": "billing_error", "message": "m"}, "quota"),
    ("gemini", 429, {"details": [{"violations": [{"quotaId": "RequestsPerDayPerProject-FreeTier"}]}]}, "quota"),
    ("gemini", 429, {"details": [{"violations": [{"quotaId": "RequestsPerMinutePerProject"}]}]}, "busy"),
    ("gemini", 429, {"details": "?"}, "busy"),
]


@pytest.mark.parametrize(("name", "status", "error", "kind"), QUOTAS)
def test_a_quota_that_is_used_up_is_no_busy_server(
    name: str, status: int, error: Mapping[str, object], kind: str, server: Answering
) -> None:
    server.answers = [(status, {"type": "error", "error": dict(error)})]
    assert why(provider(name, server)).kind == kind


@pytest.mark.parametrize("name", NAMES)
def test_how_long_the_server_asks_to_wait(name: str, server: Answering) -> None:
    made = provider(name, server)
    for header, wait_s in (
        ({"Retry-After-Ms": "1500"}, 1.5),
        ({"Retry-After-Ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "-1"}, None),
    ):
        server.answers, server.headers = [failure(429, "slow down")], header
        assert why(made).retry_after_s == wait_s
    server.headers = {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}
    waits_s = why(made).retry_after_s
    assert waits_s is not None
    assert waits_s > 1e9


def test_gemini_says_in_the_body_how_long_to_wait(server: Answering) -> None:
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    for delay, wait_s in (("12s", 12.0), ("0.5s", 0.5), ("soon", None)):
        details = [{"@type": "x"}, {"@type": kind, "retryDelay": delay}]
        server.answers = [(429, {"error": {"code": 429, "message": "slow", "status": "E", "details": details}})]
        error = why(provider("gemini", server))
        assert (error.kind, error.retry_after_s) == ("busy", wait_s)


@pytest.mark.parametrize("name", NAMES)
def test_replies_that_cannot_be_read(name: str, server: Answering) -> None:
    made = provider(name, server)
    unreadable: list[object] = [b'{"choices": [', b"<html>hello</html>", {}, {"error": {"message": KEY}}, [], "text"]
    for broken in [*unreadable, b"", {"choices": [{"message": 3}], "content": 3, "candidates": 3}]:
        server.answers = [(200, broken)]
        error = why(made)
        assert error.kind == "unreadable"
        assert "the reply cannot be read (" in str(error)
    server.answers = [(502, b"<html>Bad Gateway</html>")]
    assert "the server failed (status 502" in str(why(made))


@pytest.mark.parametrize("name", NAMES)
def test_no_connection_and_no_reply_in_time(name: str, server: Answering) -> None:
    server.answers, server.wait_s = [reply(name, "late")], 0.3
    error = why(provider(name, server, timeout_s=0.05))
    assert (str(error), error.kind) == (f"{name} at 127.0.0.1: no reply in time", "timeout")
    server.answers, server.wait_s = [(0, b"")], 0
    error = why(provider(name, server))
    assert (str(error), error.kind) == (f"{name} at 127.0.0.1: no connection", "connection")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        error = why(provider(name, server))
    assert (str(error), error.kind) == (f"{name} at 127.0.0.1: no connection", "connection")


def test_models_that_refuse_a_setting_go_without(server: Answering) -> None:
    server.answers = [
        failure(400, "Unsupported value: 'temperature' does not support 0."),
        failure(422, "max_completion_tokens: extra inputs are not permitted"),
        reply("openai", "yes"),
    ]
    made = provider("openai", server)
    assert [ask(made).text for _ in range(2)] == ["yes", "yes"]
    sent = [sorted(body.keys() - {"messages", "model"}) for _, _, body in server.asked]
    assert sent == [["max_completion_tokens", "temperature"], ["max_completion_tokens"], ["max_tokens"], ["max_tokens"]]
    server.answers = [failure(400, "`temperature` is deprecated for this model."), reply("anthropic", "yes")]
    assert ask(provider("anthropic", server)).text == "yes"
    assert "temperature" not in server.asked[-1][2]
    server.answers = [(400, {"error": {"message": "temperature: no", "param": "messages[0]"}}), reply("openai", "yes")]
    assert why(provider("openai", server)).kind == "request"


def test_a_model_whose_host_fails(server: Answering) -> None:
    made = provider("openai", server)
    server.answers = [(200, {"choices": [{"finish_reason": "error", "message": {"content": None}}]})]
    error = why(made)
    assert (str(error), error.kind) == ("openai: the model broke off its reply", "server")
    server.answers = [(200, {"error": {"message": f"slow down {KEY}", "code": 429}})]
    error = why(made)
    assert (str(error), error.kind) == ("openai at 127.0.0.1: too many requests (status 429: slow down ***)", "busy")
    server.answers = [reply("gemini", "", ending="OTHER")]
    assert str(why(provider("gemini", server))) == "gemini: the model broke off its reply (OTHER)"


REFUSALS = {
    "anthropic": ["output_config: Extra inputs are not permitted"],
    "gemini": ["Invalid JSON payload received. Unknown name \"responseJsonSchema\" at 'generation_config'"],
    "openai": [
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        "response_format: extra inputs are not permitted",
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_goes_beside_the_prompt_or_at_the_end_of_it(name: str, server: Answering) -> None:
    server.answers = [reply(name, '{"colour_of_it": "navy"}')]
    made = provider(name, server)
    ask(made, schema=SCHEMA)
    assert schema_of(name, server.asked[0][2]) == SCHEMA
    assert prompt_of(name, server.asked[0][2]) == "Colour?"
    server.asked, server.answers = [], [*(failure(400, said) for said in REFUSALS[name]), reply(name, "{}")]
    assert ask(made, schema=SCHEMA, times=2).text == "{}"
    assert len(server.asked) == len(REFUSALS[name]) + 2  # what was refused is remembered
    for _, _, body in server.asked[1:]:
        prompt = prompt_of(name, body)
        assert prompt.startswith("Colour?\n\nReply with one JSON object")
        assert json.dumps(SCHEMA, separators=(",", ":")) in prompt
        assert schema_of(name, body) is None
        assert body.get("generationConfig", body)["temperature"] == 0
    if name == "openai":
        assert server.asked[1][2]["response_format"] == {"type": "json_object"}
    assert "response_format" not in server.asked[-1][2]
    ask(made)
    assert prompt_of(name, server.asked[-1][2]) == "Colour?"


@pytest.mark.parametrize("name", NAMES)
def test_a_request_without_a_schema_drops_none(name: str, server: Answering) -> None:
    server.answers = [failure(400, REFUSALS[name][0])]
    made = provider(name, server)
    assert why(made).kind == "request"
    assert len(server.asked) == 1
    server.answers = [reply(name, "{}")]
    ask(made, schema=SCHEMA)
    assert schema_of(name, server.asked[-1][2]) == SCHEMA


def test_many_refusals_at_once_drop_only_what_is_refused(server: Answering) -> None:
    def choose(body: Any) -> tuple[int, object]:
        if "temperature" in body:
            return failure(400, "Unsupported value: 'temperature' does not support 0.")
        if body.get("response_format", {}).get("type") == "json_schema":
            return failure(400, REFUSALS["openai"][0])
        return reply("openai", "{}")

    server.choose, server.wait_s = choose, 0.02
    made = provider("openai", server)

    async def many() -> list[Reply]:
        request = Request(prompt="Colour?", schema=SCHEMA)
        first = [asyncio.ensure_future(made.ask(request, ())) for _ in range(30)]
        await asyncio.sleep(0.03)  # so that some begin while the refusals of the first come in
        replies = await asyncio.gather(*first, *(made.ask(request, ()) for _ in range(30)))
        await made.close()
        return replies

    assert {said.text for said in asyncio.run(many())} == {"{}"}
    assert len(server.asked) <= 60 * 3
    last = server.asked[-1][2]
    assert "temperature" not in last
    assert all(body.get("response_format") for _, _, body in server.asked)
    assert all("max_completion_tokens" in body for _, _, body in server.asked)
    server.asked, server.choose = [], lambda _: failure(400, f"{REFUSALS['openai'][0]} temperature")
    assert why(made, schema=SCHEMA).kind == "request"  # and there is an end to it
    assert len(server.asked) == 2
