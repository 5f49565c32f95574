"""The test server of models speaks to the SDKs as their own servers do, and fails as it is told."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from llm_faults import Faults, digest, identity_of, product_of, say, settings_from
from llm_server import Server, running

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
genai = pytest.importorskip("google.genai")
httpx2 = pytest.importorskip("httpx2")

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

PROVIDERS = ("openai", "anthropic", "gemini")
MODEL = "some-model"
JPEG = b"\xff\xd8\xff"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "pairs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "question": {"type": "string"},
                    "answer": {"type": "string"},
                    "kind": {"type": "string", "enum": ["colour", "shape"]},
                    "sure": {"type": "boolean"},
                    "score": {"type": "integer"},
                },
                "required": ["question", "answer", "kind", "sure", "score"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["pairs"],
    "additionalProperties": False,
}


class Got(NamedTuple):
    text: str
    ending: str
    input_tokens: int
    output_tokens: int
    model: str


class Clients:
    """The SDKs' clients, which send nothing twice."""

    def __init__(self, server: Server, *, key: str = "k", timeout_s: float = 5.0) -> None:
        shared = {"api_key": key, "max_retries": 0, "timeout": timeout_s}
        self.openai = openai.OpenAI(base_url=server.url("openai"), **shared)
        self.anthropic = anthropic.Anthropic(base_url=server.url("anthropic"), **shared)
        options = {"base_url": server.url("gemini"), "timeout": int(timeout_s * 1000)}
        self.gemini = genai.Client(vertexai=False, api_key=key, http_options=options)

    def close(self) -> None:
        for client in (self.openai, self.anthropic, self.gemini):
            client.close()

    def ask(self, provider: str, prompt: str, **how: Any) -> Got:
        reply = getattr(self, provider)
        for name in METHODS[provider]:
            reply = getattr(reply, name)
        return got(provider, reply(**arguments(provider, prompt, **how)))


METHODS = {
    "openai": ("chat", "completions", "create"),
    "anthropic": ("messages", "create"),
    "gemini": ("models", "generate_content"),
}


def arguments(
    provider: str,
    prompt: str,
    *,
    system: str = "",
    schema: Mapping[str, Any] | None = None,
    pictures: int = 0,
    model: str = MODEL,
) -> dict[str, Any]:
    if provider == "openai":
        url = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/"}}
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": [*[url] * pictures, {"type": "text", "text": prompt}]})
        form = {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}
        return {"model": model, "messages": messages} | ({"response_format": form} if schema else {})
    if provider == "anthropic":
        source = {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}
        content = [*[{"type": "image", "source": source}] * pictures, {"type": "text", "text": prompt}]
        said: dict[str, Any] = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": content}]}
        said |= {"system": system} if system else {}
        return said | ({"output_config": {"format": {"type": "json_schema", "schema": schema}}} if schema else {})
    parts = [genai.types.Part.from_bytes(data=JPEG, mime_type="image/jpeg")] * pictures
    contents = [genai.types.Content(role="user", parts=[*parts, genai.types.Part.from_text(text=prompt)])]
    config: dict[str, Any] = {"system_instruction": system} if system else {}
    if schema:
        config |= {"response_mime_type": "application/json", "response_json_schema": schema}
    return {"model": model, "contents": contents, "config": config}


def got(provider: str, reply: Any) -> Got:
    if provider == "openai":
        first, usage = reply.choices[0], reply.usage
        ending = "refusal" if first.message.refusal else first.finish_reason
        return Got(first.message.content or "", ending, usage.prompt_tokens, usage.completion_tokens, reply.model)
    if provider == "anthropic":
        text = "".join(block.text for block in reply.content)
        return Got(text, reply.stop_reason, reply.usage.input_tokens, reply.usage.output_tokens, reply.model)
    usage = reply.usage_metadata
    if reply.candidates:
        first = reply.candidates[0]
        parts = (first.content and first.content.parts) or []
        text, ending = "".join(part.text for part in parts), first.finish_reason.value
    else:
        text, ending = "", reply.prompt_feedback.block_reason.value
    return Got(text, ending, usage.prompt_token_count, usage.candidates_token_count or 0, reply.model_version)


@pytest.fixture(scope="module")
def process() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def server(process: Server) -> Iterator[Server]:
    """The server as it is without settings."""
    yield process
    settings = settings_from({})
    process.settings(**{name: getattr(settings, name) for name in settings.__dataclass_fields__})
    process.reset()


@pytest.fixture(scope="module")
def shared_clients(process: Server) -> Iterator[Clients]:
    clients = Clients(process)
    yield clients
    clients.close()


@pytest.fixture
def clients(server: Server, shared_clients: Clients) -> Clients:
    return shared_clients


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


def run_batch(
    clients: Clients, server: Server, provider: str, prompts: Mapping[str, str]
) -> tuple[str, dict[str, str], str]:
    """Hand in a batch, wait, and return how it ended, how each request did, and its id."""
    bodies = {id_: arguments(provider, prompt, schema=SCHEMA) for id_, prompt in prompts.items()}
    deadline = time.monotonic() + 5
    if provider == "openai":
        url = "/v1/chat/completions"
        lines = [{"custom_id": id_, "method": "POST", "url": url, "body": body} for id_, body in bodies.items()]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        file = clients.openai.files.create(file=("in.jsonl", content), purpose="batch")
        batches = clients.openai.batches
        metadata = {"name": "mine"}
        batch = batches.create(input_file_id=file.id, endpoint=url, completion_window="24h", metadata=metadata)
        assert batch.status == "in_progress"
        assert next(iter(batches.list(limit=1))).metadata == {"name": "mine"}
        while batch.status == "in_progress" and time.monotonic() < deadline:
            batch = batches.retrieve(batch.id)
            time.sleep(0.01)
        results = {}
        for output in (batch.output_file_id, batch.error_file_id):
            for line in clients.openai.files.content(output).text.splitlines() if output else []:
                one = json.loads(line)
                body = one["response"] and one["response"]["body"]
                if body and "choices" in body:
                    results[one["custom_id"]] = body["choices"][0]["message"]["content"]
                else:
                    results[one["custom_id"]] = one["error"]["code"] if one["error"] else body["error"]["type"]
        return batch.status, results, batch.id
    if provider == "anthropic":
        batches = clients.anthropic.messages.batches
        batch = batches.create(requests=[{"custom_id": id_, "params": body} for id_, body in bodies.items()])
        assert next(iter(batches.list(limit=1))).id == batch.id
        while batch.processing_status != "ended" and time.monotonic() < deadline:
            batch = batches.retrieve(batch.id)
            time.sleep(0.01)
        results = {}
        for one in batches.results(batch.id):
            ok = one.result.type == "succeeded"
            results[one.custom_id] = one.result.message.content[0].text if ok else one.result.type
        return batch.processing_status, results, batch.id
    lines = []
    for id_, prompt in prompts.items():
        config = {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
        contents = [{"role": "user", "parts": [{"text": prompt}]}]
        lines.append({"key": id_, "request": {"contents": contents, "generationConfig": config}})
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = clients.gemini.files.upload(file=io.BytesIO(content), config={"mime_type": "jsonl", "display_name": "in"})
    assert file.size_bytes == len(content)
    batch = clients.gemini.batches.create(model=MODEL, src=file.name, config={"display_name": "mine"})
    assert clients.gemini.batches.list(config={"page_size": 1}).page[0].display_name == "mine"
    while not batch.done and time.monotonic() < deadline:
        batch = clients.gemini.batches.get(name=batch.name)
        time.sleep(0.01)
    results = {}
    if batch.dest:
        for line in clients.gemini.files.download(file=batch.dest.file_name).splitlines():
            one = json.loads(line)
            ok = "response" in one
            text = one["response"]["candidates"][0]["content"]["parts"][0]["text"] if ok else one["error"]["code"]
            results[one["key"]] = text
    return batch.state.value, results, batch.name


ENDED = {"openai": "completed", "anthropic": "ended", "gemini": "JOB_STATE_SUCCEEDED"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_batch(server: Server, clients: Clients, provider: str) -> None:
    server.settings(batch_s=0.1)
    prompts = {f"id-{i}": f"prompt {i}" for i in range(5)}
    state, results, _ = run_batch(clients, server, provider, prompts)
    assert state == ENDED[provider]
    assert results == {id_: say(prompt, "", SCHEMA, 0) for id_, prompt in prompts.items()}
    log = server.log()
    assert log["paid"] == {"1": 5}
    assert log["sources"] == {f"{provider} batch": 5}
    assert log["batch_calls"][f"{provider} create"] == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_batch_of_which_some_fail(server: Server, clients: Clients, provider: str) -> None:
    server.settings(batch_errored=0.3, batch_expired=0.3, batch_s=0.02)
    prompts = {f"id-{i}": f"prompt {i}" for i in range(60)}
    state, results, _ = run_batch(clients, server, provider, prompts)
    errored, expired = {"openai": ("server_error", "batch_expired"), "anthropic": ("errored", "expired")}.get(
        provider, (13, 4)
    )
    assert state == {"openai": "expired"}.get(provider, ENDED[provider])
    said: list[object] = list(results.values())
    assert len(said) == 60
    assert 8 < said.count(errored) < 28
    assert 8 < said.count(expired) < 28
    assert server.log()["paid"] == {"1": 60 - said.count(errored) - said.count(expired)}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_batch_that_fails_and_batch_that_expires(server: Server, clients: Clients, provider: str) -> None:
    server.settings(batches_fail=1, batches_expire=1, batch_part_done=0.5, batch_s=0.02)
    prompts = {f"id-{i}": f"prompt {i}" for i in range(4)}
    failed, results, id_ = run_batch(clients, server, provider, prompts)
    assert failed == {"openai": "failed", "anthropic": "ended", "gemini": "JOB_STATE_FAILED"}[provider]
    assert results == (dict.fromkeys(prompts, "errored") if provider == "anthropic" else {})
    if provider == "openai":
        assert clients.openai.batches.retrieve(id_).errors.data[0].code == "token_limit_exceeded"
    expired, results, _ = run_batch(clients, server, provider, prompts)
    assert expired == {"openai": "expired", "anthropic": "ended", "gemini": "JOB_STATE_EXPIRED"}[provider]
    assert sum(text.startswith("{") for text in results.values()) == (0 if provider == "gemini" else 2)
    ended, results, _ = run_batch(clients, server, provider, prompts)
    assert ended == ENDED[provider]
    assert len(results) == 4


def test_batch_whose_making_is_not_heard_of(server: Server, clients: Clients) -> None:
    server.settings(batch_creates_lost=1, batch_s=0.02)
    with pytest.raises(anthropic.APIConnectionError):
        run_batch(clients, server, "anthropic", {"id-1": "prompt"})
    assert len(clients.anthropic.messages.batches.list().data) == 1
    server.settings(batch_calls_fail=1.0)
    with pytest.raises(openai.InternalServerError):
        clients.openai.batches.list()


def test_batches_of_gemini_inline_and_late(server: Server, clients: Clients) -> None:
    server.settings(batch_output_late_s=0.1)
    contents = [{"role": "user", "parts": [{"text": "prompt"}]}]
    batches = clients.gemini.batches
    name = batches.create(model=MODEL, src=[{"contents": contents, "metadata": {"key": "id-1"}}]).name
    while not (batch := batches.get(name=name)).done:
        time.sleep(0.01)
    assert batch.state.value == "JOB_STATE_SUCCEEDED"
    assert batch.dest is None
    time.sleep(0.11)
    (one,) = batches.get(name=name).dest.inlined_responses
    assert one.metadata == {"key": "id-1"}
    assert one.response.text == say("prompt", "", None, 0)


def test_lists_of_batches_go_on(server: Server, clients: Clients) -> None:
    requests = [{"custom_id": "a", "params": arguments("anthropic", "prompt")}]
    ids = [clients.anthropic.messages.batches.create(requests=requests).id for _ in range(5)]
    assert [one.id for one in clients.anthropic.messages.batches.list(limit=2)] == ids[::-1]
    inlined = [{"contents": [{"role": "user", "parts": [{"text": "prompt"}]}]}]
    names = [clients.gemini.batches.create(model=MODEL, src=inlined).name for _ in range(3)]
    assert [one.name for one in clients.gemini.batches.list(config={"page_size": 2})] == names[::-1]


def test_async_batch_clients(server: Server) -> None:
    async def through_all() -> list[Any]:
        client = genai.Client(vertexai=False, api_key="k", http_options={"base_url": server.url("gemini")})
        content = json.dumps({"key": "a", "request": {"contents": [{"parts": [{"text": "prompt"}]}]}}).encode()
        file = await client.aio.files.upload(file=io.BytesIO(content), config={"mime_type": "jsonl"})
        batch = await client.aio.batches.create(model=MODEL, src=file.name)
        while not (batch := await client.aio.batches.get(name=batch.name)).done:
            await asyncio.sleep(0.01)
        results = await client.aio.files.download(file=batch.dest.file_name)
        await client.aio.aclose()
        client.close()
        async with anthropic.AsyncAnthropic(base_url=server.url("anthropic"), api_key="k") as other:
            requests = [{"custom_id": "a", "params": arguments("anthropic", "prompt")}]
            made = await other.messages.batches.create(requests=requests)
            while (await other.messages.batches.retrieve(made.id)).processing_status != "ended":
                await asyncio.sleep(0.01)
            ended = [one async for one in await other.messages.batches.results(made.id)]
        async with openai.AsyncOpenAI(base_url=server.url("openai"), api_key="k") as third:
            uploaded = await third.files.create(file=("in.jsonl", b"{}"), purpose="batch")
            downloaded = await third.files.content(uploaded.id)
        return [json.loads(results)["key"], ended[0].custom_id, downloaded.text]

    assert asyncio.run(through_all()) == ["a", "a", "{}"]
