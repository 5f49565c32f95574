"""The scores that studies published row by row, beside ours, on their own predictions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from shelfqa.metrics.base import Answered, Scores
from shelfqa.metrics.spec import parse
from shelfqa.metrics.wordnet import find_wordnet


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "predictions" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["question"]]


def published(rows: list[dict[str, str]], column: str) -> Scores:
    return np.array([float(row[column]) for row in rows])


def ours(rows: list[dict[str, str]], metric: str) -> Scores:
    if metric.startswith(("meteor", "wu_palmer")) and find_wordnet() is None:
        pytest.skip("needs WordNet (apt install wordnet-base)")
    return parse(metric).score(
        Answered(predictions=[row["prediction"] for row in rows], answers=[row["answer"] for row in rows])
    )


@pytest.fixture(scope="module")
def blip(abo_slice: Path) -> list[dict[str, str]]:
    return read(abo_slice, "blip_vqa_base_lora_r16")


@pytest.fixture(scope="module")
def blip2(abo_slice: Path) -> list[dict[str, str]]:
    return read(abo_slice, "blip2_opt_2.7b")


def test_the_row_left_out_holds_means(abo_slice: Path) -> None:
    with (abo_slice / "predictions" / "blip_vqa_base_lora_r16.csv").open(encoding="utf-8", newline="") as file:
        left_out = [row for row in csv.DictReader(file) if not row["question"]]
    assert [row["path"] for row in left_out] == ["AV/AVERAGE"]
    assert float(left_out[0]["exact_match"]) == pytest.approx(0.6709, abs=5e-5)


@pytest.mark.parametrize(
    ("metric", "column"),
    [
        ("exact_match", "exact_match"),
        ("token_f1", "f1_score"),
        ("token_f1_sets", "f1_score"),
        ("meteor", "meteor_score"),
    ],
)
def test_same_on_every_row(blip: list[dict[str, str]], metric: str, column: str) -> None:
    assert len(blip) == 6031
    assert ours(blip, metric) == pytest.approx(published(blip, column), abs=1e-6)


def test_wu_palmer(blip: list[dict[str, str]]) -> None:
    theirs, nouns, any_sense = (
        published(blip, "wup_score"),
        ours(blip, "wu_palmer"),
        ours(blip, "wu_palmer_any_sense"),
    )
    assert theirs.mean() == pytest.approx(0.840, abs=5e-4)
    assert any_sense.mean() == pytest.approx(0.863, abs=5e-4)
    assert (np.abs(any_sense - theirs) < 1e-6).mean() >= 0.93
    assert (np.abs(nouns - theirs) < 1e-6).mean() >= 0.88
    same = np.array([row["answer"] == row["prediction"] for row in blip])
    assert (nouns[same] == 1).all()
    assert (theirs[same] == 0).sum() == 61  # words that WordNet lacks, such as brands


@pytest.mark.parametrize(("metric", "column"), [("meteor", "meteor"), ("rouge_l:stem=true", "rouge_l_f1")])
def test_zero_shot(blip2: list[dict[str, str]], metric: str, column: str) -> None:
    rows = [row for row in blip2 if row[column]]
    assert len(blip2) - len(rows) == (20 if column == "meteor" else 0)  # blank where the label is empty
    scores, theirs = ours(rows, metric), published(rows, column)
    assert scores.mean() == pytest.approx(theirs.mean(), abs=1e-3)
    assert (np.abs(scores - theirs) < 1e-6).all()
