"""Sweeps: a YAML file that says which settings vary, read as the trials that it means.

A sweep file holds `about:`, a line on what it is for, `settings:` for all trials, and one of

    grid:    {rank: [8, 16], targets: {small: [query, value], all: [query, key, value]}}
    trials:  [{name: plain}, {name: wide, rank: 64}]
    optuna:  {n_trials: 20, fields: {learning_rate: {low: 1e-5, high: 1e-3, log: true}, rank: {choices: [8, 16]}}}

Fields are those of `TrainConfig`. Choices are a list, or a mapping from names to values where a value's own text would
make a poor name. Importing this module imports neither torch nor Optuna.
"""

from __future__ import annotations

import itertools
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from shelfqa.config import Config, from_mapping, read_yaml, to_builtins
from shelfqa.digests import digest_of
from shelfqa.errors import ConfigError, did_you_mean
from shelfqa.training.settings import TrainConfig

MOST_TRIALS = 1_000
_FOLDER = Path(__file__).resolve().parent / "sweep_files"
_LONGEST_NAME = 120
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)e[+-]?\d+", re.IGNORECASE)
_NAME = re.compile(r"[\w+=,-][\w.+=,-]*")
_FIELD_TYPES: Mapping[str, Any] = {field.name: field.type for field in msgspec.structs.fields(TrainConfig)}


class Point(Config, frozen=True):
    """One trial: its name, which is also its folder's, what the sweep sets for it, and short texts for these values."""

    name: str
    values: dict[str, Any]
    labels: dict[str, str]


class Choices(Config, frozen=True, tag="choices"):
    """A setting that takes one of several values, each with a short text."""

    labels: list[str]
    values: list[Any]


class Span(Config, frozen=True, tag="span"):
    """A number from `low` to `high`, both included; on a logarithmic scale or not; whole or not."""

    low: float
    high: float
    log: bool
    whole: bool


class Search(Config, frozen=True):
    """A search by Optuna's TPE (Bergstra et al. 2011) for the settings with the highest exact match."""

    space: dict[str, Choices | Span]
    n_trials: int
    n_startup_trials: int
    """Trials that are drawn at random before TPE has something to go by."""
    seed: int


class Sweep(Config, frozen=True):
    """What a sweep file means: the trials, or the search that finds them, and the settings that all of them have."""

    name: str
    about: str
    settings: dict[str, Any]
    points: list[Point]
    search: Search | None = None

    def config(self, values: Mapping[str, Any]) -> TrainConfig:
        """Return the settings of a trial that sets `values`."""
        return from_mapping(TrainConfig, {**self.settings, **values}, where=f"sweep {self.name!r}")

    @property
    def fields(self) -> list[str]:
        """The settings that vary, in the order of the file."""
        if self.search is not None:
            return list(self.search.space)
        return list(dict.fromkeys(field for point in self.points for field in point.values))


class _SearchFile(Config, frozen=True):
    fields: dict[str, dict[str, Any]]
    n_trials: int
    n_startup_trials: int = 5
    seed: int = 0


class _SweepFile(Config, frozen=True):
    about: str = ""
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    grid: dict[str, Any] | None = None
    trials: list[dict[str, Any]] | None = None
    optuna: _SearchFile | None = None


def sweep_names() -> list[str]:
    """Return the names of the sweeps that shelfqa brings."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_sweep(name: str, given: Mapping[str, Any] | None = None) -> Sweep:
    """Return the sweep of that name, or the one in the YAML file that `name` is the path of.

    Args:
        name: one of `sweep_names`, or a path that ends in .yaml or .yml.
        given: settings for all trials; they go over those of the file.

    Raises:
        InputError: if the file is missing.
        ConfigError: for broken YAML, an unknown key or setting (with the nearest known one), a value of the wrong type,
            or a setting in `given` that varies.

    """
    if name.endswith((".yaml", ".yml")):
        path, known_as = Path(name), Path(name).stem
    elif name in sweep_names():
        path, known_as = _FOLDER / f"{name}.yaml", name
    else:
        known = did_you_mean(name, sweep_names())
        raise ConfigError(f"Unknown sweep {name!r}.{known} A sweep of your own is a file that ends in .yaml.")
    where = str(path) if name != known_as else f"sweep {name!r}"
    file = from_mapping(_SweepFile, read_yaml(path), where=where)
    written = [kind for kind in ("grid", "trials", "optuna") if getattr(file, kind) is not None]
    if len(written) != 1:
        raise ConfigError(f"{where}: expected one of grid, trials and optuna, got {' and '.join(written) or 'none'}.")
    settings = {field: _checked(field, value, f"{where}: settings") for field, value in file.settings.items()}
    points = _grid(file.grid, where) if file.grid is not None else _listed(file.trials or [], where)
    search = _search(file.optuna, where) if file.optuna is not None else None
    everywhere = settings | dict(given or {})
    sweep = Sweep(name=known_as, about=file.about, settings=everywhere, points=points, search=search)
    if not points and search is None:
        raise ConfigError(f"{where}: {written[0]} names no trials.")
    for field in sweep.fields:
        if field in (given or {}):
            flag = field.replace("_", "-")
            raise ConfigError(f"--{flag} is given, and {where} sets {field!r} for each trial: leave one of them out.")
    return sweep


def named_point(labels: Mapping[str, str], values: Mapping[str, Any]) -> Point:
    """Return the trial that sets `values`, named after the texts of its values."""
    name = ",".join(f"{field}={label}" for field, label in labels.items())
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 9]}-{digest_of([name])[:8]}"
    return Point(name=name, values=dict(values), labels=dict(labels))


def label(value: Any) -> str:
    """Return a short text for a value that can be a part of a file's name.

    >>> label([8, "query"]), label(3e-05), label("runs/own preset.yaml"), label(None)
    ('8+query', '3e-05', 'runs-own-preset.yaml', 'none')
    """
    if isinstance(value, list):
        return "+".join(map(label, value)) or "none"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return re.sub(r"[^\w.+-]+", "-", str(value)).strip("-.") or "x"


def _grid(grid: Mapping[str, Any], where: str) -> list[Point]:
    """Return every combination of the values, the last field varying fastest."""
    choices = {field: _choices(field, given, f"{where}: grid") for field, given in grid.items()}
    number = math.prod(len(one.values) for one in choices.values()) if choices else 0
    if number > MOST_TRIALS:
        raise ConfigError(f"{where}: the grid has {number:,} trials; at most {MOST_TRIALS:,} can be run.")
    points = []
    for places in itertools.product(*(range(len(one.values)) for one in choices.values())) if choices else ():
        chosen = dict(zip(choices, places, strict=True))
        labels = {field: choices[field].labels[place] for field, place in chosen.items()}
        points.append(named_point(labels, {field: choices[field].values[place] for field, place in chosen.items()}))
    return points


def _listed(trials: Sequence[Mapping[str, Any]], where: str) -> list[Point]:
    """Return the trials of a list of settings, each with its name."""
    points: list[Point] = []
    for number, trial in enumerate(trials, start=1):
        name = str(trial.get("name", ""))
        if not name:
            raise ConfigError(f"{where}: trial {number} has no name: begin it with `name:`.")
        _check_name(name, f"{where}: trial {number}")
        if any(name == other.name for other in points):
            raise ConfigError(f"{where}: two trials have the name {name!r}.")
        values = {
            field: _checked(field, value, f"{where}: trial {name!r}")
            for field, value in trial.items()
            if field != "name"
        }
        points.append(Point(name=name, values=values, labels={field: label(value) for field, value in values.items()}))
    return points


def _search(file: _SearchFile, where: str) -> Search:
    """Return the space that Optuna searches."""
    for name, least in (("n_trials", 1), ("n_startup_trials", 1), ("seed", 0)):
        if getattr(file, name) < least:
            raise ConfigError(f"{where}: optuna.{name} is {getattr(file, name)!r}: expected {least} or more.")
    if not file.fields:
        raise ConfigError(f"{where}: optuna.fields names nothing to search over.")
    space: dict[str, Choices | Span] = {}
    for field, given in file.fields.items():
        inside = f"{where}: optuna.fields"
        _kinds(field, inside)
        if given.keys() == {"choices"}:
            space[field] = _choices(field, given["choices"], inside)
        else:
            space[field] = _span(field, given, f"{inside}.{field}")
    return Search(space=space, n_trials=file.n_trials, n_startup_trials=file.n_startup_trials, seed=file.seed)


def _span(field: str, given: Mapping[str, Any], where: str) -> Span:
    """Return the range that a mapping with low, high and perhaps log describes."""
    for key in given:
        if key not in ("low", "high", "log"):
            known = ("low", "high", "log", "choices")
            raise ConfigError(f"{where}: unknown key {key!r}.{did_you_mean(str(key), known)}")
    kinds = _kinds(field, where)
    if not {int, float} & kinds:
        raise ConfigError(f"{where}: {field!r} is no number: give its values as choices: [...].")
    whole, log = float not in kinds, given.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}.log is {log!r}: expected true or false.")
    bounds = []
    for name in ("low", "high"):
        value = _checked(field, given.get(name), where)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ConfigError(f"{where}.{name} is {value!r}: expected a number.")
        bounds.append(value)
    low, high = bounds
    if not (low < high and math.isfinite(high)) or (log and not low > 0):
        above = ", both above 0 for log" if log else ""
        raise ConfigError(f"{where} goes from {low!r} to {high!r}: expected low below high{above}.")
    return Span(low=low, high=high, log=log, whole=whole)


def _choices(field: str, given: Any, where: str) -> Choices:
    """Return the values in a list, or in a mapping from their names."""
    _kinds(field, where)
    if isinstance(given, Mapping):
        pairs = [(str(name), value) for name, value in given.items()]
        for name, _ in pairs:
            _check_name(name, f"{where}: {field}")
    elif isinstance(given, list):
        pairs = [(label(value), value) for value in given]
    else:
        raise ConfigError(f"{where}: {field} is {given!r}: expected a list of values, or a mapping from names to them.")
    if not pairs:
        raise ConfigError(f"{where}: {field} has no values.")
    if list in _kinds(field, where):
        for _, value in pairs:
            if isinstance(value, str):
                raise ConfigError(
                    f"{where}: {field}: {value!r} is no list: each value of {field} is one, such as [[{value}]]."
                )
    labels, values = [name for name, _ in pairs], [_checked(field, value, where) for _, value in pairs]
    for name, value in zip(labels, values, strict=True):
        if labels.count(name) > 1 or values.count(value) > 1:
            raise ConfigError(
                f"{where}: {field} has two values that read {name!r}: leave one out, or name them ({{name: value}})."
            )
    return Choices(labels=labels, values=values)


def _checked(field: str, value: Any, where: str) -> Any:
    """Return the value as `TrainConfig` takes it, in plain types.

    YAML reads 1e-4, which has no point, as text: where a number is expected it is one.
    """
    if float in _kinds(field, where) and isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    return to_builtins(from_mapping(TrainConfig, {field: value}, where=where))[field]


def _kinds(field: str, where: str) -> set[Any]:
    """Return the plain types that a setting may have."""
    if field not in _FIELD_TYPES:
        raise ConfigError(f"{where}: unknown setting {field!r}.{did_you_mean(field, _FIELD_TYPES)}")
    return set(_plain_types(_FIELD_TYPES[field]))


def _plain_types(annotation: Any) -> Iterable[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _plain_types(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _plain_types(member)
    else:
        yield origin or annotation


def _check_name(name: str, where: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ConfigError(f"{where}: the name {name!r} makes no folder: use letters, digits and . + - _ = , alone.")
