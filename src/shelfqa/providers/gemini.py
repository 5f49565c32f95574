"""Models behind the Gemini API; GEMINI_API_KEY or GOOGLE_API_KEY holds the key, GEMINI_BASE_URL says where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from shelfqa.providers.base import ProviderError, Reply, Request, Usage
from shelfqa.providers.gemini_batches import GeminiBatches
from shelfqa.providers.hosted import Forms, Setting, prompt_of
from shelfqa.providers.pictures import base64_of

_REFUSALS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)


class _Part(msgspec.Struct):
    text: str | None = None
    thought: bool = False


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None


class _Answer(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    model_version: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


class Gemini(GeminiBatches):
    """Asks through the package `google-genai`; of two keys it takes GOOGLE_API_KEY, as that package does."""

    name = "gemini"
    sdk = "google.genai"
    keys = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
    url_variable = "GEMINI_BASE_URL"
    settings: ClassVar[Mapping[str, Setting]] = {
        "temperature": Setting(("temperature", ""), ("temperature",)),
        "schema": Setting(
            ("response_json_schema", ""),
            (
                *("responsejsonschema", "response_json_schema", "responseschema", "response_schema"),
                *("responsemimetype", "response_mime_type", "json mode", "json_schema", "structured output"),
            ),
        ),
    }

    def _connect(self) -> Any:
        options = {
            "base_url": self._url or None,
            "timeout": int(self._timeout_s * 1000),
            "retry_options": {"attempts": 1},
        }
        return self._sdk.Client(vertexai=False, api_key=self._key, http_options=options)

    async def _disconnect(self, client: Any) -> None:
        await client.aio.aclose()
        client.close()

    def _body(self, request: Request, pictures: Sequence[bytes], forms: Forms) -> dict[str, Any]:
        parts: list[dict[str, Any]] = [
            {"inlineData": {"mimeType": "image/jpeg", "data": base64_of(picture)}} for picture in pictures
        ]
        parts.append({"text": prompt_of(request, schema_sent=bool(forms["schema"]))})
        config: dict[str, Any] = {"maxOutputTokens": request.max_tokens}
        if forms["temperature"]:
            config["temperature"] = 0
        if request.schema is not None and forms["schema"]:
            config |= {"responseMimeType": "application/json", "responseJsonSchema": request.schema}
        body: dict[str, Any] = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}
        if request.system:
            body["systemInstruction"] = {"parts": [{"text": request.system}]}
        return body

    async def _send(self, client: Any, body: dict[str, Any]) -> bytes:
        # All of it as `extra_body`, in which `contents` takes the place of what the SDK asks for, as the SDK's own
        # models of pictures and replies take time, and a batch needs this form.
        reply = await client.aio.models.generate_content(
            model=self.model,
            contents=[{"role": "user", "parts": [{"text": "-"}]}],
            config={
                "http_options": {"extra_body": body},
                "should_return_http_response": True,
                "automatic_function_calling": {"disable": True},
            },
        )
        answer: str = reply.sdk_http_response.body or ""
        return answer.encode()

    def _read(self, answer: bytes | msgspec.Raw) -> Reply:
        told = _ANSWER.decode(answer)
        first = told.candidates[0] if told.candidates else None
        blocked = told.prompt_feedback.block_reason if told.prompt_feedback is not None else None
        if first is None and not blocked:
            raise ValueError("neither a reply nor why there is none")
        ended = first.finish_reason if first is not None else None
        parts = (first.content.parts or []) if first is not None and first.content is not None else []
        text = "".join(part.text for part in parts if part.text and not part.thought)
        refused = first is None or ended in _REFUSALS
        if not text and not refused and ended not in (None, "STOP", "MAX_TOKENS"):
            raise ProviderError(f"{self.name}: the model broke off its reply ({ended[:40]})", kind="server")
        usage = told.usage_metadata or _Usage()
        written = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        return Reply(
            text="" if refused else text,
            model=told.model_version or self.model,
            usage=Usage(usage.prompt_token_count or 0, written),
            refused=refused,
            cut=ended == "MAX_TOKENS",
        )
