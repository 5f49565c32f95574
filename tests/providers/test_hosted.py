"""The hosted providers against a server on 127.0.0.1 that speaks just enough of each API."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hosted_server import Answering, answering, failure, refusal, reply
from PIL import Image

from shelfqa.errors import ConfigError, ImageError, UserError
from shelfqa.metrics.base import Answered
from shelfqa.metrics.spec import parse
from shelfqa.providers.base import PROVIDERS, Provider, ProviderError, Reply, Request, Usage
from shelfqa.providers.pictures import as_jpeg

pytest.importorskip("openai")
pytest.importorskip("anthropic")
pytest.importorskip("google.genai")

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

KEY = "sk-secret-0123456789"
NAMES = ("anthropic", "gemini", "openai")
VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY", "openai": "OPENAI_API_KEY"}
PATHS = {
    "anthropic": "/v1/messages",
    "gemini": "/v1/models/model-1:generateContent",
    "openai": "/chat/completions",
}
SCHEMA = {
    "type": "object",
    "properties": {"colour_of_it": {"type": "string"}},
    "required": ["colour_of_it"],
    "additionalProperties": False,
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    for name in ("GOOGLE_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GEMINI_BASE_URL", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(ThreadingHTTPServer, "request_queue_size", 128)  # five connections may wait otherwise
    with answering() as state:
        yield state


def provider(name: str, server: Answering, *, timeout_s: float = 10) -> Provider:
    made: Provider = PROVIDERS.load(name)("model-1", base_url=server.url, timeout_s=timeout_s)
    return made


def ask(made: Provider, pictures: Sequence[bytes] = (), times: int = 1, **request: Any) -> Reply:
    """The reply to a request, the last one if it is asked several times."""

    async def all_of_it() -> Reply:
        try:
            for _ in range(times):
                said = await made.ask(Request(prompt="Colour?", **request), pictures)
            return said
        finally:
            await made.close()

    return asyncio.run(all_of_it())


def why(made: Provider, **request: Any) -> ProviderError:
    """The error of a request that fails."""
    with pytest.raises(ProviderError) as caught:
        ask(made, **request)
    line = str(caught.value)
    assert "\n" not in line
    assert KEY not in line + repr(caught.value) + repr(made)
    return caught.value


def picture_of(name: str, body: Any) -> tuple[str, bytes, str]:
    """The type and the bytes of the picture in a request, and the prompt behind it."""
    if name == "gemini":
        first, second = body["contents"][0]["parts"]
        return first["inlineData"]["mimeType"], base64.b64decode(first["inlineData"]["data"]), second["text"]
    first, second = body["messages"][-1]["content"]
    if name == "anthropic":
        return first["source"]["media_type"], base64.b64decode(first["source"]["data"]), second["text"]
    head, data = first["image_url"]["url"].removeprefix("data:").split(";base64,")
    return head, base64.b64decode(data), second["text"]


def schema_of(name: str, body: Any) -> Any:
    """The schema that goes beside the prompt."""
    if name == "gemini":
        mime_type = body["generationConfig"].get("responseMimeType")
        assert mime_type in (None, "application/json")
        return body["generationConfig"].get("responseJsonSchema")
    if name == "anthropic":
        form = body.get("output_config", {}).get("format", {})
        assert form.get("type") in (None, "json_schema")
        return form.get("schema")
    form = body.get("response_format", {}).get("json_schema")
    assert form is None or (form["strict"] is True and form["name"])
    return form and form["schema"]


def prompt_of(name: str, body: Any) -> str:
    if name == "gemini":
        return str(body["contents"][0]["parts"][-1]["text"])
    content = body["messages"][-1]["content"]
    return str(content if isinstance(content, str) else content[-1]["text"])


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_becomes_a_reply(name: str, server: Answering, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [reply(name, "VERDICT: correct"), reply(name, None)]
    made = provider(name, server)
    assert made.model == "model-1"
    assert made.name == name
    said = ask(made, max_tokens=77)
    assert (said.text, said.model) == ("VERDICT: correct", "model-1-exact")
    assert not said.refused
    assert not said.cut
    assert ask(made).text == ""
    path, headers, body = server.asked[0]
    assert path == PATHS[name]
    assert KEY in " ".join(headers.values())
    assert prompt_of(name, body) == "Colour?"
    assert body.get("generationConfig", body)["temperature"] == 0
    assert 77 in body.get("generationConfig", body).values()
    assert "system" not in json.dumps(body)
    assert schema_of(name, body) is None
    assert KEY not in path + caplog.text


@pytest.mark.parametrize("name", NAMES)
def test_pictures_go_along_before_the_prompt(name: str, server: Answering, tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), "navy").save(tmp_path / "a.png")
    picture = as_jpeg(tmp_path / "a.png")
    server.answers = [reply(name, "navy")]
    assert ask(provider(name, server), [picture]).text == "navy"
    assert picture_of(name, server.asked[-1][2]) == ("image/jpeg", picture, "Colour?")


def test_pictures_become_jpeg_of_the_size_asked_for(tmp_path: Path) -> None:
    jpeg, png = tmp_path / "a.jpg", tmp_path / "b.png"
    for path in (jpeg, png):
        Image.new("RGB", (40, 20), "navy").save(path)
        for side_px, size in ((None, (40, 20)), (40, (40, 20)), (100, (40, 20)), (10, (10, 5))):
            sent = Image.open(io.BytesIO(as_jpeg(path, side_px)))
            assert (sent.format, sent.size) == ("JPEG", size)
    assert as_jpeg(jpeg) == as_jpeg(jpeg, 40) == jpeg.read_bytes()
    with pytest.raises(ImageError, match="missing"):
        as_jpeg(tmp_path / "none.png")
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ImageError, match=r"cut\.jpg"):
        as_jpeg(tmp_path / "cut.jpg", 10)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_model_is_told_before_the_prompt(name: str, server: Answering) -> None:
    server.answers = [reply(name, "yes")]
    ask(provider(name, server), system="You know colours.")
    body = server.asked[0][2]
    told = {
        "anthropic": lambda: body["system"],
        "gemini": lambda: body["systemInstruction"]["parts"][0]["text"],
        "openai": lambda: body["messages"][0]["role"] == "system" and body["messages"][0]["content"],
    }[name]()
    assert told == "You know colours."
    assert prompt_of(name, body) == "Colour?"


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_counted_with_what_was_cached_and_thought(name: str, server: Answering) -> None:
    server.answers = [reply(name, "yes", usage=True), reply(name, "yes")]
    made = provider(name, server)
    assert ask(made).usage == Usage(input_tokens=130, output_tokens=25)
    assert ask(made).usage == Usage(0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_replies_that_are_cut_or_refused_say_so(name: str, server: Answering) -> None:
    made = provider(name, server)
    for ending in {"anthropic": ("max_tokens",), "gemini": ("MAX_TOKENS",), "openai": ("length",)}[name]:
        server.answers = [reply(name, "it is na", ending=ending)]
        said = ask(made)
        assert (said.text, said.cut, said.refused) == ("it is na", True, False)
    refusals = {
        "anthropic": ("refusal",),
        "gemini": ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY"),
        "openai": ("content_filter",),
    }[name]
    for answer in [refusal(name), *(reply(name, "it is na", ending=ending) for ending in refusals)]:
        server.answers = [answer]
        said = ask(made)
        assert (said.text, said.cut, said.refused, said.model) == ("", False, True, "model-1-exact")


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


@pytest.mark.parametrize("name", NAMES)
def test_more_requests_at_once_than_a_client_takes(name: str, server: Answering) -> None:
    server.answers, server.wait_s = [reply(name, "yes")], 0.1
    made = provider(name, server)

    async def many() -> list[Reply]:
        try:
            return await asyncio.gather(*(made.ask(Request(prompt="Colour?"), ()) for _ in range(50)))
        finally:
            await made.close()

    assert [said.text for said in asyncio.run(many())] == ["yes"] * 50
    assert server.most_at_once > 25


@pytest.mark.parametrize("name", NAMES)
def test_one_event_loop_after_another(name: str, server: Answering) -> None:
    server.answers = [reply(name, "yes")]
    made = provider(name, server)
    assert ask(made).text == "yes"
    assert asyncio.run(made.ask(Request(prompt="Colour?"), ())).text == "yes"  # and `close` is forgotten
    assert ask(made, times=2).text == "yes"
    asyncio.run(made.close())


@pytest.mark.parametrize("name", NAMES)
def test_a_request_that_is_given_up_frees_its_place(name: str, server: Answering) -> None:
    server.answers, server.wait_s = [reply(name, "yes")], 0.2
    made = provider(name, server)

    async def give_up() -> str:
        asking = asyncio.ensure_future(made.ask(Request(prompt="Colour?"), ()))
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        said = await made.ask(Request(prompt="Colour?"), ())
        await made.close()
        return said.text

    assert asyncio.run(give_up()) == "yes"


@pytest.mark.parametrize("name", NAMES)
def test_keys_addresses_and_packages_that_lack(name: str, server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    make = PROVIDERS.load(name)
    for url in ("localhost:8000", "http://", "http://localhost:x/", "http://[::1"):
        with pytest.raises(ConfigError, match="no address that begins with http"):
            make("model-1", base_url=url)
    monkeypatch.setenv(VARIABLES[name], f"{KEY}\u2019")
    with pytest.raises(UserError, match=f"{VARIABLES[name]} holds characters") as caught:
        make("model-1")
    assert KEY not in str(caught.value)
    monkeypatch.setenv(VARIABLES[name], KEY)
    monkeypatch.setitem(sys.modules, make.sdk, None)
    with pytest.raises(UserError, match=r"pip install 'shelfqa\[providers\]'"):
        make("model-1")
    monkeypatch.undo()
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.delenv(VARIABLES[name], raising=False)
    with pytest.raises(UserError, match=f"needs a key: set the environment variable .*{VARIABLES[name]}"):
        make("model-1", base_url="https://example.org/v1")


def test_a_local_server_needs_no_key(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.answers = [reply("openai", "yes")]
    assert ask(provider("openai", server)).text == "yes"
    assert server.asked[0][1]["authorization"] == "Bearer none"


@pytest.mark.parametrize("name", NAMES)
def test_the_judge_asks_it(name: str, server: Answering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(f"{name.upper()}_BASE_URL", server.url)
    server.answers = [reply(name, "VERDICT: partial\nREASON: navy is a blue")]
    judge = parse(f"judge:provider={name},model=model-1,cache={tmp_path / 'judge.sqlite'}")
    rows = Answered(predictions=["navy", "red"], answers=["blue", "blue"], questions=["Colour?"] * 2)
    assert judge.score(rows).tolist() == [0.5, 0.5]
    assert len(server.asked) == 2
    assert judge.settings["replied_by"] == ["model-1-exact"]
    server.answers = [failure(401, KEY)]
    with pytest.raises(UserError, match=r"is not accepted \(status 401\)") as caught:
        judge.score(Answered(predictions=["pink"], answers=["blue"], questions=["Colour?"]))
    assert KEY not in str(caught.value)


def test_naming_a_provider_imports_no_sdk() -> None:
    code = "import sys; from shelfqa.providers.base import PROVIDERS; [PROVIDERS.load(name) for name in PROVIDERS]; "
    code += "print([name for name in ('openai', 'anthropic', 'google.genai', 'httpx2') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
