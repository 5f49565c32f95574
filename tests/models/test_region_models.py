"""What LXMERT and ViLBERT have in common: regions from a ResNet or from files, and what a user can see of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cutting import cut_places
from shelfqa.errors import ImageError, InputError
from shelfqa.models.adapters.region_classifier import RegionVqa
from shelfqa.models.adapters.regions import GridRegions
from shelfqa.models.base import Decoding, Features, Loading, VqaModel, one_of_each
from shelfqa.models.batching import BatchSize, decode_ahead, encode_in_batches
from shelfqa.models.grid_features import GridFeatures, cell_boxes
from shelfqa.models.loading import load_model
from shelfqa.training.features import CachedFeatures, feature_source
from tiny_models import COLOURS, picture
from tiny_regions import (
    ANSWERS,
    CELLS,
    CHANNELS,
    lxmert_checkpoint,
    region_archives,
    tower,
    vilbert_checkpoint,
)

pytestmark = pytest.mark.usefixtures("no_gradients")

QUESTIONS = ("what color is the mug?", "how many?", "is it wood?", "which brand is this lamp made of metal")
IMAGE_INDEX = (0, 2, 2, 1)
COUNTS = (10, 3, 100)
MAKERS: dict[str, Callable[[Path], Path]] = {"lxmert": lxmert_checkpoint, "vilbert": vilbert_checkpoint}


@pytest.fixture(scope="module", params=list(MAKERS))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return region_archives(tmp_path_factory.mktemp("archives"), COUNTS)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Turn the cache on, in a folder of the test's own."""
    monkeypatch.setenv("SHELFQA_CACHE", "on")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shelfqa" / "regions"


def load(folder: Path, **given: Any) -> RegionVqa:
    model = load_model(str(folder), device="cpu", loading=Loading(**given))
    assert isinstance(model, RegionVqa)
    return model


def pictures() -> list[Any]:
    return [picture(rgb, seed) for seed, rgb in enumerate(COLOURS.values())]


def encoded(model: VqaModel, paths: list[Path]) -> Features:
    decoded = list(decode_ahead(model, paths))
    assert [one.error for one in decoded] == [None] * len(paths)
    return encode_in_batches(model, [one.inputs for one in decoded if one.inputs], BatchSize(len(paths)))


def probabilities(model: VqaModel, features: Features, questions: Any, index: Any) -> list[dict[str, float]]:
    found = model.answer(features, one_of_each(questions, index), Decoding(top_k=10))
    return [{answer.text: answer.probability or 0.0 for answer in answers} for answers in found]


def test_the_answers_are_a_softmax_best_first(checkpoint: Path) -> None:
    model = load(checkpoint)
    features = model.encode_images(pictures())
    queries = one_of_each(QUESTIONS, IMAGE_INDEX)
    exponentials = np.exp(model.logits(features, queries).double().numpy())
    expected = exponentials / exponentials.sum(-1, keepdims=True)
    for answers, row in zip(model.answer(features, queries, Decoding(top_k=6)), expected, strict=True):
        assert [answer.probability for answer in answers] == pytest.approx(sorted(row, reverse=True), abs=1e-6)
        assert [answer.text for answer in answers] == [ANSWERS[index] for index in np.argsort(-row)]
    assert [len(answers) for answers in model.answer(features, queries, Decoding(top_k=2))] == [2] * 4


def test_company_and_numbers_of_regions_change_nothing(checkpoint: Path, archives: Path) -> None:
    model = load(checkpoint, regions=str(archives))
    paths = [Path("/pictures") / f"{number}.png" for number in range(len(COUNTS))]
    features = encoded(model, paths)
    together = probabilities(model, features, QUESTIONS, IMAGE_INDEX)
    model.tokenizer.padding_side = "left"
    for question, image, found in zip(QUESTIONS, IMAGE_INDEX, together, strict=True):
        alone = probabilities(model, encoded(model, [paths[image]]), [question], [0])[0]
        assert alone == pytest.approx(found, abs=1e-5)
    first, *others = (found["red"] for found in probabilities(model, features, QUESTIONS[:1] * 3, range(3)))
    assert min(abs(first - other) for other in others) > 1e-4


def test_what_a_picture_has_no_region_of_is_not_read(checkpoint: Path, archives: Path) -> None:
    model = load(checkpoint, regions=str(archives))
    found = model.source.regions([model.inputs_of(Path(f"{number}.png")) for number in (0, 1)], model.device)
    assert found.mask.sum(1).tolist() == [10, 3]
    spoilt = found._replace(
        features=found.features.masked_fill(~found.mask[:, :, None], 7.0),
        boxes=found.boxes.masked_fill(~found.mask[:, :, None], 0.5),
    )
    assert torch.allclose(model.embed(spoilt)[1, :3], model.embed(found)[1, :3], atol=1e-6)


def test_precomputed_regions_are_as_good_as_the_grids(checkpoint: Path, tmp_path: Path) -> None:
    model = load(checkpoint)
    assert isinstance(model.source, GridRegions)
    grid = model.source.grid(model.source.grid.pixels(pictures()))
    for number, features in enumerate(grid.features.numpy()):
        np.savez(tmp_path / f"{number}.npz", features=features, boxes=cell_boxes(CELLS).numpy())
    precomputed = load(checkpoint, regions=str(tmp_path))
    paths = [Path(f"{number}.png") for number in range(4)]
    expected = probabilities(model, model.encode_images(pictures()), QUESTIONS, IMAGE_INDEX)
    found = probabilities(precomputed, encoded(precomputed, paths), QUESTIONS, IMAGE_INDEX)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_picture_without_regions_fails_alone(checkpoint: Path, archives: Path) -> None:
    model = load(checkpoint, regions=str(archives))
    decoded = list(decode_ahead(model, [Path("none.png"), Path("1.png")]))
    assert decoded[0].error is not None
    assert decoded[0].error.startswith("no-regions: ")
    assert decoded[1].error is None
    with pytest.raises(InputError, match=r"found by a picture's path"):
        model.encode_images(pictures())
    with pytest.raises(ImageError, match="missing"):
        load(checkpoint).inputs_of(Path("none.png"))


def test_a_saved_model_answers_as_before(checkpoint: Path, tmp_path: Path) -> None:
    model = load(checkpoint)
    model.prepare_for_training(Counter({"lamp": 2, "red": 9}))
    model.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert isinstance(again.source, GridRegions)
    assert (again.source.grid.cells, again.source.grid.side_px) == (3, 96)
    expected = probabilities(model, model.encode_images(pictures()), QUESTIONS, IMAGE_INDEX)
    assert len(expected[0]) == len(ANSWERS) + 1
    assert probabilities(again, again.encode_images(pictures()), QUESTIONS, IMAGE_INDEX) == expected


def test_the_table_grows_and_what_was_there_stays(checkpoint: Path) -> None:
    model = load(checkpoint)
    features = model.encode_images(pictures())
    queries = one_of_each(QUESTIONS, IMAGE_INDEX)
    before = model.logits(features, queries)
    assert model.prepare_for_training(Counter({"lamp": 2, "chair": 5, "red": 9})) == 2
    assert model.adapter_state() == {"added_answers": ["chair", "lamp"]}
    assert torch.allclose(model.logits(features, queries)[:, : len(ANSWERS)], before, atol=1e-5)
    assert model.learnable(["A lamp.", "brush"]) == [True, False]


def test_long_questions_are_cut_and_counted(checkpoint: Path) -> None:
    model = load(checkpoint)
    features = model.encode_images(pictures())
    long = ("what color is the mug " * 250)[:5000]
    found = model.logits(features, one_of_each([long, QUESTIONS[0]], [0, 0]))
    words = long.split()[: model.question_tokens - 2]
    assert torch.allclose(found[0], model.logits(features, one_of_each([" ".join(words)], [0]))[0], atol=1e-5)
    assert cut_places(model, [long, "what?", " ".join(words)], ["red"] * 3) == ([0], [])


def test_the_loss_reaches_all_that_answers(checkpoint: Path) -> None:
    model = load(checkpoint)
    with torch.enable_grad():
        features = model.encode_images(pictures())
        model.loss(features, one_of_each(QUESTIONS, IMAGE_INDEX), ["red", "2", "yes", "lamp"]).backward()
    weights = dict(model.module.named_parameters())
    assert all(model.group_of(name) for name in weights)
    reached = {
        model.group_of(name) for name, weight in weights.items() if weight.grad is not None and weight.grad.any()
    }
    assert reached == {"vision", "connector", "language", "head"}
    assert isinstance(model.source, GridRegions)
    assert all(weight.grad is None for weight in model.source.grid.parameters())


def test_a_picture_passes_the_tower_once(
    checkpoint: Path, cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(checkpoint)
    for number, image in enumerate(pictures()[:2]):
        image.save(tmp_path / f"{number}.png")
    paths = [tmp_path / "0.png", tmp_path / "1.png", tmp_path / "0.png"]
    first = encoded(model, paths)
    assert len(list(cached.rglob("*.npy"))) == 2
    again = load(checkpoint)
    seen: list[int] = []
    plain = GridFeatures.forward

    def counted(self: GridFeatures, pixels: Tensor) -> Any:
        seen.append(len(pixels))
        return plain(self, pixels)

    monkeypatch.setattr(GridFeatures, "forward", counted)
    assert all(torch.equal(one, other) for one, other in zip(encoded(again, paths), first, strict=True))
    assert seen == []
    pictures()[3].save(tmp_path / "1.png")
    assert not torch.equal(encoded(again, paths)[1], first[1])
    assert seen == [1]
    other_tower = load(checkpoint, regions=str(tower(tmp_path / "other", seed=1)))
    assert not torch.equal(encoded(other_tower, paths)[0], first[0])
    assert seen == [1, 2]


def test_the_cache_can_be_switched_off_and_lost(
    checkpoint: Path, cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(checkpoint).encode_images(pictures())
    for file in cached.rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:-5])
    again = load(checkpoint).encode_images(pictures())
    assert torch.equal(torch.stack(list(again)), torch.stack(list(first)))
    monkeypatch.setenv("SHELFQA_CACHE", "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    model = load(checkpoint)
    assert torch.allclose(torch.stack(list(model.encode_images(pictures()))), torch.stack(list(first)), atol=1e-6)
    assert not (tmp_path / "elsewhere").exists()
    monkeypatch.setenv("SHELFQA_CACHE", "on")
    (tmp_path / "elsewhere").write_text("no folder")
    model = load(checkpoint)
    assert torch.allclose(torch.stack(list(model.encode_images(pictures()))), torch.stack(list(first)), atol=1e-6)


def test_another_tower_must_fit(checkpoint: Path, tmp_path: Path, archives: Path) -> None:
    with pytest.raises(InputError, match=f"have 16 channels, but .* reads {CHANNELS}"):
        load(checkpoint, regions=str(tower(tmp_path / "wide", channels=16)))
    with pytest.raises(InputError, match="no-such-resnet"):
        load(checkpoint, regions="no-such-owner/no-such-resnet")
    with pytest.raises(InputError, match="holds no region features"):
        load(checkpoint, regions="none.parquet")
    np.savez(tmp_path / "0.npz", features=np.zeros((2, 5)), boxes=np.array([[0, 0, 1, 1]] * 2))
    found = next(decode_ahead(load(checkpoint, regions=str(tmp_path)), [Path("0.png")]))
    assert found.error is not None
    assert f"expected (2, {CHANNELS})" in found.error


def test_training_takes_any_number_of_regions(checkpoint: Path, archives: Path, tmp_path: Path) -> None:
    model = load(checkpoint, regions=str(archives))
    paths = [Path(f"{number}.png") for number in (0, 1, 9)]
    source = feature_source(model, paths, tmp_path, trains_vision=False)
    assert isinstance(source, CachedFeatures)
    assert list(source.errors) == [2]
    features: list[Tensor] = list(source.features([1, 0]))
    assert len(features[1]) - len(features[0]) == 7
