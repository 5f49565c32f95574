"""The numbers behind the charts of scores, and that the page shows the charts where their data is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from shelfqa.report.material import Material, ScoredModel
from shelfqa.report.page import findings
from shelfqa.report.score_figures import (
    confusion_counts,
    confusions_chart,
    correlations,
    correlations_chart,
    distributions,
    lengths_chart,
    score_charts,
    telling,
)
from shelfqa.report.tables import SliceRow
from shelfqa.stages.report import ReportConfig, find_inputs, report
from shelfqa.stages.score import ScoreConfig, score


def scored(columns: dict[str, list[Any]], **summary: Any) -> ScoredModel:
    """A scored model of the given columns; the metrics are those with numbers."""
    table = pa.table(columns)
    metrics = {
        name: {"mean": 0.5, "low": 0.4, "high": 0.6} for name in columns if pa.types.is_floating(table[name].type)
    }
    return ScoredModel(name="tuned", summary={"n": len(table), "metrics": metrics, **summary}, table=table)


def test_correlations_are_spearmans_over_answered_rows() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.random(200).round(1), rng.random(200).round(1)
    model = scored(
        {
            "prediction": [None, *["x"] * 200],
            "one": [0.0, *one],
            "flat": [1.0] * 201,
            "two": [0.0, *(one + two)],
            "against": [0.0, *-one],
        }
    )
    found = correlations(model, ["one", "flat", "two", "against"])
    assert found is not None
    assert (found.names, found.rows) == (["one", "two", "against"], 200)
    assert found.matrix[0, 1] == pytest.approx(spearmanr(one, one + two).statistic, abs=1e-12)
    assert found.matrix[0, 2] == pytest.approx(-1.0)
    assert np.array_equal(found.matrix, found.matrix.T)
    assert correlations(model, ["one", "flat"]) is None
    chart = correlations_chart(found)
    assert chart is not None
    assert "lowest One with Against, −1.00" in chart.alt


def test_distributions_count_every_answer_once() -> None:
    model = scored(
        {
            "prediction": ["x", "x", "x", "x", None],
            "share": [0.0, 0.24, 0.26, 1.0, 0.0],
            "cosine": [-0.5, 0.0, 0.5, 1.0, -1.0],
            "likelihood": [-8.0, -4.0, -3.0, -2.0, -20.0],
        }
    )
    share, cosine, likelihood = distributions(model, ["share", "cosine", "likelihood"], bins=4)
    assert share.counts.tolist() == [2, 1, 0, 1]
    assert (float(share.edges[0]), float(share.edges[-1]), share.mean) == pytest.approx((0.0, 1.0, 0.375))
    assert (cosine.edges[0], cosine.edges[-1], cosine.counts.sum()) == (-0.5, 1.0, 4)
    assert (likelihood.edges[0], likelihood.edges[-1], likelihood.counts.sum()) == (-8.0, -2.0, 4)


def test_confusions_are_counted_and_stand_on_one_diagonal() -> None:
    pairs = [("Red", "blue.")] * 5 + [("blue", "red")] * 3 + [("red", "red")] * 9 + [("mug", "")] * 2 + [("cup", "pot")]
    model = scored(
        {
            "answer": [*(pair[0] for pair in pairs), "red"],
            "prediction": [*(pair[1] for pair in pairs), None],
            "exact_match": [*(float(pair == ("red", "red")) for pair in pairs), 0.0],
        }
    )
    found = confusion_counts(model, "exact_match", most=3)
    assert found is not None
    assert (found.answers, found.predictions) == (["red", "blue", "mug"], ["red", "blue", "(nothing)"])
    assert found.counts.tolist() == [[0, 5, 0], [3, 0, 0], [0, 0, 2]]
    assert found.wrong == 11
    once = scored({"answer": ["a", "b"], "prediction": ["b", "c"], "exact_match": [0.0, 0.0]})
    assert confusion_counts(once, "exact_match") is None


def test_the_commonest_confusions_are_all_there() -> None:
    pairs = [(f"a{n}", f"b{n}") for n in range(30) for _ in range(40 - n)] + [("x", f"y{n}") for n in range(200)]
    model = scored(
        {
            "answer": [one for one, _ in pairs],
            "prediction": [two for _, two in pairs],
            "exact_match": [0.0] * len(pairs),
        }
    )
    found = confusion_counts(model, "exact_match", most=5)
    assert found is not None
    assert np.diag(found.counts).tolist() == [40, 39, 38, 37, 36]


def test_copies_of_a_metric_are_charted_once() -> None:
    model = scored({"prediction": ["x", "y"], "f1": [0.5, 1.0], "top_1": [0.0, 1.0], "exact_match": [0.0, 1.0]})
    assert telling(model, "exact_match") == ["exact_match", "f1"]


def test_lengths_stand_in_order() -> None:
    def row(value: str, mean: float) -> SliceRow:
        return SliceRow(value, 1200, None, {"mean": mean, "low": None, "high": None}, False)

    chart = lengths_chart([row("2", 0.25), row("1", 0.75), row("5 or more", 0.125)], "token_f1")
    assert chart is not None
    assert chart.alt == "Token F1 by answer length: 1 words 0.75; 2 words 0.25; 5 or more words 0.12."
    assert "5+" in chart.narrow
    assert "(1,200)" in chart.wide
    assert lengths_chart([row("1", 0.5)], "token_f1") is None


def test_charts_stay_small_for_many_rows() -> None:
    rng = np.random.default_rng(0)
    words = [f"answer {n}" for n in range(5000)]
    columns: dict[str, Any] = {f"metric_{n}": rng.random(100_000) for n in range(20)}
    columns["answer"] = rng.choice(words[:60], 100_000).tolist()
    columns["prediction"] = rng.choice(words, 100_000).tolist()
    columns["metric_0"] = np.zeros(100_000)
    model = scored(columns)
    charts = score_charts(Material(title="many", models=(model,), metric="metric_0", after=model))
    drawn = [chart for chart in charts if chart is not None]
    assert len(drawn) == 3
    assert all(len(chart.wide) + len(chart.narrow) < 200_000 for chart in drawn)


def test_answers_of_any_script_are_drawn_as_they_are() -> None:
    said = ["$5 or $6_", "青い", "🙂", "<b>", "نعم", "$\\frac{", "a\x01b"]
    model = scored(
        {
            "answer": [f"${n}" for n in range(7) for _ in range(2)],
            "prediction": [text for text in said for _ in range(2)],
            "exact_match": [0.0] * 14,
        }
    )
    chart = confusions_chart(confusion_counts(model, "exact_match"))
    assert chart is not None
    assert "青い" in chart.wide
    assert "\x01" not in chart.wide
    assert "<b>" not in chart.wide


def test_a_handful_of_confusions_is_left_to_the_table() -> None:
    model = scored({"answer": ["a", "a", "b"], "prediction": ["b", "b", "c"], "exact_match": [0.0] * 3})
    assert confusion_counts(model, "exact_match") is not None
    assert confusions_chart(confusion_counts(model, "exact_match")) is None


def test_findings_in_words() -> None:
    found = findings(
        {
            "findings": [
                {
                    "id": "a",
                    "severity": "note",
                    "message": "some differ",
                    "examples": [{"answer": "a", "prediction": "b", "rows": 3}],
                },
                {
                    "id": "b",
                    "severity": "warning",
                    "message": "some fail",
                    "examples": [{"question": "How many?", "answer": "2", "prediction": None}, "bad", "c", "d"],
                },
            ]
        }
    )
    assert [one.severity for one in found] == ["warning", "note"]
    assert found[0].examples == ["How many? “2” not answered", "bad", "c"]
    assert found[1].examples == ["“a” answered “b”, 3 times"]
    assert findings({}) == []


def test_page_has_the_sections_where_the_data_is_there(tmp_path: Path) -> None:
    header = "path,question,answer,prediction,difficulty\n"
    wrong = [("dark red", "red"), ("two", "three"), ("oak wood", "<b>pine</b> wood"), ("mug", "")]
    right = ["red", "dark blue", "a big oak table"]
    rows = [(answer, said) for answer, said in wrong for _ in range(6)] + [
        (word, word) for word in right for _ in range(9)
    ]
    lines = [f"{n}.jpg,What is {n}?,{answer},{said},{n % 3}\n" for n, (answer, said) in enumerate(rows)]
    (tmp_path / "some.csv").write_text(header + "".join(lines))
    metrics = ("exact_match", "token_f1", "rouge_1", "bleu")
    score(tmp_path / "some.csv", tmp_path / "scores", ScoreConfig(metrics=metrics, resamples=200))
    report(find_inputs(tmp_path / "scores"), tmp_path / "report", ReportConfig(resamples=200))
    html = (tmp_path / "report" / "index.html").read_text("utf-8")
    for told in (
        "Commonest confusions: ",
        "Distributions of ",
        "Correlation of ",
        "by answer length: ",
        "by difficulty: ",
    ):
        assert told in html
    assert 'id="metrics"' in html
    assert 'href="#metrics"' in html
    assert "<b>pine" not in html
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text("utf-8"))
    assert ("What to know about these numbers" in html) == bool(summary["findings"])


def test_page_without_that_data_has_no_such_sections(tmp_path: Path) -> None:
    rows = "".join(f"{n}.jpg,What colour is {n}?,red,red\n" for n in range(5))
    (tmp_path / "few.csv").write_text("path,question,answer,prediction\n" + rows)
    score(tmp_path / "few.csv", tmp_path / "scores", ScoreConfig(metrics=("exact_match",), resamples=200))
    report(find_inputs(tmp_path / "scores"), tmp_path / "report", ReportConfig(resamples=200))
    html = (tmp_path / "report" / "index.html").read_text("utf-8")
    for told in ('id="metrics"', "Commonest confusions", "by answer length", "by difficulty"):
        assert told not in html
