"""Chat models on this machine as a provider: replies that keep to a schema, in batches, and what goes wrong."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import io
import json
import threading
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import jinja2
import msgspec
import pytest
import torch
from PIL import Image

from schemas import pairs_schema
from shelfqa.errors import InputError, UserError
from shelfqa.models.adapters.chat import ChatVqa
from shelfqa.models.adapters.chat_prompts import prompt_text
from shelfqa.models.base import Query
from shelfqa.models.local import LocalProvider
from shelfqa.models.writer import Job, Writer
from shelfqa.providers.base import Provider, ProviderError, Reply, Request
from tiny_chat import CHAT_FAMILIES, llava, llava_next, qwen2_5_vl, tiny_writer
from tiny_models import COLOURS, blip_checkpoint, picture

T = TypeVar("T")


class Pair(msgspec.Struct, forbid_unknown_fields=True):
    question: str
    answer: str
    difficulty: Literal[1, 2, 3]
    used_metadata: bool


class Pairs(msgspec.Struct, forbid_unknown_fields=True):
    pairs: list[Pair]


SCHEMA = pairs_schema(
    question={"type": "string"},
    answer={"type": "string"},
    difficulty={"type": "integer", "enum": [1, 2, 3]},
    used_metadata={"type": "boolean"},
)
FAMILIES = {**CHAT_FAMILIES, "llava_next": llava_next}
"""All but the last are driven by `chat`, the last by `any_chat`."""


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


RED, BLUE = (jpeg(picture(COLOURS[name], 0, 40)) for name in ("red", "blue"))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run in an event loop of its own."""
    return asyncio.run(asyncio.wait_for(coroutine, 120))


async def answered(provider: LocalProvider, asked: Sequence[tuple[Request, Sequence[bytes]]]) -> list[Any]:
    return await asyncio.gather(*(provider.ask(*one) for one in asked), return_exceptions=True)


def pairs(reply: Reply) -> list[Pair]:
    """The pairs of a reply that keeps to `SCHEMA` and to the limits beyond it."""
    found = msgspec.json.decode(reply.text, type=Pairs).pairs
    assert reply.text == json.dumps(json.loads(reply.text), separators=(",", ":"), ensure_ascii=False)
    assert 1 <= len(found) <= 10
    assert all(len(pair.question) <= 200 and len(pair.answer) <= 400 for pair in found)
    return found


def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are written from now on."""
    sizes: list[int] = []
    write = Writer.write

    def noted(self: Writer, jobs: Sequence[Job]) -> list[Reply | ProviderError]:
        sizes.append(len(jobs))
        return write(self, jobs)

    monkeypatch.setattr(Writer, "write", noted)
    return sizes


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen2_5_vl(tmp_path_factory.mktemp("qwen"))


def test_replies_keep_to_the_schema_and_are_those_of_one_at_a_time(
    family: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "what color is the mug? " * 5
    asked: list[tuple[Request, Sequence[bytes]]] = [
        (Request(prompt="ask about it", schema=SCHEMA, max_tokens=300), [RED]),
        (Request(prompt=long, schema=SCHEMA, max_tokens=250), [BLUE]),
        (Request(prompt="ask", system="You sell mugs.", schema=SCHEMA, max_tokens=200), [RED, BLUE]),
        (Request(prompt="what is it?", max_tokens=20), [BLUE]),
    ]
    if "paligemma" in family.name:
        asked[2] = (asked[2][0], [RED])
    else:
        asked += [(Request(prompt=text, schema=SCHEMA, max_tokens=200), ()) for text in ("ask", long)]
    sizes = batches(monkeypatch)

    async def ask() -> tuple[list[Any], list[Any]]:
        together, alone = (LocalProvider(str(family), batch_size=size) for size in (4, 1))
        provider: Provider = together
        assert provider.name == "local"
        assert provider.model.startswith(f"{family}@")
        found = await answered(together, asked), [await alone.ask(*one) for one in asked]
        await asyncio.gather(together.close(), alone.close())
        return found

    found, expected = run(ask())
    assert sizes[:2] == ([4, 1] if "paligemma" in family.name else [4, 2])
    assert found == expected
    for reply in found:
        assert isinstance(reply, Reply)
        assert reply.model.startswith(f"{family}@")
        if reply is not found[3]:
            assert pairs(reply)
            assert not reply.cut
    assert found[3].usage.output_tokens <= 20


def test_without_a_schema_it_writes_as_generate_does(qwen: Path) -> None:
    from shelfqa.models.loading import load_model

    model = load_model(str(qwen), device="cpu")
    assert isinstance(model, ChatVqa)
    content = [{"type": "image"}, {"type": "text", "text": "what is it?"}]
    turns = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": content},
    ]
    text = model.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    inputs = model.processor(text=[text], images=[[Image.open(io.BytesIO(RED))]], return_tensors="pt")
    ids = model.module.generate(**inputs, do_sample=False, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]

    reply = run(LocalProvider(str(qwen)).ask(Request(prompt="what is it?", system="Be brief.", max_tokens=12), [RED]))
    assert reply.text == model.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert reply.usage == (inputs["input_ids"].shape[1], len(ids))
    assert reply.cut


class Template:
    """A processor that writes turns by a template."""

    image_token = "<image>"

    def __init__(self, template: str) -> None:
        self.chat_template = template

    def apply_chat_template(self, turns: Any, **_: Any) -> str:
        def refuse(message: str) -> None:
            raise jinja2.TemplateError(message)

        return jinja2.Environment().from_string(self.chat_template).render(messages=turns, raise_exception=refuse)


PARTS = (
    "{% for turn in messages %}[{{ turn.role }}: {% for part in turn.content %}{{ part.text }}{% endfor %}]{% endfor %}"
)
REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + PARTS
DROPPING = PARTS.replace("in messages", "in messages if turn.role == 'user'")
TEXT = (
    "{% for turn in messages %}[{{ turn.role }}: "
    "{{ turn.content if turn.role == 'system' else turn.content[0].text }}]{% endfor %}"
)
JOINED = TEXT.replace("{{ turn.content if", "{{ turn.content + '' if")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (PARTS, "[system: Be kind.][user: what?]"),
        (TEXT, "[system: Be kind.][user: what?]"),
        (JOINED, "[system: Be kind.][user: what?]"),
        (REFUSING, "[user: Be kind.\n\nwhat?]"),
        (DROPPING, "[user: Be kind.\n\nwhat?]"),
        ("", "Be kind.\n\nwhat?"),
    ],
    ids=["parts", "text", "text-or-error", "refusing", "dropping", "none"],
)
def test_the_system_prompt_is_a_turn_where_the_template_takes_one(template: str, expected: str) -> None:
    assert prompt_text(Template(template), "some", Query("what?", ()), system="Be kind.") == expected


def test_a_reply_that_has_no_room_is_cut(qwen: Path) -> None:
    async def ask(*limits: int) -> list[Reply]:
        provider = LocalProvider(str(qwen))
        return [await provider.ask(Request(prompt="ask", schema=SCHEMA, max_tokens=limit), ()) for limit in limits]

    short, closed, long = run(ask(20, 100, 10_000))
    assert short.cut
    assert short.usage.output_tokens == 20
    assert short.text.startswith('{"pairs":[{"ques')
    assert not closed.cut
    assert closed.usage.output_tokens <= 100
    assert pairs(closed)
    assert long.usage.output_tokens <= 2048 - long.usage.input_tokens  # as far as the model reads
    assert pairs(long)


def test_what_is_no_chat_model_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").mkdir()
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    (tmp_path / "text" / "config.json").write_text(json.dumps(config))
    models = ["mini", "blip2-opt-2.7b", "clip-vit-b32", str(blip_checkpoint(tmp_path / "blip"))]
    for model in models:
        with pytest.raises(UserError, match="give a chat model, such as smolvlm-500m") as caught:
            run(LocalProvider(model).ask(Request(prompt="ask"), ()))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="`shelfqa models` lists"):
        run(LocalProvider(str(tmp_path / "text")).ask(Request(prompt="ask"), ()))
    with pytest.raises(InputError, match=r"holds no config\.json"):
        run(LocalProvider(str(tmp_path)).ask(Request(prompt="ask"), ()))


def test_all_who_wait_hear_that_the_model_cannot_be_loaded(tmp_path: Path) -> None:
    found = run(answered(LocalProvider(str(tmp_path)), [(Request(prompt="ask"), ())] * 3))
    assert [type(one) for one in found] == [InputError] * 3


def test_without_llguidance_only_a_schema_is_refused(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llguidance" else found(name))
    provider = LocalProvider(str(qwen))
    with pytest.raises(UserError, match=r"pip install 'shelfqa\[local\]'"):
        run(provider.ask(Request(prompt="ask", schema=SCHEMA), ()))
    assert run(provider.ask(Request(prompt="ask", max_tokens=3), ())).usage.output_tokens <= 3


def test_what_is_wrong_with_one_request_leaves_the_others_alone(qwen: Path) -> None:
    good = Request(prompt="ask about it", max_tokens=10)
    unknown = {"type": "object", "properties": {"a": {"type": "string", "pattern": "a(?=b)"}}, "required": ["a"]}
    asked: list[tuple[Request, Sequence[bytes]]] = [
        (good, [RED]),
        (good, [b"<html>"]),
        (Request(prompt="what " * 3000), [RED]),
        (Request(prompt="ask", schema=unknown), [RED]),
        (good, [jpeg(Image.new("RGB", (400, 1)))]),
        (good, [BLUE]),
    ]
    found = run(answered(LocalProvider(str(qwen), batch_size=6), asked))
    kinds = [one.kind if isinstance(one, ProviderError) else type(one) for one in found]
    assert kinds == [Reply, "picture", "request", "request", "request", Reply]
    messages = ["not-an-image", "reads 2,048", "schema cannot be kept", "does not take the request: absolute aspect"]
    for error, message in zip(found[1:5], messages, strict=True):
        assert message in str(error)
        assert "\n" not in str(error)


def test_batches_are_halved_where_memory_is_short(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = LocalProvider(str(qwen), batch_size=8)
    request = Request(prompt="ask", max_tokens=5)
    expected = run(provider.ask(request, [RED]))
    assert provider._loaded is not None
    writer, size = provider._loaded
    module, most = writer._model.module, 2
    generate = module.generate

    def short(**inputs: Any) -> Any:
        if len(inputs["input_ids"]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(**inputs)

    monkeypatch.setattr(module, "generate", short)
    sizes = batches(monkeypatch)
    assert run(answered(provider, [(request, [RED])] * 8)) == [expected] * 8
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    assert size.rows == 2
    assert run(answered(provider, [(request, [RED])] * 4)) == [expected] * 4
    assert sizes[7:] == [2, 2]
    most = 0
    found = run(answered(provider, [(request, [RED])] * 2))
    assert [one.kind for one in found] == ["request"] * 2
    assert "not enough memory" in str(found[0])


def test_requests_of_similar_length_are_answered_together(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[list[int]] = []

    def write(self: Writer, jobs: Sequence[Job]) -> list[Reply]:
        written.append([len(job.pictures) * 100 + len(job.request.prompt) for job in jobs])
        return [Reply(text=job.request.prompt, model="") for job in jobs]

    monkeypatch.setattr(Writer, "write", write)
    asked = [("a", 1), ("a" * 50, 1), ("aa", 1), ("a", 0), ("a", 2), ("a" * 49, 1)]
    requests = [(Request(prompt=prompt), [RED] * number) for prompt, number in asked]
    found = run(answered(LocalProvider(str(qwen), batch_size=2), requests))
    assert [reply.text for reply in found] == [prompt for prompt, _ in asked]
    assert written == [[101, 102], [150, 149], [1], [201]]


def test_event_loops_in_turn_and_closing(qwen: Path) -> None:
    provider = LocalProvider(str(qwen))
    request = Request(prompt="ask", schema=SCHEMA, max_tokens=60)
    threads = set(threading.enumerate())

    async def ask_and_close() -> Reply:
        reply = await provider.ask(request, [RED])
        await provider.close()
        return reply

    first, second = run(provider.ask(request, [RED])), run(provider.ask(request, [RED]))
    loaded = provider._loaded
    assert run(ask_and_close()) == first == second
    assert loaded is not None
    assert provider._loaded is None
    assert set(threading.enumerate()) <= threads
    assert run(ask_and_close()) == first
    run(provider.close())


def test_the_model_ends_once_nobody_waits(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = LocalProvider(str(qwen))
    run(provider.ask(Request(prompt="ask", max_tokens=1), [RED]))
    assert provider._loaded is not None
    module = provider._loaded[0]._model.module
    steps, forward = 0, module.forward

    def slow(*args: Any, **inputs: Any) -> Any:
        nonlocal steps
        steps += 1
        time.sleep(0.02)
        return forward(*args, **inputs)

    slow.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "forward", slow)
    endless = Request(prompt="ask", schema=SCHEMA, max_tokens=2000)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(provider.ask(endless, [RED]), 0.3)
        under_way = asyncio.create_task(provider.ask(endless, [RED]))
        await asyncio.sleep(0.3)
        waiting = asyncio.create_task(provider.ask(endless, ()))
        await asyncio.sleep(0)
        await provider.close()
        for task in (under_way, waiting):
            with pytest.raises(ProviderError, match="closed before"):
                await task

    run(give_up())
    assert 2 < steps < 100


def test_some_pairs_of_the_tiny_writer_have_an_answer_of_one_word(tmp_path: Path) -> None:
    images = [jpeg(picture(colour, seed, 60)) for seed, colour in enumerate(COLOURS.values())]
    asked = [(Request(prompt=f"ask about it, {n}", schema=SCHEMA, max_tokens=600), [images[n % 4]]) for n in range(8)]
    found = run(answered(LocalProvider(str(tiny_writer(tmp_path)), batch_size=8), asked))
    answers = [pair.answer.strip() for reply in found for pair in pairs(reply)]
    assert sum(answer.isascii() and answer.isalpha() for answer in answers) >= 3


def test_texts_and_lists_of_llava_are_bounded(tmp_path: Path) -> None:
    names = {"type": "array", "items": {"type": "string"}}
    schema = {"type": "object", "properties": {"names": names}, "required": ["names"], "additionalProperties": False}
    reply = run(LocalProvider(str(llava(tmp_path))).ask(Request(prompt="name it", schema=schema, max_tokens=900), ()))
    found = json.loads(reply.text)["names"]
    assert 1 <= len(found) <= 10
    assert all(isinstance(name, str) and len(name) <= 400 for name in found)
