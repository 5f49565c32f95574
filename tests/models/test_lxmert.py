"""LXMERT: equal to transformers' own, with the vision encoder shared by a picture's questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shelfqa.errors import InputError, UserError
from shelfqa.models.adapters.lxmert import LxmertVqa
from shelfqa.models.base import Decoding, Loading, one_of_each
from shelfqa.models.loading import load_model
from tiny_regions import ANSWERS, lxmert_checkpoint, region_archives

pytestmark = pytest.mark.usefixtures("no_gradients")

QUESTIONS = ("what color is the mug?", "how many?", "is it wood?", "which brand is this lamp")
IMAGE_INDEX = (0, 2, 2, 1)
PATHS = tuple(Path(f"{number}.png") for number in range(3))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return lxmert_checkpoint(tmp_path_factory.mktemp("lxmert"))


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return region_archives(tmp_path_factory.mktemp("archives"), (10, 36, 4))


def load(folder: Path, **given: Any) -> LxmertVqa:
    model = load_model(str(folder), device="cpu", loading=Loading(**given))
    assert isinstance(model, LxmertVqa)
    return model


def plainly(folder: Path, archives: Path, question: str, image: int) -> Tensor:
    """Ask transformers' own model one question about one picture."""
    import numpy as np
    from transformers import AutoTokenizer, LxmertForQuestionAnswering

    stock = LxmertForQuestionAnswering.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)([question], return_tensors="pt")
    with np.load(archives / f"{image}.npz") as archive:
        scores: Tensor = stock(
            **tokens,
            visual_feats=torch.from_numpy(archive["features"])[None],
            visual_pos=torch.from_numpy(archive["boxes"]).float()[None],
        ).question_answering_score
    return scores[0]


def test_the_scores_are_those_of_transformers(checkpoint: Path, archives: Path) -> None:
    model = load(checkpoint, regions=str(archives))
    features = model.encode([model.inputs_of(path) for path in PATHS])
    found = model.logits(features, one_of_each(QUESTIONS, IMAGE_INDEX))
    for row, question, image in zip(found, QUESTIONS, IMAGE_INDEX, strict=True):
        assert torch.allclose(row, plainly(checkpoint, archives, question, image), atol=1e-5)
    assert float(found.std(0).min()) > 1e-3


def test_the_answers_are_those_of_transformers(checkpoint: Path, archives: Path) -> None:
    model = load(checkpoint, regions=str(archives))
    features = model.encode([model.inputs_of(path) for path in PATHS])
    answers = model.answer(features, one_of_each(QUESTIONS, IMAGE_INDEX), Decoding(top_k=3))
    for found, question, image in zip(answers, QUESTIONS, IMAGE_INDEX, strict=True):
        best = plainly(checkpoint, archives, question, image).softmax(-1).topk(3)
        assert [answer.text for answer in found] == [ANSWERS[index] for index in best.indices.tolist()]
        assert [answer.probability for answer in found] == pytest.approx(best.values.tolist(), abs=1e-5)


def test_a_picture_passes_the_vision_encoder_once(checkpoint: Path, archives: Path) -> None:
    model = load(checkpoint, regions=str(archives))
    seen: list[tuple[int, ...]] = []
    for layer in (*model.module.lxmert.encoder.r_layers, model.module.lxmert.encoder.visn_fc):
        layer.register_forward_hook(lambda _module, given, _made: seen.append(tuple(given[0].shape[:2])))
    features = model.encode([model.inputs_of(path) for path in PATHS])
    for _ in range(2):
        model.logits(features, one_of_each(QUESTIONS * 3, IMAGE_INDEX * 3))
    assert seen == [(3, 36)] * 3


def test_the_outputs_need_names(tmp_path: Path, archives: Path) -> None:
    lxmert_checkpoint(tmp_path, answers=None)
    assert "id2label" not in json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(InputError, match=r"6 outputs .* --answers FILE"):
        load(tmp_path, regions=str(archives))
    model = load(tmp_path, regions=str(archives), answers=ANSWERS[::-1])
    features = model.encode([model.inputs_of(PATHS[0])])
    best = int(model.logits(features, one_of_each(QUESTIONS[:1], [0]))[0].argmax())
    assert model.answer(features, one_of_each(QUESTIONS[:1], [0]), Decoding(top_k=1))[0][0].text == ANSWERS[::-1][best]


def test_a_checkpoint_without_words_takes_those_of_the_pretrained_one(tmp_path: Path, archives: Path) -> None:
    lxmert_checkpoint(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match=r"lxmert-base-uncased.*put its vocab\.txt"):
        load(tmp_path, regions=str(archives))
