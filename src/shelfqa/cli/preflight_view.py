"""What `shelfqa train --dry-run` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
from rich.text import Text

from shelfqa.cli.estimate_view import duration
from shelfqa.cli.screen import columns, heading, screen
from shelfqa.training.findings import Duration, Memory, Overfit, Preflight, Spread

_COLOURS = {"error": "red", "warning": "yellow", "note": ""}


def show_preflight(found: Preflight, *, as_json: bool) -> None:
    """Print what was found, as tables for people or as JSON."""
    if as_json:
        click.echo(json.dumps(found.as_dict()))
        return
    console = screen()
    table = columns(header=("", ""), wrapped=1)
    for label, text in _lines(found):
        table.add_row(Text(label, style="dim"), text)
    console.print(table)
    console.print()
    console.print(heading("tokens a sample"))
    table = columns(header=("", "median", "95%", "longest"), right=(1, 2, 3))
    tokens = found.tokens
    for name, spread in (
        ("question", tokens.question),
        ("answer", tokens.answer),
        ("picture", tokens.picture),
        ("all", tokens.whole),
    ):
        if spread is not None:
            table.add_row(name, *_numbers(spread))
    console.print(table)
    console.print()
    console.print(heading("findings"))
    table = columns(header=("", "", ""), wrapped=2)
    for finding in found.findings:
        table.add_row(Text(finding.level, style=_COLOURS[finding.level]), finding.check, finding.line())
    console.print(table if found.findings else Text("none"))


def _lines(found: Preflight) -> Iterator[tuple[str, str]]:
    """Yield what is told in a line each, under its name."""
    yield "model", f"{found.model} on {found.device}"
    dropped = ", ".join(f"{reason} {number:,}" for reason, number in sorted(found.dropped.items()))
    samples = ", ".join(f"{number:,} for {split}" for split, number in found.samples.items())
    yield "questions", f"{samples}{f' (left out: {dropped})' if dropped else ''}"
    yield "trained", _parameters(found)
    if found.memory is not None:
        yield "memory", _memory(found.memory)
    if found.duration is not None:
        yield "steps", f"{found.duration.steps:,}, which is {found.duration.epochs:.3g} epochs"
        yield "time", _time(found.duration)
    if found.overfit is not None:
        yield "by heart", _overfit(found.overfit)


def _parameters(found: Preflight) -> str:
    total = found.trainable_parameters["total"]
    groups = ", ".join(
        f"{group} {number:,}" for group, number in found.trainable_parameters.items() if group != "total"
    )
    return f"{total:,} of {found.all_parameters:,} parameters ({total / found.all_parameters:.2%}): {groups}"


def _memory(memory: Memory) -> str:
    takes = "not known" if memory.step_gb is None else f"{memory.step_gb:.2f} GB"
    there = "" if memory.available_gb is None else f", of {memory.available_gb:.2f} GB that are there"
    return (
        f"{takes} for a step at the longest batch ({memory.questions} questions, {memory.tokens:,} tokens with padding)"
        f"{there}; the optimiser's state is {memory.optimizer_gb:.2f} GB"
    )


def _time(took: Duration) -> str:
    parts = [
        f"training {duration(took.training_seconds)} ({took.step_seconds:.3g} s a step)",
        f"{took.evaluations} evaluations {duration(took.evaluation_seconds)}",
    ]
    if took.pictures_seconds:
        parts.append(f"encoding pictures {duration(took.pictures_seconds)}")
    return f"{duration(took.seconds)} at most: {', '.join(parts)}"


def _overfit(found: Overfit) -> str:
    right = found.pairs - len(found.wrong)
    return f"{right} of {found.pairs} pairs learned in {found.steps} steps, {found.seconds:.1f} s"


def _numbers(spread: Spread) -> tuple[str, str, str]:
    return f"{spread.median:,.0f}", f"{spread.p95:,.0f}", f"{spread.longest:,}"
