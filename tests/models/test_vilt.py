from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from cutting import cut_places
from shelfqa.errors import InputError, UserError
from shelfqa.models.base import Decoding, Features, Loading, Query, VqaModel
from shelfqa.models.loading import load_model
from tiny_pretrained import ANSWERS, shaped_picture, vilt_checkpoint
from told_answers import nearly, told

pytestmark = pytest.mark.usefixtures("no_gradients")

SHAPES = ((80, 60), (60, 100), (64, 64), (200, 30))
PICTURES = [shaped_picture(width, height, seed) for seed, (width, height) in enumerate(SHAPES)]
QUERIES = [
    Query("what color is the mug?", (0,)),
    Query("how many?", (1,)),
    Query("is it wood?", (1,)),
    Query("what kind of chair is this? it is round", (2,)),
    Query("which?", (3,)),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vilt_checkpoint(tmp_path_factory.mktemp("vilt"))


@pytest.fixture
def model(checkpoint: Path) -> Any:
    return load_model(str(checkpoint), device="cpu")


@pytest.fixture
def features(model: VqaModel) -> Features:
    return model.encode_images(PICTURES)


def stock_logits(checkpoint: Path) -> torch.Tensor:
    """What transformers itself computes, one question at a time."""
    from transformers import BertTokenizer, ViltForQuestionAnswering, ViltImageProcessorPil

    module = ViltForQuestionAnswering.from_pretrained(checkpoint).eval()
    tokenizer = BertTokenizer.from_pretrained(checkpoint)
    image_processor = ViltImageProcessorPil.from_pretrained(checkpoint)
    rows = []
    for query in QUERIES:
        pictures = image_processor(PICTURES[query.images[0]], return_tensors="pt")
        words = tokenizer(query.question, return_tensors="pt")
        rows.append(module(**words, **pictures).logits)
    return torch.cat(rows)


def test_answers_are_those_of_transformers_one_question_at_a_time(
    checkpoint: Path, model: VqaModel, features: Features
) -> None:
    expected = stock_logits(checkpoint).softmax(-1)
    best = expected.topk(5)
    found = model.answer(features, QUERIES, Decoding(top_k=5))
    for answers, places, values in zip(found, best.indices.tolist(), best.values.tolist(), strict=True):
        assert [answer.text for answer in answers] == [ANSWERS[place] for place in places]
        assert [answer.probability for answer in answers] == pytest.approx(values, abs=1e-4)
    assert len({answers[0].text for answers in found}) > 1


def test_every_run_gives_the_same_answers(model: VqaModel, features: Features) -> None:
    again = model.encode_images(PICTURES)
    assert all(torch.equal(one, other) for one, other in zip(features, again, strict=True))


def test_batch_padding_and_shapes_change_nothing(model: Any, features: Features) -> None:
    together = model.answer(features, QUERIES, Decoding())
    alone = [
        model.answer(model.encode_images([PICTURES[query.images[0]]]), [query._replace(images=(0,))], Decoding())[0]
        for query in QUERIES
    ]
    assert told(together) == nearly(alone)
    model.tokenizer.padding_side = "left"
    assert told(together) == nearly(model.answer(features, QUERIES, Decoding()))


def test_only_candidates_are_given(model: VqaModel, features: Features) -> None:
    asked = [QUERIES[0]._replace(candidates=("Blue", "a mug", "violet")), QUERIES[1]]
    some, free = model.answer(features, asked, Decoding(top_k=8))
    assert sorted(answer.text for answer in some) == ["blue", "mug"]
    assert len(free) == 8


def test_the_loss_is_the_mean_cross_entropy(checkpoint: Path, model: VqaModel, features: Features) -> None:
    log = stock_logits(checkpoint).log_softmax(-1)
    right = ("red", "two", "no", "chair", "not in the table")
    expected = -(log[0, 0] + log[1, 5] + log[2, 7] + log[3, 4]) / 4
    assert float(model.loss(features, QUERIES, right)) == pytest.approx(float(expected), abs=1e-4)


def test_training_reaches_vision_language_connector_and_head(model: VqaModel) -> None:
    with torch.enable_grad():
        loss = model.loss(model.encode_images(PICTURES), QUERIES, ["red", "2", "no", "chair", "yes"])
        loss.backward()
    for name, weight in model.module.named_parameters():
        if weight.grad is not None and float(weight.grad.abs().sum()) > 0:
            continue
        assert name.endswith("key.bias"), name  # softmax does not depend on it
    groups = {model.group_of(name) for name, _ in model.module.named_parameters()}
    assert {"vision", "language", "connector", "head"} <= groups


def test_the_table_grows_and_what_was_there_stays(model: Any, features: Features, tmp_path: Path) -> None:
    before = model.logits(features, QUERIES)
    assert model.prepare_for_training(Counter({"lamp": 2, "stool": 5, "red": 9})) == 2
    after = model.logits(features, QUERIES)
    assert torch.equal(after[:, :8], before)
    assert model.learnable(["Stool", "lamp", "sofa"]) == [True, True, False]
    assert model.module.classifier[3].weight.requires_grad
    model.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), device="cpu")
    assert told(model.answer(features, QUERIES, Decoding())) == nearly(again.answer(features, QUERIES, Decoding()))


def test_an_adapter_brings_its_answers(checkpoint: Path, model: Any) -> None:
    model.prepare_for_training(Counter({"lamp": 2, "stool": 5}))
    other: Any = load_model(str(checkpoint), device="cpu")
    other.restore_adapter_state(model.adapter_state())
    assert torch.equal(other.module.classifier[3].weight, model.module.classifier[3].weight)
    assert other.adapter_state() == {"added_answers": ["stool", "lamp"]}


def test_outputs_without_names_are_named_by_the_user(tmp_path: Path) -> None:
    vilt_checkpoint(tmp_path, labels=None)
    with pytest.raises(InputError, match=r"does not say which answers its 8 outputs stand for: .*--answers FILE"):
        load_model(str(tmp_path), device="cpu")
    with pytest.raises(InputError, match=r"8 outputs and --answers FILE names 2 answers"):
        load_model(str(tmp_path), device="cpu", loading=Loading(answers=("red", "blue")))
    model: Any = load_model(str(tmp_path), device="cpu", loading=Loading(answers=ANSWERS))
    found = model.answer(model.encode_images(PICTURES), QUERIES, Decoding(top_k=8))
    assert sorted(answer.text for answer in found[0]) == sorted(ANSWERS)
    model.save_pretrained(tmp_path / "named")
    assert load_model(str(tmp_path / "named"), device="cpu").learnable(["a chair"]) == [True]


def test_another_resolution(checkpoint: Path, tmp_path: Path) -> None:
    larger = load_model(str(checkpoint), device="cpu", loading=Loading(image_side_px=96))
    assert [len(one) for one in larger.encode_images(PICTURES[2:3])] == [1 + 6 * 6]
    larger.save_pretrained(tmp_path)
    assert len(load_model(str(tmp_path), device="cpu").encode_images(PICTURES[2:3])[0]) == 1 + 6 * 6
    for side_px in (0, 8, 100):
        with pytest.raises(UserError, match=r"whose patches have 16: give a multiple"):
            load_model(str(checkpoint), device="cpu", loading=Loading(image_side_px=side_px))


@pytest.mark.parametrize("question", ["what color " * 500, "", "😀 ❓", "[SEP] [PAD]", "\n\t"])
def test_odd_questions_are_answered(model: VqaModel, features: Features, question: str) -> None:
    found = model.answer(features, [Query(question, (0,)), QUERIES[1]], Decoding(top_k=8))
    assert sum(answer.probability or 0 for answer in found[0]) == pytest.approx(1, abs=1e-4)


def test_long_questions_are_counted(model: VqaModel) -> None:
    assert cut_places(model, ["what?", "what color " * 500, "the mug is red " * 5], ["red"] * 3) == ([1], [])


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (250, 40)])
def test_small_and_wide_pictures_are_answered(model: VqaModel, shape: tuple[int, int]) -> None:
    features = model.encode_images([shaped_picture(*shape), PICTURES[0]])
    assert len(model.answer(features, QUERIES[:2], Decoding(top_k=8))[0]) == 8


@pytest.mark.parametrize("shape", [(4000, 1), (1, 4000), (700, 40)])
def test_pictures_without_a_whole_patch_are_refused(model: VqaModel, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="short side is less than a patch"):
        model.inputs(shaped_picture(*shape))
