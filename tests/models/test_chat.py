from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from shelfqa.errors import UserError
from shelfqa.models.adapters.any_chat import AnyChatVqa
from shelfqa.models.adapters.chat import ChatVqa
from shelfqa.models.adapters.chat_processor import chat_processor
from shelfqa.models.adapters.chat_prompts import ChatPrompts
from shelfqa.models.base import Decoding, Features, Loading, Query, Shot
from shelfqa.models.loading import load_model
from tiny_chat import CHAT_FAMILIES
from tiny_models import COLOURS, picture

pytestmark = pytest.mark.usefixtures("no_gradients")

QUESTIONS = ("what color is the mug?", "how many?", "is it made of wood or of metal?", "what is it?", "red?")
IMAGES = (0, 0, 0, 1, 2)
PICTURES = [
    picture(COLOURS["red"], 0, 40),
    picture(COLOURS["blue"], 1, 40).resize((56, 24)),
    picture(COLOURS["green"], 2, 40).resize((24, 60)),
]
LENGTH = 6


@pytest.fixture(scope="module", params=sorted(CHAT_FAMILIES))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CHAT_FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> ChatVqa:
    found = load_model(str(checkpoint), device="cpu")
    assert isinstance(found, ChatVqa)
    return found


@pytest.fixture(scope="module")
def features(model: ChatVqa) -> Features:
    with torch.no_grad():
        return model.encode_images(PICTURES)


@pytest.fixture(scope="module")
def stock(checkpoint: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(checkpoint).eval(), chat_processor(str(checkpoint), Loading())


def queries(candidates: tuple[str, ...] = ()) -> list[Query]:
    return [Query(question, (image,), candidates=candidates) for question, image in zip(QUESTIONS, IMAGES, strict=True)]


def stock_inputs(processor: Any, question: str, pictures: list[Image.Image], answer: str = "") -> Any:
    """What a user of transformers writes for one question."""
    if processor.chat_template is None:
        text = question + answer
    else:
        content: list[dict[str, str]] = []
        for number in range(1, len(pictures) + 1):
            content += [{"type": "text", "text": f"Image {number}:"}] if len(pictures) > 1 else []
            content.append({"type": "image"})
        turn = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        text = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False) + answer
    starts = processor.tokenizer.bos_token and text.startswith(processor.tokenizer.bos_token)
    settings = {"add_special_tokens": False} if starts else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
        return processor(text=[text], images=[pictures], return_tensors="pt", **settings)


@pytest.mark.parametrize("beams", [1, 5])
def test_answers_are_those_of_transformers_one_at_a_time(
    model: ChatVqa, features: Features, stock: tuple[Any, Any], beams: int
) -> None:
    plain, processor = stock
    found = model.answer(features, queries(), Decoding(top_k=beams, beams=beams, max_new_tokens=LENGTH))
    for question, image, answers in zip(QUESTIONS, IMAGES, found, strict=True):
        inputs = stock_inputs(processor, question, [PICTURES[image]])
        generated = plain.generate(
            **inputs,
            do_sample=False,
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=0.0,
            max_new_tokens=LENGTH,
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = processor.tokenizer.batch_decode(
            generated.sequences[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        assert [answer.text for answer in answers] == list(dict.fromkeys(text.strip() for text in texts))
        if beams > 1:
            expected = dict(
                zip(
                    [text.strip() for text in reversed(texts)],
                    generated.sequences_scores.exp().flip(0).tolist(),
                    strict=True,
                )
            )
            for answer in answers:
                assert answer.probability == pytest.approx(expected[answer.text], rel=1e-3, abs=1e-9)


def independent(stock: tuple[Any, Any], question: str, pictures: list[Image.Image], answer: str) -> float:
    """The log-probability of an answer and its end, by one plain forward pass."""
    plain, processor = stock
    end = processor.tokenizer.eos_token
    before = stock_inputs(processor, question, pictures)["input_ids"].shape[1]
    if processor.chat_template is None:  # PaliGemma: the answer follows the prompt's newline
        inputs = stock_inputs(processor, question, pictures)
        after = processor.tokenizer(answer + end, add_special_tokens=False, return_tensors="pt")["input_ids"]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], after], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["token_type_ids"] = torch.tensor([[0] * before + [1] * after.shape[1]])
        inputs.pop("labels", None)
    else:
        inputs = stock_inputs(processor, question, pictures, f" {answer}{end}")
    ids = inputs["input_ids"][0]
    log = plain(**inputs).logits[0].log_softmax(-1)
    return sum(float(log[place - 1, ids[place]]) for place in range(before, len(ids)))


def test_candidates_are_ranked_by_their_likelihood(model: ChatVqa, features: Features, stock: tuple[Any, Any]) -> None:
    words = ("red", "mug", "red mug", "re", "blue", "x")
    found = model.answer(features, queries(words), Decoding(top_k=4))
    for question, image, answers in zip(QUESTIONS, IMAGES, found, strict=True):
        expected = {word: independent(stock, question, [PICTURES[image]], word) for word in words}
        assert [one.text for one in answers] == sorted(words, key=lambda word: -expected[word])[:4]
        for one in answers:
            assert torch.tensor(one.probability).log().item() == pytest.approx(expected[one.text], abs=1e-3)


def test_many_candidates_are_scored_in_pieces(
    model: ChatVqa, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tuple(f"{first}{second}" for first in "abcde" for second in ("", " b", "red", "mug"))
    whole = model.answer(features, queries(words), Decoding(top_k=len(words)))
    monkeypatch.setattr("shelfqa.models.decoding.candidates._NODES_AT_ONCE", 7)
    pieces = model.answer(features, queries(words), Decoding(top_k=len(words)))
    for one, other in zip(whole, pieces, strict=True):
        assert [answer.text for answer in one] == [answer.text for answer in other]
        assert [answer.probability for answer in one] == pytest.approx(
            [answer.probability for answer in other], rel=1e-4
        )


def test_what_else_is_in_the_batch_changes_nothing(model: ChatVqa, features: Features) -> None:
    decoding = Decoding(top_k=3, max_new_tokens=LENGTH)
    together = model.answer(features, queries(), decoding)
    for query, found in zip(queries(), together, strict=True):
        alone = model.answer([features[query.images[0]]], [query._replace(images=(0,))], decoding)[0]
        assert [one.text for one in alone] == [one.text for one in found]
        assert [one.probability for one in alone] == pytest.approx([one.probability for one in found], abs=1e-4)
    for side in ("left", "right"):
        model.prompts.tokenizer.padding_side = side
        assert model.answer(features, queries(), decoding) == together
    order = [3, 0, 4, 2, 1]
    mixed = model.answer(features, [queries()[place] for place in order], decoding)
    assert [[one.text for one in mixed[order.index(place)]] for place in range(5)] == [
        [one.text for one in found] for found in together
    ]


def test_several_pictures_are_numbered_and_read_as_transformers_does(
    model: ChatVqa, features: Features, stock: tuple[Any, Any]
) -> None:
    plain, processor = stock
    if processor.chat_template is None:
        pytest.skip("PaliGemma has no turns to number pictures in")
    found = model.answer(features, [Query("which is red?", (0, 2))], Decoding(top_k=1, beams=1, max_new_tokens=4))[0]
    inputs = stock_inputs(processor, "which is red?", [PICTURES[0], PICTURES[2]])
    ids = plain.generate(**inputs, do_sample=False, max_new_tokens=4)
    text = processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert found[0].text == text.strip()


def test_examples_are_turns_before_the_question(model: ChatVqa, features: Features) -> None:
    if not model.takes_shots:
        pytest.skip("PaliGemma takes no examples")
    query = Query("what is it?", (0,), (Shot("what is that?", "mug", (1,)), Shot("how many?", "2")))
    text = model.prompts.text(query)
    places = [text.index(part) for part in ("what is that?", "mug", "how many?", "2", "what is it?")]
    assert places == sorted(places)
    assert text.count(model.prompts.placeholder) == 2
    plain, shown = model.answer(features, [query._replace(shots=()), query], Decoding(top_k=1, max_new_tokens=4))
    assert shown != plain


def test_the_loss_is_that_of_the_answers_alone(model: ChatVqa, features: Features, stock: tuple[Any, Any]) -> None:
    answers = ("red", "2", "a red mug", "mug", "no")
    total, tokens = 0.0, 0
    for question, image, answer in zip(QUESTIONS, IMAGES, answers, strict=True):
        total -= independent(stock, question, [PICTURES[image]], answer)
        tokens += len(model.prompts.answer_ids(Query(question, (image,)), answer)) + 1
    loss = model.loss(features, queries(), answers)
    assert float(loss) == pytest.approx(total / tokens, abs=1e-4)
    with torch.enable_grad():
        model.loss(model.encode_images(PICTURES), queries(), answers).backward()
    groups = {model.group_of(name) for name, weight in model.module.named_parameters() if weight.grad is not None}
    assert groups == {"vision", "connector", "language"}
    model.module.zero_grad()


def test_odd_questions_and_pictures(model: ChatVqa, features: Features) -> None:
    decoding = Decoding(top_k=1, max_new_tokens=3)
    plain = model.answer(features, queries()[:1], decoding)[0]
    token = model.prompts.placeholder
    odd = ["what color " * 455, f"{token} what? {token}", "\u2603 \x00", "?"]
    found = model.answer(features, [queries()[0], *(Query(text, (0,)) for text in odd)], decoding)
    assert len(found) == 5
    assert found[0][0].text == plain[0].text
    assert found[0][0].probability == pytest.approx(plain[0].probability, abs=1e-4)
    small = model.encode_images([Image.new("RGB", (1, 1)), Image.new("RGB", (90, 10))])
    assert model.answer(small, [Query("what is it?", (0,)), Query("what is it?", (1,))], decoding)


def test_one_word_stops_when_a_second_begins(model: ChatVqa, features: Features) -> None:
    found = model.answer(features, queries(), Decoding(top_k=5, max_new_tokens=12, one_word=True))
    longer = model.answer(features, queries(), Decoding(top_k=5, max_new_tokens=12))
    for row, other in zip(found, longer, strict=True):
        assert all(len(one.text.split()) <= 1 for one in row)
        assert (row[0].probability or 0.0) >= (other[0].probability or 0.0)


def test_prompts_are_those_of_the_processor(
    model: ChatVqa, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert model.prompts.agrees_with_processor()
    if model.module.config.model_type == "paligemma":
        return
    monkeypatch.setattr(ChatPrompts, "spliced", lambda *_: [1, 2])
    other = load_model(str(checkpoint), device="cpu")
    assert isinstance(other, AnyChatVqa)
    assert "writes prompts in a way of its own" in capsys.readouterr().err


def test_a_checkpoint_is_written_and_read(model: ChatVqa, features: Features, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), device="cpu")
    decoding = Decoding(top_k=2, max_new_tokens=3)
    assert again.answer(again.encode_images(PICTURES), queries(), decoding) == model.answer(
        features, queries(), decoding
    )


def test_resolution_and_tiles(checkpoint: Path, model: ChatVqa) -> None:
    kind = model.module.config.model_type
    shown = Image.new("RGB", (64, 64), (90, 20, 20))
    if kind in ("llava", "paligemma"):
        with pytest.raises(UserError, match="32 pixels a side and no other"):
            load_model(str(checkpoint), device="cpu", loading=Loading(image_side_px=48))
    elif kind == "qwen2_5_vl":
        small = load_model(str(checkpoint), device="cpu", loading=Loading(image_side_px=16))
        assert len(small.encode_images([shown])[0].embeddings) < len(model.encode_images([shown])[0].embeddings)
    if kind in ("idefics2", "idefics3", "smolvlm"):
        counts = []
        for split in (True, False):
            split_or_not = load_model(str(checkpoint), device="cpu", loading=Loading(split_images=split))
            counts.append(len(split_or_not.encode_images([shown])[0].embeddings))
            assert split_or_not.answer(split_or_not.encode_images([shown]), [Query("what?", (0,))], Decoding(top_k=1))
        assert counts == [20, 4]
    else:
        with pytest.raises(UserError, match="does not cut pictures into tiles"):
            load_model(str(checkpoint), device="cpu", loading=Loading(split_images=True))
