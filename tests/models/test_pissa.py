from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer

from shelfqa.models.loading import load_model
from shelfqa.models.lora import LoraSettings, attach, save_adapter
from tuning import MAKERS, answers_of, loaded, same_answers, trained

SIZE = LoraSettings(rank=4, alpha=8, dropout=0.0, targets=("vision", "connector", "language"), init="pissa")


@pytest.fixture(scope="module", params=["blip", "mini"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


def test_the_largest_singular_values_go_from_the_weight_to_the_matrices(checkpoint: Path) -> None:
    model = loaded(checkpoint)
    before = {name: weight.clone() for name, weight in model.module.named_parameters()}
    adapter = attach(model, SIZE)
    kinds = set()
    for name, layer in adapter.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        rest = layer.get_base_layer().weight.detach().flatten(1)
        weight = before[name.removeprefix("base_model.model.") + ".weight"].flatten(1)
        all_values, left = torch.linalg.svdvals(weight), torch.linalg.svdvals(rest)
        torch.testing.assert_close(left[: len(all_values) - 4], all_values[4:], atol=1e-4, rtol=1e-4)
        moved = weight - rest
        torch.testing.assert_close(layer.get_delta_weight("default").flatten(1), moved, atol=1e-4, rtol=1e-4)
        kinds.add(type(layer.get_base_layer()).__name__)
    assert kinds == ({"Linear", "Conv2d"} if model.module.config.model_type == "shelfqa-mini" else {"Linear"})


@pytest.mark.parametrize("rank", [4, 40])
def test_the_adapter_fits_the_untouched_base(checkpoint: Path, tmp_path: Path, rank: int) -> None:
    """Also where the rank is larger than that of the tiny weights."""
    model = loaded(checkpoint)
    adapter = attach(model, SIZE._replace(rank=rank))
    trained(model, 3)
    save_adapter(model, adapter, tmp_path, "card")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["init_lora_weights"]) == (2 * rank, 16, True)
    again = load_model(str(checkpoint), adapter=tmp_path, device="cpu")
    assert same_answers(answers_of(again), answers_of(model))


def test_training_begins_anew_with_the_same_matrices(checkpoint: Path) -> None:
    """As it does when a killed run goes on: what it restores are the matrices, not the weights that they came from."""
    first, second = loaded(checkpoint), loaded(checkpoint)
    for model in (first, second):
        torch.manual_seed(0)
        attach(model, SIZE)
    theirs = dict(second.module.named_parameters())
    for name, weight in first.module.named_parameters():
        assert torch.equal(weight, theirs[name]), name
