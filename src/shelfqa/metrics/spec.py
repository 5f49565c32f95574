"""Metrics with options: `NAME` or `NAME:key=value,key=value`, such as `bertscore_f1:layer=5,idf=true`.

The options of a metric are the keyword arguments of its entry in `METRICS`, and their annotations are the types.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shelfqa.errors import ConfigError, did_you_mean
from shelfqa.metrics import METRICS
from shelfqa.metrics.base import Metric

_NEXT_OPTION = re.compile(r",(?=\s*\w+\s*=)")
"""A comma before `key=`: other commas belong to a value, such as a folder's name."""


def parse(spec: str) -> Metric:
    """Return the metric that `spec` describes, called by its plain name.

    Raises:
        ConfigError: for an unknown metric or option (naming the nearest), or a value of the wrong type.

    >>> parse("exact_match").name
    'exact_match'
    """
    name, colon, text = spec.partition(":")
    entry = METRICS.load(name.strip())
    values: dict[str, str] = {}
    for part in _NEXT_OPTION.split(text) if colon else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key:
            raise ConfigError(f"metric {spec!r}: expected NAME:key=value,key=value after the name, got {part!r}.")
        if key in values:
            raise ConfigError(f"metric {spec!r}: the option {key!r} is given twice.")
        values[key] = value
    metric: Metric = entry(**_typed(spec, values, options_of(name.strip())))
    return metric


def parse_all(specs: Sequence[str]) -> list[Metric]:
    """Return the metrics of distinct specs; where two of them are one metric with other options, named by their specs.

    >>> [metric.name for metric in parse_all(["exact_match", "token_f1", "exact_match"])]
    ['exact_match', 'token_f1']
    """
    metrics = {spec: parse(spec) for spec in dict.fromkeys(spec.strip() for spec in specs)}
    names = [metric.name for metric in metrics.values()]
    shared = {name for name in names if names.count(name) > 1}
    for spec, metric in metrics.items():
        if metric.name in shared:
            metric.name = spec
    return list(metrics.values())


def options_of(name: str) -> dict[str, tuple[Any, Any]]:
    """Return type and default of each option of the metric `name`."""
    entry = METRICS.load(name)
    call = entry.__init__ if inspect.isclass(entry) else entry
    hints = typing.get_type_hints(call)
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(entry).parameters.items()
    return {key: (hints.get(key, str), one.default) for key, one in parameters if one.kind in named}


def _typed(spec: str, values: Mapping[str, str], options: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    typed = {}
    for key, value in values.items():
        if key not in options:
            known = did_you_mean(key, options) or " It has none."
            raise ConfigError(f"metric {spec!r}: unknown option {key!r}.{known}")
        try:
            typed[key] = msgspec.convert(value, options[key][0], strict=False)
        except msgspec.ValidationError as error:
            message = str(error)[:1].lower() + str(error)[1:]
            raise ConfigError(f"metric {spec!r}: {key}={value}: {message}.") from None
    return typed
