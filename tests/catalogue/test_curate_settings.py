from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shelfqa.catalogue import steps
from shelfqa.catalogue.settings import CurateConfig, preset_names, resolve
from shelfqa.config import from_mapping
from shelfqa.errors import ConfigError, InputError


def of_steps(*values: dict[str, Any]) -> CurateConfig:
    return from_mapping(CurateConfig, {"steps": list(values)}, where="curate")


def test_the_presets_are_there_and_whole() -> None:
    assert preset_names() == ["balanced-sample", "main-image-descriptions", "products", "score-and-cap"]
    for name in preset_names():
        settings = resolve(CurateConfig(preset=name))
        assert settings.languages
        assert settings.steps


def test_what_is_given_goes_before_the_preset() -> None:
    settings = resolve(CurateConfig(preset="score-and-cap", languages=("de",), steps=(steps.OnePerImage(),)))
    assert settings.languages == ("de",)
    assert settings.steps == (steps.OnePerImage(),)
    assert resolve(CurateConfig(preset="score-and-cap", steps=())).steps == ()
    assert len(resolve(CurateConfig(preset="score-and-cap")).steps) == 7


def test_a_preset_can_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("languages: ['*']\nsteps:\n  - {step: cap, per_type: 3}\n  - step: one-per-image\n")
    settings = resolve(CurateConfig(preset=str(file)))
    assert settings.steps == (steps.Cap(per_type=3), steps.OnePerImage())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("languages: ['*']\n", "steps"),
        ("languages: ['*']\nsteps: []\nimages: x\n", "unknown key 'images'"),
        ("languages: ['*']\nsteps: [{step: cop}]\n", "Did you mean 'cap'?"),
        ("languages: ['*']\nsteps: [cap]\n", "steps[0]"),
        ("languages: ['*']\nsteps: {step: cap}\n", "steps"),
        ("languages: en\nsteps: []\n", "languages"),
        ("[1, 2]\n", "expected keys and values"),
        ("", "languages"),
        ("steps: [\n", "mine.yaml:2"),
    ],
)
def test_mistakes_in_a_preset_are_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve(CurateConfig(preset=str(file)))
    assert "mine.yaml" in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'score-and-cup'\. Did you mean 'score-and-cap'\?"):
        resolve(CurateConfig(preset="score-and-cup"))
    with pytest.raises(InputError, match="No file at"):
        resolve(CurateConfig(preset=str(tmp_path / "none.yaml")))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"step": "one-per-imag"}, "steps[0].step: unknown step 'one-per-imag'. Did you mean 'one-per-image'?"),
        ({"per_type": 3}, "steps[0].step: name it. Known: wanted-language, required-fields"),
        ({"step": None}, "unknown step 'None'"),
        ({"step": "cap", "per_typ": 3}, "unknown key 'steps[0].per_typ'. Did you mean 'per_type'?"),
        ({"step": "cap", "per_type": "many"}, "steps[0].per_type: expected `int`, got `str`"),
        ({"step": "cap", "per_type": 0}, "steps[0].per_type: expected `int` >= 1"),
        ({"step": "cap", "per_type": 3, "by": "luck"}, "steps[0].by: invalid enum value 'luck'"),
        ({"step": "cap"}, "per_type"),
        ({"step": "richness", "minimum": 4}, "steps[0].minimum: expected `int` <= 3"),
        ({"step": "required-fields"}, "fields"),
        ({"step": "required-fields", "fields": []}, "steps[0].fields: expected `array` of length >= 1"),
        ({"step": "ascii-only", "fields": []}, "steps[0].fields: expected `array` of length >= 1"),
        ({"step": "near-duplicate-metadata", "fields": []}, "steps[0].fields: expected `array` of length >= 1"),
        ({"step": "required-fields", "fields": "name"}, "steps[0].fields: expected `array`, got `str`"),
        ({"step": "required-fields", "fields": ["nmae"]}, "unknown field 'nmae'. Did you mean 'name'?"),
        ({"step": "near-duplicate-metadata", "fields": ["colour"]}, "unknown field 'colour'. Did you mean 'color'?"),
        ({"step": "exact-duplicates", "fields": ["richness'; DROP"]}, "unknown field"),
        ({"step": "ascii-only", "fields": ["attributes."]}, "unknown field 'attributes.'"),
    ],
)
def test_mistakes_in_a_step_are_told_in_one_line_before_anything_is_read(step: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        of_steps(step)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_steps_are_what_their_parameters_say() -> None:
    values: list[dict[str, Any]] = [
        {"step": "cap", "per_type": 2, "by": "sample", "seed": 7},
        {"step": "required-fields", "fields": ["name", "attributes.pattern"]},
        {"step": "describe-from-bullet-points"},
    ]
    config = of_steps(*values)
    assert config.steps is not None
    assert [step.name for step in config.steps] == [value["step"] for value in values]
    assert config.steps[0].parameters() == {"per_type": 2, "by": "sample", "seed": 7}
    again = from_mapping(CurateConfig, msgspec.to_builtins(config))
    assert again == config
