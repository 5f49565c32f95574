"""Scores in the terminal: a table on a screen, plain aligned text where the output goes elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.table import Table

from shelfqa.errors import InputError
from shelfqa.report.tables import interval_text, metric_label, number_text, p_text

_PLAIN_WIDTH = 160
"""Columns assumed where no terminal tells its width."""

_MOST_COLUMNS = 5
"""With more metrics than this they stand below each other."""

_CORRECTIONS = {"holm": "Holm", "benjamini-hochberg": "Benjamini-Hochberg"}


def print_summary(scores: Path, *, file: IO[str] | None = None, most_slices: int = 12) -> None:
    """Print the `summary.json` of a folder of `score`: metrics with intervals, then the slices by question type."""
    print_summary_of(_read(scores / "summary.json"), file=file, most_slices=most_slices)


def print_summary_of(summary: Mapping[str, Any], *, file: IO[str] | None = None, most_slices: int = 12) -> None:
    """Print a summary as `score` writes it."""
    console = _console(file)
    names = list(summary["metrics"])
    if len(names) > _MOST_COLUMNS:
        whole = _table("all", "mean, 95% interval")
        for name in names:
            whole.add_row(metric_label(name), interval_text(summary["metrics"][name]))
        console.print(whole)
        names = names[:_MOST_COLUMNS]
    table = _table("", "n", "failed", *(metric_label(name) for name in names))
    table.add_row("all", f"{summary['n']:,}", f"{summary['failures']:,}", *_cells(summary["metrics"], names))
    slices = list(summary.get("slices", {}).get("question_type", {}).items())[:most_slices]
    for number, (value, part) in enumerate(slices):
        if number == 0:
            table.add_section()
        table.add_row(value, f"{part['n']:,}", f"{part['failures']:,}", *_cells(part["metrics"], names))
    console.print(table)
    if "clusters" in summary:
        console.print(f"95% intervals, drawn by {summary['cluster_by']} ({summary['clusters']:,}).", highlight=False)
    for name, reason in summary.get("left_out", {}).items():
        console.print(f"left out: {name} ({reason})", highlight=False, soft_wrap=True)
    _print_human(console, summary.get("human"))
    _print_findings(console, summary.get("findings", ()))


def print_comparison(report: Path, *, file: IO[str] | None = None) -> None:
    """Print the before/after table of the `results.json` in a folder of `report`, and its paired tests."""
    print_comparison_of(_read(report / "results.json"), file=file)


def print_comparison_of(results: Mapping[str, Any], *, file: IO[str] | None = None) -> None:
    """Print the models of `results.json` best first, and the paired tests."""
    console = _console(file)
    models = results["models"]
    lead = results["metric"]
    others = [name for name in ("token_f1", "top_5") if any(name in model["metrics"] for model in models)]
    table = _table("model", f"{metric_label(lead)}, 95% interval", *map(metric_label, others), "n", "failed")
    for model in models:
        metrics = model["metrics"]
        numbers = [number_text(metrics.get(name, {}).get("mean")) for name in others]
        style = "bold" if model["name"] == results.get("after") else None
        cells = [interval_text(metrics.get(lead)), *numbers, f"{model['n']:,}", f"{model['failures']:,}"]
        table.add_row(model["label"], *cells, style=style)
    console.print(table)
    labels = {model["name"]: model["label"] for model in models}
    for test in results["paired"]:
        p_value = test["p_value"]
        told = p_text(float("nan") if p_value is None else p_value)
        console.print(
            f"{labels[test['second']]} against {labels[test['first']].lower()}: "
            f"{interval_text(test['difference'], signed=True)}, {told} on {test['items']:,} questions.",
            highlight=False,
            soft_wrap=True,
        )


def print_models(folder: Path, *, file: IO[str] | None = None) -> None:
    """Print the `comparison.json` that `score` writes about several files: models side by side, then paired tests."""
    found = _read(folder / "comparison.json")
    console = _console(file)
    metrics = found["metrics"]
    shown = [{name: model["common"].get(name, model["metrics"][name]) for name in metrics} for model in found["models"]]
    if len(metrics) > max(_MOST_COLUMNS, len(shown)):
        table = _table("", *(model["name"] for model in found["models"]))
        for label, key in (("n", "n"), ("failed", "failures")):
            table.add_row(label, *(f"{model[key]:,}" for model in found["models"]))
        for name in metrics:
            table.add_row(metric_label(name), *(interval_text(own[name]) for own in shown))
    else:
        table = _table("model", "n", "failed", *map(metric_label, metrics))
        for model, own in zip(found["models"], shown, strict=True):
            table.add_row(model["name"], f"{model['n']:,}", f"{model['failures']:,}", *_cells(own, metrics))
    console.print(table)
    console.print(
        f"Means and tests on the {found['items']:,} questions that all files hold; 95% intervals, drawn by "
        f"{found['cluster_by']} ({found['clusters']:,}).",
        highlight=False,
        soft_wrap=True,
    )
    tested = list(dict.fromkeys(test["metric"] for test in found["paired"]))
    for metric in tested[:_MOST_COLUMNS]:
        _print_tests(console, metric, [test for test in found["paired"] if test["metric"] == metric], found)
    if len(tested) > _MOST_COLUMNS:
        console.print(
            f"The tests of {len(tested) - _MOST_COLUMNS} more metrics are in comparison.json.", highlight=False
        )
    _print_findings(console, found["findings"])


def _print_tests(console: Console, metric: str, tests: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> None:
    corrected = "" if found["correction"] == "none" else f", {_CORRECTIONS[found['correction']]}"
    table = _table(
        f"{metric_label(metric)}: second against first",
        "difference",
        f"p{corrected}",
        "McNemar, first / second only right",
        "smallest detectable",
    )
    for test in tests:
        exact = test["mcnemar"]
        alone = "–"
        if exact is not None:
            alone = f"{exact['first_only']:,} / {exact['second_only']:,}, {_p(exact['p_adjusted'])}"
        table.add_row(
            f"{test['second']} against {test['first']}",
            interval_text(test["difference"], signed=True),
            _p(test["p_adjusted"], smallest=min(0.001 * len(tests), 0.05)),
            alone,
            _three(test["smallest_detectable_difference"]),
        )
    console.print(table)


def _print_findings(console: Console, findings: Sequence[Mapping[str, Any]]) -> None:
    """Print what should make a reader look twice, each with its first examples."""
    for finding in findings:
        console.print(f"{finding['severity']}: {finding['message']}", highlight=False, soft_wrap=True)
        most = 10 if finding["id"] == "near-miss-answers" else 3
        told = "; ".join(_example(example) for example in finding["examples"][:most])
        if told:
            console.print(f"    {told}", highlight=False, soft_wrap=True)


def _example(example: Mapping[str, Any]) -> str:
    words = []
    if example.get("question") is not None:
        words.append(str(example["question"]))
    if "answer" in example:
        words.append(repr(example["answer"]))
    if "prediction" in example:
        said = "nothing" if example["prediction"] is None else repr(example["prediction"])
        words.append(f"-> {said}")
    if "rows" in example:
        words.append(f"x {example['rows']:,}")
    scores = {name: value for name, value in example.items() if isinstance(value, float)}
    return " ".join([*words, *(f"{name} {value:.4f}" for name, value in scores.items())])


def _print_human(console: Console, human: Mapping[str, Any] | None) -> None:
    if human is None:
        return
    alpha = human["krippendorff_alpha"]["ordinal"]
    console.print(
        f"human ratings: {human['raters']} raters, {human['items']:,} rows, mean {number_text(human['mean'])}, "
        f"Krippendorff's alpha (ordinal) {number_text(alpha)}, weighted kappa {number_text(human['weighted_kappa'])}.",
        highlight=False,
        soft_wrap=True,
    )
    for name, found in human["correlations"].items():
        console.print(
            f"    {metric_label(name)}: Spearman {number_text(found['spearman'])}, Kendall "
            f"{number_text(found['kendall'])}",
            highlight=False,
        )


def _p(p_value: float | None, *, smallest: float = 0.001) -> str:
    return p_text(float("nan") if p_value is None else p_value, smallest=smallest)


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"No file at {str(path)!r}: run shelfqa score or shelfqa report first.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {str(path)!r}: {error}.") from None
    return found


def _console(file: IO[str] | None) -> Console:
    console = Console(file=file, markup=False)
    return console if console.is_terminal else Console(file=file, width=_PLAIN_WIDTH, no_color=True, markup=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cells(metrics: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [interval_text(metrics.get(name)) for name in names]
