"""report: a run folder, or foreign scores, to one offline page."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from scored import NASTY, write_run, write_scores

from shelfqa.artifacts import StageRun, build, read_table
from shelfqa.errors import ConfigError, InputError
from shelfqa.stages.report import ReportConfig, find_inputs, report
from shelfqa.stages.score import ScoreConfig, score

CONFIG = ReportConfig(resamples=200)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def made(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    report(find_inputs(run_folder), out, CONFIG)
    return out


@pytest.fixture(scope="module")
def html(made: Path) -> str:
    return (made / "index.html").read_text("utf-8")


class Page(HTMLParser):
    """What a reader sees and a browser loads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "img", "br", "input"):
            self.open.append(tag)
        self.note(tag, dict(attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, dict(attrs))

    def note(self, tag: str, given: dict[str, str | None]) -> None:
        self.links += [given[name] or "" for name in ("src", "href", "srcset", "action") if name in given]
        self.ids |= {given["id"] or ""} if "id" in given else set()
        if tag == "img":
            self.images.append(given)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += " " + data.strip()


def test_page_is_whole_and_well_formed(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert "script" not in re.findall(r"<(\w+)", html)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "http" not in re.sub(r"data:image/\w+;base64,[\w+/=]+", "", html)
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert "@import" not in html
    assert len(html) < 3_000_000


def test_texts_are_escaped(html: str) -> None:
    assert NASTY not in html
    assert NASTY in Page(html).text


def test_pictures_have_alternative_texts(html: str) -> None:
    page = Page(html)
    assert len(page.images) >= 12
    assert all(image["alt"] and (image["src"] or "").startswith("data:image/") for image in page.images)


def test_where_the_model_looked_lies_over_its_answers(html: str) -> None:
    errors = html[html.index('id="errors"') :]
    cards = errors[: errors.index("</section>")].split('<div class="frame">')
    answers = [card.split('class="bars"')[0] for card in cards[1:]]
    wrong = sum("verdict" in card for card in answers)
    assert 0 < wrong < len(answers) == wrong + 4  # right answers are shown beside them
    assert all(card.count("data:image/png") == 1 for card in answers)
    assert all("it looked most at the lower left" in card for card in answers)
    assert "each cell of a grid of 2 by 2" in Page(html).text
    assert 'id="heat"' in html
    assert "heat" not in html[html.index('id="examples"') : html.index('id="split"')]


@pytest.mark.parametrize("fault", ["none", "predicted again", "ids twice"])
def test_maps_that_are_not_of_these_answers_are_left_out(run_folder: Path, tmp_path: Path, fault: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder / "predictions" / "tuned", run / "predictions" / "tuned")
    shutil.copytree(run_folder / "scores" / "tuned", run / "scores" / "tuned")
    attention = read_table(run / "predictions" / "tuned", "attention")
    if fault == "none":
        (run / "predictions" / "tuned" / "attention.parquet").unlink()
        (run / "predictions" / "tuned" / "manifest.json").unlink()
    elif fault == "predicted again":
        shutil.rmtree(run / "predictions" / "tuned")
        write_scores(tmp_path / "other", "tuned", run_folder / "images", right=0.5, attention=True)
        shutil.copytree(tmp_path / "other" / "predictions" / "tuned", run / "predictions" / "tuned")
    else:
        twice = pa.concat_tables([attention, attention])
        predictions = read_table(run / "predictions" / "tuned", "predictions")

        def body(stage: StageRun) -> None:
            stage.write_table("predictions", predictions)
            stage.write_table("attention", twice)
            stage.images = run_folder / "images"

        build("predict", run / "predictions" / "tuned", ReportConfig(), {}, body)
        score(run / "predictions" / "tuned", run / "scores" / "tuned", ScoreConfig(resamples=200))
    report(find_inputs(run), run / "report", CONFIG)
    html = (run / "report" / "index.html").read_text("utf-8")
    assert 'id="errors"' in html
    assert "data:image/png" not in html
    assert 'id="heat"' not in html
    assert "heat map" not in html.casefold()


def test_all_sections_are_there(html: str) -> None:
    text = re.sub(r"\s+", " ", Page(html).text)
    assert re.search(r"Fine-tuning raised exact match from 0\.\d\d to 0\.\d\d", text)
    assert re.search(r"0\.\d\d \[0\.\d\d, 0\.\d\d\]", text)
    assert "Fine-tuned, shuffled pictures" in text
    assert "p < 0.01" in text or "p = " in text or "p < 0.001" in text
    assert "duplicate listing 5" in text
    assert "truncated" in text
    for section in ("models", "slices", "errors", "learning", "data", "examples", "split", "made"):
        assert f'id="{section}"' in html


def test_colours_follow_the_page(html: str) -> None:
    figure = html[html.index("<figure") : html.index("</figure>")]
    assert "var(--accent)" in figure
    assert not re.search(r"#0[1-6]0[1-6]0[1-6]", html)
    assert "prefers-color-scheme: dark" in html


def test_results_for_programs(made: Path) -> None:
    results: dict[str, Any] = json.loads((made / "results.json").read_text("utf-8"))
    assert (results["before"], results["after"], results["metric"]) == ("zero-shot", "tuned", "exact_match")
    means = [model["metrics"]["exact_match"]["mean"] for model in results["models"]]
    assert means == sorted(means, reverse=True)
    assert {model["name"]: model["kind"] for model in results["models"]} == {
        "majority": "blind",
        "zero-shot": "model",
        "tuned": "model",
        "tuned-shuffled": "shuffled",
    }
    assert [test["first"] for test in results["paired"]] == ["zero-shot", "majority", "tuned-shuffled"]
    first = results["paired"][0]
    by_name = {model["name"]: model["metrics"]["exact_match"]["mean"] for model in results["models"]}
    assert first["difference"]["mean"] == pytest.approx(by_name["tuned"] - by_name["zero-shot"], abs=1e-5)
    assert first["difference"]["low"] > 0
    assert first["mcnemar"]["p_value"] < 0.001
    assert (first["items"], first["clusters"]) == (60, 30)


def test_same_inputs_same_bytes(run_folder: Path, made: Path, tmp_path: Path) -> None:
    report(find_inputs(run_folder), tmp_path / "again", CONFIG)
    for name in ("index.html", "results.json"):
        assert (tmp_path / "again" / name).read_bytes() == (made / name).read_bytes()


def test_foreign_csv_alone(tmp_path: Path) -> None:
    file = tmp_path / "other_tool.csv"
    file.write_text(
        "path,question,answer,prediction\na.jpg,How many?,2,two\nb.jpg,What shape?,round,oval\nc.jpg,Is it?,yes,\n"
    )
    score(file, tmp_path / "scores", ScoreConfig())
    report(find_inputs(tmp_path / "scores"), tmp_path / "report", CONFIG)
    html = (tmp_path / "report" / "index.html").read_text("utf-8")
    page = Page(html)
    assert page.open == []
    assert "scores reaches 0.33 exact match" in page.text
    assert "oval" in page.text
    assert 'id="learning"' not in html
    assert page.images == []


def test_several_foreign_scores_are_compared(tmp_path: Path) -> None:
    header = "path,question,answer,prediction\n"
    for name, right in (("good", 28), ("bad", 6)):
        rows = (f"{n}.jpg,What is it?,mug,{'mug' if n < right else 'cup'}\n" for n in range(30))
        (tmp_path / f"{name}.csv").write_text(header + "".join(rows))
        score(tmp_path / f"{name}.csv", tmp_path / "all" / name, ScoreConfig())
    report(find_inputs(tmp_path / "all"), tmp_path / "report", CONFIG)
    results = json.loads((tmp_path / "report" / "results.json").read_text("utf-8"))
    assert (results["after"], results["before"]) == ("good", None)
    assert results["paired"][0]["difference"]["mean"] == pytest.approx(22 / 30, abs=1e-6)


def test_parts_that_are_missing_are_left_out(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder / "scores", tmp_path / "run" / "scores")
    report(find_inputs(tmp_path / "run"), tmp_path / "report", CONFIG)
    html = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert Page(html).open == []
    assert 'id="data"' not in html
    assert 'id="errors"' in html


def test_no_difference_is_called_none(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("zero-shot", "tuned"):
        write_scores(run, name, tmp_path, right=0.5)
    report(find_inputs(run), run / "report", CONFIG)
    html = (run / "report" / "index.html").read_text("utf-8")
    assert "Fine-tuning made no difference" in Page(html).text


def test_errors_in_one_line(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no scores"):
        find_inputs(tmp_path)
    with pytest.raises(InputError, match="There is no folder"):
        find_inputs(tmp_path / "none")
    with pytest.raises(ConfigError, match="no scores of 'bleu'; there are exact_match"):
        report(find_inputs(run_folder), tmp_path / "out", ReportConfig(metric="bleu"))
    with pytest.raises(InputError, match="no folder at"):
        report(find_inputs(run_folder), tmp_path / "out", ReportConfig(images=str(tmp_path / "none")))
