"""Golden cases of each metric, kept as data: prediction, answer, score."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shelfqa.metrics import METRICS
from shelfqa.metrics.base import Answered

CASES: dict[str, list[tuple[str, str, float]]] = json.loads(Path(__file__).with_name("cases.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("name", "prediction", "answer", "expected"),
    [(name, *case) for name, cases in CASES.items() for case in cases],
)
def test_golden_case(name: str, prediction: str, answer: str, expected: float) -> None:
    rows = Answered(predictions=[prediction], answers=[answer])
    assert METRICS.load(name)().score(rows)[0] == pytest.approx(expected)


def test_every_pair_metric_has_cases() -> None:
    assert set(CASES) == {name for name in METRICS if not name.startswith("top_")}
