"""What a request is known by, and asking again with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from PIL import Image

from shelfqa.providers import jobs as asking
from shelfqa.providers.base import Reply, Request, Usage
from shelfqa.providers.jobs import MOST_ASKINGS, MOST_TOKENS, Asking, Job, Outcome, Replies
from shelfqa.providers.store import Failure, Store

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"enum": ["x", "y"]}}}


@pytest.fixture
def replies(tmp_path: Path) -> Iterator[Replies]:
    with Store(tmp_path / "replies.sqlite") as store:
        yield Replies(store, "fake", "model-1", "run")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


def answer(replies: Replies, step: Asking | Outcome, text: str, *, cut: bool = False) -> None:
    assert isinstance(step, Asking)
    reply = Reply(text=text, model="m", usage=Usage(1, 1), cut=cut)
    replies.store.keep(step.key, "fake", "model-1", reply).result()


def test_the_key_is_of_all_that_a_reply_depends_on(replies: Replies, picture: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "blue.png")
    whole = Request(prompt="p", system="s", images=(picture,), schema=SCHEMA, max_tokens=100, image_side_px=64)
    changed: dict[str, list[Any]] = {
        "prompt": ["p ", "s", ""],
        "system": ["", "p", "s "],
        "images": [(), (tmp_path / "blue.png",), (picture, picture), (picture, tmp_path / "blue.png")],
        "schema": [None, {}, {**SCHEMA, "required": ["a"]}, {**SCHEMA, "properties": {"a": {"type": "integer"}}}],
        "max_tokens": [99, 200],
        "image_side_px": [None, 65],
    }
    assert set(changed) == {field.name for field in fields(Request)}
    others = [replace(whole, **{name: value}) for name, values in changed.items() for value in values]
    keys = [replies.key(request) for request in (whole, *others)]
    keys += [Replies(replies.store, *who, "run").key(whole) for who in (("fake", "model-2"), ("other", "model-1"))]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 and key.isalnum() for key in keys)


def test_the_key_is_of_nothing_else(replies: Replies, picture: Path, tmp_path: Path) -> None:
    whole = Request(prompt="p", images=(picture,), schema=SCHEMA, image_side_px=64)
    key = replies.key(whole)
    assert Replies(replies.store, "fake", "model-1", "another run").key(whole) == key
    copy = tmp_path / "another name.jpg"
    copy.write_bytes(picture.read_bytes())
    assert replies.key(replace(whole, images=(copy,))) == key
    turned = {name: SCHEMA[name] for name in reversed(SCHEMA)}
    turned["properties"] = {name: SCHEMA["properties"][name] for name in reversed(SCHEMA["properties"])}
    assert list(turned) != list(SCHEMA)
    assert replies.key(replace(whole, schema=turned)) == key
    assert replies.key(replace(whole, schema=MappingProxyType(SCHEMA))) == key
    assert (
        replies.key(
            replace(whole, schema={**SCHEMA, "properties": {**SCHEMA["properties"], "b": {"enum": ("x", "y")}}})
        )
        == key
    )
    plain = Request(prompt="p")
    assert replies.key(replace(plain, image_side_px=64)) == replies.key(plain)  # it has no pictures


def test_a_key_is_the_same_in_years(replies: Replies) -> None:
    """Else a new version pays for everything again."""
    assert replies.key(Request(prompt="p", system="s", schema=SCHEMA)) == "30daa2ff857318048022958ab7325203"


def test_texts_that_are_no_unicode_have_a_key(replies: Replies) -> None:
    odd = Request(prompt="\ud800", system="\udcff", schema={"enum": ["\ud800"], "\udfff": 1})
    assert replies.key(odd) == replies.key(Request(prompt="?", system="?", schema={"enum": ["?"], "?": 1}))


def test_texts_that_are_no_unicode_are_sent_without_what_cannot_be(replies: Replies) -> None:
    odd = Request(prompt="a \ud800", system="\udcff", schema=MappingProxyType({"enum": ("\ud800",)}))
    step = replies.next_step(Job(id=1, request=odd, review=lambda _: "bad"))
    assert isinstance(step, Asking)
    assert (step.request.prompt, step.request.system, step.request.schema) == ("a ?", "?", {"enum": ["?"]})
    assert step.key == replies.key(odd)


def test_it_is_asked_again_with_the_reason_so_often_at_most(replies: Replies) -> None:
    seen: list[str] = []

    def review(reply: Reply) -> str:
        seen.append(reply.text)
        return f"{reply.text} is not it"

    job = Job(id=1, request=Request(prompt="Colour?", max_tokens=100), review=review)
    prompts, keys = [], []
    for number in range(MOST_ASKINGS):
        step = replies.next_step(job)
        assert isinstance(step, Asking)
        assert step == replies.next_step(job)  # until there is a reply
        prompts.append(step.request.prompt)
        keys.append(step.key)
        answer(replies, step, f"guess {number}")
    end = replies.next_step(job)
    assert isinstance(end, Outcome)
    assert (end.askings, end.keys, end.failure) == (MOST_ASKINGS, tuple(keys), None)
    assert end.reply is not None
    assert end.reply.text == "guess 2"
    assert prompts[0] == "Colour?"
    for number in (1, 2):
        assert prompts[number].startswith("Colour?\n\n")
        assert f"cannot be used: guess {number - 1} is not it." in prompts[number]
        assert f"It began:\nguess {number - 1}\n" in prompts[number]
    assert "guess 0" not in prompts[2]
    assert len(set(keys)) == MOST_ASKINGS


def test_the_same_wrong_reply_twice_is_asked_a_third_time(replies: Replies) -> None:
    job = Job(id=1, request=Request(prompt="p"), review=lambda reply: None if reply.text == "good" else "bad")
    for text in ("wrong", "wrong", "good"):
        answer(replies, replies.next_step(job), text)
    end = replies.next_step(job)
    assert isinstance(end, Outcome)
    assert (end.reply and end.reply.text, end.askings, len(set(end.keys))) == ("good", 3, 3)


def test_a_reply_that_will_do_ends_it(replies: Replies) -> None:
    job = Job(id=1, request=Request(prompt="p"), review=lambda reply: None if reply.text == "good" else "bad")
    answer(replies, replies.next_step(job), "wrong")
    answer(replies, replies.next_step(job), "good")
    end = replies.next_step(job)
    assert isinstance(end, Outcome)
    assert (end.reply and end.reply.text, end.askings, len(end.keys)) == ("good", 2, 2)
    unreviewed = replies.next_step(Job(id=2, request=Request(prompt="p")))
    assert isinstance(unreviewed, Outcome)
    assert (unreviewed.reply and unreviewed.reply.text, unreviewed.askings) == ("wrong", 1)


def test_a_reply_that_was_cut_may_be_longer_the_next_time(replies: Replies) -> None:
    def lengths(max_tokens: int, cuts: list[bool]) -> list[int]:
        job = Job(id=1, request=Request(prompt=f"{max_tokens} {cuts}", max_tokens=max_tokens), review=lambda _: "bad")
        found = []
        for cut in cuts:
            step = replies.next_step(job)
            assert isinstance(step, Asking)
            found.append(step.request.max_tokens)
            answer(replies, step, "x" * 5000, cut=cut)
        return found

    assert lengths(100, [True, True, True]) == [100, 200, 400]
    assert lengths(100, [True, False, False]) == [100, 200, 200]  # else it is cut again
    assert lengths(100, [False, True, False]) == [100, 100, 200]
    assert lengths(20_000, [True, True, True]) == [20_000, MOST_TOKENS, MOST_TOKENS]
    assert lengths(50_000, [True, True, True]) == [50_000] * 3


def test_a_long_reply_is_quoted_in_part(replies: Replies) -> None:
    job = Job(id=1, request=Request(prompt="p"), review=lambda _: "bad")
    answer(replies, replies.next_step(job), "x" * 100_000)
    step = replies.next_step(job)
    assert isinstance(step, Asking)
    assert len(step.request.prompt) < 3000


def test_a_failure_ends_it_for_that_run_alone(replies: Replies) -> None:
    job = Job(id=1, request=Request(prompt="p"), review=lambda _: "bad")
    answer(replies, replies.next_step(job), "wrong")
    step = replies.next_step(job)
    assert isinstance(step, Asking)
    replies.store.fail("run", step.key, Failure("server", "it failed")).result()
    end = replies.next_step(job)
    assert isinstance(end, Outcome)
    assert (end.reply, end.failure, end.askings) == (None, Failure("server", "it failed"), 2)
    assert isinstance(Replies(replies.store, "fake", "model-1", "other").next_step(job), Asking)


def test_a_picture_that_is_missing_is_a_failure(replies: Replies, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    for name, reason in (("gone.jpg", "missing"), ("empty.jpg", "empty"), (".", "unreadable"), ("a\0b", "unreadable")):
        end = replies.next_step(Job(id=1, request=Request(prompt="p", images=(tmp_path / name,))))
        assert isinstance(end, Outcome)
        assert end.failure is not None
        assert end.failure.kind == "picture"
        assert end.failure.message.startswith(f"cannot send the picture: {reason}")


def test_digests_of_pictures_stay_few(replies: Replies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_MOST_DIGESTS", 10)
    keys = []
    for _ in range(2):
        for number in range(35):
            path = tmp_path / f"{number}.jpg"
            path.write_bytes(f"picture {number}".encode())
            keys.append(replies.key(Request(prompt="p", images=(path, tmp_path / "0.jpg"))))
            assert len(replies._digests) <= 10
    assert keys[:35] == keys[35:]
    assert len(set(keys)) == 35
