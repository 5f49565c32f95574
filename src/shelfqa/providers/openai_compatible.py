"""Models behind the Chat Completions API: OpenAI, and with a base URL vLLM, Ollama, OpenRouter and others.

OPENAI_API_KEY holds the key, which a server on this machine may go without; OPENAI_BASE_URL says where the API is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from shelfqa.providers.base import ProviderError, Reply
from shelfqa.providers.hosted import Hosted, base64_of

MAX_TOKENS = 2048
"""Less than for others: a server of one's own counts it against a context that may be short."""


class OpenAICompatible(Hosted):
    """Asks through the package `openai`; models that refuse temperature or `max_completion_tokens` go without."""

    name = "openai"
    sdk = "openai"
    keys = ("OPENAI_API_KEY",)
    url_variable = "OPENAI_BASE_URL"
    local_without_key = True
    settings: ClassVar[Mapping[str, float]] = {"temperature": 0, "max_completion_tokens": MAX_TOKENS}

    def _connect(self, sdk: Any, max_retries: int, timeout_s: float) -> Any:
        return sdk.OpenAI(api_key=self._key, base_url=self._url or None, max_retries=max_retries, timeout=timeout_s)

    def _ask(self, prompt: str, pictures: Sequence[bytes], settings: Mapping[str, float]) -> Reply:
        content: list[dict[str, object]] = [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{base64_of(picture)}"}}
            for picture in pictures
        ]
        content.append({"type": "text", "text": prompt})
        message = {"role": "user", "content": content if pictures else prompt}
        reply = self._client.chat.completions.create(model=self.model, messages=[message], **settings)
        first = reply.choices[0]
        if first.finish_reason == "error":  # OpenRouter, when the model's own host fails
            raise ProviderError(f"{self.name}: the model broke off its reply")
        return Reply(text=str(first.message.content or ""), model=str(reply.model or self.model))
