from __future__ import annotations

from pathlib import Path

import pytest

from shelfqa.errors import ConfigError
from shelfqa.pipeline.recipe import read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    assert read_recipe(path).name == path.stem


def test_the_seed_reaches_every_stage(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("seed: 5\nsplit: {seed: 9}\n")
    recipe = read_recipe(path)
    assert (recipe.train.seed, recipe.demo_catalogue.seed, recipe.split.seed) == (5, 5, 9)
    assert recipe.name == "r"


def test_the_model_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("predict: {model: other}\n")
    with pytest.raises(ConfigError, match=r"train\.model"):
        read_recipe(path)
