"""The SDKs of OpenAI, Anthropic and Gemini at the test server of models; without them, tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from llm_faults import settings_from
from llm_server import Server, running
from schemas import pairs_schema

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
genai = pytest.importorskip("google.genai")

PROVIDERS = ("openai", "anthropic", "gemini")
MODEL = "some-model"
JPEG = b"\xff\xd8\xff"
SCHEMA = pairs_schema(
    question={"type": "string"},
    answer={"type": "string"},
    kind={"type": "string", "enum": ["colour", "shape"]},
    sure={"type": "boolean"},
    score={"type": "integer"},
)


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
