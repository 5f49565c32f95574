"""Settings of curation, and the presets that name whole recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from shelfqa.catalogue.steps import AnyStep
from shelfqa.config import Config, from_mapping, read_yaml
from shelfqa.errors import ConfigError, did_you_mean

_PRESET_FOLDER = Path(__file__).parent / "presets"


class CurateSettings(Config, frozen=True):
    """All settings, resolved."""

    preset: str
    languages: tuple[str, ...]
    steps: tuple[AnyStep, ...]
    columns: dict[str, str]
    mapping: str
    check_images: Literal["all", "main", "files", "none"]
    min_side_px: int
    blank_images: Literal["drop", "keep"]
    seed: int


class CurateConfig(Config, frozen=True):
    """Settings of `curate`."""

    preset: Annotated[
        str,
        Meta(
            description="Recipe of languages and steps: products, score-and-cap, balanced-sample, "
            "main-image-descriptions, or a YAML file."
        ),
    ] = "products"
    languages: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="Languages whose texts are taken, best first; `*` stands for anything. [default: the preset's]"
        ),
    ] = None
    steps: Annotated[
        tuple[AnyStep, ...] | None,
        Meta(description="Steps of selection in their order, as `{step: cap, per_type: 200}`. [default: the preset's]"),
    ] = None
    columns: Annotated[
        dict[str, str], Meta(description="For tables: our column -> yours, where it is not guessed from the name.")
    ] = field(default_factory=dict)
    mapping: Annotated[
        Literal["auto", "generic", "amazon", "shopify"],
        Meta(description="For tables: whose export it is; auto tells by the columns."),
    ] = "auto"
    check_images: Annotated[
        Literal["all", "main", "files", "none"],
        Meta(
            description="Which pictures are decoded, to see that they can be read and to find duplicates: all, or the "
            "main ones; files sees only that they are there, none trusts the listings."
        ),
    ] = "all"
    min_side_px: Annotated[
        int, Meta(description="Pictures with a shorter side than this are left out, in pixels.", ge=0)
    ] = 0
    blank_images: Annotated[
        Literal["drop", "keep"], Meta(description="What becomes of listings whose picture is nearly blank.")
    ] = "drop"
    seed: Annotated[int, Meta(description="Seed of steps that sample and do not set their own.")] = 0


def preset_names() -> list[str]:
    """Return the names of the presets that shelfqa brings."""
    return sorted(path.stem for path in _PRESET_FOLDER.glob("*.yaml"))


def resolve(config: CurateConfig) -> CurateSettings:
    """Return `config` with the preset's languages and steps where it names none.

    Raises:
        ConfigError: for an unknown preset, or one that holds other keys.

    """
    if config.preset.endswith((".yaml", ".yml")):
        path = Path(config.preset)
    else:
        path = _PRESET_FOLDER / f"{config.preset}.yaml"
        if not path.is_file():
            known = preset_names()
            raise ConfigError(
                f"curate.preset: unknown preset {config.preset!r}.{did_you_mean(config.preset, known)} Presets: "
                f"{', '.join(known)}, or a YAML file."
            )
    preset = from_mapping(_Preset, read_yaml(path), where=str(path))
    values: dict[str, Any] = msgspec.structs.asdict(config)
    values["languages"] = config.languages or preset.languages
    values["steps"] = config.steps if config.steps is not None else preset.steps
    return CurateSettings(**values)


class _Preset(Config, frozen=True):
    languages: tuple[str, ...]
    steps: tuple[AnyStep, ...]
