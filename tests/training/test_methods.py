"""Each way of tuning, on a writer, a chat model and a classifier: it learns, and what is saved answers the same."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer

from shelfqa.errors import ConfigError, InputError
from shelfqa.models.full_tuning import free, save_model
from shelfqa.models.loading import load_model
from shelfqa.models.lora import LoraSettings, attach, merge, save_adapter, trainable_parameters
from tuning import MAKERS, answers_of, loaded, same_answers, trained

METHODS: dict[str, dict[str, str]] = {
    "lora": {},
    "rslora": {"method": "rslora"},
    "dora": {"method": "dora"},
    "pissa": {"init": "pissa"},
    "rslora+pissa": {"method": "rslora", "init": "pissa"},
    "dora+pissa": {"method": "dora", "init": "pissa"},
}
SIZE = LoraSettings(rank=4, alpha=8, dropout=0.0, targets=("connector", "language"))
KINDS = ("blip", "llava", "mini")
QUICK = ("blip", "blip2-t5", "clip", "llava", "lxmert", "mini")
GROUPS = ("vision", "connector", "language")
BEGUN_AS_ZEROS = (".lora_B.", ".lora_embedding_A.")
COMBINATIONS = [some for number in (1, 2, 3) for some in combinations(GROUPS, number)]


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("name", METHODS)
def test_an_adapter_learns_and_answers_the_same_when_loaded_and_merged(
    checkpoint: Path, tmp_path: Path, name: str
) -> None:
    method: Any = METHODS[name]
    model = loaded(checkpoint)
    torch.manual_seed(0)
    before = answers_of(model)
    adapter = attach(model, SIZE._replace(**method))
    model.module.eval()
    assert same_answers(answers_of(model), before)  # nothing changes before the first step
    losses = trained(model, 4)
    assert losses[-1] < losses[0]
    learned = answers_of(model)
    assert not same_answers(learned, before)

    save_adapter(model, adapter, tmp_path / "adapter", "card")
    assert same_answers(answers_of(load_model(str(checkpoint), adapter=tmp_path / "adapter", device="cpu")), learned)
    merge(model, adapter)
    assert same_answers(answers_of(model), learned)


def test_full_fine_tuning_is_saved_as_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    model = loaded(checkpoint)
    whole = sum(weight.numel() for weight in model.module.parameters())
    free(model, ("all",))
    assert trainable_parameters(model)["total"] == whole
    losses = trained(model, 4)
    assert losses[-1] < losses[0]
    save_model(model, tmp_path / "model", "card")
    assert (tmp_path / "model" / "README.md").read_text() == "card"
    again = load_model(str(tmp_path / "model"), device="cpu")
    assert same_answers(answers_of(again), answers_of(model))
    assert again.learnable(["black"]) == [True]
    with pytest.raises(InputError, match="give it as --model"):
        load_model(str(checkpoint), adapter=tmp_path / "model", device="cpu")


def test_a_group_alone_can_be_trained_whole(checkpoint: Path) -> None:
    model = loaded(checkpoint)
    before = {name: weight.clone() for name, weight in model.module.named_parameters()}
    free(model, ("language",))
    assert list(trainable_parameters(model)) == ["language", "total"]
    trained(model, 1)
    changed = {name for name, weight in model.module.named_parameters() if not torch.equal(weight, before[name])}
    assert {model.group_of(name) for name in changed} == {"language"}
    with pytest.raises(ConfigError, match="Did you mean 'language'"):
        free(model, ("langage",))
    with pytest.raises(ConfigError, match="No module is left to train for targets none"):
        free(model, ())


def test_rslora_scales_by_the_root_of_the_rank_and_dora_learns_lengths(checkpoint: Path) -> None:
    model = loaded(checkpoint)
    adapter = attach(model, SIZE._replace(method="rslora"))
    layers = [part for part in adapter.modules() if isinstance(part, LoraLayer)]
    assert {layer.scaling["default"] for layer in layers} == {8 / 4**0.5}
    model.module = adapter.unload()
    plain = trainable_parameters_of(model, SIZE)
    assert trainable_parameters_of(model, SIZE._replace(method="dora")) > plain


def trainable_parameters_of(model: Any, settings: LoraSettings) -> int:
    adapter = attach(model, settings)
    found = trainable_parameters(model)["total"]
    model.module = adapter.unload()
    return found


@pytest.mark.parametrize("name", METHODS)
def test_embeddings_and_patches_learn_where_a_group_has_nothing_else(tmp_path: Path, name: str) -> None:
    method: Any = METHODS[name]
    checkpoint = MAKERS["vilt"](tmp_path / "model")
    model = loaded(checkpoint)
    adapter = attach(model, SIZE._replace(targets=("vision", "connector", "language"), **method))
    trained(model, 2)
    save_adapter(model, adapter, tmp_path / "adapter", "card")
    again = load_model(str(checkpoint), adapter=tmp_path / "adapter", device="cpu")
    assert same_answers(answers_of(again), answers_of(model))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(MAKERS)]
)
def test_any_combination_of_groups_can_be_the_target(name: str, tmp_path: Path) -> None:
    model = loaded(MAKERS[name](tmp_path))
    there = set(model.module_groups())
    for groups in COMBINATIONS:
        settings = SIZE._replace(targets=groups, full=())
        wanted = [group for group in groups if group in there]
        if not wanted:
            with pytest.raises(ConfigError, match="No layer is left"):
                attach(model, settings)
            continue
        adapter = attach(model, settings)
        assert list(trainable_parameters(model)) == [*wanted, "total"]
        trained(model, 1)
        for group in wanted:
            moved = [
                weight
                for path, weight in model.module.named_parameters()
                if any(begun in path for begun in BEGUN_AS_ZEROS)
                and model.group_of(path) == group
                and bool(weight.detach().any())
            ]
            assert moved, group
        model.module = adapter.unload()


def test_the_note_says_what_the_adapter_is_for(checkpoint: Path, tmp_path: Path) -> None:
    model = loaded(checkpoint)
    save_adapter(model, attach(model, SIZE), tmp_path, "card")
    note = json.loads((tmp_path / "shelfqa.json").read_text())
    assert note["quantize"] == "none"
    assert note["base_fingerprint"] == model.fingerprint


def test_all_is_more_than_the_groups_of_a_preset(checkpoint: Path) -> None:
    model = loaded(checkpoint)
    everything = trainable_parameters_of(model, SIZE._replace(targets=("all",)))
    assert everything > trainable_parameters_of(model, SIZE)
