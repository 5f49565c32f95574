"""What samples take in tokens is what the model is really given, and answers survive their way there and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shelfqa.errors import UserError
from shelfqa.models.base import Loading, Query
from shelfqa.models.loading import load_model
from shelfqa.text import normalize_answer
from tiny_blip2 import BLIP2_FAMILIES
from tiny_chat import CHAT_FAMILIES
from tiny_models import COLOURS, blip_checkpoint, picture
from tiny_ofa import ofa_checkpoint
from tiny_pretrained import clip_checkpoint, shaped_picture, vilt_checkpoint

pytestmark = pytest.mark.usefixtures("no_gradients")

QUESTIONS = ["what color is it?", "how many?", "what is this?"]
ANSWERS = ["red", "dark blue", "2"]


@pytest.mark.parametrize("name", sorted(CHAT_FAMILIES))
def test_prompts_of_chat_models_are_counted_as_they_are_made(name: str, tmp_path: Path) -> None:
    model: Any = load_model(str(CHAT_FAMILIES[name](tmp_path)), device="cpu")
    prepared = [model.inputs(shaped_picture(*size)) for size in ((40, 40), (90, 40), (40, 90))]
    features = model.encode(prepared)
    pictures = [model.picture_tokens(one) for one in prepared]
    counts = model.token_counts(QUESTIONS, ANSWERS, pictures)
    for place, (count, question, answer) in enumerate(zip(counts, QUESTIONS, ANSWERS, strict=True)):
        query = Query(question, (place,))
        assert count.question + count.picture == len(model._prompt(features, query, 64))
        assert count.answer == len(model.prompts.answer_ids(query, answer)) + 1
        assert (count.question_cut, count.answer_cut, count.beyond) == (0, 0, 0)


def test_a_question_gives_way_to_the_picture_and_the_picture_never(tmp_path: Path) -> None:
    model: Any = load_model(str(CHAT_FAMILIES["idefics3"](tmp_path)), device="cpu")
    prepared = model.inputs(shaped_picture(60, 60))
    features, tokens = model.encode([prepared]), model.picture_tokens(prepared)
    long = "what color is it? " * 40
    model._most_tokens = tokens + 64 + 200
    (count,) = model.token_counts([long], ["red"], [tokens])
    assert count.question_cut > 0
    assert count.beyond == 0
    assert len(model._prompt(features, Query(long, (0,)), 64)) <= tokens + 200
    model._most_tokens = tokens + 64 - 1
    (count,) = model.token_counts([long], ["red"], [tokens])
    assert count.beyond > 0
    with pytest.raises(UserError, match="pictures of one question take"):
        model.loss(features, [Query(long, (0,))], ["red"])


@pytest.mark.parametrize("name", ["idefics3", "qwen2_5_vl", "llava"])
def test_the_general_way_counts_the_same(name: str, tmp_path: Path) -> None:
    from shelfqa.models.adapters.any_chat import AnyChatVqa

    folder = str(CHAT_FAMILIES[name](tmp_path))
    model = load_model(folder, device="cpu")
    other = AnyChatVqa.from_pretrained(folder, folder, Loading())
    shown = shaped_picture(90, 40)
    pictures = [model.picture_tokens(model.inputs(shown))] * 3
    assert [other.picture_tokens(other.inputs(shown))] * 3 == pictures
    assert other.token_counts(QUESTIONS, ANSWERS, pictures) == model.token_counts(QUESTIONS, ANSWERS, pictures)
    (beyond,) = other.token_counts(["what? " * 2000], ["red"], pictures[:1])
    assert beyond.beyond > 0


@pytest.mark.parametrize(
    ("make", "expected"), [(vilt_checkpoint, 17), (ofa_checkpoint, None), (BLIP2_FAMILIES["blip2-opt"], 4)]
)
def test_pictures_are_counted_where_they_stand_among_the_words(
    make: Callable[[Path], Path], expected: int | None, tmp_path: Path
) -> None:
    model = load_model(str(make(tmp_path)), device="cpu")
    prepared = model.inputs(picture(COLOURS["red"], side_px=64))
    if expected is None:
        expected = model.encode([prepared])[0].shape[0]
    assert model.picture_tokens(prepared) == expected


@pytest.mark.parametrize(
    "make",
    [*CHAT_FAMILIES.values(), *BLIP2_FAMILIES.values(), blip_checkpoint, ofa_checkpoint, clip_checkpoint],
    ids=lambda make: make.__name__,
)
def test_answers_are_read_back_as_they_were(make: Callable[[Path], Path], tmp_path: Path) -> None:
    model = load_model(str(make(tmp_path)), device="cpu")
    answers = ["Red", "dark blue", "2", "wood"]
    assert list(map(normalize_answer, model.read_back(answers))) == list(map(normalize_answer, answers))


def test_what_a_tokenizer_cannot_write_is_read_back_as_something_else(tmp_path: Path) -> None:
    model = load_model(str(blip_checkpoint(tmp_path)), device="cpu")
    assert model.read_back(["☃", "blue " * 40]) == ["", " ".join(["blue"] * 18)]
