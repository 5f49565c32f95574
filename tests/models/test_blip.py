from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cutting import cut_places
from shelfqa.errors import UserError
from shelfqa.models.base import Decoding, Loading, VqaModel, one_of_each
from shelfqa.models.batching import BatchSize, answer_in_batches, encode_in_batches
from shelfqa.models.loading import load_model
from tiny_models import COLOURS, blip_checkpoint, picture

pytestmark = pytest.mark.usefixtures("no_gradients")

QUESTIONS = (
    "what color is the mug?",
    "how many?",
    "what material is this product made of?",
    "is it wood?",
    "what kind of chair is this? it is round",
)
IMAGE_INDEX = (0, 0, 1, 2, 3)
ANSWERS = ("red", "2", "round wood", "no", "Chair")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blip_checkpoint(tmp_path_factory.mktemp("blip"))


@pytest.fixture
def model(checkpoint: Path) -> VqaModel:
    return load_model(str(checkpoint), device="cpu")


@pytest.fixture
def features(model: VqaModel) -> torch.Tensor:
    with torch.no_grad():
        return model.encode_images([picture(rgb, seed) for seed, rgb in enumerate(COLOURS.values())])


def stock(checkpoint: Path) -> tuple[Any, Any, Any]:
    from transformers import BertTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil

    return (
        BlipForQuestionAnswering.from_pretrained(checkpoint).eval(),
        BertTokenizer.from_pretrained(checkpoint),
        BlipImageProcessorPil.from_pretrained(checkpoint),
    )


def test_answers_are_those_of_transformers_one_at_a_time(
    checkpoint: Path, model: VqaModel, features: torch.Tensor
) -> None:
    plain, tokenizer, processor = stock(checkpoint)
    pictures = [picture(rgb, seed) for seed, rgb in enumerate(COLOURS.values())]
    ours = model.answer(features, one_of_each(QUESTIONS, IMAGE_INDEX), Decoding(top_k=5))
    for question, image, found in zip(QUESTIONS, IMAGE_INDEX, ours, strict=True):
        generated = plain.generate(
            pixel_values=processor(images=pictures[image], return_tensors="pt")["pixel_values"],
            **{key: tokenizer(question, return_tensors="pt")[key] for key in ("input_ids", "attention_mask")},
            num_beams=5,
            num_return_sequences=5,
            length_penalty=0.0,
            max_length=21,
        )
        expected = [tokenizer.decode(ids[1:], skip_special_tokens=True) for ids in generated]
        assert [answer.text for answer in found] == list(dict.fromkeys(expected))


def test_probabilities_are_those_of_the_whole_sequence(
    checkpoint: Path, model: VqaModel, features: torch.Tensor
) -> None:
    plain, tokenizer, _ = stock(checkpoint)
    found = model.answer(features, one_of_each(QUESTIONS, IMAGE_INDEX), Decoding(top_k=5))
    for row, answers in enumerate(found):
        probabilities = [answer.probability or 0.0 for answer in answers]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) <= 1
        asked = tokenizer(QUESTIONS[row], return_tensors="pt")
        states = plain.text_encoder(
            input_ids=asked["input_ids"], encoder_hidden_states=features[[IMAGE_INDEX[row]]]
        ).last_hidden_state
        for answer in answers:
            ids = [plain.decoder_start_token_id, *tokenizer(answer.text, add_special_tokens=False)["input_ids"], 3]
            if len(ids) > 15:
                continue  # perhaps cut off before its end
            log = plain.text_decoder(input_ids=torch.tensor([ids]), encoder_hidden_states=states).logits.log_softmax(-1)
            expected = sum(float(log[0, place, token]) for place, token in enumerate(ids[1:]))
            assert answer.probability == pytest.approx(torch.tensor(expected).exp().item(), rel=1e-3)


def test_batch_and_padding_change_nothing(model: VqaModel, features: torch.Tensor) -> None:
    together = model.answer(features, one_of_each(QUESTIONS, IMAGE_INDEX), Decoding(top_k=3))
    for question, image, found in zip(QUESTIONS, IMAGE_INDEX, together, strict=True):
        alone = model.answer(features[[image]], one_of_each([question], [0]), Decoding(top_k=3))[0]
        assert [one.text for one in alone] == [one.text for one in found]
        assert [one.probability for one in alone] == pytest.approx([one.probability for one in found], abs=1e-4)


def test_loss_is_that_of_transformers_without_padding(
    checkpoint: Path, model: VqaModel, features: torch.Tensor
) -> None:
    plain, tokenizer, processor = stock(checkpoint)
    pictures = [picture(rgb, seed) for seed, rgb in enumerate(COLOURS.values())]
    losses, tokens = [], []
    for question, image, answer in zip(QUESTIONS, IMAGE_INDEX, ANSWERS, strict=True):
        ids = tokenizer(answer.lower(), return_tensors="pt")["input_ids"]
        ids[:, 0] = plain.decoder_start_token_id
        asked = tokenizer(question, return_tensors="pt")
        stock_loss = plain(
            input_ids=asked["input_ids"],
            attention_mask=asked["attention_mask"],
            pixel_values=processor(images=pictures[image], return_tensors="pt")["pixel_values"],
            labels=ids,
        ).loss
        assert float(model.loss(features, one_of_each([question], [image]), [answer])) == pytest.approx(
            float(stock_loss), abs=1e-5
        )
        losses.append(float(stock_loss) * (ids.shape[1] - 1))
        tokens.append(ids.shape[1] - 1)
    batch = model.loss(features, one_of_each(QUESTIONS, IMAGE_INDEX), ANSWERS)
    assert float(batch) == pytest.approx(sum(losses) / sum(tokens), abs=1e-5)


def test_a_longer_neighbour_changes_no_gradient_through_padding(model: VqaModel, features: torch.Tensor) -> None:
    short = float(model.loss(features, one_of_each(["how many?"], [0]), ["2"]))
    twice = float(model.loss(features, one_of_each(["how many?", "how many?"], [0, 0]), ["2", "2"]))
    assert short == pytest.approx(twice, abs=1e-4)


def test_long_and_odd_input_is_cut_not_refused(model: VqaModel, features: torch.Tensor) -> None:
    long = "what color " * 500
    plain = model.answer(features, one_of_each([QUESTIONS[0]], [0]), Decoding(top_k=1))
    found = model.answer(features, one_of_each([QUESTIONS[0], long, "\u2603 \x00"], [0, 0, 0]), Decoding(top_k=1))
    assert found[0][0].text == plain[0][0].text
    assert len(found) == 3
    answers = ["red", "blue " * 40, *["red"] * (len(QUESTIONS) - 1)]
    assert cut_places(model, [*QUESTIONS, long], answers) == ([len(QUESTIONS)], [1])


def test_shrinking_batches_give_the_same(
    model: VqaModel, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = one_of_each(QUESTIONS, IMAGE_INDEX)
    expected = answer_in_batches(model, features, queries, Decoding(top_k=2), BatchSize(5))
    answer = model.answer

    def short_of_memory(features: Any, queries: Any, decoding: Any) -> Any:
        if len(queries) > 2:
            raise torch.OutOfMemoryError("no memory")
        return answer(features, queries, decoding)

    monkeypatch.setattr(model, "answer", short_of_memory)
    size = BatchSize(5)
    found = answer_in_batches(model, features, queries, Decoding(top_k=2), size)
    assert [[one.text for one in row] for row in found] == [[one.text for one in row] for row in expected]
    assert size.rows == 2
    inputs = [model.inputs(picture((9, 9, 9), seed)) for seed in range(5)]
    with torch.no_grad():
        whole = model.encode(inputs)
    assert torch.allclose(torch.stack(encode_in_batches(model, inputs, BatchSize(2))), whole, atol=1e-5)


def test_pictures_can_be_read_at_another_resolution(checkpoint: Path, tmp_path: Path) -> None:
    plain, _, processor = stock(checkpoint)
    model = load_model(str(checkpoint), device="cpu", loading=Loading(image_side_px=48))
    shown = picture(COLOURS["red"], 3)
    processor.size = {"height": 48, "width": 48}
    pixels = processor(images=shown, return_tensors="pt")["pixel_values"]
    expected = plain.vision_model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    assert torch.allclose(model.encode_images([shown])[0], expected[0], atol=1e-5)
    model.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), device="cpu")
    assert torch.allclose(again.encode_images([shown])[0], expected[0], atol=1e-5)
    with pytest.raises(UserError, match="give a multiple, such as 40 or 48"):
        load_model(str(checkpoint), device="cpu", loading=Loading(image_side_px=44))
