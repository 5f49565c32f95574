"""Asking a model from tests: tables of questions, the predictions, and `shelfqa` as a process that can be killed."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from shelfqa.artifacts import read_table
from shelfqa.cli import _exit_code


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The predictions, without the time that each took."""
    return [row | {"seconds": None} for row in read_table(folder, "predictions").to_pylist()]


def table(folder: Path, rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = ("path", "question")) -> Path:
    """Write a file of questions, or of examples."""
    file = folder / "questions.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


def assert_same_answers(found: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> None:
    """Texts are equal, and probabilities but for rounding."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one["error"] == other["error"]
        assert one["prediction"] == other["prediction"]
        assert one["reply"] == other["reply"]
        assert [each["answer"] for each in one["alternatives"]] == [each["answer"] for each in other["alternatives"]]
        for left, right in zip(one["alternatives"], other["alternatives"], strict=True):
            assert left["probability"] == pytest.approx(right["probability"], abs=1e-4)


def shelfqa(*arguments: object) -> int:
    """Run the command line in this process, as its main function does; return the exit code."""
    before = sys.argv
    sys.argv = ["shelfqa", *map(str, arguments)]
    try:
        return _exit_code()
    finally:
        sys.argv = before


def forked(*arguments: object, **environment: str) -> int:
    """Start the command line in a process of its own, which sees what a test has patched; return its number."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            os.environ.update(environment)
            code = shelfqa(*arguments)
        finally:
            os._exit(code)
    return child
