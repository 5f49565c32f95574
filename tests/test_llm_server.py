"""The test server of models speaks to the SDKs as their own servers do, and fails as it is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from llm_clients import (
    MODEL,
    PROVIDERS,
    SCHEMA,
    Clients,
    Got,
    anthropic,
    arguments,
    clients,
    genai,
    got,
    openai,
    process,
    server,
    shared_clients,
)
from llm_faults import Faults, digest, identity_of, product_of, say, settings_from
from llm_server import Server, running

httpx2 = pytest.importorskip("httpx2")

__all__ = ["clients", "process", "server", "shared_clients"]  # the fixtures
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def check_pairs(text: str) -> list[dict[str, Any]]:
    pairs: list[dict[str, Any]] = json.loads(text)["pairs"]
    assert len(pairs) == 3
    assert len({pair["question"] for pair in pairs}) == 3
    for pair in pairs:
        assert pair["question"].endswith("?")
        assert pair["answer"].isalpha()
        assert pair["answer"] not in pair["question"]
        assert pair["kind"] in ("colour", "shape")
        assert isinstance(pair["sure"], bool)
        assert isinstance(pair["score"], int)
    return pairs


@pytest.mark.parametrize("provider", PROVIDERS)
def test_ask(server: Server, clients: Clients, provider: str) -> None:
    first = clients.ask(provider, "A prompt of 23 letters.", system="Ask well.", schema=SCHEMA, pictures=2)
    again = clients.ask(provider, "A prompt of 23 letters.", system="Ask well.", schema=SCHEMA, pictures=2)
    other = clients.ask(provider, "Another prompt.", system="Ask well.", schema=SCHEMA)
    assert first == again
    assert check_pairs(first.text) != check_pairs(other.text)
    assert first.model == f"{MODEL}-exact"
    assert first.input_tokens == (9 // 4 + 1) + (23 // 4 + 1) + 2 * 258
    assert first.output_tokens == len(first.text) // 4 + 1
    assert first.ending in ("stop", "end_turn", "STOP")
    assert clients.ask(provider, "No schema.").text.isalpha()
    log = server.log(paid=True)
    assert log["outcomes"] == {"ok": 4}
    assert log["paid"] == {"1": 2, "2": 1}
    assert log["paid_more_than_once"] == [identity_of("Ask well.", "A prompt of 23 letters.")]
    assert log["paid_by_identity"][identity_of("", "No schema.")] == 1


def test_async_clients_at_once(server: Server) -> None:
    server.settings(latency_s=0.05)

    async def ask_all() -> list[Got]:
        shared = {"api_key": "k", "max_retries": 0}
        async with (
            openai.AsyncOpenAI(base_url=server.url("openai"), **shared) as of_openai,
            anthropic.AsyncAnthropic(base_url=server.url("anthropic"), **shared) as of_anthropic,
        ):
            options = {"base_url": server.url("gemini")}
            of_gemini = genai.Client(vertexai=False, api_key="k", http_options=options)
            methods = {
                "openai": of_openai.chat.completions.create,
                "anthropic": of_anthropic.messages.create,
                "gemini": of_gemini.aio.models.generate_content,
            }

            async def ask(provider: str, prompt: str) -> Got:
                return got(provider, await methods[provider](**arguments(provider, prompt, schema=SCHEMA)))

            replies = await asyncio.gather(*(ask(provider, str(i)) for i in range(10) for provider in PROVIDERS))
            await of_gemini.aio.aclose()
            of_gemini.close()
            return replies

    assert {one.text for one in asyncio.run(ask_all())} == {say(str(i), "", SCHEMA, 0) for i in range(10)}
    log = server.log()
    assert log["most_at_once"] > 10
    assert log["sources"] == {"openai": 10, "anthropic": 10, "gemini": 10}


STATUSES = {
    "busy": (429, 429, 429),
    "busy_retry_after": (429, 429, 429),
    "server_error": (500, 500, 500),
    "unavailable": (503, 529, 503),
    "bad_request_always": (400, 400, 400),
}


def faults_of(fault: str) -> Faults:
    shares: dict[str, Any] = {fault: 1.0}
    return Faults(**shares, retry_after_s=0.25)


def status_of(error: Any) -> int:
    return int(getattr(error, "status_code", None) or error.code)


@pytest.mark.parametrize("fault", STATUSES)
def test_errors(server: Server, clients: Clients, fault: str) -> None:
    server.settings(faults=faults_of(fault))
    for provider, status in zip(PROVIDERS, STATUSES[fault], strict=True):
        kinds = (openai.APIStatusError, anthropic.APIStatusError, genai.errors.APIError)
        with pytest.raises(kinds) as caught:
            clients.ask(provider, f"asked of {provider}")
        error: Any = caught.value
        assert status_of(error) == status
        assert error.message
        if provider == "gemini":
            details = error.details["error"].get("details", [])
            delays = [one["retryDelay"] for one in details if one["@type"].endswith("RetryInfo")]
            assert delays == (["0.25s"] if fault == "busy_retry_after" else [])
        else:
            waits = {"openai": ("retry-after-ms", "250"), "anthropic": ("retry-after", "0.25")}
            name, wait = waits[provider]
            assert error.response.headers.get(name) == (wait if fault == "busy_retry_after" else None)
    assert server.log()["outcomes"] == {fault.removesuffix("_always"): 3}
    assert server.log()["paid"] == {}


def test_broken_connections(server: Server) -> None:
    lost = (openai.APIConnectionError, anthropic.APIConnectionError, httpx2.TransportError)
    clients = Clients(server, timeout_s=0.2)
    for fault in ("dropped", "broken_off", "hang"):
        server.settings(faults=faults_of(fault))
        for provider in PROVIDERS:
            with pytest.raises(lost) as caught:
                clients.ask(provider, f"{fault} of {provider}")
            kinds = " ".join(kind.__name__ for kind in type(caught.value).__mro__)
            assert ("Timeout" in kinds) == (fault == "hang")
    clients.close()
    log = server.log()
    assert log["outcomes"] == log["not_written"] == {"dropped": 3, "broken_off": 3, "hang": 3}


@pytest.mark.parametrize(
    ("fault", "endings"),
    [
        ("cut", ("length", "max_tokens", "MAX_TOKENS")),
        ("null_content", ("stop", "end_turn", "STOP")),
        ("refused", ("refusal", "refusal", "PROHIBITED_CONTENT")),
        ("filtered", ("content_filter", "400", "SAFETY")),
        ("off_schema", ("stop", "end_turn", "STOP")),
    ],
)
def test_contents(server: Server, clients: Clients, fault: str, endings: tuple[str, ...]) -> None:
    server.settings(faults=faults_of(fault))
    for provider, ending in zip(PROVIDERS, endings, strict=True):
        if ending == "400":
            with pytest.raises(anthropic.BadRequestError, match="content filtering"):
                clients.ask(provider, provider, schema=SCHEMA)
            continue
        reply = clients.ask(provider, provider, schema=SCHEMA)
        assert reply.ending == ending
        if fault == "cut":
            with pytest.raises(json.JSONDecodeError):
                json.loads(reply.text)
        elif fault == "off_schema":
            assert "pairs" not in json.loads(reply.text)
        else:
            assert reply.text == ""


def test_key_model_quota_and_settings(server: Server, clients: Clients) -> None:
    kinds = (openai.APIStatusError, anthropic.APIStatusError, genai.errors.APIError)

    def error_of(provider: str, **how: Any) -> Any:
        with pytest.raises(kinds) as caught:
            clients.ask(provider, "prompt", **how)
        return caught.value

    server.settings(key="another")
    assert [status_of(error_of(provider)) for provider in PROVIDERS] == [401, 401, 400]
    assert error_of("openai").code == "invalid_api_key"
    assert error_of("gemini").details["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    server.settings(key="")
    assert [status_of(error_of(provider, model="missing-model")) for provider in PROVIDERS] == [404] * 3
    server.settings(refuses=["messages", "contents"])
    assert [status_of(error_of(provider)) for provider in PROVIDERS] == [400] * 3
    assert error_of("openai").code == "unsupported_parameter"
    server.settings(refuses=[], quota_requests=1)
    clients.ask("openai", "the last")
    assert [status_of(error_of(provider)) for provider in PROVIDERS] == [429, 400, 429]
    assert error_of("openai").code == "insufficient_quota"
    assert "credit balance" in error_of("anthropic").message
    assert "PerDay" in str(error_of("gemini").details)
    server.settings(quota_as="spend_limit")
    assert error_of("anthropic").error_code == "enforced_spend_limit_reached"


def test_schemas_that_an_api_does_not_take(server: Server, clients: Clients) -> None:
    loose = {"type": "object", "properties": {"answer": {"type": "string"}}}
    with pytest.raises(openai.BadRequestError, match="additionalProperties"):
        clients.ask("openai", "prompt", schema=loose)
    with pytest.raises(anthropic.BadRequestError, match="additionalProperties"):
        clients.ask("anthropic", "prompt", schema=loose)
    with pytest.raises(anthropic.BadRequestError, match="minItems"):
        clients.ask("anthropic", "prompt", schema={"type": "array", "items": {"type": "string"}, "minItems": 3})
    assert json.loads(clients.ask("gemini", "prompt", schema=loose).text)["answer"].isalpha()
    assert server.log()["outcomes"] == {"invalid": 3, "ok": 1}


def test_limit(server: Server, clients: Clients) -> None:
    server.settings(limit_requests=2, limit_window_s=0.4)
    started = time.monotonic()
    for prompt in "ab":
        clients.ask("openai", prompt)
    with pytest.raises(anthropic.RateLimitError) as caught:
        clients.ask("anthropic", "c")
    wait_s = float(caught.value.response.headers["retry-after"])
    assert 0 < wait_s <= 0.4
    time.sleep(wait_s + 0.01)
    clients.ask("openai", "c")
    arrivals = server.arrivals()
    assert [outcome for _, _, outcome, _, _ in arrivals] == ["ok", "ok", "limited", "ok"]
    assert server.arrivals(since=3) == arrivals[3:]
    assert started <= arrivals[0][0] <= time.monotonic()
    assert server.log()["violations"] == 1


def test_faults_follow_from_seed_prompt_and_askings() -> None:
    faults = Faults(busy=0.2, hang=0.1, cut=0.1, refused_always=0.1, off_schema_always=0.05)
    prompts = [digest(i) for i in range(4000)]
    met = [[faults.met(1, one, asked) for asked in range(5)] for one in prompts]
    assert met == [[faults.met(1, one, asked) for asked in range(5)] for one in prompts]
    assert met != [[faults.met(2, one, asked) for asked in range(5)] for one in prompts]
    always = [one for one in met if one[3] != "ok"]
    assert 0.12 < len(always) / len(met) < 0.18
    assert all(len(set(one)) == 1 and one[0] in ("refused", "off_schema") for one in always)
    passing = [one for one in met if one[3] == "ok"]
    assert all(one[3:] == ["ok", "ok"] for one in passing)
    assert 0.36 < sum(one[0] != "ok" for one in passing) / len(passing) < 0.44
    assert {faults.met(1, one, 0, in_batch=True) for one in prompts} == {"ok", "cut", "refused", "off_schema"}
    with pytest.raises(ValueError, match="at most 1"):
        Faults(busy=0.6, hang=0.6)
    with pytest.raises(ValueError, match="unknown settings"):
        settings_from({"latency": 1})


def test_a_prompt_asked_again_with_the_reason_is_the_same_product(server: Server, clients: Clients) -> None:
    server.settings(identity="llm_faults:product_of", faults=Faults(off_schema_always=0.5))
    prompt = "Look at it.\nProduct 1 of 1\nproduct_id: {}\n"
    for product in range(20):
        first = clients.ask("openai", prompt.format(product), schema=SCHEMA)
        again = clients.ask("openai", prompt.format(product) + "The answer was too long.", schema=SCHEMA)
        assert ("unexpected" in first.text) == ("unexpected" in again.text)
    assert server.log()["identities"] == 20
    assert product_of(prompt.format("B07")) == "B07"
    assert product_of("product_id: B07") == "product_id: B07"


def say_hello(prompt: str, system: str, schema: Mapping[str, Any] | None, pictures: int) -> str:
    return f"{prompt} {system} {pictures}"


def test_say_may_be_given() -> None:
    with running(say=say_hello, seed=3) as server:
        clients = Clients(server)
        assert clients.ask("gemini", "a", system="b", pictures=1).text == "a b 1"
        clients.close()
