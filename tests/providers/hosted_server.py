"""A server that answers the three APIs with what a test lays out, the answers in each API's form, and asking it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from local_server import serving
from shelfqa.providers.base import PROVIDERS, Provider, Reply, Request

KEY = "sk-secret-0123456789"
NAMES = ("anthropic", "gemini", "openai")
VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY", "openai": "OPENAI_API_KEY"}

Answer = tuple[int, object]
"""A status, 0 for a connection that breaks off, and a body: bytes, or what becomes JSON."""


class Answering:
    """What the next requests are answered with, the last answer for ever, and what was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.choose: Callable[[Any], Answer] | None = None
        """Gives the answer to a body, instead of `answers`."""
        self.headers: Mapping[str, str] = {}
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.wait_s = 0.0
        self.url = ""
        self.most_at_once = 0
        self.at_once = 0
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    state: Answering

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
        time.sleep(state.wait_s)
        with state.lock:
            state.at_once -= 1
            if state.choose is not None:
                status, answer = state.choose(body)
            else:
                status, answer = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
        if status == 0:
            return
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client did not wait


@contextmanager
def answering() -> Iterator[Answering]:
    """Serve on this machine what the test lays out."""
    state = Answering()
    with serving(type("Handler", (_Handler,), {"state": state})) as state.url:
        yield state


def reply(name: str, text: str | None, *, ending: str | None = None, usage: bool = False) -> Answer:
    """The answer of a model that says `text`, or nothing at all."""
    if name == "anthropic":
        counted = {"input_tokens": 100, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 10}
        answer: dict[str, object] = {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "model-1-exact",
            "content": [{"type": "thinking", "thinking": "hm"}, *([{"type": "text", "text": text}] if text else [])],
            "stop_reason": ending or "end_turn",
        }
        return 200, answer | ({"usage": counted | {"output_tokens": 25}} if usage else {})
    if name == "gemini":
        parts = [{"text": "let me think", "thought": True}, *([{"text": text}] if text else [])]
        candidate = {"content": {"role": "model", "parts": parts}, "finishReason": ending or "STOP"}
        told = {"promptTokenCount": 130, "cachedContentTokenCount": 20}
        told |= {"candidatesTokenCount": 5, "thoughtsTokenCount": 20}
        answer = {"candidates": [candidate], "modelVersion": "model-1-exact"}
        return 200, answer | ({"usageMetadata": told} if usage else {})
    choice = {"index": 0, "finish_reason": ending or "stop", "message": {"role": "assistant", "content": text}}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "model-1-exact", "choices": [choice]}
    return 200, answer | ({"usage": {"prompt_tokens": 130, "completion_tokens": 25}} if usage else {})


def refusal(name: str) -> Answer:
    """The answer of a model that declines."""
    if name == "gemini":
        return 200, {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "model-1-exact"}
    if name == "anthropic":
        return reply(name, None, ending="refusal")
    message = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return 200, {"id": "c", "object": "chat.completion", "created": 1, "model": "model-1-exact", "choices": [choice]}


def failure(status: int, message: str) -> Answer:
    """An error, in a form that all three SDKs read."""
    return status, {"type": "error", "error": {"type": "e", "code": status, "message": message, "status": "E"}}


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
