from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from shelfqa.errors import ConfigError, UserError
from shelfqa.models.base import Loading
from shelfqa.models.loading import load_model
from shelfqa.models.lora import LoraSettings, attach, merge, save_adapter
from shelfqa.models.quantization import quantization_of, quantized_layers
from tuning import MAKERS, QUERIES, answers_of, features_of, loaded, same_answers, trained

SIZE = LoraSettings(rank=4, alpha=8, dropout=0.0, targets=("connector", "language"))
needs_bitsandbytes = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")


@pytest.fixture(scope="module", params=["blip", "llava"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@needs_bitsandbytes
@pytest.mark.parametrize(("bits", "method"), [("nf4", "lora"), ("nf4", "dora"), ("int8", "rslora")])
def test_an_adapter_learns_on_quantised_weights_and_answers_the_same_when_loaded(
    checkpoint: Path, tmp_path: Path, bits: Any, method: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = loaded(checkpoint, quantize=bits)
    assert quantization_of(model.module) == bits
    names = quantized_layers(model.module)
    assert names
    weights = {name: model.module.get_submodule(name).weight.clone() for name in names}
    torch.manual_seed(0)
    adapter = attach(model, SIZE._replace(method=method))
    model.module.eval()
    before = answers_of(model)
    model.module.train()
    losses = trained(model, 4)
    model.module.eval()
    assert losses[-1] < losses[0]
    learned = answers_of(model)
    assert not same_answers(learned, before)
    for name in names:
        layer = model.module.get_submodule(name)
        assert torch.equal(getattr(layer, "base_layer", layer).weight, weights[name])

    save_adapter(model, adapter, tmp_path, "card")
    assert json.loads((tmp_path / "shelfqa.json").read_text())["quantize"] == bits
    again = load_model(str(checkpoint), adapter=tmp_path, device="cpu")
    assert quantization_of(again.module) == bits
    assert same_answers(answers_of(again), learned)
    whole = load_model(str(checkpoint), adapter=tmp_path, device="cpu", loading=Loading(quantize="none"))
    assert quantization_of(whole.module) is None
    assert [len(found) for found in answers_of(whole)] == [len(found) for found in learned]
    assert capsys.readouterr().err == ""


@needs_bitsandbytes
def test_gradients_reach_every_layer_after_an_evaluation(checkpoint: Path) -> None:
    """bitsandbytes would repack weights of 4 bits in evaluation, where the processor has bfloat16; that has none."""
    model = loaded(checkpoint, quantize="nf4")
    adapter = attach(model, SIZE._replace(targets=("vision", "connector", "language")))
    model.module.eval()
    answers_of(model)
    model.module.train()
    model.loss(features_of(model), QUERIES, ["red"] * len(QUERIES)).backward()
    first = next(weight for name, weight in adapter.named_parameters() if "vision" in name and ".lora_B." in name)
    assert first.grad is not None
    assert bool(first.grad.any())


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["nf4", "int8"])
@pytest.mark.parametrize(
    "name", ["blip2-t5", "clip", "idefics2", "lxmert", "mini", "ofa", "qwen2_5_vl", "vilbert", "vilt"]
)
def test_what_is_no_linear_map_stays_in_floats(name: str, bits: Any, tmp_path: Path) -> None:
    model = loaded(MAKERS[name](tmp_path), quantize=bits)
    layers = quantized_layers(model.module)
    assert layers
    assert not any(model.group_of(layer) == "head" for layer in layers)
    for path, weight in model.module.named_parameters():
        if path.rpartition(".")[0] not in layers:
            assert weight.dtype == torch.float32, path
    attach(model, SIZE)
    assert trained(model, 1)
    assert answers_of(model)


@needs_bitsandbytes
def test_what_needs_floats_is_refused(checkpoint: Path) -> None:
    model = loaded(checkpoint, quantize="nf4")
    with pytest.raises(ConfigError, match="PiSSA changes the base weights, and these are of nf4"):
        attach(model, SIZE._replace(init="pissa"))
    with pytest.raises(ConfigError, match="is to be trained whole, and its weights are of nf4"):
        attach(model, SIZE._replace(targets=("language",), full=("connector",)))
    with pytest.raises(UserError, match="load the model unquantised to merge"):
        merge(model, attach(model, SIZE))


def test_without_bitsandbytes_an_adapter_runs_on_whole_weights(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = loaded(checkpoint)
    save_adapter(model, attach(model, SIZE), tmp_path, "card")
    note = json.loads((tmp_path / "shelfqa.json").read_text())
    (tmp_path / "shelfqa.json").write_text(json.dumps(note | {"quantize": "int8"}))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    whole = load_model(str(checkpoint), adapter=tmp_path, device="cpu")
    assert quantization_of(whole.module) is None
    assert "was trained on weights of int8; they stay unquantised" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"cannot be quantised: .* pip install 'shelfqa\[quantize\]'"):
        loaded(checkpoint, quantize="nf4")
