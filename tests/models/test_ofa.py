"""The adapter of OFA answers as the model alone does, whatever else is in the batch."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from cutting import cut_places
from shelfqa.errors import InputError, UserError
from shelfqa.models.adapters.ofa import OfaVqa
from shelfqa.models.base import Decoding, Features, Loading, Query, one_of_each
from shelfqa.models.loading import load_model
from shelfqa.models.lora import LoraSettings, attach, merge, save_adapter, trainable_parameters
from shelfqa.models.ofa.modeling import OfaForVisualQuestionAnswering
from shelfqa.models.ofa.processing import OfaProcessor
from tiny_models import COLOURS, picture
from tiny_ofa import SIDE_PX, ofa_checkpoint, publish

pytestmark = pytest.mark.usefixtures("no_gradients")

QUESTIONS = (
    "What color is the mug?",
    "how many",
    "what material is this t-shirt/dress made of?",
    "is it wood?",
    "what is it? it is round",
)
IMAGES = (0, 0, 1, 2, 3)
ANSWERS = ("Red", "2", "round wood", "no", "blue mug")
WORDS = ("red", "blue mug", "re", "2", "round wood", "x")
PICTURES = [picture(rgb, seed) for seed, rgb in enumerate(COLOURS.values())]
LENGTH = 5


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose decoder reads the question before the answer."""
    return ofa_checkpoint(tmp_path_factory.mktemp("prompted"), prompt_type="prev_output")


@pytest.fixture(scope="module", params=["none", "prev_output"])
def checkpoint(request: pytest.FixtureRequest, prompted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(prompted, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"prompt_type": request.param}))
    return folder


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> OfaVqa:
    found = load_model(str(checkpoint), device="cpu")
    assert isinstance(found, OfaVqa)
    return found


@pytest.fixture(scope="module")
def features(model: OfaVqa) -> Features:
    with torch.no_grad():
        return model.encode_images(PICTURES)


class Plain:
    """The model and its processor as a user would call them, one question at a time."""

    def __init__(self, folder: Path) -> None:
        self.model = OfaForVisualQuestionAnswering.from_pretrained(folder).eval()
        self.processor = OfaProcessor.from_pretrained(folder)

    def asked(self, row: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return what the encoder reads, and what the decoder reads before the answer."""
        given = self.processor.questions([QUESTIONS[row]])
        given["pixel_values"] = self.processor.images([PICTURES[IMAGES[row]]])
        prompts = self.processor.prompts([QUESTIONS[row]], self.model.config.prompt_type)
        return given, prompts.get("decoder_input_ids", torch.tensor([[0]]))

    def log_likelihood(self, row: int, answer: list[int]) -> float:
        given, prompt = self.asked(row)
        ids = torch.cat([prompt, torch.tensor([answer])], dim=1)
        scores = self.model(**given, decoder_input_ids=ids).logits[0].log_softmax(-1)
        begin = prompt.shape[1]
        return sum(float(scores[begin + place - 1, token]) for place, token in enumerate(answer))

    def ids(self, answer: str) -> list[int]:
        found: list[int] = self.processor.tokenizer(f" {answer.lower()}", add_special_tokens=False)["input_ids"]
        return [*found, 2]

    def generated(self, row: int, beams: int) -> list[list[int]]:
        given, prompt = self.asked(row)
        search = {"length_penalty": 0.0} if beams > 1 else {}
        found = self.model.generate(
            **given,
            decoder_input_ids=prompt,
            num_beams=beams,
            num_return_sequences=beams,
            max_new_tokens=LENGTH,
            forced_eos_token_id=None,
            **search,
        )
        return [[token for token in ids if token != 1] for ids in found[:, prompt.shape[1] :].tolist()]


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> Plain:
    return Plain(checkpoint)


def queries(candidates: tuple[str, ...] = ()) -> list[Query]:
    return [Query(question, (image,), candidates=candidates) for question, image in zip(QUESTIONS, IMAGES, strict=True)]


@pytest.mark.parametrize("beams", [1, 5])
def test_answers_are_those_of_the_model_one_at_a_time(
    model: OfaVqa, features: Features, plain: Plain, beams: int
) -> None:
    found = model.answer(features, queries(), Decoding(top_k=beams, beams=beams, max_new_tokens=LENGTH))
    lengths = Counter[bool]()
    for row, answers in enumerate(found):
        sequences = plain.generated(row, beams)
        likelihoods: dict[str, float] = {}
        for ids in sequences:
            text = plain.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
            likelihoods.setdefault(text, plain.log_likelihood(row, ids))
            lengths[ids[-1] == 2] += 1
        assert [one.text for one in answers] == list(likelihoods)
        probabilities = [one.probability or 0.0 for one in answers]
        assert probabilities == sorted(probabilities, reverse=True)
        assert torch.tensor(probabilities).log().tolist() == pytest.approx(list(likelihoods.values()), abs=1e-3)
    if beams > 1:
        assert set(lengths) == {True, False}, "neither ended nor cut-off answers should be untested"


def test_candidates_are_ranked_by_their_likelihood(model: OfaVqa, features: Features, plain: Plain) -> None:
    found = model.answer(features, queries(WORDS), Decoding(top_k=4))
    for row, answers in enumerate(found):
        expected = {word: plain.log_likelihood(row, plain.ids(word)) for word in WORDS}
        assert [one.text for one in answers] == sorted(WORDS, key=lambda word: -expected[word])[:4]
        for one in answers:
            assert torch.tensor(one.probability).log().item() == pytest.approx(expected[one.text], abs=1e-3)


def test_many_candidates_are_scored_in_pieces(
    model: OfaVqa, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model.answer(features, queries(WORDS), Decoding(top_k=6))
    monkeypatch.setattr("shelfqa.models.adapters.generation._SCORED_AT_ONCE", 4)
    pieces = model.answer(features, queries(WORDS), Decoding(top_k=6))
    for one, other in zip(whole, pieces, strict=True):
        assert [answer.text for answer in one] == [answer.text for answer in other]
        assert [answer.probability for answer in one] == pytest.approx(
            [answer.probability for answer in other], rel=1e-3
        )


def test_what_else_is_in_the_batch_changes_nothing(model: OfaVqa, features: Features) -> None:
    decoding = Decoding(top_k=3, max_new_tokens=LENGTH)
    together = model.answer(features, queries(), decoding)
    for query, found in zip(queries(), together, strict=True):
        alone = model.answer([features[query.images[0]]], [query._replace(images=(0,))], decoding)[0]
        assert [one.text for one in alone] == [one.text for one in found]
        assert [one.probability for one in alone] == pytest.approx([one.probability for one in found], abs=1e-4)
    for side in ("left", "right"):
        model.processor.tokenizer.padding_side = side
        assert model.answer(features, queries(), decoding) == together


def test_the_loss_is_that_of_the_answers_alone(model: OfaVqa, features: Features, plain: Plain) -> None:
    total, tokens = 0.0, 0
    for row, answer in enumerate(ANSWERS):
        ids = plain.ids(answer)
        alone = -plain.log_likelihood(row, ids)
        assert float(model.loss(features, [queries()[row]], [answer])) == pytest.approx(alone / len(ids), abs=1e-4)
        total, tokens = total + alone, tokens + len(ids)
    assert float(model.loss(features, queries(), ANSWERS)) == pytest.approx(total / tokens, abs=1e-4)


def test_gradients_reach_every_part(model: OfaVqa) -> None:
    model.module.train()
    try:
        with torch.enable_grad():
            model.loss(model.encode_images(PICTURES), queries(), ANSWERS).backward()
        reached = {
            model.group_of(name)
            for name, weight in model.module.named_parameters()
            if weight.grad is not None and bool(weight.grad.abs().sum() > 0)
        }
        assert reached == {"vision", "connector", "language"}
    finally:
        model.module.zero_grad()
        model.module.eval()


def test_one_word_stops_when_a_second_begins(model: OfaVqa, features: Features) -> None:
    found = model.answer(features, queries(), Decoding(top_k=5, max_new_tokens=12, one_word=True))
    longer = model.answer(features, queries(), Decoding(top_k=5, max_new_tokens=12))
    assert all(len(one.text.split()) <= 1 for row in found for one in row)
    assert any(len(one.text.split()) > 2 for row in longer for one in row)


def test_odd_questions_and_pictures(model: OfaVqa, features: Features) -> None:
    decoding = Decoding(top_k=1, max_new_tokens=3)
    plain = model.answer(features, queries()[:1], decoding)[0]
    odd = ["x" * 5000, "what color " * 455, "\u2603 \x00 \U0001f600", "", " ", "??", "<pad> <code_3> </s>"]
    found = model.answer(features, [queries()[0], *(Query(text, (0,)) for text in odd)], decoding)
    assert len(found) == 8
    assert found[0][0].text == plain[0].text
    assert found[0][0].probability == pytest.approx(plain[0].probability, abs=1e-4)
    long = len(QUESTIONS)
    answers = ["red", *["blue"] * (long - 1), "blue " * 40, "red"]
    assert cut_places(model, [*QUESTIONS, odd[0], odd[1]], answers) == ([long, long + 1], [long])
    converted = Image.new("CMYK", (30, 50), (0, 90, 90, 10)).convert("RGB")
    small = model.encode_images([converted, Image.new("RGB", (1, 1)), Image.new("RGB", (90, 10))])
    assert len(model.answer(small, one_of_each(["what is it?"] * 3, range(3)), decoding)) == 3


def test_a_question_is_read_as_the_authors_word_it(model: OfaVqa, features: Features) -> None:
    decoding = Decoding(top_k=1, max_new_tokens=3)
    one, other = model.answer(features, one_of_each([" ?What COLOR is it", "what color is it?"], [0, 0]), decoding)
    assert one[0].text == other[0].text
    assert one[0].probability == pytest.approx(other[0].probability, abs=1e-6)


def test_a_checkpoint_is_written_and_read(model: OfaVqa, features: Features, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), device="cpu")
    decoding = Decoding(top_k=2, max_new_tokens=3)
    assert again.fingerprint == model.fingerprint
    assert again.answer(again.encode_images(PICTURES), queries(), decoding) == model.answer(
        features, queries(), decoding
    )


def test_a_folder_of_the_hub_is_read_where_its_pickle_may_be(
    checkpoint: Path, model: OfaVqa, features: Features, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    publish(tmp_path)
    with pytest.raises(InputError, match=r"--pickled-weights, or convert with `shelfqa models convert`") as caught:
        load_model(str(tmp_path), device="cpu")
    assert "\n" not in str(caught.value)
    read = load_model(str(tmp_path), device="cpu", loading=Loading(pickled_weights=True))
    assert read.fingerprint == model.fingerprint
    decoding = Decoding(top_k=2, max_new_tokens=3)
    expected = model.answer(features, queries(), decoding)
    assert read.answer(read.encode_images(PICTURES), queries(), decoding) == expected
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="holds no weights"):
        load_model(str(tmp_path), device="cpu", loading=Loading(pickled_weights=True))


def test_pictures_can_be_larger(prompted: Path, tmp_path: Path) -> None:
    larger = load_model(str(prompted), device="cpu", loading=Loading(image_side_px=96))
    assert isinstance(larger, OfaVqa)
    seen = larger.encode_images(PICTURES)
    assert {one.shape for one in seen} == {(36, 1024)}
    assert larger.module.config.orig_patch_image_size == SIDE_PX
    decoding = Decoding(top_k=2, max_new_tokens=3)
    found = larger.answer(seen, queries(), decoding)
    larger.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), device="cpu", loading=Loading(image_side_px=96))
    assert again.answer(again.encode_images(PICTURES), queries(), decoding) == found
    for side, told in ((90, "whose patches have 16"), (144, "give at most 128")):
        with pytest.raises(UserError, match=told):
            load_model(str(prompted), device="cpu", loading=Loading(image_side_px=side))


@pytest.mark.parametrize("group", ["vision", "connector", "language"])
def test_each_group_takes_lora(prompted: Path, group: str) -> None:
    model = load_model(str(prompted), device="cpu")
    attach(model, LoraSettings(rank=2, alpha=4, dropout=0.0, targets=(group,), full=()))
    assert list(trainable_parameters(model)) == [group, "total"]
    with torch.enable_grad():
        model.loss(model.encode_images(PICTURES), queries(), ANSWERS).backward()
    gradients = [weight.grad for weight in model.module.parameters() if weight.requires_grad]
    assert any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


def test_what_lora_learned_is_saved_loaded_and_merged(prompted: Path, tmp_path: Path) -> None:
    model = load_model(str(prompted), device="cpu")
    features = model.encode_images(PICTURES)
    torch.manual_seed(0)
    before = float(model.loss(features, queries(), ANSWERS))
    adapter = attach(model, LoraSettings(rank=8, alpha=16, dropout=0.0, targets=("connector", "language")))
    model.module.eval()
    trained = [weight for weight in model.module.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    with torch.enable_grad():
        for _ in range(15):
            loss = model.loss(features, queries(), ANSWERS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    after = float(model.loss(features, queries(), ANSWERS))
    assert after < 0.6 * before
    save_adapter(model, adapter, tmp_path / "adapter", "card")
    loaded = load_model(str(prompted), adapter=tmp_path / "adapter", device="cpu")
    assert float(loaded.loss(features, queries(), ANSWERS)) == pytest.approx(after, abs=1e-5)
    merge(model, adapter)
    model.save_pretrained(tmp_path / "merged")
    merged = load_model(str(tmp_path / "merged"), device="cpu")
    assert float(merged.loss(features, queries(), ANSWERS)) == pytest.approx(after, abs=1e-3)
