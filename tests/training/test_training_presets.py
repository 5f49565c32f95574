"""The published settings, and that the layers which presets name are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shelfqa.errors import ConfigError
from shelfqa.models.lora_targets import target_modules, target_weights
from shelfqa.training.settings import TrainConfig, preset_descriptions, preset_names, resolve
from tuning import MAKERS, loaded

PUBLISHED: dict[str, dict[str, Any]] = {
    "blip-lora-r16": {
        "rank": 16, "alpha": 32, "dropout": 0.05, "learning_rate": 3e-5, "weight_decay": 0.01, "batch_size": 32,
        "epochs": 5, "patience": 3,
    },
    "blip-lora-amp": {
        "rank": 16, "alpha": 16, "targets": ["query", "value"], "learning_rate": 5e-5, "batch_size": 8, "epochs": 3,
        "precision": "auto",
    },
    "paligemma-lora-r8": {
        "rank": 8, "learning_rate": 2e-5, "weight_decay": 1e-6, "batch_size": 1, "evaluate_every": 5000, "patience": 2,
    },
    "vit-pro": {
        "rank": 256, "alpha": 32, "dropout": 0.1, "learning_rate": 2e-4, "batch_size": 8, "accumulation": 40,
        "epochs": 2, "targets": ["vision", "connector", "language"],
    },
    "vit-pro-multi-image": {
        "rank": 8, "alpha": 16, "dropout": 0.1, "learning_rate": 1e-5, "batch_size": 16, "accumulation": 8,
    },
    "qlora": {
        "quantize": "nf4", "rank": 64, "alpha": 16, "dropout": 0.1, "learning_rate": 2e-4, "batch_size": 16,
        "schedule": "constant", "max_grad_norm": 0.3, "targets": ["all"],
    },
}  # fmt: skip
TABLE = {
    "query, value, out": (["query", "value", "attention.output", "crossattention.output"], {"query", "value", "dense"}),
    "query, value, dense": (["query", "value", "dense"], {"query", "value", "dense"}),
    "query, key, value": (["query", "key", "value"], {"query", "key", "value"}),
    "query, value": (["query", "value"], {"query", "value"}),
}
FAMILIES = {
    "blip-lora-amp": "blip",
    "blip-lora-r16": "blip",
    "blip-lora-table": "blip",
    "full": "blip",
    "lora": "blip",
    "mini-lora": "mini",
    "mini-print-lora": "mini",
    "paligemma-lora-r8": "paligemma",
    "qlora": "llava",
    "region-lora": "lxmert",
    "vit-pro": "idefics2",
    "vit-pro-multi-image": "idefics2",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name: str) -> None:
    settings = resolve(TrainConfig(preset=name), None)
    assert {field: getattr(settings, field) for field in PUBLISHED[name]} == PUBLISHED[name]


def test_every_preset_says_what_it_is_for_in_a_line() -> None:
    described = preset_descriptions()
    assert list(described) == preset_names() == sorted(FAMILIES)
    assert all(about.endswith(".") and len(about) < 120 and "\n" not in about for about in described.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_layers_that_a_preset_names_are_there(name: str, folder: Path) -> None:
    model = loaded(MAKERS[FAMILIES[name]](folder / name))
    settings = resolve(TrainConfig(preset=name), None)
    whole = [prefix for group in settings.full for prefix in model.module_groups().get(group, ())]
    for target in settings.targets:
        found = target_weights(model, [target]) if settings.method == "full" else target_modules(model, [target], whole)
        assert found


def test_every_row_of_the_table_of_blip_composes(folder: Path) -> None:
    model = loaded(MAKERS["blip"](folder / "table"))
    sizes = []
    for targets, kinds in TABLE.values():
        for rank in (8, 16, 32):
            settings = resolve(TrainConfig(preset="blip-lora-table", rank=rank, targets=targets), None)
            assert (settings.rank, settings.targets, settings.alpha) == (rank, targets, 32)
        layers = target_modules(model, targets, [])
        assert {layer.rpartition(".")[2] for layer in layers} == kinds
        assert not any("vision" in layer for layer in layers)
        sizes.append(len(layers))
    # two layers, two sides, two attentions: 8 of each kind; `dense` has both maps of 4 feed-forward nets and one more
    assert sizes == [8 + 8 + 8, 8 + 8 + 8 + 8 + 1, 8 + 8 + 8, 8 + 8]
    with pytest.raises(ConfigError, match="no module group or layer 'out'"):
        target_modules(model, ["query", "value", "out"], [])
