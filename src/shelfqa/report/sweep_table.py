"""The trials of a sweep: a row each, best first, and how they are written in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shelfqa.records import Interval


class TrialRow(NamedTuple):
    """One trial of a sweep; of a failed one all is None but what it was to be and its error."""

    trial: str
    """Its name, and that of its folder."""
    labels: Mapping[str, str]
    """A short text for each setting that varies."""
    settings: Mapping[str, Any]
    """The value of each setting that varies."""
    exact_match: Interval | None
    """Of the best weights on the validation questions."""
    exact_match_before: float | None = None
    questions: int | None = None
    """How many validation questions the exact match is of."""
    trainable_parameters: int | None = None
    best_step: int | None = None
    steps: int | None = None
    seconds: float | None = None
    """Of training and evaluating, over all of its runs; without reading the model and encoding pictures."""
    error: str | None = None


def best_first(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Return the rows by falling exact match, of equals the smaller one first, the failed ones last."""

    def rank(row: TrialRow) -> tuple[float, int]:
        if row.exact_match is None:
            return (1.0, 0)
        return (-row.exact_match.mean, row.trainable_parameters or 0)

    return sorted(rows, key=rank)


def not_apart(rows: Sequence[TrialRow]) -> int:
    """Return how many other trials have an interval that meets the best one's, so that their order may be chance."""
    intervals = [row.exact_match for row in best_first(rows) if row.exact_match is not None]
    return sum(one.high >= intervals[0].low for one in intervals[1:])


def markdown_table(rows: Sequence[TrialRow]) -> str:
    """Return the trials as a Markdown table, best first, that is aligned as plain text too."""
    ordered = best_first(rows)
    cells = [["trial", "exact match", "95% interval", "before", "trainable", "best step", "seconds"]]
    cells += [_cells(row) for row in ordered]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    lines = [
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |" for line in cells
    ]
    return "\n".join([*lines, "", *_notes(ordered)]) + "\n"


def _cells(row: TrialRow) -> list[str]:
    if row.exact_match is None:
        return [row.trial, "failed", "", "", "", "", ""]
    mean, low, high = row.exact_match
    return [
        row.trial,
        f"{mean:.3f}",
        f"{low:.3f} to {high:.3f}",
        "" if row.exact_match_before is None else f"{row.exact_match_before:.3f}",
        "" if row.trainable_parameters is None else f"{row.trainable_parameters:,}",
        f"{row.best_step:,} of {row.steps:,}",
        "" if row.seconds is None else f"{row.seconds:,.0f}",
    ]


def _notes(ordered: Sequence[TrialRow]) -> list[str]:
    notes = []
    done = [row for row in ordered if row.exact_match is not None]
    if done:
        close = not_apart(done)
        beside = f" The intervals of {close} other{'s' * (close > 1)} meet its own." if close else ""
        notes.append(f"Best: {done[0].trial}, on {done[0].questions:,} validation questions.{beside}")
        if not done[0].best_step:
            notes.append("No trial got better than the model was before: its weights are those of step 0.")
    notes += [f"Failed: {row.trial}: {row.error}" for row in ordered if row.error is not None]
    return notes
