"""Typed configuration from YAML, flags and `--set key=value`, with errors that name the nearest known key.

A stage's settings are one frozen `Config` class whose fields carry their documentation:

    class SplitConfig(Config, frozen=True):
        seed: Annotated[int, Meta(description="Seed of the assignment of groups.")] = 0

Command-line flags, recipes and the reference page are all made from these classes.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from shelfqa.errors import ConfigError, InputError, did_you_mean


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every stage's settings."""


ConfigT = TypeVar("ConfigT", bound=Config)


def from_mapping(cls: type[ConfigT], values: Mapping[str, Any], *, where: str = "configuration") -> ConfigT:
    """Return `values` as a `cls`.

    Raises:
        ConfigError: for an unknown key (naming the nearest known one) or a value of the wrong type; `where` opens
            the message.

    """
    _refuse_unknown(cls, values, where, "")
    try:
        return msgspec.convert(values, cls)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        key = path.strip("`").removeprefix("$.").removeprefix("$")
        raise ConfigError(f"{where}: {key + ': ' if key else ''}{message[:1].lower() + message[1:]}.") from None


def _refuse_unknown(cls: type[Any], values: Any, where: str, path: str) -> None:
    if not isinstance(values, Mapping):
        return
    known = {field.encode_name: field.type for field in msgspec.structs.fields(cls)}
    tag_field = cls.__struct_config__.tag_field
    for key, value in values.items():
        if key == tag_field:
            continue
        if key not in known:
            raise ConfigError(f"{where}: unknown key {path + str(key)!r}.{did_you_mean(str(key), known)}")
        nested = struct_in(known[key])
        if isinstance(value, (list, tuple)):
            for number, item in enumerate(value):
                _refuse_unknown_variant(variants_in(known[key]), item, where, f"{path}{key}[{number}].")
        elif nested is not None:
            _refuse_unknown(nested, value, where, f"{path}{key}.")


def _refuse_unknown_variant(variants: Mapping[str, type[Any]], value: Any, where: str, path: str) -> None:
    if not variants or not isinstance(value, Mapping):
        return
    (tag_field,) = {variant.__struct_config__.tag_field for variant in variants.values()}
    tag = str(value.get(tag_field))
    if tag_field not in value or tag not in variants:
        told = f"unknown {tag_field} {tag!r}.{did_you_mean(tag, variants)}" if tag_field in value else "name it."
        raise ConfigError(f"{where}: {path}{tag_field}: {told} Known: {', '.join(variants)}.")
    _refuse_unknown(variants[tag], value, where, path)


def variants_in(annotation: Any) -> dict[str, type[Any]]:
    """Return the tagged `Config` classes inside an annotation such as `tuple[A | B, …]`, by tag."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        tag = annotation.__struct_config__.tag
        return {str(tag): annotation} if tag is not None else {}
    found: dict[str, type[Any]] = {}
    for argument in typing.get_args(annotation):
        found |= variants_in(argument)
    return found


def struct_in(annotation: Any) -> type[Any] | None:
    """Return the `Config` class inside an annotation such as `X`, `X | None` or `Annotated[X, …]`, if any."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    origin = typing.get_origin(annotation)
    if origin in (typing.Annotated, typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            found = struct_in(argument)
            if found is not None:
                return found
    return None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in the YAML file at `path`; errors name the file and line."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"No file at {str(path)!r}: give the path of a YAML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {str(path)!r}: {error}.") from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise ConfigError(f"{path}{line}: {problem}. Mend the line and run again.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values at the top, got {type(values).__name__}.")
    return values


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `values` with each `key.sub=value` of `overrides` set; values are read as YAML.

    >>> with_overrides({"train": {"epochs": 3}}, ["train.epochs=5"])
    {'train': {'epochs': 5}}
    """
    import yaml

    result: dict[str, Any] = {key: _copied(value) for key, value in values.items()}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {override!r}: expected key=value, for example --set train.epochs=3.")
        *parents, last = key.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {override!r}: {parent!r} holds a value, not keys.")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            place[last] = text
    return result


def _copied(value: Any) -> Any:
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def to_builtins(config: msgspec.Struct) -> dict[str, Any]:
    """Return the settings as plain, JSON-ready values."""
    plain: dict[str, Any] = msgspec.to_builtins(config)
    return plain
