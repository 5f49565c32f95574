"""A tower that sees each picture once gives what it gives when it sees it for each question."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch

from shelfqa.models.adapters.any_chat import AnyChatVqa
from shelfqa.models.base import Decoding, Loading, Query
from tiny_chat import CHAT_FAMILIES
from tiny_models import COLOURS, picture

QUESTIONS = ("what color is the mug?", "how many?", "is it made of wood?", "what is it?")
QUERIES = [Query(question, (image,)) for question, image in zip(QUESTIONS, (1, 0, 1, 1), strict=True)]
ANSWERS = ["red", "2", "a red mug", "mug"]


@pytest.mark.parametrize("family", ["llava", "paligemma", "idefics2", "idefics3", "qwen2_5_vl"])
def test_the_tower_sees_each_picture_once(family: str, tmp_path: Path) -> None:
    model = AnyChatVqa.from_pretrained(str(CHAT_FAMILIES[family](tmp_path)), "any", Loading())
    model.module.eval()
    features = model.encode_images([picture(COLOURS["red"]), picture(COLOURS["blue"], 1)])
    seen: list[int] = []
    plain = model._distinct._plain

    @wraps(plain)
    def counted(*arguments: Any, **inputs: Any) -> Any:
        first = next(value for value in (*arguments, *inputs.values()) if isinstance(value, torch.Tensor))
        seen.append(len(first))
        return plain(*arguments, **inputs)

    model._distinct._plain = counted
    losses, answers = [], []
    for fits in (True, False):
        model._distinct._fits = fits
        losses.append(model.loss(features, QUERIES, ANSWERS))
        with torch.no_grad():
            answers.append(model.answer(features, QUERIES, Decoding(top_k=2, max_new_tokens=3)))
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    assert losses[0].requires_grad
    for once, each in zip(*answers, strict=True):
        assert [one.text for one in once] == [one.text for one in each]
    if family in ("llava", "paligemma", "idefics2"):
        assert seen == [2, 2]
