from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from shelfqa.config import Config, from_mapping, read_yaml, with_overrides
from shelfqa.errors import ConfigError, InputError


class Inner(Config, frozen=True):
    epochs: Annotated[int, Meta(ge=1)] = 3
    kind: Literal["a", "b"] = "a"


class Outer(Config, frozen=True):
    name: str = "x"
    inner: Inner = Inner()
    maybe: Inner | None = None


def test_reads_nested_values() -> None:
    assert from_mapping(Outer, {"inner": {"epochs": 5}}).inner.epochs == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nmae": "y"}, r"recipe: unknown key 'nmae'. Did you mean 'name'\?"),
        ({"inner": {"epoch": 1}}, r"unknown key 'inner.epoch'. Did you mean 'epochs'\?"),
        ({"maybe": {"epoch": 1}}, r"unknown key 'maybe.epoch'"),
        ({"inner": {"epochs": "many"}}, r"recipe: inner.epochs: expected `int`, got `str`"),
        ({"inner": {"epochs": 0}}, r"inner.epochs: expected `int` >= 1"),
        ({"inner": {"kind": "c"}}, r"inner.kind: invalid enum value 'c'"),
        ({"inner": 3}, r"inner: expected `object`, got `int`"),
    ],
)
def test_mistakes_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(Outer, values, where="recipe")


class Fill(Config, frozen=True, tag_field="step", tag="fill"):
    level: Annotated[int, Meta(ge=0)]


class Empty(Config, frozen=True, tag_field="step", tag="empty"):
    fully: bool = True


class Recipe(Config, frozen=True):
    steps: tuple[Fill | Empty, ...] = ()


def test_a_list_of_steps_is_read_by_their_names() -> None:
    values = {"steps": [{"step": "fill", "level": 2}, {"step": "empty"}]}
    assert from_mapping(Recipe, values) == Recipe(steps=(Fill(level=2), Empty()))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"step": "fil", "level": 1}], "steps[0].step: unknown step 'fil'. Did you mean 'fill'? Known: fill, empty."),
        ([{"step": "empty"}, {"level": 1}], "steps[1].step: name it. Known: fill, empty."),
        ([{"step": "fill", "lvel": 1}], "unknown key 'steps[0].lvel'. Did you mean 'level'?"),
        ([{"step": "empty", "level": 1}], "unknown key 'steps[0].level'"),
        ([{"step": "fill", "level": "high"}], "steps[0].level: expected `int`, got `str`"),
        ([{"step": "fill", "level": -1}], "steps[0].level: expected `int` >= 0"),
        ([{"step": "fill"}], "missing required field `level`"),
        (["fill"], "steps[0]: expected `object`, got `str`"),
        ("fill", "steps: expected `array`, got `str`"),
        ([{"step": ["fill"]}], "unknown step"),
    ],
)
def test_mistakes_in_a_list_of_steps_are_named(values: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Recipe, {"steps": values}, where="recipe")
    assert message in str(caught.value)
    assert str(caught.value).startswith("recipe: ")
    assert "\n" not in str(caught.value)


def test_overrides_do_not_touch_the_original() -> None:
    values = {"inner": {"epochs": 3}}
    assert with_overrides(values, ["inner.epochs=7", "name=demo"]) == {"inner": {"epochs": 7}, "name": "demo"}
    assert values == {"inner": {"epochs": 3}}


@pytest.mark.parametrize("override", ["epochs", "=3", "name.deep=1"])
def test_wrong_overrides(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        with_overrides({"name": "x"}, [override])


def test_yaml_mistakes_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\ninner: [1, 2\n")
    with pytest.raises(ConfigError, match=r"r\.yaml:\d"):
        read_yaml(path)
    path.write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="expected keys and values"):
        read_yaml(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="Cannot read"):
        read_yaml(path)
    with pytest.raises(InputError, match="No file"):
        read_yaml(tmp_path / "none.yaml")
    path.write_text("")
    assert read_yaml(path) == {}
