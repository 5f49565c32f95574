"""Several files side by side."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from shelfqa.cli import app
from shelfqa.errors import InputError
from shelfqa.metrics.comparison import is_blind
from shelfqa.report.terminal import print_models
from shelfqa.stages.compare import CompareConfig, compare
from shelfqa.stages.report import ReportConfig, find_inputs, report
from shelfqa.stages.score import ScoreConfig, score

ANSWERS = ("red", "blue", "green", "black")


def write(file: Path, *, right: int, number: int = 60, first: int = 0, capitals: bool = False) -> Path:
    """A file whose first `right` of ten answers are right, a product every two rows."""
    lines = ["image,question,answer,prediction,product_id"]
    for row in range(first, first + number):
        answer = ANSWERS[row % 4]
        said = answer if row % 10 < right else "other"
        told = answer.title() if capitals else answer
        lines.append(f"{row}.jpg,What color is it?,{told},{said},p{row // 2}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def compared(out: Path, *files: Path, **settings: Any) -> dict[str, Any]:
    folders = {}
    for file in files:
        folders[file.stem] = out / file.stem
        score(file, out / file.stem, ScoreConfig(resamples=200))
    compare(folders, out, CompareConfig(resamples=500, **settings))
    found: dict[str, Any] = json.loads((out / "comparison.json").read_text("utf-8"))
    return found


def test_three_files(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.csv", right=right) for name, right in (("a", 3), ("b", 6), ("c", 7))]
    found = compared(tmp_path / "out", *files)
    assert [model["name"] for model in found["models"]] == ["a", "b", "c"]
    assert found["models"][1]["common"]["exact_match"]["mean"] == pytest.approx(0.6)
    assert (found["items"], found["clusters"], found["cluster_by"]) == (60, 30, "product_id")
    tests = [test for test in found["paired"] if test["metric"] == "exact_match"]
    assert [(test["first"], test["second"]) for test in tests] == [("a", "b"), ("a", "c"), ("b", "c")]
    first = tests[0]
    assert first["difference"]["mean"] == pytest.approx(0.3)
    assert first["difference"]["low"] > 0
    assert first["p_value"] <= first["p_adjusted"] <= 1
    assert (first["mcnemar"]["first_only"], first["mcnemar"]["second_only"]) == (0, 18)
    assert first["mcnemar"]["p_value"] == pytest.approx(2 * 0.5**18)
    assert 0.05 < first["smallest_detectable_difference"] < 0.3
    assert found["findings"] == []
    raw = compared(tmp_path / "raw", *files, correction="none")
    assert all(test["p_value"] == test["p_adjusted"] for test in raw["paired"])


def test_rows_are_matched_by_question_and_not_by_place(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.csv", right=5), write(tmp_path / "b.csv", right=5, first=20, capitals=True)
    found = compared(tmp_path / "out", one, two)
    assert found["items"] == 40
    assert found["paired"][0]["difference"]["mean"] == 0
    assert [finding["id"] for finding in found["findings"]] == ["rows-left-out"]
    assert "Tests are on the 40 questions" in found["findings"][0]["message"]


def test_the_file_that_shares_least_is_named(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.csv", right=5, first=first) for name, first in (("a", 0), ("b", 0), ("c", 50))]
    finding = compared(tmp_path / "out", *files)["findings"][-1]
    assert (finding["id"], finding["severity"]) == ("few-clusters", "warning")
    finding = compared(tmp_path / "out", *files)["findings"][0]
    assert "Without c there would be 60." in finding["message"]


def test_nothing_in_common(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.csv", right=5), write(tmp_path / "b.csv", right=5, first=900)
    found = compared(tmp_path / "out", one, two)
    assert (found["items"], found["paired"]) == (0, [])
    assert [finding["id"] for finding in found["findings"]] == ["nothing-in-common"]
    file = io.StringIO()
    print_models(tmp_path / "out", file=file)
    assert "0.50" in file.getvalue()


def test_no_better_than_a_blind_baseline(tmp_path: Path) -> None:
    blind = write(tmp_path / "question-only.csv", right=5)
    model, better = write(tmp_path / "model.csv", right=5), write(tmp_path / "better.csv", right=9)
    findings = compared(tmp_path / "out", blind, model, better)["findings"]
    assert [finding["id"] for finding in findings] == ["no-better-than-blind"]
    assert "model is no better than the blind baseline question-only" in findings[0]["message"]
    assert is_blind("majority-per-type")
    assert not is_blind("tuned")


def test_one_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two folders"):
        compare({"a": tmp_path}, tmp_path / "out", CompareConfig())


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["score", *arguments, "--resamples", "200"])


def test_command_line(tmp_path: Path) -> None:
    files = [str(write(tmp_path / f"{name}.csv", right=right)) for name, right in (("a", 3), ("b", 8))]
    out = str(tmp_path / "out")
    text = run(*files, "--out", out)
    assert text.exit_code == 0, text.output
    assert "b against a" in text.output
    assert "p, Holm" in text.output
    assert "0 / 30, p < 0.001" in text.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "b", "comparison.json", "manifest.json"}
    assert json.loads(run(*files, "--out", out, "--json").output)["items"] == 60
    alone = json.loads(run(files[0], "--out", str(tmp_path / "alone"), "--json").output)
    assert alone["metrics"]["exact_match"]["mean"] == 0.3
    report(find_inputs(tmp_path / "out"), tmp_path / "report", ReportConfig(resamples=200))
    assert (tmp_path / "report" / "index.html").exists()


def test_files_of_the_same_name(tmp_path: Path) -> None:
    files = [str(write(tmp_path / folder / "predictions.csv", right=3)) for folder in ("old", "new")]
    assert run(*files, "--out", str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out" / "old-predictions" / "summary.json").exists()
    twice = run(files[0], files[0], "--out", str(tmp_path / "out"))
    assert isinstance(twice.exception, InputError)
    assert "given twice" in str(twice.exception)


def test_metrics_with_options(tmp_path: Path) -> None:
    file = str(write(tmp_path / "a.csv", right=3))
    found = run(file, "--out", str(tmp_path / "out"), "--json", "--metrics", "anls:threshold=0.2, exact_match")
    assert list(json.loads(found.output)["metrics"]) == ["anls", "exact_match"]


def test_many_metrics_stand_below_each_other(tmp_path: Path) -> None:
    files = [str(write(tmp_path / f"{name}.csv", right=3)) for name in "ab"]
    names = "exact_match,token_f1,token_precision,token_recall,levenshtein,anls"
    for arguments in ([files[0]], files):
        text = run(*arguments, "--out", str(tmp_path / f"out{len(arguments)}"), "--metrics", names).output
        assert "Levenshtein" in text
        assert "…" not in text


def test_listing() -> None:
    found = CliRunner().invoke(app, ["metrics"])
    assert "Options: threshold" in found.output
    assert isinstance(app, click.Group)


def test_published_predictions(abo_slice: Path, tmp_path: Path) -> None:
    folder = abo_slice / "predictions"
    found = compared(tmp_path, folder / "second_study_vilt.csv", folder / "second_study_blip.csv")
    assert found["items"] == 8831
    test = found["paired"][0]
    assert test["difference"]["mean"] == pytest.approx(0.118, abs=0.001)
    assert (test["mcnemar"]["first_only"], test["mcnemar"]["second_only"]) == (410, 1451)
    assert test["smallest_detectable_difference"] == pytest.approx(0.013, abs=0.001)
