"""The learning curve: what is drawn of a history, whole or sparse."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from shelfqa.report.figures import learning_chart

MATCH = "validation_exact_match"


def history(*, bounds: bool, losses_alone: bool = False) -> pa.Table:
    """Five steps of training, of which every second was evaluated."""
    rows: list[dict[str, Any]] = []
    for step in range(5):
        match = None if step % 2 or losses_alone else 0.1 * (step + 1)
        row = {"step": step, "train_loss": 2.0 / (step + 1), "validation_loss": match and 1 / match, MATCH: match}
        if bounds:
            row |= {f"{MATCH}_low": match and match - 0.05, f"{MATCH}_high": match and match + 0.05}
        rows.append(row)
    names = ["train_loss", "validation_loss", *(name for name in rows[0] if name.startswith(MATCH))]
    types = [("step", pa.int64()), *((name, pa.float64()) for name in names)]
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


@pytest.mark.parametrize("bounds", [True, False])
def test_intervals_are_shaded_where_the_history_has_them(bounds: bool) -> None:
    chart = learning_chart(history(bounds=bounds))
    assert chart is not None
    assert ("shade: 95% intervals" in chart.caption) == bounds
    assert "goes from 0.10 to 0.50" in chart.alt
    plain = learning_chart(history(bounds=not bounds))
    assert plain is not None
    more, less = (chart, plain) if bounds else (plain, chart)
    assert more.wide.count("fill-opacity: 0.12") > less.wide.count("fill-opacity: 0.12")


def test_losses_alone_are_a_curve_too() -> None:
    chart = learning_chart(history(bounds=True, losses_alone=True))
    assert chart is not None
    assert chart.caption == "Loss by training step."


def test_one_point_is_no_curve() -> None:
    assert learning_chart(history(bounds=True).slice(0, 1)) is None
