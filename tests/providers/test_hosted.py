"""What the hosted providers send, and make of replies, at a server on 127.0.0.1 that speaks just enough of each API."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hosted_server import (
    KEY,
    NAMES,
    VARIABLES,
    Answering,
    ask,
    failure,
    prompt_of,
    provider,
    refusal,
    reply,
    schema_of,
    server,
)
from PIL import Image

from shelfqa.errors import ConfigError, ImageError, UserError
from shelfqa.metrics.base import Answered
from shelfqa.metrics.spec import parse
from shelfqa.providers.base import PROVIDERS, Reply, Request, Usage
from shelfqa.providers.pictures import as_jpeg

pytest.importorskip("openai")
pytest.importorskip("anthropic")
pytest.importorskip("google.genai")

__all__ = ["server"]  # the fixture
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

PATHS = {
    "anthropic": "/v1/messages",
    "gemini": "/v1/models/model-1:generateContent",
    "openai": "/chat/completions",
}


def picture_of(name: str, body: Any) -> tuple[str, bytes, str]:
    """The type and the bytes of the picture in a request, and the prompt behind it."""
    if name == "gemini":
        first, second = body["contents"][0]["parts"]
        return first["inlineData"]["mimeType"], base64.b64decode(first["inlineData"]["data"]), second["text"]
    first, second = body["messages"][-1]["content"]
    if name == "anthropic":
        return first["source"]["media_type"], base64.b64decode(first["source"]["data"]), second["text"]
    head, data = first["image_url"]["url"].removeprefix("data:").split(";base64,")
    return head, base64.b64decode(data), second["text"]


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_becomes_a_reply(name: str, server: Answering, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [reply(name, "VERDICT: correct"), reply(name, None)]
    made = provider(name, server)
    assert made.model == "model-1"
    assert made.name == name
    said = ask(made, max_tokens=77)
    assert (said.text, said.model) == ("VERDICT: correct", "model-1-exact")
    assert not said.refused
    assert not said.cut
    assert ask(made).text == ""
    path, headers, body = server.asked[0]
    assert path == PATHS[name]
    assert KEY in " ".join(headers.values())
    assert prompt_of(name, body) == "Colour?"
    assert body.get("generationConfig", body)["temperature"] == 0
    assert 77 in body.get("generationConfig", body).values()
    assert "system" not in json.dumps(body)
    assert schema_of(name, body) is None
    assert KEY not in path + caplog.text


@pytest.mark.parametrize("name", NAMES)
def test_pictures_go_along_before_the_prompt(name: str, server: Answering, tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), "navy").save(tmp_path / "a.png")
    picture = as_jpeg(tmp_path / "a.png")
    server.answers = [reply(name, "navy")]
    assert ask(provider(name, server), [picture]).text == "navy"
    assert picture_of(name, server.asked[-1][2]) == ("image/jpeg", picture, "Colour?")


def test_pictures_become_jpeg_of_the_size_asked_for(tmp_path: Path) -> None:
    jpeg, png = tmp_path / "a.jpg", tmp_path / "b.png"
    for path in (jpeg, png):
        Image.new("RGB", (40, 20), "navy").save(path)
        for side_px, size in ((None, (40, 20)), (40, (40, 20)), (100, (40, 20)), (10, (10, 5))):
            sent = Image.open(io.BytesIO(as_jpeg(path, side_px)))
            assert (sent.format, sent.size) == ("JPEG", size)
    assert as_jpeg(jpeg) == as_jpeg(jpeg, 40) == jpeg.read_bytes()
    with pytest.raises(ImageError, match="missing"):
        as_jpeg(tmp_path / "none.png")
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ImageError, match=r"cut\.jpg"):
        as_jpeg(tmp_path / "cut.jpg", 10)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_model_is_told_before_the_prompt(name: str, server: Answering) -> None:
    server.answers = [reply(name, "yes")]
    ask(provider(name, server), system="You know colours.")
    body = server.asked[0][2]
    told = {
        "anthropic": lambda: body["system"],
        "gemini": lambda: body["systemInstruction"]["parts"][0]["text"],
        "openai": lambda: body["messages"][0]["role"] == "system" and body["messages"][0]["content"],
    }[name]()
    assert told == "You know colours."
    assert prompt_of(name, body) == "Colour?"


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_counted_with_what_was_cached_and_thought(name: str, server: Answering) -> None:
    server.answers = [reply(name, "yes", usage=True), reply(name, "yes")]
    made = provider(name, server)
    assert ask(made).usage == Usage(input_tokens=130, output_tokens=25)
    assert ask(made).usage == Usage(0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_replies_that_are_cut_or_refused_say_so(name: str, server: Answering) -> None:
    made = provider(name, server)
    for ending in {"anthropic": ("max_tokens",), "gemini": ("MAX_TOKENS",), "openai": ("length",)}[name]:
        server.answers = [reply(name, "it is na", ending=ending)]
        said = ask(made)
        assert (said.text, said.cut, said.refused) == ("it is na", True, False)
    refusals = {
        "anthropic": ("refusal",),
        "gemini": ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY"),
        "openai": ("content_filter",),
    }[name]
    for answer in [refusal(name), *(reply(name, "it is na", ending=ending) for ending in refusals)]:
        server.answers = [answer]
        said = ask(made)
        assert (said.text, said.cut, said.refused, said.model) == ("", False, True, "model-1-exact")


@pytest.mark.parametrize("name", NAMES)
def test_more_requests_at_once_than_a_client_takes(name: str, server: Answering) -> None:
    server.answers, server.wait_s = [reply(name, "yes")], 0.1
    made = provider(name, server)

    async def many() -> list[Reply]:
        try:
            return await asyncio.gather(*(made.ask(Request(prompt="Colour?"), ()) for _ in range(50)))
        finally:
            await made.close()

    assert [said.text for said in asyncio.run(many())] == ["yes"] * 50
    assert server.most_at_once > 25


@pytest.mark.parametrize("name", NAMES)
def test_one_event_loop_after_another(name: str, server: Answering) -> None:
    server.answers = [reply(name, "yes")]
    made = provider(name, server)
    assert ask(made).text == "yes"
    assert asyncio.run(made.ask(Request(prompt="Colour?"), ())).text == "yes"  # and `close` is forgotten
    assert ask(made, times=2).text == "yes"
    asyncio.run(made.close())


@pytest.mark.parametrize("name", NAMES)
def test_a_request_that_is_given_up_frees_its_place(name: str, server: Answering) -> None:
    server.answers, server.wait_s = [reply(name, "yes")], 0.2
    made = provider(name, server)

    async def give_up() -> str:
        asking = asyncio.ensure_future(made.ask(Request(prompt="Colour?"), ()))
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        said = await made.ask(Request(prompt="Colour?"), ())
        await made.close()
        return said.text

    assert asyncio.run(give_up()) == "yes"


@pytest.mark.parametrize("name", NAMES)
def test_keys_addresses_and_packages_that_lack(name: str, server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    make = PROVIDERS.load(name)
    for url in ("localhost:8000", "http://", "http://localhost:x/", "http://[::1"):
        with pytest.raises(ConfigError, match="no address that begins with http"):
            make("model-1", base_url=url)
    monkeypatch.setenv(VARIABLES[name], f"{KEY}\u2019")
    with pytest.raises(UserError, match=f"{VARIABLES[name]} holds characters") as caught:
        make("model-1")
    assert KEY not in str(caught.value)
    monkeypatch.setenv(VARIABLES[name], KEY)
    monkeypatch.setitem(sys.modules, make.sdk, None)
    with pytest.raises(UserError, match=r"pip install 'shelfqa\[providers\]'"):
        make("model-1")
    monkeypatch.undo()
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.delenv(VARIABLES[name], raising=False)
    with pytest.raises(UserError, match=f"needs a key: set the environment variable .*{VARIABLES[name]}"):
        make("model-1", base_url="https://example.org/v1")


def test_a_local_server_needs_no_key(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.answers = [reply("openai", "yes")]
    assert ask(provider("openai", server)).text == "yes"
    assert server.asked[0][1]["authorization"] == "Bearer none"


@pytest.mark.parametrize("name", NAMES)
def test_the_judge_asks_it(name: str, server: Answering, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(f"{name.upper()}_BASE_URL", server.url)
    server.answers = [reply(name, "VERDICT: partial\nREASON: navy is a blue")]
    judge = parse(f"judge:provider={name},model=model-1,cache={tmp_path / 'judge.sqlite'}")
    rows = Answered(predictions=["navy", "red"], answers=["blue", "blue"], questions=["Colour?"] * 2)
    assert judge.score(rows).tolist() == [0.5, 0.5]
    assert len(server.asked) == 2
    assert judge.settings["replied_by"] == ["model-1-exact"]
    server.answers = [failure(401, KEY)]
    with pytest.raises(UserError, match=r"is not accepted \(status 401\)") as caught:
        judge.score(Answered(predictions=["pink"], answers=["blue"], questions=["Colour?"]))
    assert KEY not in str(caught.value)


def test_naming_a_provider_imports_no_sdk() -> None:
    code = "import sys; from shelfqa.providers.base import PROVIDERS; [PROVIDERS.load(name) for name in PROVIDERS]; "
    code += "print([name for name in ('openai', 'anthropic', 'google.genai', 'httpx2') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
