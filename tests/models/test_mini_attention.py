"""Where the bundled model looked, told by torch: as its graphs tell it, and with an adapter in place."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from shelfqa.models.adapters.mini import MiniVqa
from shelfqa.models.base import Decoding, Loading, one_of_each
from shelfqa.models.batching import BatchSize, explain_in_batches
from shelfqa.models.lora_targets import target_modules
from shelfqa.models.mini import checkpoint_dir
from shelfqa.models.mini.runtime import MiniRuntime
from tiny_models import COLOURS, mini_checkpoint, picture

pytest.importorskip("onnxruntime")

QUESTIONS = ("what color is it?", "how many?", "is it round?", "red mug?", "what material is this red lamp made of?")
SHAPES = ((70, 70), (120, 40), (31, 97))


def pictures() -> list[Image.Image]:
    return [
        picture(rgb, seed, side_px=9).resize(shape)
        for seed, (rgb, shape) in enumerate(zip(COLOURS.values(), SHAPES, strict=False))
    ]


def by_torch(folder: Path, **loading: Any) -> MiniVqa:
    model = MiniVqa.from_pretrained(str(folder), "mini", Loading(**loading))
    model.module.eval()
    return model


def told_by_torch(model: MiniVqa) -> list[NDArray[np.float32]]:
    """Maps of all questions about all pictures, in batches that mix pictures unevenly."""
    index = [place for place in range(len(SHAPES)) for _ in QUESTIONS]
    with torch.no_grad():
        features = model.encode_images(pictures())
    found = explain_in_batches(model, features, one_of_each(QUESTIONS * len(SHAPES), index), Decoding(), BatchSize(4))
    maps = [one.attention for one in found if one.attention is not None]
    assert len(maps) == len(found)
    return maps


def told_by_graphs(folder: Path) -> list[NDArray[np.float32]]:
    runtime = MiniRuntime.load(folder, threads=1)
    return [told.attention for seen in runtime.encode(pictures()) for told in runtime.answer(seen, QUESTIONS)]


def assert_same(found: list[NDArray[np.float32]], expected: list[NDArray[np.float32]], most: float = 1e-4) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert one.dtype == np.float32
        assert float(one.sum()) == pytest.approx(1, abs=1e-5)
        assert float(np.abs(one - other).max()) < most


def test_torch_tells_what_the_graphs_tell() -> None:
    assert_same(told_by_torch(by_torch(checkpoint_dir())), told_by_graphs(checkpoint_dir()), 1e-5)


def test_asking_where_it_looked_changes_no_answer(tmp_path: Path) -> None:
    model = by_torch(mini_checkpoint(tmp_path))
    with torch.no_grad():
        features = model.encode_images(pictures())
        queries = one_of_each(QUESTIONS, [2, 0, 0, 1, 2])
        explained = model.explain(features, queries, Decoding())
        assert [one.answers for one in explained] == model.answer(features, queries, Decoding())


@pytest.mark.parametrize(
    ("groups", "settings"),
    [
        (("vision", "connector", "language"), {}),
        (("vision", "connector", "language"), {"use_dora": True}),
        (("connector", "language"), {"use_rslora": True, "lora_bias": True}),
    ],
    ids=["lora", "dora", "biases"],
)
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft 0.21 asks for it
def test_an_adapter_counts_as_if_it_were_merged(
    groups: tuple[str, ...], settings: dict[str, bool], tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    from shelfqa.models.mini.graphs import export_graphs

    model = by_torch(mini_checkpoint(tmp_path / "plain"))
    plain = told_by_torch(model)
    layers = target_modules(model, groups, leave_out=[])
    adapter = peft.get_peft_model(
        model.module, peft.LoraConfig(r=2, target_modules=layers, modules_to_save=["answer_head"], **settings)
    )
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in adapter.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3)
    adapter.eval()
    tuned = told_by_torch(model)
    assert max(float(np.abs(one - other).max()) for one, other in zip(plain, tuned, strict=True)) > 1e-3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.module = adapter.merge_and_unload()
    model.save_pretrained(tmp_path / "merged")
    export_graphs(tmp_path / "merged")
    assert_same(tuned, told_by_graphs(tmp_path / "merged"))


def test_half_precision_tells_nearly_the_same() -> None:
    halved = told_by_torch(by_torch(checkpoint_dir(), dtype=torch.bfloat16))
    assert_same(halved, told_by_graphs(checkpoint_dir()), 0.05)
