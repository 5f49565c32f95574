"""A recipe: one YAML file that says everything about a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shelfqa.catalogue.demo import DemoConfig
from shelfqa.catalogue.settings import CurateConfig
from shelfqa.config import Config, from_mapping, read_yaml, struct_in, with_overrides
from shelfqa.errors import ConfigError
from shelfqa.models.settings import PredictConfig
from shelfqa.providers.settings import ClientConfig
from shelfqa.questions.settings import GenerateConfig
from shelfqa.stages.report import ReportConfig
from shelfqa.stages.score import ScoreConfig
from shelfqa.stages.split import SplitConfig
from shelfqa.stages.train import TrainConfig


class Recipe(Config, frozen=True):
    """What `shelfqa run` does, stage by stage. Paths are relative to the working directory."""

    name: Annotated[str, Meta(description="Name of the run, and of its folder under runs/.")] = "run"
    seed: Annotated[int, Meta(description="Seed of every stage that does not set its own.")] = 0
    catalogue: Annotated[str | None, Meta(description="An ABO folder or a table; left out, a catalogue is drawn.")] = (
        None
    )
    images: Annotated[str | None, Meta(description="Folder of the pictures, where the catalogue is a table.")] = None
    demo_catalogue: DemoConfig = DemoConfig()
    curate: CurateConfig = CurateConfig()
    generate: GenerateConfig = GenerateConfig()
    split: SplitConfig = SplitConfig()
    train: TrainConfig = TrainConfig()
    client: ClientConfig = ClientConfig()
    predict: PredictConfig = PredictConfig()
    score: ScoreConfig = ScoreConfig()
    report: ReportConfig = ReportConfig()


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in the YAML file at `path`, with `key.sub=value` overrides.

    Raises:
        InputError: if the file is missing.
        ConfigError: for broken YAML, an unknown key (with the nearest known one) or a value of the wrong type.

    """
    values = with_overrides(read_yaml(path), overrides)
    values.setdefault("name", path.stem)
    recipe = from_mapping(Recipe, _with_seed(values), where=str(path))
    if recipe.predict.model != PredictConfig().model:
        raise ConfigError(f"{path}: predict.model is not for recipes: name the model once, as train.model.")
    return recipe


def _with_seed(values: dict[str, Any]) -> dict[str, Any]:
    """Hand the recipe's seed to each stage that takes one and does not set its own."""
    if "seed" not in values:
        return values
    result = dict(values)
    for field in msgspec.structs.fields(Recipe):
        section = struct_in(field.type)
        if section is None or "seed" not in section.__struct_fields__:
            continue
        given = result.get(field.name)
        if given is None or isinstance(given, dict):
            result[field.name] = {"seed": values["seed"], **(given or {})}
    return result
