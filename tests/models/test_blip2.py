from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cutting import cut_places
from shelfqa.models.adapters.blip2 import Blip2Vqa
from shelfqa.models.base import Decoding, Features, Query, Shot
from shelfqa.models.loading import load_model
from tiny_blip2 import BLIP2_FAMILIES
from tiny_models import COLOURS, picture

pytestmark = pytest.mark.usefixtures("no_gradients")

QUESTIONS = tuple(
    f"Question: {question} Short answer:"
    for question in ("what color is the mug?", "how many?", "is it made of wood or of metal?", "what?", "red?")
)
IMAGES = (0, 0, 0, 1, 2)
PICTURES = [picture(COLOURS[name], seed) for seed, name in enumerate(("red", "blue", "green"))]
LENGTH = 6


@pytest.fixture(scope="module", params=sorted(BLIP2_FAMILIES))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return BLIP2_FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Blip2Vqa:
    found = load_model(str(checkpoint), device="cpu")
    assert isinstance(found, Blip2Vqa)
    return found


@pytest.fixture(scope="module")
def features(model: Blip2Vqa) -> Features:
    with torch.no_grad():
        return model.encode_images(PICTURES)


class Stock:
    """A user's own loop over transformers."""

    def __init__(self, checkpoint: Path) -> None:
        from transformers import (
            AutoTokenizer,
            Blip2ForConditionalGeneration,
            Blip2Processor,
            BlipImageProcessorPil,
            InstructBlipForConditionalGeneration,
            InstructBlipProcessor,
        )

        instructed = (checkpoint / "qformer_tokenizer").is_dir()
        kind = InstructBlipForConditionalGeneration if instructed else Blip2ForConditionalGeneration
        self.module = kind.from_pretrained(checkpoint).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        images = BlipImageProcessorPil.from_pretrained(checkpoint)
        if instructed:
            second = AutoTokenizer.from_pretrained(checkpoint, subfolder="qformer_tokenizer")
            self.processor: Any = InstructBlipProcessor(images, self.tokenizer, second, num_query_tokens=4)
        else:
            self.processor = Blip2Processor(images, self.tokenizer, num_query_tokens=4)
        self.apart = self.module.language_model.config.is_encoder_decoder

    def inputs(self, question: str, image: Image.Image) -> Any:
        found = self.processor(images=[image], text=[question], return_tensors="pt")
        found.pop("token_type_ids", None)
        return found

    def log_likelihood(self, question: str, image: Image.Image, answer: str) -> float:
        """The log-probability of an answer and its end, by one plain forward pass."""
        inputs = dict(self.inputs(question, image))
        end = self.tokenizer.eos_token_id
        ids = self.tokenizer(answer if self.apart else f" {answer}", add_special_tokens=False)["input_ids"] + [end]
        if self.apart:
            labels = torch.tensor([ids])
            log = self.module(**inputs, labels=labels).logits[0].float().log_softmax(-1)
        else:
            before = inputs["input_ids"].shape[1]
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([ids])], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            log = self.module(**inputs).logits[0, before - 1 :].float().log_softmax(-1)
        return sum(float(log[place, token]) for place, token in enumerate(ids))


@pytest.fixture(scope="module")
def stock(checkpoint: Path) -> Stock:
    return Stock(checkpoint)


def queries(candidates: tuple[str, ...] = ()) -> list[Query]:
    return [Query(question, (image,), candidates=candidates) for question, image in zip(QUESTIONS, IMAGES, strict=True)]


@pytest.mark.parametrize("beams", [1, 5])
def test_answers_are_those_of_transformers_one_at_a_time(
    model: Blip2Vqa, features: Features, stock: Stock, beams: int
) -> None:
    found = model.answer(features, queries(), Decoding(top_k=beams, beams=beams, max_new_tokens=LENGTH))
    for question, image, answers in zip(QUESTIONS, IMAGES, found, strict=True):
        inputs = stock.inputs(question, PICTURES[image])
        generated = stock.module.generate(
            **inputs,
            do_sample=False,
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=0.0,
            max_new_tokens=LENGTH,
            return_dict_in_generate=True,
            output_scores=True,
        )
        start = 1 if stock.apart else inputs["input_ids"].shape[1]
        texts = [
            text.strip()
            for text in stock.tokenizer.batch_decode(generated.sequences[:, start:], skip_special_tokens=True)
        ]
        assert [answer.text for answer in answers] == list(dict.fromkeys(texts))
        if beams > 1:
            scores = generated.sequences_scores.exp().tolist()
            expected = dict(reversed(list(zip(texts, scores, strict=True))))
            for answer in answers:
                assert answer.probability == pytest.approx(expected[answer.text], rel=1e-3, abs=1e-9)


def test_greedy_probabilities_are_those_of_the_tokens(model: Blip2Vqa, features: Features, stock: Stock) -> None:
    found = model.answer(features, queries(), Decoding(top_k=1, beams=1, max_new_tokens=1))
    wide = model.answer(features, queries(), Decoding(top_k=1, beams=4, max_new_tokens=1))
    for one, other in zip(found, wide, strict=True):
        assert one[0].probability == pytest.approx(other[0].probability, rel=1e-4)


def test_candidates_are_ranked_by_their_likelihood(model: Blip2Vqa, features: Features, stock: Stock) -> None:
    words = ("red", "mug", "red mug", "re", "blue", "x")
    found = model.answer(features, queries(words), Decoding(top_k=4))
    for question, image, answers in zip(QUESTIONS, IMAGES, found, strict=True):
        expected = {word: stock.log_likelihood(question, PICTURES[image], word) for word in words}
        assert [one.text for one in answers] == sorted(words, key=lambda word: -expected[word])[:4]
        for one in answers:
            assert torch.tensor(one.probability).log().item() == pytest.approx(expected[one.text], abs=1e-3)


def test_what_else_is_in_the_batch_changes_nothing(model: Blip2Vqa, features: Features) -> None:
    decoding = Decoding(top_k=3, max_new_tokens=LENGTH)
    together = model.answer(features, queries(), decoding)
    for query, found in zip(queries(), together, strict=True):
        alone = model.answer([features[query.images[0]]], [query._replace(images=(0,))], decoding)[0]
        assert [one.text for one in alone] == [one.text for one in found]
        assert [one.probability for one in alone] == pytest.approx([one.probability for one in found], abs=1e-4)
    for side in ("left", "right"):
        model.tokenizer.padding_side = side
        assert model.answer(features, queries(), decoding) == together


def test_the_loss_is_that_of_the_answers_alone(model: Blip2Vqa, features: Features, stock: Stock) -> None:
    answers = ("red", "2", "a red mug", "mug", "no")
    total, tokens = 0.0, 0
    for question, image, answer in zip(QUESTIONS, IMAGES, answers, strict=True):
        total -= stock.log_likelihood(question, PICTURES[image], answer)
        text = answer if stock.apart else f" {answer}"
        tokens += len(stock.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
    assert float(model.loss(features, queries(), answers)) == pytest.approx(total / tokens, abs=1e-4)
    with torch.enable_grad():
        model.loss(model.encode_images(PICTURES), queries(), answers).backward()
    groups = {model.group_of(name) for name, weight in model.module.named_parameters() if weight.grad is not None}
    assert groups == {"vision", "connector", "language"}
    model.module.zero_grad()


def test_examples_are_words_before_the_question(model: Blip2Vqa, features: Features) -> None:
    shown = Query(QUESTIONS[0], (0,), (Shot("Question: what is it? Short answer:", "mug"),))
    written = Query(f"Question: what is it? Short answer: mug. {QUESTIONS[0]}", (0,))
    decoding = Decoding(top_k=1, max_new_tokens=3)
    assert model.answer(features, [shown], decoding) == model.answer(features, [written], decoding)


def test_a_long_question_keeps_its_end(model: Blip2Vqa, features: Features) -> None:
    decoding = Decoding(top_k=1, max_new_tokens=3)
    long = Query("Question: " + "what color " * 455 + " Short answer:", (0,))
    plain = model.answer(features, queries()[:1], decoding)[0][0]
    found = model.answer(features, [queries()[0], long, Query("\u2603 \x00", (0,))], decoding)
    assert found[0][0].text == plain.text
    assert found[0][0].probability == pytest.approx(plain.probability, abs=1e-4)
    assert cut_places(model, [QUESTIONS[0], long.question], ["blue " * 40, "red"]) == ([1], [0])


def test_one_word_stops_when_a_second_begins(model: Blip2Vqa, features: Features) -> None:
    for beams in (1, 4):
        found = model.answer(features, queries(), Decoding(top_k=1, beams=beams, max_new_tokens=12, one_word=True))
        assert all(len(row[0].text.split()) <= 1 for row in found)


def test_a_checkpoint_is_written_and_read(model: Blip2Vqa, features: Features, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), device="cpu")
    decoding = Decoding(top_k=2, max_new_tokens=3)
    assert again.answer(again.encode_images(PICTURES), queries(), decoding) == model.answer(
        features, queries(), decoding
    )
