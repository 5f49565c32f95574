from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from cutting import cut_places
from shelfqa.models.base import Decoding, VqaModel, one_of_each
from shelfqa.models.loading import load_model
from tiny_models import COLOURS, mini_checkpoint, picture

pytestmark = pytest.mark.usefixtures("no_gradients")

QUESTIONS = ("what color is the mug?", "how many?", "is it wood?")
IMAGE_INDEX = (0, 3, 3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return mini_checkpoint(tmp_path_factory.mktemp("mini"))


@pytest.fixture
def model(checkpoint: Path) -> VqaModel:
    return load_model(str(checkpoint), device="cpu")


@pytest.fixture
def features(model: VqaModel) -> torch.Tensor:
    with torch.no_grad():
        return model.encode_images([picture(rgb, seed) for seed, rgb in enumerate(COLOURS.values())])


def test_probabilities_sum_to_one_over_the_table(model: VqaModel, features: torch.Tensor) -> None:
    for answers in model.answer(features, one_of_each(QUESTIONS, IMAGE_INDEX), Decoding(top_k=10)):
        assert sorted(answer.text for answer in answers) == ["blue", "mug", "red"]
        assert sum(answer.probability or 0.0 for answer in answers) == pytest.approx(1, abs=1e-5)
        probabilities = [answer.probability or 0.0 for answer in answers]
        assert probabilities == sorted(probabilities, reverse=True)


def test_batch_and_padding_change_nothing(model: VqaModel, features: torch.Tensor) -> None:
    together = model.answer(features, one_of_each(QUESTIONS, IMAGE_INDEX), Decoding(top_k=3))
    for question, image, found in zip(QUESTIONS, IMAGE_INDEX, together, strict=True):
        alone = model.answer(features[[image]], one_of_each([question], [0]), Decoding(top_k=3))[0]
        assert [one.text for one in alone] == [one.text for one in found]
        assert [one.probability for one in alone] == pytest.approx([one.probability for one in found], abs=1e-4)


def test_answers_are_learned_in_normal_form(model: VqaModel, features: torch.Tensor) -> None:
    plain = model.loss(features, one_of_each(["what is it?"], [0]), ["mug"])
    assert float(model.loss(features, one_of_each(["what is it?"], [0]), ["A Mug."])) == float(plain)
    assert model.learnable(["The mug", "lamp"]) == [True, False]


def test_an_answer_outside_the_table_adds_nothing_to_the_loss(model: VqaModel, features: torch.Tensor) -> None:
    alone = model.loss(features, one_of_each(["what is it?"], [0]), ["mug"])
    both = model.loss(features, one_of_each(["what is it?", "how many?"], [0, 1]), ["mug", "lamp"])
    assert float(both) == pytest.approx(float(alone), abs=1e-6)


def test_the_table_grows_and_what_was_there_stays(model: VqaModel, features: torch.Tensor) -> None:
    before = model.answer(features, one_of_each(QUESTIONS, IMAGE_INDEX), Decoding(top_k=3))
    assert model.prepare_for_training(Counter({"lamp": 2, "chair": 5, "red": 9})) == 2
    assert model.adapter_state() == {"added_answers": ["chair", "lamp"]}
    after = model.answer(features, one_of_each(QUESTIONS, IMAGE_INDEX), Decoding(top_k=5))
    for old, new in zip(before, after, strict=True):
        kept = [answer.text for answer in new if answer.text not in ("chair", "lamp")]
        assert kept == [answer.text for answer in old]


def test_long_questions_are_cut_and_counted(model: VqaModel, features: torch.Tensor) -> None:
    assert model.answer(features, one_of_each(["what color " * 500], [0]), Decoding(top_k=1))
    assert cut_places(model, ["what?", "what color " * 500], ["red", "red"]) == ([1], [])
