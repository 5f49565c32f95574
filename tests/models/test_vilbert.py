"""ViLBERT as a model that answers: equal to its class, which is held to the authors' numbers elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shelfqa.models.adapters.vilbert import ViLbertVqa
from shelfqa.models.base import Decoding, Loading, one_of_each
from shelfqa.models.loading import load_model
from shelfqa.models.vilbert.modeling import ViLbertForQuestionAnswering
from shelfqa.models.vilbert.regions import with_global_region
from tiny_regions import ANSWERS, region_archives, vilbert_checkpoint

pytestmark = pytest.mark.usefixtures("no_gradients")

QUESTIONS = ("what color is the mug?", "how many?", "is it wood?", "which brand is this lamp")
IMAGE_INDEX = (0, 2, 2, 1)
PATHS = tuple(Path(f"{number}.png") for number in range(3))


@pytest.fixture(
    scope="module",
    params=[{}, {"dynamic_attention": True, "task_specific_tokens": False, "v_biattention_id": [1, 1]}],
    ids=["published", "gated"],
)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return vilbert_checkpoint(tmp_path_factory.mktemp("vilbert"), **request.param)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return region_archives(tmp_path_factory.mktemp("archives"), (10, 36, 4))


def load(folder: Path, **given: Any) -> ViLbertVqa:
    model = load_model(str(folder), device="cpu", loading=Loading(**given))
    assert isinstance(model, ViLbertVqa)
    return model


def plainly(folder: Path, archives: Path, question: str, image: int) -> Tensor:
    """Ask the class one question about one picture."""
    from transformers import AutoTokenizer

    model = ViLbertForQuestionAnswering.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)([question], return_tensors="pt")
    with np.load(archives / f"{image}.npz") as archive:
        features, boxes = (torch.from_numpy(archive[name]).float()[None] for name in ("features", "boxes"))
    logits: Tensor = model(**tokens, **with_global_region(features, boxes)._asdict()).logits
    return logits[0]


def test_the_scores_are_those_of_the_class(checkpoint: Path, archives: Path) -> None:
    model = load(checkpoint, regions=str(archives))
    features = model.encode([model.inputs_of(path) for path in PATHS])
    assert [len(each) for each in features] == [11, 37, 5]
    queries = one_of_each(QUESTIONS, IMAGE_INDEX)
    found = model.logits(features, queries)
    answers = model.answer(features, queries, Decoding(top_k=3))
    for row, best, question, image in zip(found, answers, QUESTIONS, IMAGE_INDEX, strict=True):
        expected = plainly(checkpoint, archives, question, image)
        assert torch.allclose(row, expected, atol=1e-5)
        likeliest = expected.softmax(-1).topk(3)
        assert [answer.text for answer in best] == [ANSWERS[index] for index in likeliest.indices.tolist()]
        assert [answer.probability for answer in best] == pytest.approx(likeliest.values.tolist(), abs=1e-5)
    assert float(found.std(0).min()) > 1e-3


def test_a_picture_is_embedded_once(checkpoint: Path, archives: Path) -> None:
    model = load(checkpoint, regions=str(archives))
    seen: list[tuple[int, ...]] = []
    model.module.vision.embeddings.register_forward_hook(
        lambda _module, given, _made: seen.append(tuple(given[0].shape[:2]))
    )
    features = model.encode([model.inputs_of(path) for path in PATHS])
    for _ in range(2):
        model.logits(features, one_of_each(QUESTIONS * 3, IMAGE_INDEX * 3))
    assert seen == [(3, 37)]
