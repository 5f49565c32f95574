"""What a provider of answers is: a prompt, with pictures or without, becomes a reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shelfqa.errors import ShelfqaError
from shelfqa.registry import Registry

PROVIDERS = Registry(
    "provider",
    {
        "anthropic": "shelfqa.providers.anthropic:Anthropic",
        "gemini": "shelfqa.providers.gemini:Gemini",
        "openai": "shelfqa.providers.openai_compatible:OpenAICompatible",
        "scripted": "shelfqa.providers.scripted:from_file",
    },
)
"""Each entry, called with the name of a model, returns a `Provider`."""


class ProviderError(ShelfqaError):
    """A prompt got no reply, after the retries that the provider makes itself; one line."""

    def __init__(self, message: str, *, of_request: bool = False) -> None:
        super().__init__(message)
        self.of_request = of_request
        """Whether it is this prompt or its pictures that are not taken, and others may be."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back; a refusal is a reply without text."""

    text: str
    model: str
    """The model that replied, as exactly as the provider tells it."""


class Provider(Protocol):
    """Something that completes prompts; several threads may ask at once."""

    @property
    def model(self) -> str:
        """The model that was asked for."""
        ...

    def complete(self, prompt: str, *, images: Sequence[Path] = ()) -> Reply:
        """Return the reply to `prompt`.

        Raises:
            ProviderError: if there is none.

        """
        ...
