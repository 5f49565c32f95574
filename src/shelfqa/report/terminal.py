"""Scores in the terminal: a table on a screen, plain aligned text where the output goes elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.table import Table

from shelfqa.errors import InputError
from shelfqa.report.tables import interval_text, metric_label, number_text, p_text

_PLAIN_WIDTH = 160
"""Columns assumed where no terminal tells its width."""


def print_summary(scores: Path, *, file: IO[str] | None = None, most_slices: int = 12) -> None:
    """Print the `summary.json` of a folder of `score`: metrics with intervals, then the slices by question type."""
    print_summary_of(_read(scores / "summary.json"), file=file, most_slices=most_slices)


def print_summary_of(summary: Mapping[str, Any], *, file: IO[str] | None = None, most_slices: int = 12) -> None:
    """Print a summary as `score` writes it."""
    console = _console(file)
    names = list(summary["metrics"])
    table = _table("", "n", "failed", *(metric_label(name) for name in names))
    table.add_row("all", f"{summary['n']:,}", f"{summary['failures']:,}", *_cells(summary["metrics"], names))
    slices = list(summary.get("slices", {}).get("question_type", {}).items())[:most_slices]
    for number, (value, part) in enumerate(slices):
        if number == 0:
            table.add_section()
        table.add_row(value, f"{part['n']:,}", f"{part['failures']:,}", *_cells(part["metrics"], names))
    console.print(table)
    if "clusters" in summary:
        console.print(f"95% intervals, drawn by {summary['cluster_by']} ({summary['clusters']:,}).", highlight=False)


def print_comparison(report: Path, *, file: IO[str] | None = None) -> None:
    """Print the before/after table of the `results.json` in a folder of `report`, and its paired tests."""
    print_comparison_of(_read(report / "results.json"), file=file)


def print_comparison_of(results: Mapping[str, Any], *, file: IO[str] | None = None) -> None:
    """Print the models of `results.json` best first, and the paired tests."""
    console = _console(file)
    models = results["models"]
    lead = results["metric"]
    others = [name for name in ("token_f1", "top_5") if any(name in model["metrics"] for model in models)]
    table = _table("model", f"{metric_label(lead)}, 95% interval", *map(metric_label, others), "n", "failed")
    for model in models:
        metrics = model["metrics"]
        numbers = [number_text(metrics.get(name, {}).get("mean")) for name in others]
        style = "bold" if model["name"] == results.get("after") else None
        cells = [interval_text(metrics.get(lead)), *numbers, f"{model['n']:,}", f"{model['failures']:,}"]
        table.add_row(model["label"], *cells, style=style)
    console.print(table)
    labels = {model["name"]: model["label"] for model in models}
    for test in results["paired"]:
        p_value = test["p_value"]
        told = p_text(float("nan") if p_value is None else p_value)
        console.print(
            f"{labels[test['second']]} against {labels[test['first']].lower()}: "
            f"{interval_text(test['difference'], signed=True)}, {told} on {test['items']:,} questions.",
            highlight=False,
            soft_wrap=True,
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"No file at {str(path)!r}: run shelfqa score or shelfqa report first.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {str(path)!r}: {error}.") from None
    return found


def _console(file: IO[str] | None) -> Console:
    console = Console(file=file, markup=False)
    return console if console.is_terminal else Console(file=file, width=_PLAIN_WIDTH, no_color=True, markup=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cells(metrics: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [interval_text(metrics.get(name)) for name in names]
