"""Models behind Anthropic's Messages API; ANTHROPIC_API_KEY holds the key, ANTHROPIC_BASE_URL says where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from shelfqa.providers.anthropic_batches import AnthropicBatches
from shelfqa.providers.base import Reply, Request, Usage
from shelfqa.providers.hosted import Forms, Setting, prompt_of
from shelfqa.providers.pictures import base64_of


class _Block(msgspec.Struct):
    type: str
    text: str = ""


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Answer(msgspec.Struct):
    content: list[_Block]
    model: str | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


class Anthropic(AnthropicBatches):
    """Asks through the package `anthropic`; models that refuse a temperature, as new ones do, go without."""

    name = "anthropic"
    sdk = "anthropic"
    keys = ("ANTHROPIC_API_KEY",)
    url_variable = "ANTHROPIC_BASE_URL"
    settings: ClassVar[Mapping[str, Setting]] = {
        "temperature": Setting(("temperature", ""), ("temperature",)),
        "schema": Setting(
            ("output_config", ""),
            ("output_config", "output config", "output_format", "output format", "json_schema", "structured output"),
        ),
    }

    def _connect(self) -> Any:
        return self._sdk.AsyncAnthropic(
            api_key=self._key, base_url=self._url or None, max_retries=0, timeout=self._timeout_s
        )

    def _body(self, request: Request, pictures: Sequence[bytes], forms: Forms) -> dict[str, Any]:
        content: list[dict[str, Any]] = [
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": base64_of(picture)}}
            for picture in pictures
        ]
        content.append({"type": "text", "text": prompt_of(request, schema_sent=bool(forms["schema"]))})
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": request.max_tokens,
            "messages": [{"role": "user", "content": content}],
        }
        if request.system:
            body["system"] = request.system
        if forms["temperature"]:
            body["temperature"] = 0
        if request.schema is not None and forms["schema"]:
            body["output_config"] = {"format": {"type": "json_schema", "schema": request.schema}}
        return body

    async def _send(self, client: Any, body: dict[str, Any]) -> bytes:
        # All of it as `extra_body`: the SDK's own signature has no temperature, and it looks at each part of the rest.
        raw = await client.messages.with_raw_response.create(
            model=self.model, max_tokens=body["max_tokens"], messages=[], extra_body=body
        )
        answer: bytes = raw.http_response.content
        return answer

    def _read(self, answer: bytes | msgspec.Raw) -> Reply:
        told = _ANSWER.decode(answer)
        refused, usage = told.stop_reason == "refusal", told.usage or _Usage()
        read = (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
        return Reply(
            text="" if refused else "".join(block.text for block in told.content if block.type == "text"),
            model=told.model or self.model,
            usage=Usage(sum(tokens or 0 for tokens in read), usage.output_tokens or 0),
            refused=refused,
            cut=told.stop_reason in ("max_tokens", "model_context_window_exceeded"),
        )
