"""A search for good settings by Optuna, as a function of what its earlier trials came to.

A proposal depends on the search, its number and the earlier trials alone. So a search needs no state beside the list of
its trials: one that was broken off, or is to go on for longer, proposes what the unbroken one would have.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from shelfqa.errors import UserError
from shelfqa.training.sweeps import Choices, Point, Search, Span, label, named_point

_DIGITS = 3
"""Significant digits of a proposed number: more would make names long and no trial better."""
_ATTEMPTS = 50


class Tried(NamedTuple):
    """A trial and the exact match that it came to, None where it failed."""

    point: Point
    exact_match: float | None


def require_optuna() -> None:
    """Raise one line if Optuna is not installed."""
    if find_spec("optuna") is None:
        raise UserError("A sweep with `optuna:` needs the package 'optuna': pip install 'shelfqa[sweeps]'.")


def propose(search: Search, tried: Sequence[Tried]) -> Point | None:
    """Return the trial to make after those in `tried`; None where the search finds nothing that is not among them.

    The first `n_startup_trials` are drawn at random, the others by a tree-structured Parzen estimator (Bergstra et al.
    2011). A failed trial counts as one that got nothing right, so that the search keeps away from what diverges.
    """
    import optuna

    logging.getLogger("optuna").setLevel(logging.WARNING)
    space = {field: _distribution(one) for field, one in search.space.items()}
    known = {one.point.name for one in tried}
    for attempt in range(_ATTEMPTS):
        seed = int(np.random.SeedSequence([search.seed, len(tried), attempt]).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(n_startup_trials=search.n_startup_trials, seed=seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials([_as_trial(search, space, one) for one in tried])
        point = _point(search, study.ask(space).params)
        if point.name not in known:
            return point
    return None


def _distribution(one: Choices | Span) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(one, Span):
        return CategoricalDistribution(one.labels)
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)


def _as_trial(search: Search, space: dict[str, Any], tried: Tried) -> Any:
    from optuna.trial import create_trial

    point = tried.point
    params = {
        field: point.values[field] if isinstance(one, Span) else point.labels[field]
        for field, one in search.space.items()
    }
    return create_trial(value=tried.exact_match or 0.0, params=params, distributions=space)


def _point(search: Search, params: dict[str, Any]) -> Point:
    labels, values = {}, {}
    for field, one in search.space.items():
        proposed = params[field]
        if not isinstance(one, Span):
            labels[field], values[field] = proposed, one.values[one.labels.index(proposed)]
            continue
        if not one.whole:
            proposed = min(max(float(f"{proposed:.{_DIGITS}g}"), one.low), one.high)
        labels[field], values[field] = label(proposed), proposed
    return named_point(labels, values)
