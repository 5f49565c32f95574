"""Models behind the Gemini API; GEMINI_API_KEY or GOOGLE_API_KEY holds the key, GEMINI_BASE_URL says where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from shelfqa.providers.base import Reply
from shelfqa.providers.hosted import MAX_TOKENS, Hosted

RETRY_WAIT_S = 1.0
"""First wait before a request is sent again, and the most that chance adds to each; the next waits double."""


class Gemini(Hosted):
    """Asks through the package `google-genai`; of two keys it takes GOOGLE_API_KEY, as that package does."""

    name = "gemini"
    sdk = "google.genai"
    keys = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
    url_variable = "GEMINI_BASE_URL"
    settings: ClassVar[Mapping[str, float]] = {"temperature": 0, "max_output_tokens": MAX_TOKENS}

    def _connect(self, sdk: Any, max_retries: int, timeout_s: float) -> Any:
        options = {
            "base_url": self._url or None,
            "timeout": int(timeout_s * 1000),
            "retry_options": {
                "attempts": max_retries + 1,
                "initial_delay": RETRY_WAIT_S,
                "jitter": RETRY_WAIT_S,
            },
        }
        return sdk.Client(vertexai=False, api_key=self._key, http_options=options)

    def _ask(self, prompt: str, pictures: Sequence[bytes], settings: Mapping[str, float]) -> Reply:
        from google.genai import types

        parts = [types.Part.from_bytes(data=picture, mime_type="image/jpeg") for picture in pictures]
        parts.append(types.Part.from_text(text=prompt))
        reply = self._client.models.generate_content(
            model=self.model,
            contents=[types.Content(role="user", parts=parts)],
            config=dict(settings) | {"automatic_function_calling": {"disable": True}},
        )
        if reply.candidates is None and reply.prompt_feedback is None:
            raise ValueError("neither a reply nor why there is none")
        content = reply.candidates[0].content if reply.candidates else None
        said = (content.parts or []) if content is not None else []
        text = "".join(part.text for part in said if part.text and not part.thought)
        return Reply(text=text, model=str(reply.model_version or self.model))
