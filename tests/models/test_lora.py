from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from shelfqa.errors import ConfigError, InputError
from shelfqa.models.base import Decoding, Features, VqaModel
from shelfqa.models.loading import load_model
from shelfqa.models.lora import LoraSettings, attach, merge, save_adapter, trainable_parameters
from tuning import ANSWERS, MAKERS, QUERIES, features_of, loaded

SETTINGS = LoraSettings(rank=8, alpha=16, dropout=0.0, targets=("connector", "language"))


@pytest.fixture(scope="module", params=["blip", "mini"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


def texts(model: VqaModel, features: Features) -> list[str]:
    return [answers[0].text for answers in model.answer(features, QUERIES, Decoding(top_k=1))]


def test_eight_pairs_are_learned_saved_loaded_and_merged(checkpoint: Path, tmp_path: Path) -> None:
    model = loaded(checkpoint)
    torch.manual_seed(0)
    adapter = attach(model, SETTINGS)
    features = features_of(model)
    trained = [one for one in model.module.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    for _ in range(300):
        loss = model.loss(features, QUERIES, ANSWERS)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if float(loss.detach()) < 0.05:
            break
    assert texts(model, features) == ANSWERS

    save_adapter(model, adapter, tmp_path / "adapter", "card")
    save_adapter(model, adapter, tmp_path / "again", "card")
    for file in (tmp_path / "adapter").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    again = load_model(str(checkpoint), adapter=tmp_path / "adapter", device="cpu")
    before = model.answer(features, QUERIES, Decoding(top_k=3))
    assert again.answer(features, QUERIES, Decoding(top_k=3)) == before

    merge(model, adapter)
    model.save_pretrained(tmp_path / "merged")
    merged = load_model(str(tmp_path / "merged"), device="cpu")
    assert texts(merged, features) == ANSWERS
    with pytest.raises(InputError, match="was trained on"):
        load_model(str(tmp_path / "merged"), adapter=tmp_path / "adapter", device="cpu")


def test_a_fresh_adapter_changes_no_answer(checkpoint: Path) -> None:
    model = loaded(checkpoint)
    features = features_of(model)
    before = model.answer(features, QUERIES, Decoding(top_k=2))
    attach(model, SETTINGS)
    model.module.eval()
    assert model.answer(features, QUERIES, Decoding(top_k=2)) == before


@pytest.mark.parametrize("group", ["vision", "connector", "language"])
def test_each_group_can_be_the_target(checkpoint: Path, group: str) -> None:
    model = loaded(checkpoint)
    attach(model, SETTINGS._replace(targets=(group,), full=()))
    counts = trainable_parameters(model)
    assert list(counts) == [group, "total"]
    model.loss(features_of(model), QUERIES, ANSWERS).backward()
    gradients = [weight.grad for weight in model.module.parameters() if weight.requires_grad]
    assert any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


def test_layers_can_be_named(checkpoint: Path) -> None:
    model = loaded(checkpoint)
    adapter = attach(model, SETTINGS._replace(targets=("query", "value")))
    assert all(name.rpartition(".")[2] in ("query", "value") for name in adapter.peft_config["default"].target_modules)


def test_a_wrong_target_is_told_with_the_nearest(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'query'"):
        attach(loaded(checkpoint), SETTINGS._replace(targets=("quary",)))
    with pytest.raises(ConfigError, match="No layer is left"):
        attach(loaded(checkpoint), SETTINGS._replace(targets=("head",), full=("head",)))


def test_an_adapter_without_our_note_loads_too(checkpoint: Path, tmp_path: Path) -> None:
    model = load_model(str(checkpoint), device="cpu")
    adapter = attach(model, SETTINGS)
    save_adapter(model, adapter, tmp_path, "card")
    (tmp_path / "shelfqa.json").unlink()
    load_model(str(checkpoint), adapter=tmp_path, device="cpu")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config["target_modules"] = ["nowhere"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="does not fit"):
        load_model(str(checkpoint), adapter=tmp_path, device="cpu")


def test_a_folder_without_adapter_is_told(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        load_model(str(checkpoint), adapter=tmp_path, device="cpu")
