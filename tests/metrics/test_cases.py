"""Golden cases of each metric, kept as data: prediction, answer, score."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shelfqa.metrics import METRICS
from shelfqa.metrics.base import Answered
from shelfqa.metrics.wordnet import find_wordnet

CASES: dict[str, list[tuple[str, str, float]]] = json.loads(Path(__file__).with_name("cases.json").read_text("utf-8"))
WORDNET = ("meteor", "wu_palmer", "wups")
ELSEWHERE = ("top_", "macro_", "average_mark", "vqa_accuracy", "bertscore", "bartscore", "sbert", "judge", "human")
"""How the names of metrics begin that need more than a pair of texts: their tests are in files of their own."""


@pytest.mark.parametrize(
    ("name", "prediction", "answer", "expected"),
    [(name, *case) for name, cases in CASES.items() for case in cases],
)
def test_golden_case(name: str, prediction: str, answer: str, expected: float) -> None:
    if name.startswith(WORDNET) and find_wordnet() is None:
        pytest.skip("needs WordNet (apt install wordnet-base)")
    rows = Answered(predictions=[prediction], answers=[answer])
    assert METRICS.load(name)().score(rows)[0] == pytest.approx(expected)


def test_every_pair_metric_has_cases() -> None:
    assert set(CASES) == {name for name in METRICS if not name.startswith(ELSEWHERE)}
