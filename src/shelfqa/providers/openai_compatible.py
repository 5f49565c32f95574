"""Models behind the Chat Completions API: OpenAI, and with a base URL vLLM, Ollama, OpenRouter and others.

OPENAI_API_KEY holds the key, which a server on this machine may go without; OPENAI_BASE_URL says where the API is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from shelfqa.providers.base import ProviderError, Reply, Request, Usage
from shelfqa.providers.errors import said_in
from shelfqa.providers.hosted import Forms, Setting, prompt_of
from shelfqa.providers.openai_batches import OpenAIBatches
from shelfqa.providers.pictures import base64_of


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message = _Message()
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: _Usage | None = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)


class OpenAICompatible(OpenAIBatches):
    """Asks through the package `openai`; what a model or a server refuses is sent in another form or not at all."""

    name = "openai"
    sdk = "openai"
    keys = ("OPENAI_API_KEY",)
    url_variable = "OPENAI_BASE_URL"
    local_without_key = True
    settings: ClassVar[Mapping[str, Setting]] = {
        "temperature": Setting(("temperature", ""), ("temperature",)),
        "max_tokens": Setting(("max_completion_tokens", "max_tokens"), ("max_completion_tokens",)),
        "schema": Setting(
            ("json_schema", "json_object", ""),
            (
                "response_format",
                "response format",
                "json_schema",
                "json_object",
                "structured output",
                "guided",
                "grammar",
            ),
        ),
    }

    def _connect(self) -> Any:
        return self._sdk.AsyncOpenAI(
            api_key=self._key, base_url=self._url or None, max_retries=0, timeout=self._timeout_s
        )

    def _body(self, request: Request, pictures: Sequence[bytes], forms: Forms) -> dict[str, Any]:
        prompt = prompt_of(request, schema_sent=forms["schema"] == "json_schema")
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{base64_of(picture)}"}}
            for picture in pictures
        ]
        content.append({"type": "text", "text": prompt})
        messages: list[dict[str, Any]] = [{"role": "system", "content": request.system}] if request.system else []
        messages.append({"role": "user", "content": content if pictures else prompt})
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            forms["max_tokens"]: request.max_tokens,
        }
        if forms["temperature"]:
            body["temperature"] = 0
        if request.schema is not None and forms["schema"]:
            body["response_format"] = {"type": forms["schema"]}
            if forms["schema"] == "json_schema":
                body["response_format"]["json_schema"] = {"name": "reply", "strict": True, "schema": request.schema}
        return body

    async def _send(self, client: Any, body: dict[str, Any]) -> bytes:
        # All of it as `extra_body`, as the SDK looks at each part of what it knows by name; and no pydantic model of
        # the answer: together they take a third of a request's time.
        raw = await client.chat.completions.with_raw_response.create(model=self.model, messages=[], extra_body=body)
        answer: bytes = raw.http_response.content
        return answer

    def _read(self, answer: bytes | msgspec.Raw) -> Reply:
        told = _ANSWER.decode(answer)
        if not told.choices:
            if isinstance(told.error, dict) and isinstance(status := told.error.get("code"), int) and status >= 400:
                raise self._error(said_in(status, told.error))  # OpenRouter, with status 200
            raise ValueError("no reply")
        first = told.choices[0]
        if first.finish_reason == "error":  # OpenRouter, when the model's own host fails
            raise ProviderError(f"{self.name}: the model broke off its reply", kind="server")
        refused = bool(first.message.refusal) or first.finish_reason == "content_filter"
        usage = told.usage or _Usage()
        return Reply(
            text="" if refused else first.message.content or "",
            model=told.model or self.model,
            usage=Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0),
            refused=refused,
            cut=first.finish_reason == "length",
        )
