from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from cutting import cut_places
from shelfqa.errors import InputError, UserError
from shelfqa.models.adapters.packed_texts import pack, rows_of
from shelfqa.models.adapters.text_cache import TextCache
from shelfqa.models.base import Decoding, Features, Loading, Query
from shelfqa.models.loading import load_model
from tiny_pretrained import clip_checkpoint, shaped_picture, siglip2_checkpoint, siglip_checkpoint
from told_answers import nearly, told

pytestmark = pytest.mark.usefixtures("no_gradients")

MAKERS: dict[str, Callable[[Path], Path]] = {
    "clip": clip_checkpoint,
    "siglip": siglip_checkpoint,
    "siglip2": siglip2_checkpoint,
}
SHAPES = ((80, 60), (60, 100), (64, 64), (200, 30))
PICTURES = [shaped_picture(width, height, seed) for seed, (width, height) in enumerate(SHAPES)]
SOME, MORE = ("red", "dark blue", "a Chair"), ("yes", "no", "red", "2", "round wood")
QUERIES = [
    Query("What color is the mug?", (0,), candidates=SOME),
    Query("how many?", (1,), candidates=MORE),
    Query("is it wood", (1,), candidates=MORE),
    Query("What color is the mug?", (2,), candidates=SOME),
    Query("What color is the mug?", (3,), candidates=MORE),
]


@pytest.fixture(scope="module", params=list(MAKERS))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_checkpoint(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def model(checkpoint: Path) -> Any:
    return load_model(str(checkpoint), device="cpu")


@pytest.fixture
def features(model: Any) -> Features:
    found: Features = model.encode_images(PICTURES)
    return found


def stock_scores(checkpoint: Path, queries: list[Query], answers: list[list[str]]) -> list[torch.Tensor]:
    """What transformers itself says of each question's texts and its picture."""
    import transformers as tf

    kind = tf.AutoConfig.from_pretrained(checkpoint).model_type
    module: Any = tf.AutoModel.from_pretrained(checkpoint).eval()
    tokenizer = tf.AutoTokenizer.from_pretrained(checkpoint)
    image_class = {
        "clip": tf.CLIPImageProcessorPil,
        "siglip": tf.SiglipImageProcessorPil,
        "siglip2": tf.Siglip2ImageProcessorPil,
    }[kind]
    image_processor = image_class.from_pretrained(checkpoint)
    padding: dict[str, Any] = {"padding": True} if kind == "clip" else {"padding": "max_length", "max_length": 64}
    scores = []
    for query, some in zip(queries, answers, strict=True):
        texts = [f"Question: {query.question} Answer: {answer}" for answer in some]
        words = tokenizer(texts, return_tensors="pt", truncation=True, **padding)
        pictures = image_processor(PICTURES[query.images[0]], return_tensors="pt")
        scores.append(module(**words, **pictures).logits_per_image[0])
    return scores


def test_answers_are_those_of_transformers_one_question_at_a_time(
    checkpoint: Path, model: Any, features: Features
) -> None:
    expected = stock_scores(checkpoint, QUERIES, [list(query.candidates) for query in QUERIES])
    found = model.answer(features, QUERIES, Decoding(top_k=3))
    for query, scores, answers in zip(QUERIES, expected, found, strict=True):
        best = scores.softmax(-1).topk(3)
        assert [answer.text for answer in answers] == [query.candidates[place] for place in best.indices.tolist()]
        assert [answer.probability for answer in answers] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_features_are_one_vector_of_length_one_a_picture(features: Any) -> None:
    assert [tuple(one.shape[:-1]) for one in features] == [(1,)] * 4
    assert features.norm(dim=-1).flatten().tolist() == pytest.approx([1.0] * 4, abs=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_batch_padding_and_what_was_asked_before_change_nothing(checkpoint: Path, attention: str) -> None:
    model: Any = load_model(str(checkpoint), device="cpu", loading=Loading(attention=attention))
    together = model.answer(model.encode_images(PICTURES), QUERIES, Decoding())
    model.tokenizer.padding_side = "left"
    assert told(together) == nearly(model.answer(model.encode_images(PICTURES), QUERIES[::-1], Decoding())[::-1])
    fresh: Any = load_model(str(checkpoint), device="cpu", loading=Loading(attention=attention))
    for query, answers in zip(QUERIES, together, strict=True):
        alone = fresh.encode_images([PICTURES[query.images[0]]])
        assert told([answers]) == nearly(fresh.answer(alone, [query._replace(images=(0,))], Decoding()))


def test_equal_candidates_count_once(model: Any, features: Features) -> None:
    plain, twice = [
        model.answer(features, [QUERIES[0]._replace(candidates=some)], Decoding())
        for some in (SOME, (*SOME, " red ", "red"))
    ]
    assert told(plain) == nearly(twice)


def test_the_loss_chooses_among_the_answers_of_the_batch(checkpoint: Path, model: Any, features: Features) -> None:
    right = ["Red", "two", "no", "red", "green"]
    asked = [query._replace(candidates=()) for query in QUERIES]
    choices = ["red", "2", "no", "green"]
    scores = stock_scores(checkpoint, asked, [choices] * 5)
    labels = torch.tensor([0, 1, 2, 0, 3])
    expected = cross_entropy(torch.stack(scores), labels)
    assert float(model.loss(features, asked, right)) == pytest.approx(float(expected), abs=1e-4)
    with_candidates = [asked[0]._replace(candidates=("Red!", "wood"))]
    scores = stock_scores(checkpoint, with_candidates, [["red", "wood"]])
    expected = cross_entropy(scores[0][None], torch.tensor([0]))
    assert float(model.loss(features, with_candidates, ["Red"])) == pytest.approx(float(expected), abs=1e-4)


def test_training_reaches_vision_language_and_head(model: Any) -> None:
    with torch.enable_grad():
        model.loss(model.encode_images(PICTURES), QUERIES, ["red", "2", "no", "dark blue", "yes"]).backward()
    sizes = {name: float(one.grad.abs().sum()) for name, one in model.module.named_parameters() if one.grad is not None}
    trained = {model.group_of(name) for name, size in sizes.items() if size > 0}
    assert trained >= {"vision", "language", "head"}
    assert sizes["logit_scale"] > 0


@pytest.mark.parametrize("foreach", [True, False])
def test_a_step_of_training_is_seen_at_once(model: Any, features: Features, foreach: bool) -> None:
    before = model.answer(features, QUERIES, Decoding())
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=0.1, foreach=foreach)
    with torch.enable_grad():
        model.loss(features, QUERIES, ["red", "2", "no", "dark blue", "yes"]).backward()
    optimizer.step()
    after = model.answer(features, QUERIES, Decoding())
    assert abs(before[0][0].probability - after[0][0].probability) > 1e-3


def test_a_checkpoint_that_is_saved_answers_the_same(model: Any, features: Features, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), device="cpu")
    assert again.family == "dual-encoder"
    assert again.needs_candidates
    assert told(model.answer(features, QUERIES, Decoding())) == nearly(
        again.answer(again.encode_images(PICTURES), QUERIES, Decoding())
    )


def test_the_table_of_answers_is_the_users(model: Any, features: Features) -> None:
    assert model.learnable(["anything", ""]) == [True, True]
    assert model.adapter_state() == {}
    with pytest.raises(InputError, match="only choose from a list of answers: give --candidates common"):
        model.answer(features, [Query("what?", (0,))], Decoding())


@pytest.mark.parametrize(
    "question", ["how many mugs are in the " * 200, "x" * 5000, "", "😀 ❓" * 700, "<|endoftext|></s><eos>", "\n\t "]
)
def test_the_answer_survives_whatever_is_asked(model: Any, features: Features, question: str) -> None:
    query = Query(question, (0,), candidates=("red chair", "dark blue", "green"))
    found = model.answer(features, [query], Decoding())[0]
    assert sorted(answer.text for answer in found) == ["dark blue", "green", "red chair"]
    assert len({round(answer.probability, 6) for answer in found}) == 3


def test_as_much_of_a_question_as_fits_is_read(clip: Path) -> None:
    model: Any = load_model(str(clip), device="cpu")
    query = Query("how many mugs are in the " * 200, (0,), candidates=("red chair",))
    long = model._tokens(list(_texts_of(query)))[0]
    text = model.tokenizer.decode(long, skip_special_tokens=True)
    assert len(long) == 77
    assert text.startswith("question : how many mugs are in the how many")
    assert text.endswith("answer : red chair")


def test_long_texts_are_counted(model: Any) -> None:
    questions = ["what?", "what color " * 500, "what?"]
    assert cut_places(model, questions, ["red", "red", "red " * 100]) == ([1, 2], [2])


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (600, 40), (4000, 1), (1, 4000)])
def test_pictures_of_any_shape_are_answered_or_refused(model: Any, shape: tuple[int, int]) -> None:
    image = shaped_picture(*shape)
    if max(shape) > 600 and getattr(model.image_processor, "do_center_crop", False):
        with pytest.raises(ValueError, match="64 times the other"):
            model.inputs(image)
        return
    features = model.encode_images([image, PICTURES[0]])
    assert len(model.answer(features, QUERIES[:2], Decoding(top_k=3))[0]) == 3


def test_another_resolution(checkpoint: Path, model: Any, features: Features, tmp_path: Path) -> None:
    larger: Any = load_model(str(checkpoint), device="cpu", loading=Loading(image_side_px=48))
    found = larger.answer(larger.encode_images(PICTURES), QUERIES, Decoding())
    assert found[0][0].probability != pytest.approx(
        model.answer(features, QUERIES, Decoding())[0][0].probability, abs=1e-6
    )
    larger.save_pretrained(tmp_path)
    again: Any = load_model(str(tmp_path), device="cpu")
    assert told(found) == nearly(again.answer(again.encode_images(PICTURES), QUERIES, Decoding()))
    with pytest.raises(UserError, match=r"whose patches have 8: give a multiple, such as 40 or 48"):
        load_model(str(checkpoint), device="cpu", loading=Loading(image_side_px=44))


def test_texts_that_begin_alike_are_read_once() -> None:
    texts = [[1, 2, 3, 4, 9], [1, 2, 3, 5, 6, 9], [1, 2, 9], [1, 7, 9]]
    rows = rows_of(texts, [[0, 1, 2], [3]], width=9)
    assert sorted(len(row) for row in rows) == [3, 3, 9]
    packed = pack(rows, padding_id=0)
    order = [text for row in rows for text in row.texts]
    for number, place, text in zip(*packed.ends, order, strict=True):
        seen = packed.visible[number, 0, place]
        assert packed.ids[number, seen].tolist() == texts[text]
        assert packed.positions[number, seen].tolist() == list(range(len(texts[text])))


def test_the_cache_is_bounded_and_forgets_the_longest_unused() -> None:
    asked: list[str] = []

    def embed(texts: Any) -> torch.Tensor:
        asked.extend(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    cache: TextCache[str, str] = TextCache(most_bytes=3 * 4)
    assert cache.get("weights", {"a": ["x", "xx"]}, embed)["a"].tolist() == [[1.0], [2.0]]
    cache.get("weights", {"b": ["x"]}, embed)
    cache.get("weights", {"a": ["x", "xx"], "b": ["x"]}, embed)
    assert asked == ["x", "xx", "x"]
    cache.get("weights", {"c": ["xxx"]}, embed)
    cache.get("weights", {"b": ["x"]}, embed)
    assert asked == ["x", "xx", "x", "xxx"]
    cache.get("weights", {"a": ["x", "xx"], "d": ["x"]}, embed)
    assert asked == ["x", "xx", "x", "xxx", "x", "xx"]
    cache.get("other weights", {"b": ["x"]}, embed)
    assert asked[6:] == ["x"]


def _texts_of(query: Query) -> list[Any]:
    from shelfqa.models.adapters.dual_encoder import _texts

    return _texts(query, query.candidates)
