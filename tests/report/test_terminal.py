"""Scores in the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from shelfqa.errors import InputError
from shelfqa.report.terminal import print_comparison, print_summary

METRICS = {
    "exact_match": {"mean": 0.638, "low": 0.621, "high": 0.662},
    "top_5": {"mean": 0.9, "low": None, "high": None},
}


def test_comparison(tmp_path: Path) -> None:
    model = {"name": "tuned", "label": "Fine-tuned [bold]", "n": 1200, "failures": 3, "metrics": METRICS}
    other = {"name": "majority", "label": "Majority answer", "n": 1200, "failures": 0, "metrics": {}}
    test = {
        "first": "majority",
        "second": "tuned",
        "difference": METRICS["exact_match"],
        "p_value": 0.0004,
        "items": 1200,
    }
    results = {"metric": "exact_match", "after": "tuned", "models": [model, other], "paired": [test]}
    (tmp_path / "results.json").write_text(json.dumps(results), "utf-8")
    file = io.StringIO()
    print_comparison(tmp_path, file=file)
    text = file.getvalue()
    assert "\x1b" not in text
    row = next(line for line in text.splitlines() if "Fine-tuned [bold]" in line)
    assert row.split("[bold]")[1].split() == ["0.64", "[0.62,", "0.66]", "0.90", "1,200", "3"]
    assert "against majority answer: +0.64 [+0.62, +0.66], p < 0.001 on 1,200 questions." in text


def test_summary(tmp_path: Path) -> None:
    part = {"n": 7, "failures": 1, "metrics": METRICS}
    summary = part | {"clusters": 4, "cluster_by": "product_id", "slices": {"question_type": {"colour": part}}}
    (tmp_path / "summary.json").write_text(json.dumps(summary), "utf-8")
    file = io.StringIO()
    print_summary(tmp_path, file=file)
    assert "colour" in file.getvalue()
    assert "drawn by product_id (4)" in file.getvalue()


def test_findings_and_what_else_a_summary_holds(tmp_path: Path) -> None:
    part = {"n": 7, "failures": 1, "metrics": METRICS}
    finding = {
        "id": "near-miss-answers",
        "severity": "note",
        "message": "Two [bold] pairs.",
        "examples": [
            {"answer": "grey", "prediction": "gray", "rows": 3, "kind": "spelling"},
            {"question": "Q?", "answer": "red", "prediction": None, "bertscore_f1": 0.5},
        ],
    }
    human = {
        "raters": 2,
        "items": 5,
        "mean": 3.5,
        "krippendorff_alpha": {"ordinal": 0.8},
        "weighted_kappa": None,
        "correlations": {"exact_match": {"spearman": 0.7, "kendall": 0.6, "items": 5}},
    }
    summary = part | {"findings": [finding], "left_out": {"top_9": "too few"}, "human": human}
    (tmp_path / "summary.json").write_text(json.dumps(summary), "utf-8")
    file = io.StringIO()
    print_summary(tmp_path, file=file)
    text = file.getvalue()
    assert "note: Two [bold] pairs." in text
    assert "'grey' -> 'gray' x 3; Q? 'red' -> nothing bertscore_f1 0.5000" in text
    assert "left out: top_9 (too few)" in text
    assert "2 raters, 5 rows, mean 3.50, Krippendorff's alpha (ordinal) 0.80, weighted kappa –." in text
    assert "Exact match: Spearman 0.70, Kendall 0.60" in text


def test_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run shelfqa score"):
        print_summary(tmp_path)
