"""Progress on stderr: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

Tick = Callable[..., None]
"""Call as `tick(done)` or `tick(done, note)`; `done` counts from zero to the total, `note` is shown beside it."""

_LINE_EVERY_S = 15.0


def say(message: str) -> None:
    """Print one line for the person who waits; never on stdout, which is for data."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


@contextlib.contextmanager
def progress(label: str, total: int, *, done: int = 0) -> Iterator[Tick]:
    """Show how far a loop of `total` steps has come, its rate and the time left; `done` were done before it began."""
    if sys.stderr.isatty():
        with _bar(label, total, done) as tick:
            yield tick
    else:
        yield _lines(label, total, done)


@contextlib.contextmanager
def _bar(label: str, total: int, done: int) -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(label, total=total, completed=done, note="")

        def tick(done: int, note: str = "") -> None:
            bars.update(task, completed=done, note=note)

        yield tick


def _lines(label: str, total: int, done_before: int) -> Tick:
    started = time.monotonic()
    last = started

    def tick(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _LINE_EVERY_S:
            return
        last = now
        rate = (done - done_before) / (now - started)
        left = f", {max(total - done, 0) / rate:.0f} s left" if rate > 0 else ""
        say(f"  {label}: {done} of {total}, {rate:.1f} a second{left}{'  ' + note if note else ''}")

    return tick
