from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shelfqa.errors import ConfigError, InputError
from shelfqa.training.settings import TrainConfig, preset_names, resolve


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_whole(name: str) -> None:
    assert resolve(TrainConfig(preset=name), None).preset == name


def test_what_is_given_goes_over_the_preset() -> None:
    settings = resolve(TrainConfig(rank=4, learning_rate=0.5, targets=["query"]), "mini-lora")
    assert (settings.rank, settings.learning_rate, settings.full_learning_rate) == (4, 0.5, 0.5)
    assert settings.targets == ["query"]
    assert settings.epochs == resolve(TrainConfig(), "mini-lora").epochs


def test_a_preset_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("about: Mine.\nrank: 2\n")
    assert resolve(TrainConfig(preset=str(file)), None).rank == 2
    file.write_text("ranks: 2\n")
    with pytest.raises(ConfigError, match="Did you mean 'rank'"):
        resolve(TrainConfig(preset=str(file)), None)
    with pytest.raises(InputError, match="No file"):
        resolve(TrainConfig(preset=str(tmp_path / "none.yaml")), None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "mini-lorra"}, "Did you mean 'mini-lora'"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": -1e-3}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"rank": 0}, "rank"),
        ({"dropout": 1.0}, "dropout"),
        ({"max_steps": 0}, "max_steps"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"full": ["head", "langage"]}, "'langage', which is no module group. Did you mean 'language'"),
        ({"full": ["query"]}, "no module group. Known: connector, head, language, vision"),
        ({"seed": -1}, "seed is -1: expected 0 or more"),
        ({"init": "pissa", "quantize": "int8"}, "'pissa', which changes the weights, and train.quantize is 'int8'"),
        ({"method": "full", "quantize": "nf4"}, "quantised weights cannot be trained"),
        ({"method": "full", "rank": 8}, "train.rank is a setting of adapters"),
        ({"method": "full", "init": "pissa"}, "train.init is a setting of adapters"),
    ],
)
def test_values_out_of_range_are_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(TrainConfig(**given), None)
