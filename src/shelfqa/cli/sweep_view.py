"""`shelfqa train --sweep`: runs the trials, or lists them, and prints how they compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import msgspec

from shelfqa.artifacts import Manifest
from shelfqa.cli.screen import columns, screen
from shelfqa.stages import sweep as sweep_stage
from shelfqa.stages import train as train_stage
from shelfqa.training.settings import TrainConfig
from shelfqa.training.sweeps import Choices, Search, Span, Sweep, read_sweep


def given_settings(config: TrainConfig, options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of `config` that were given as flags: what was not is the sweep's to say."""
    plain = msgspec.to_builtins(config)
    return {name: value for name, value in plain.items() if options.get(name) not in (None, ())}


def run_sweep(
    name: str,
    given: dict[str, Any],
    questions: Path,
    out: Path | None,
    way: train_stage.Way,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run the sweep of that name or file with the settings given for all of its trials, or list what it would do."""
    plan = read_sweep(name, given)
    if dry_run:
        _show_plan(plan, sweep_stage.planned_trials(questions, out, plan), as_json)
        return
    assert out is not None

    def train_trial(folder: Path, config: TrainConfig, features: Path) -> Manifest:
        return train_stage.train(questions, folder, config, **way._replace(features=features)._asdict())

    sweep_stage.sweep(questions, out, plan, train_trial)
    if as_json:
        click.echo((out / sweep_stage.TRIALS).read_text(encoding="utf-8"))
        return
    click.echo((out / sweep_stage.TABLE).read_text(encoding="utf-8"), nl=False)
    best = json.loads((out / sweep_stage.BEST).read_text(encoding="utf-8"))
    for kind in sweep_stage.RESULTS:
        if kind in best:
            click.echo(f"Best {kind}: {out / best[kind]}")


def _show_plan(plan: Sweep, trials: list[sweep_stage.Planned], as_json: bool) -> None:
    more = plan.search.n_trials - len(trials) if plan.search is not None else 0
    if as_json:
        told = {"sweep": plan.name, "settings": plan.settings, "trials": [trial._asdict() for trial in trials]}
        click.echo(json.dumps(told | {"trials_to_propose": max(more, 0)}))
        return
    console = screen()
    if plan.about:
        console.print(plan.about)
    if trials:
        table = columns(header=("trial", "steps", "", "settings"), right=(1,), wrapped=3)
        for trial in trials:
            settings = ", ".join(f"{field} {_text(value)}" for field, value in trial.settings.items())
            table.add_row(trial.trial, f"{trial.steps:,}", trial.state, settings)
        console.print(table)
        left = [trial for trial in trials if trial.state != "done"]
        console.print(f"{len(trials)} trials, {len(left)} to run, about {sum(trial.steps for trial in left):,} steps")
    if plan.search is not None and more > 0:
        console.print(f"{more} trials to be proposed by TPE over {_space(plan.search)}")
    if plan.settings:
        console.print("all with " + ", ".join(f"{field} {_text(value)}" for field, value in plan.settings.items()))


def _space(search: Search) -> str:
    return ", ".join(f"{field} {_range(one)}" for field, one in search.space.items())


def _range(one: Choices | Span) -> str:
    if isinstance(one, Choices):
        return " or ".join(one.labels)
    return f"{one.low:g} to {one.high:g}{' (log)' if one.log else ''}"


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
