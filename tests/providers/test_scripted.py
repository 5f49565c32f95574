"""Replies that are written down."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shelfqa.errors import InputError
from shelfqa.providers.base import PROVIDERS, Provider, ProviderError, Reply, Request
from shelfqa.providers.scripted import Scripted


def ask(made: Provider, prompt: str) -> Reply:
    return asyncio.run(made.ask(Request(prompt=prompt), (b"not looked at",)))


def test_a_script_replies_by_the_prompt() -> None:
    made = Scripted({"Colour?": "navy"}, model="by hand")
    assert ask(made, "Colour?") == Reply(text="navy", model="by hand")
    with pytest.raises(ProviderError, match="the script 'by hand' holds no reply to this prompt") as caught:
        ask(made, "Size?")
    assert caught.value.kind == "request"
    asyncio.run(made.close())


def test_a_function_replies_or_fails() -> None:
    def busy(prompt: str) -> str:
        if prompt == "Colour?":
            return prompt.lower()
        raise ProviderError("slow down", kind="busy", retry_after_s=1)

    made = Scripted(busy)
    assert ask(made, "Colour?").text == "colour?"
    with pytest.raises(ProviderError, match="slow down"):
        ask(made, "Size?")


def test_a_script_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text('{"Colour?": "navy"}')
    made = PROVIDERS.load("scripted")(str(path), base_url="", timeout_s=120.0)
    assert (made.name, made.model, ask(made, "Colour?").text) == ("scripted", str(path), "navy")
    path.write_text("[]")
    for wrong in (path, tmp_path / "none.json"):
        with pytest.raises(InputError, match="Cannot read the script"):
            PROVIDERS.load("scripted")(str(wrong))
