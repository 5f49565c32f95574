"""What there is to know about each provider before it is used."""

from __future__ import annotations

import importlib.util
import os
from typing import NamedTuple

from shelfqa.providers.base import PROVIDERS
from shelfqa.providers.hosted import Hosted

_TOLD = {
    "anthropic": "Anthropic's Messages API",
    "gemini": "Google's Gemini API",
    "openai": "OpenAI; with a base URL vLLM, SGLang, Ollama, OpenRouter",
    "scripted": "a JSON file of prompts and replies, for tests",
}


class About(NamedTuple):
    """One provider."""

    name: str
    about: str
    package: str | None
    installed: bool
    key_variables: tuple[str, ...]
    key_set: bool
    base_url_variable: str | None
    batches: bool


def about_providers() -> list[About]:
    """Return all providers by name, and `local`, which is a model on this machine."""
    found = [_about(name) for name in PROVIDERS]
    parts = all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers", "llguidance"))
    local = About("local", "a chat model on this machine, as in predict", "transformers", parts, (), False, None, False)
    return sorted([*found, local])


def _about(name: str) -> About:
    entry = PROVIDERS.load(name)
    told = _TOLD.get(name, "")
    if not (isinstance(entry, type) and issubclass(entry, Hosted)):
        return About(name, told, None, True, (), False, None, False)
    try:
        installed = importlib.util.find_spec(entry.sdk) is not None
    except ModuleNotFoundError:  # of the package that it is in
        installed = False
    key_set = any(os.environ.get(variable, "").strip() for variable in entry.keys)
    return About(
        name, told, entry.sdk, installed, entry.keys, key_set, entry.url_variable, hasattr(entry, "submit_batch")
    )
