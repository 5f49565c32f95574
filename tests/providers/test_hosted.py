"""The hosted providers against a server on 127.0.0.1 that speaks just enough of each API."""

from __future__ import annotations

import base64
import io
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from local_server import serving
from shelfqa.errors import ConfigError, UserError
from shelfqa.metrics.base import Answered
from shelfqa.metrics.spec import parse
from shelfqa.providers import gemini
from shelfqa.providers.base import PROVIDERS, Provider, ProviderError
from shelfqa.providers.hosted import as_jpeg

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


class Server:
    """What the next requests are answered with, the last answer for ever, and what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, object]] = []
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.wait_s = 0.0
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    state: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        state.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
        time.sleep(state.wait_s)
        status, answer = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Retry-After-Ms", "1")
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("GOOGLE_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GEMINI_BASE_URL", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, KEY)
    monkeypatch.setattr(gemini, "RETRY_WAIT_S", 0.001)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server()
    with serving(type("Handler", (_Handler,), {"state": state})) as state.url:
        yield state


def provider(name: str, server: Server, *, retries: int = 2, timeout_s: float = 10) -> Provider:
    made: Provider = PROVIDERS.load(name)("model-1", base_url=server.url, max_retries=retries, timeout_s=timeout_s)
    return made


def reply(name: str, text: str | None) -> tuple[int, object]:
    """The answer of a model that says `text`; None is a refusal."""
    if name == "anthropic":
        blocks = [] if text is None else [{"type": "text", "text": text}]
        return 200, {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "model-1-exact",
            "content": blocks,
            "stop_reason": "end_turn" if blocks else "refusal",
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    if name == "gemini":
        if text is None:
            return 200, {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "model-1-exact"}
        parts = [{"text": "let me think", "thought": True}, {"text": text}]
        candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
        return 200, {"candidates": [candidate], "modelVersion": "model-1-exact"}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return 200, {"id": "c", "object": "chat.completion", "created": 1, "model": "model-1-exact", "choices": [choice]}


def failure(status: int, message: str) -> tuple[int, object]:
    """An error, in a form that all three SDKs read."""
    return status, {"type": "error", "error": {"type": "e", "code": status, "message": message, "status": "E"}}


def why(made: Provider) -> str:
    """The line that a failing `complete` gives."""
    with pytest.raises(ProviderError) as caught:
        made.complete("Colour?")
    line = str(caught.value)
    assert "\n" not in line
    assert KEY not in line + repr(caught.value) + repr(made)
    return line


def picture_of(name: str, body: Any) -> tuple[str, bytes, str]:
    """The type and the bytes of the picture in a request, and the prompt behind it."""
    if name == "gemini":
        first, second = body["contents"][0]["parts"]
        inline = {key.replace("_t", "T"): value for key, value in first["inlineData"].items()}  # the API takes both
        return inline["mimeType"], base64.urlsafe_b64decode(inline["data"]), second["text"]
    first, second = body["messages"][0]["content"]
    if name == "anthropic":
        return first["source"]["media_type"], base64.b64decode(first["source"]["data"]), second["text"]
    head, data = first["image_url"]["url"].removeprefix("data:").split(";base64,")
    return head, base64.b64decode(data), second["text"]


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_becomes_a_reply(name: str, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [reply(name, "VERDICT: correct"), reply(name, None)]
    made = provider(name, server)
    assert made.model == "model-1"
    said = made.complete("Colour?")
    assert (said.text, said.model) == ("VERDICT: correct", "model-1-exact")
    assert made.complete("Colour?").text == ""
    path, headers, body = server.asked[0]
    assert path == PATHS[name]
    assert KEY in " ".join(headers.values())
    assert "Colour?" in json.dumps(body)
    assert body.get("generationConfig", body)["temperature"] == 0
    assert KEY not in path + caplog.text


@pytest.mark.parametrize("name", NAMES)
def test_pictures_go_along_as_jpeg(name: str, server: Server, tmp_path: Path) -> None:
    jpeg, png = tmp_path / "a.jpg", tmp_path / "b.png"
    for path in (jpeg, png):
        Image.new("RGB", (20, 10), "navy").save(path)
    server.answers = [reply(name, "navy")]
    made = provider(name, server)
    for path in (jpeg, png):
        assert made.complete("Colour?", images=[path]).text == "navy"
        kind, data, prompt = picture_of(name, server.asked[-1][2])
        assert (kind, prompt) == ("image/jpeg", "Colour?")
        assert data == as_jpeg(path)
        sent = Image.open(io.BytesIO(data))
        assert (sent.format, sent.size) == ("JPEG", (20, 10))
    assert as_jpeg(jpeg) == jpeg.read_bytes()
    with pytest.raises(ProviderError, match="cannot send the picture: missing"):
        made.complete("Colour?", images=[tmp_path / "none.png"])
    assert len(server.asked) == 2


@pytest.mark.parametrize("name", NAMES)
def test_passing_failures_are_tried_again(name: str, server: Server) -> None:
    server.answers = [failure(429, "slow down"), failure(500, "oh"), reply(name, "yes")]
    assert provider(name, server).complete("Colour?").text == "yes"
    assert len(server.asked) == 3


FAILURES = [
    (401, f"Incorrect API key provided: {KEY}", "is not accepted (status 401)", 1),
    (400, f"API key not valid: {KEY}", "is not accepted (status 400)", 1),
    (403, f"{KEY} may not", "not permitted (status 403)", 1),
    (404, "no model-1", "no such model or address (status 404: no model-1)", 1),
    (400, f"bad\nrequest of {KEY}", "the request is refused (status 400: bad request of ***)", 1),
    (429, "You exceeded your quota", "quota used up (status 429: You exceeded your quota)", 3),
    (500, "oh", "the server failed (status 500: oh)", 3),
]


@pytest.mark.parametrize("name", NAMES)
def test_failures_that_stay_are_one_line(name: str, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = provider(name, server)
    for status, message, expected, requests in FAILURES:
        server.asked, server.answers = [], [failure(status, message)]
        assert why(made).endswith(expected)
        assert len(server.asked) == requests
    assert KEY not in caplog.text


@pytest.mark.parametrize("name", NAMES)
def test_replies_that_cannot_be_read(name: str, server: Server) -> None:
    made = provider(name, server, retries=0)
    unreadable: list[object] = [b'{"choices": [', b"<html>hello</html>", {}, {"error": {"message": KEY}}, [], "text"]
    for broken in unreadable:
        server.answers = [(200, broken)]
        assert "the reply cannot be read (" in why(made)
    server.answers = [(502, b"<html>Bad Gateway</html>")]
    assert "the server failed (status 502" in why(made)


@pytest.mark.parametrize("name", NAMES)
def test_no_connection_and_no_reply_in_time(name: str, server: Server) -> None:
    server.answers, server.wait_s = [reply(name, "late")], 0.3
    assert why(provider(name, server, retries=0, timeout_s=0.05)) == f"{name} at 127.0.0.1: no reply in time"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert why(provider(name, server, retries=0)) == f"{name} at 127.0.0.1: no connection"


def test_models_that_refuse_a_setting_go_without(server: Server) -> None:
    server.answers = [
        failure(400, "Unsupported value: 'temperature' does not support 0."),
        failure(422, "max_completion_tokens: extra inputs are not permitted"),
        reply("openai", "yes"),
    ]
    made = provider("openai", server)
    assert [made.complete("Colour?").text for _ in range(2)] == ["yes", "yes"]
    sent = [sorted(body.keys() - {"messages", "model"}) for _, _, body in server.asked]
    assert sent == [["max_completion_tokens", "temperature"], ["max_completion_tokens"], ["max_tokens"], ["max_tokens"]]
    server.answers = [failure(400, "`temperature` is deprecated for this model."), reply("anthropic", "yes")]
    assert provider("anthropic", server).complete("Colour?").text == "yes"
    assert "temperature" not in server.asked[-1][2]
    server.answers = [(200, {"choices": [{"finish_reason": "error", "message": {"content": None}}]})]
    assert why(made) == "openai: the model broke off its reply"


@pytest.mark.parametrize("name", NAMES)
def test_keys_addresses_and_packages_that_lack(name: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_local_server_needs_no_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.answers = [reply("openai", "yes")]
    assert provider("openai", server).complete("Colour?").text == "yes"
    assert server.asked[0][1]["authorization"] == "Bearer none"


@pytest.mark.parametrize("name", NAMES)
def test_the_judge_asks_it(name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(f"{name.upper()}_BASE_URL", server.url)
    server.answers = [reply(name, "VERDICT: partial\nREASON: navy is a blue")]
    judge = parse(f"judge:provider={name},model=model-1,cache={tmp_path / 'judge.sqlite'}")
    rows = Answered(predictions=["navy", "red"], answers=["blue", "blue"], questions=["Colour?"] * 2)
    assert judge.score(rows).tolist() == [0.5, 0.5]
    assert len(server.asked) == 2
    assert judge.settings["replied_by"] == ["model-1-exact"]
    server.answers = [failure(401, KEY)]
    with pytest.raises(UserError, match=r"1 of 1 prompts got no reply \(.* is not accepted \(status 401\)\)"):
        judge.score(Answered(predictions=["pink"], answers=["blue"], questions=["Colour?"]))


def test_naming_a_provider_imports_no_sdk() -> None:
    code = "import sys; from shelfqa.providers.base import PROVIDERS; [PROVIDERS.load(name) for name in PROVIDERS]; "
    code += "print([name for name in ('openai', 'anthropic', 'google.genai', 'httpx2') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
