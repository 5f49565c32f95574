"""The section on confidence: which model, which baseline, what it says, and when it is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from scored import write_run, write_scores

from shelfqa.report.confidence_figures import confidence
from shelfqa.report.material import Material, ScoredModel
from shelfqa.stages.report import ReportConfig, find_inputs, report
from shelfqa.stages.score import ScoreConfig, score


def section(*coverage: tuple[float, float, float], **more: Any) -> dict[str, Any]:
    """What `score` writes, with an interval of a tenth to each side."""
    return {
        "expected_calibration_error": 0.12,
        "chance_calibration_error": 0.034,
        "brier": 0.2,
        "bins": [{"confidence": 0.7, "accuracy": 0.6, "low": 0.5, "high": 0.7, "n": 1200}],
        "coverage": [[threshold, share, mean, mean - 0.1, mean + 0.1] for threshold, share, mean in coverage],
        **more,
    }


def model(name: str, calibration: dict[str, Any] | None) -> ScoredModel:
    summary = {"n": 10, "failures": 0, "metrics": {"exact_match": {"mean": 0.5, "low": 0.4, "high": 0.6}}}
    if calibration is not None:
        summary["calibration"] = calibration
    return ScoredModel(name=name, summary=summary, table=pa.table({"prediction": ["red"]}))


def material(*models: ScoredModel) -> Material:
    return Material(title="t", models=models, metric="exact_match", after=models[0])


CURVE = ((0.9, 0.2, 0.95), (0.6, 0.55, 0.8), (0.0, 1.0, 0.5))
BLIND = ((0.4, 0.5, 0.3), (0.1, 1.0, 0.2))


def test_numbers_in_words() -> None:
    found = confidence(material(model("tuned", section(*CURVE))))
    assert found is not None
    assert found.sentence == (
        "Fine-tuned: exact match is 0.80 on the 55% of questions that it is surest of and 0.50 on all. Expected "
        "calibration error 0.12 (0.03 is to be expected by chance), Brier score 0.20."
    )
    assert "20% answered 0.95; 55% answered 0.80; 100% answered 0.50" in found.chart.alt
    assert "0.70 right to 0.60" in found.chart.alt
    assert "in bins of 1,200 answers" in found.chart.caption
    assert "grey" not in found.chart.caption


def test_the_blind_baseline_stands_beside() -> None:
    tuned, blind = model("tuned", section(*CURVE)), model("question-only", section(*BLIND))
    with_blind, without = confidence(material(tuned, blind)), confidence(material(tuned))
    assert with_blind is not None
    assert without is not None
    assert "; grey: question only, no picture." in with_blind.chart.caption
    assert "var(--quiet)" in with_blind.chart.wide
    assert "var(--quiet)" not in without.chart.wide
    for chart in (with_blind.chart.wide, with_blind.chart.narrow):
        assert "var(--accent)" in chart
        assert "#0" not in chart.replace("#m", "")
    untold = confidence(material(tuned, model("question-only", None)))
    assert untold is not None
    assert untold.chart == without.chart


@pytest.mark.parametrize("calibration", [None, section((0.5, 1.0, 0.4)), section()])
def test_no_section_without_a_curve(calibration: dict[str, Any] | None) -> None:
    assert confidence(material(model("tuned", calibration))) is None


def test_one_cluster_has_no_interval() -> None:
    bare = section(*CURVE, bins=[{"confidence": 0.7, "accuracy": 0.6, "low": None, "high": None, "n": 3}])
    bare["coverage"] = [[*point[:3], None, None] for point in bare["coverage"]]
    found = confidence(material(model("tuned", bare)))
    assert found is not None
    assert "fill-opacity" not in found.chart.wide


def test_the_page_of_a_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "demo")
    write_scores(run, "question-only", run / "images", right=0.2)
    report(find_inputs(run), tmp_path / "report", ReportConfig(resamples=200))
    html = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert 'href="#confidence"' in html
    assert 'id="confidence"' in html
    assert "grey: question only, no picture" in html
    told = json.loads((tmp_path / "report" / "results.json").read_text("utf-8"))
    tuned = next(one for one in told["models"] if one["name"] == "tuned")
    summary = json.loads((run / "scores" / "tuned" / "summary.json").read_text("utf-8"))
    assert tuned["calibration"] == summary["calibration"]
    assert tuned["calibration"]["failures"] == 2
    assert tuned["calibration"]["coverage"][-1][2] == pytest.approx(summary["metrics"]["exact_match"]["mean"])


def test_the_page_of_a_file_without_probabilities(tmp_path: Path) -> None:
    rows = "".join(f"{n}.jpg,What colour is {n}?,red,red\n" for n in range(5))
    (tmp_path / "few.csv").write_text("path,question,answer,prediction\n" + rows)
    score(tmp_path / "few.csv", tmp_path / "scores", ScoreConfig(metrics=("exact_match",), resamples=200))
    report(find_inputs(tmp_path / "scores"), tmp_path / "report", ReportConfig(resamples=200))
    html = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert "confidence" not in html.split("</style>")[1]
    (model,) = json.loads((tmp_path / "report" / "results.json").read_text("utf-8"))["models"]
    assert model["calibration"] is None
