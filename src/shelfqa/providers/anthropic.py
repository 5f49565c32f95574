"""Models behind Anthropic's Messages API; ANTHROPIC_API_KEY holds the key, ANTHROPIC_BASE_URL says where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from shelfqa.providers.base import Reply
from shelfqa.providers.hosted import MAX_TOKENS, Hosted, base64_of


class Anthropic(Hosted):
    """Asks through the package `anthropic`; models that refuse a temperature, as new ones do, go without."""

    name = "anthropic"
    sdk = "anthropic"
    keys = ("ANTHROPIC_API_KEY",)
    url_variable = "ANTHROPIC_BASE_URL"
    settings: ClassVar[Mapping[str, float]] = {"temperature": 0}

    def _connect(self, sdk: Any, max_retries: int, timeout_s: float) -> Any:
        return sdk.Anthropic(api_key=self._key, base_url=self._url or None, max_retries=max_retries, timeout=timeout_s)

    def _ask(self, prompt: str, pictures: Sequence[bytes], settings: Mapping[str, float]) -> Reply:
        content: list[dict[str, object]] = [
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": base64_of(picture)}}
            for picture in pictures
        ]
        content.append({"type": "text", "text": prompt})
        reply = self._client.messages.create(
            model=self.model,
            max_tokens=MAX_TOKENS,
            messages=[{"role": "user", "content": content}],
            extra_body=dict(settings),  # the SDK's own signature has no temperature
        )
        text = "".join(block.text for block in reply.content if block.type == "text")
        return Reply(text="" if reply.stop_reason == "refusal" else text, model=str(reply.model or self.model))
