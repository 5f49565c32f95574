"""Tables and lines on stdout: coloured on a terminal, plain aligned text where the output goes elsewhere."""

from __future__ import annotations

from typing import IO

from rich.console import Console
from rich.table import Table
from rich.text import Text

_PLAIN_WIDTH = 120
"""Columns where no terminal tells its width."""


def screen(file: IO[str] | None = None) -> Console:
    """Return where to print; `NO_COLOR` and `COLUMNS` are honoured."""
    console = Console(file=file, markup=False, highlight=False)
    if console.is_terminal:
        return console
    return Console(file=file, width=_PLAIN_WIDTH, no_color=True, markup=False, highlight=False)


def columns(*, wrapped: int | None = None, right: tuple[int, ...] = (), header: tuple[str, ...]) -> Table:
    """Return a table without lines.

    Args:
        wrapped: the column that may break into several lines; the others never do.
        right: the columns of numbers.
        header: what stands above each column.

    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=any(header))
    for place, name in enumerate(header):
        table.add_column(
            name,
            justify="right" if place in right else "left",
            no_wrap=place != wrapped,
            overflow="fold" if place == wrapped else "ellipsis",
        )
    return table


def heading(title: str, note: str = "") -> Text:
    """Return a line that opens a section."""
    text = Text(title, style="bold")
    return text.append(f"  {note}", style="not bold dim") if note else text
