from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from shelfqa.records import Interval
from shelfqa.report.sweep_figures import lines_of, trials_png
from shelfqa.report.sweep_table import TrialRow, best_first, markdown_table, not_apart


def row(match: float | None, parameters: int = 1000, **settings: Any) -> TrialRow:
    labels = {field: "+".join(value) if isinstance(value, list) else str(value) for field, value in settings.items()}
    name = ",".join(labels.values())
    if match is None:
        return TrialRow(name, labels, settings, None, error="it failed")
    interval = Interval(match, match - 0.05, match + 0.05)
    return TrialRow(name, labels, settings, interval, 0.3, 200, parameters, 10, 20, 60.0)


def notes(rows: list[TrialRow]) -> list[str]:
    return markdown_table(rows).splitlines()[len(rows) + 3 :]


TABLE = [row(0.5 + rank / 100, rank * 10, rank=rank, targets=[name]) for rank in (8, 16, 32) for name in "abcd"]
MODULES = [row(0.5 + place / 20, 10**place, targets=[f"group {place}"]) for place in range(7)]
SEARCH = [row(0.4 + n / 100, 99, learning_rate=1e-5 * 1.3**n, dropout=n / 50, targets=["ab"[n % 2]]) for n in range(14)]


def test_ranks_are_the_axis_and_each_target_set_is_a_line() -> None:
    found = lines_of([*TABLE[::-1]])
    assert found is not None
    assert (found.field, found.others) == ("rank", ("targets",))
    assert list(found.lines) == list("dcba")
    assert all([one.settings["rank"] for one in rows] == [8, 16, 32] for rows in found.lines.values())


def test_one_number_that_varies_is_one_line() -> None:
    found = lines_of([row(0.5, learning_rate=rate, method="lora") for rate in (1e-3, 1e-4)])
    assert found is not None
    assert (found.field, found.others, list(found.lines)) == ("learning_rate", (), [""])


@pytest.mark.parametrize("rows", [MODULES, SEARCH], ids=["no number", "too many lines"])
def test_others_make_no_lines(rows: list[TrialRow]) -> None:
    assert lines_of(rows) is None


@pytest.mark.parametrize("rows", [TABLE, MODULES, SEARCH], ids=["lines", "sizes", "panels"])
def test_the_picture_is_the_same_for_the_same_trials(rows: list[TrialRow]) -> None:
    drawn = trials_png([*rows, row(None, **rows[0].settings)])
    assert drawn is not None
    assert drawn == trials_png(rows)
    with Image.open(io.BytesIO(drawn)) as picture:
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert colours is not None
    assert (11, 110, 105) in {colour for _, colour in colours}  # the report's accent, of the best trial or a line


@pytest.mark.parametrize("ranks", [(2, 3, 4), (1, 64), (5, 5.5)])
def test_any_scale_can_be_drawn(ranks: tuple[float, ...]) -> None:
    assert trials_png([row(0.375, rank=rank) for rank in ranks]) is not None


def test_a_single_trial_makes_no_picture() -> None:
    assert trials_png([row(0.5, rank=4), row(None, rank=8)]) is None


def test_of_equals_the_smaller_comes_first_and_failures_last() -> None:
    rows = [row(None, rank=1), row(0.5, 300, rank=2), row(0.5, 200, rank=4), row(0.7, 900, rank=8)]
    assert [one.settings["rank"] for one in best_first(rows)] == [8, 4, 2, 1]


def test_what_is_not_apart_from_the_best_is_counted() -> None:
    rows = [row(0.9, rank=1), row(0.8, rank=2), row(0.79, rank=4), row(None, rank=8)]
    assert not_apart(rows) == 1


def test_notes_say_what_the_numbers_are_worth() -> None:
    rows = [row(0.9, rank=1), row(0.8, rank=2)]
    assert notes(rows) == ["Best: 1, on 200 validation questions. The intervals of 1 other meet its own."]
    untrained = [one._replace(best_step=0) for one in rows]
    assert notes(untrained)[1] == "No trial got better than the model was before: its weights are those of step 0."


def test_the_table_reads_as_markdown_and_as_text() -> None:
    lines = markdown_table([row(0.5, 12_345, rank=4), row(None, rank=16)]).splitlines()
    assert lines[0].startswith("| trial | exact match |   95% interval |")
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "4", "0.500", "0.450 to 0.550", "0.300", "12,345", "10 of 20", "60"
    ]  # fmt: skip
    assert [cell.strip() for cell in lines[3].split("|")[1:3]] == ["16", "failed"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[-1] == "Failed: 16: it failed"
