"""What a model's processor and `generate` answer is what the adapter that shares prompts answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from shelfqa.errors import InputError, UserError
from shelfqa.models import loading
from shelfqa.models.adapters.any_chat import AnyChatVqa
from shelfqa.models.adapters.chat import ChatVqa
from shelfqa.models.base import Decoding, Features, Loading, Query, Shot
from shelfqa.models.loading import load_model
from tiny_blip2 import blip2_t5
from tiny_chat import CHAT_FAMILIES, llava_next
from tiny_models import COLOURS, picture
from told_answers import nearly, told

pytestmark = pytest.mark.usefixtures("no_gradients")

QUESTIONS = ("what color is the mug?", "how many?", "is it made of wood or of metal?", "what is it?")
IMAGES = ((0,), (0,), (2,), (1,))
ANSWERS = ("red", "2", "a red mug", "mug")
WORDS = ("red", "mug", "red mug", "re", "blue", "x", "1", "2", "3", "no")
PICTURES = [
    picture(COLOURS["red"], 0, 40),
    picture(COLOURS["blue"], 1, 40).resize((56, 24)),
    picture(COLOURS["green"], 2, 40).resize((24, 60)),
]
LENGTH = 5


@pytest.fixture(scope="module", params=sorted(CHAT_FAMILIES))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CHAT_FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def shared(checkpoint: Path) -> ChatVqa:
    found = load_model(str(checkpoint), device="cpu")
    assert isinstance(found, ChatVqa)
    return found


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> AnyChatVqa:
    found = AnyChatVqa.from_pretrained(str(checkpoint), "any", Loading())
    found.module.eval()
    return found


def queries(candidates: tuple[str, ...] = ()) -> list[Query]:
    return [Query(question, images, (), candidates) for question, images in zip(QUESTIONS, IMAGES, strict=True)]


def several() -> list[Query]:
    """Questions about one, two and three pictures, one of them with a solved example."""
    shown = (Shot("what is that?", "mug", (1,)),)
    return [*queries()[:2], Query("which is red?", (0, 2)), Query("which?", (1, 0, 2)), Query("what?", (2,), shown)]


def encoded(model: AnyChatVqa | ChatVqa) -> Features:
    with torch.no_grad():
        return model.encode_images(PICTURES)


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_of_the_adapter_that_shares(model: AnyChatVqa, shared: ChatVqa, beams: int) -> None:
    decoding = Decoding(top_k=beams, beams=beams, max_new_tokens=LENGTH)
    asked = several() if model.takes_shots else queries()
    assert told(model.answer(encoded(model), asked, decoding)) == nearly(
        shared.answer(encoded(shared), asked, decoding)
    )


def test_candidates_are_those_of_the_adapter_that_shares(model: AnyChatVqa, shared: ChatVqa) -> None:
    asked = [query._replace(candidates=WORDS) for query in (several() if model.takes_shots else queries())]
    found = model.answer(encoded(model), asked, Decoding(top_k=10))
    expected = shared.answer(encoded(shared), asked, Decoding(top_k=10))
    assert told(found) == nearly(expected)
    for one, other in zip(found, expected, strict=True):
        logs = [torch.tensor([answer.probability for answer in row]).log().tolist() for row in (one, other)]
        assert logs[0] == pytest.approx(logs[1], abs=1e-3)


def test_the_loss_is_that_of_the_adapter_that_shares(model: AnyChatVqa, shared: ChatVqa) -> None:
    expected = float(shared.loss(encoded(shared), queries(), ANSWERS))
    assert float(model.loss(encoded(model), queries(), ANSWERS)) == pytest.approx(expected, abs=1e-4)
    with torch.enable_grad():
        model.loss(encoded(model), queries(), ANSWERS).backward()
    groups = {model.group_of(name) for name, weight in model.module.named_parameters() if weight.grad is not None}
    model.module.zero_grad()
    assert groups == {"vision", "connector", "language"}


def test_what_else_is_in_the_batch_changes_nothing(model: AnyChatVqa) -> None:
    decoding = Decoding(top_k=3, max_new_tokens=LENGTH)
    together = model.answer(encoded(model), queries(), decoding)
    for query, found in zip(queries(), together, strict=True):
        assert told(model.answer(encoded(model), [query], decoding)) == nearly([found])
    for side in ("left", "right"):
        model.processor.tokenizer.padding_side = side
        assert told(model.answer(encoded(model), queries(), decoding)) == nearly(together)


def test_pictures_that_training_kept_on_disk_are_the_same(model: AnyChatVqa) -> None:
    kept = [pixels.float() for pixels in encoded(model)]
    assert float(model.loss(kept, queries(), ANSWERS)) == float(model.loss(encoded(model), queries(), ANSWERS))


def test_odd_questions_and_pictures(model: AnyChatVqa, shared: ChatVqa) -> None:
    decoding = Decoding(top_k=1, max_new_tokens=3)
    token = shared.prompts.placeholder
    odd = [Query(text, (0,)) for text in (f"{token} what? {token}", "\u2603 \x00", "?", "what " * 300)]
    assert told(model.answer(encoded(model), odd, decoding)) == nearly(shared.answer(encoded(shared), odd, decoding))
    small = model.encode_images([Image.new("RGB", (1, 1)), Image.new("RGB", (90, 10))])
    assert model.answer(small, [Query("what is it?", (0,)), Query("what is it?", (1,))], decoding)


def test_flash_attention_runs_by_generate(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flash = Loading(attention="flash_attention_2")
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "flash_attn" else found(name))
    with pytest.raises(UserError, match="pip install flash-attn, or give --attention sdpa") as caught:
        load_model(str(checkpoint), device="cpu", loading=flash)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found("torch" if name == "flash_attn" else name))
    assert loading._family(str(checkpoint), "any", Loading(attention="sdpa")) is ChatVqa
    if "paligemma" in checkpoint.name:
        with pytest.raises(UserError, match="takes no 'flash_attention_2'"):
            loading._family(str(checkpoint), "any", flash)
    else:
        assert loading._family(str(checkpoint), "any", flash) is AnyChatVqa


@pytest.fixture(scope="module")
def other_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaVA-NeXT, whose pictures become tiles of varying number."""
    return llava_next(tmp_path_factory.mktemp("llava_next"))


@pytest.fixture(scope="module")
def other(other_checkpoint: Path) -> AnyChatVqa:
    found = load_model(str(other_checkpoint), device="cpu")
    assert isinstance(found, AnyChatVqa)
    return found


def stock_inputs(other: AnyChatVqa, query: Query, ending: str = "") -> Any:
    content: list[dict[str, str]] = []
    for number in range(1, len(query.images) + 1):
        content += [{"type": "text", "text": f"Image {number}:"}] if len(query.images) > 1 else []
        content.append({"type": "image"})
    turn = [{"role": "user", "content": [*content, {"type": "text", "text": query.question}]}]
    text = other.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    pictures = [PICTURES[place] for place in query.images]
    return other.processor(text=[text + ending], images=[pictures], return_tensors="pt")


def log_likelihood(other: AnyChatVqa, query: Query, answer: str) -> float:
    before = stock_inputs(other, query)["input_ids"].shape[1]
    inputs = stock_inputs(other, query, f" {answer}</s>")
    ids = inputs["input_ids"][0]
    log = other.module(**inputs).logits[0].log_softmax(-1)
    return sum(float(log[place - 1, ids[place]]) for place in range(before, len(ids)))


def test_it_answers_as_generate_does(other: AnyChatVqa) -> None:
    asked = [*queries(), Query("which is red?", (0, 2))]
    found = other.answer(encoded(other), asked, Decoding(top_k=1, beams=1, max_new_tokens=LENGTH))
    for query, answers in zip(asked, found, strict=True):
        inputs = stock_inputs(other, query)
        ids = other.module.generate(**inputs, do_sample=False, max_new_tokens=LENGTH)
        text = other.processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert [one.text for one in answers] == [text.strip()]


def test_beams_see_their_own_pictures(other: AnyChatVqa) -> None:
    asked = [*queries(), Query("which is red?", (0, 2))]
    one, three = (
        other.answer(encoded(other), asked, Decoding(top_k=beams, beams=beams, max_new_tokens=1)) for beams in (1, 3)
    )
    for best, several in zip(one, three, strict=True):
        assert several[0].text == best[0].text
        assert several[0].probability == pytest.approx(best[0].probability, abs=1e-4)


def test_candidates_and_loss_are_likelihoods(other: AnyChatVqa) -> None:
    asked = [query._replace(candidates=WORDS) for query in [*queries(), Query("which is red?", (0, 2))]]
    for query, answers in zip(asked, other.answer(encoded(other), asked, Decoding(top_k=10)), strict=True):
        expected = {word: log_likelihood(other, query, word) for word in WORDS}
        assert [one.text for one in answers] == sorted(WORDS, key=lambda word: -expected[word])
        assert torch.tensor([one.probability for one in answers]).log().tolist() == pytest.approx(
            [expected[one.text] for one in answers], abs=1e-3
        )
    loss = float(other.loss(encoded(other), asked[:1], ["red"]))
    assert loss == pytest.approx(-log_likelihood(other, asked[0], "red") / 2, abs=1e-4)


def test_it_is_written_and_read(other: AnyChatVqa, tmp_path: Path) -> None:
    other.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), device="cpu")
    decoding = Decoding(top_k=2, max_new_tokens=3)
    expected = other.answer(encoded(other), queries(), decoding)
    assert again.answer(again.encode_images(PICTURES), queries(), decoding) == expected


def test_what_writes_its_answer_apart_is_told(tmp_path: Path) -> None:
    blip2_t5(tmp_path)
    with pytest.raises(InputError, match="no chat model"):
        AnyChatVqa.from_pretrained(str(tmp_path), "blip2", Loading())
