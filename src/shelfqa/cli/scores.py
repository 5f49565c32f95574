"""`shelfqa score`, `shelfqa report` and `shelfqa metrics`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from shelfqa.cli.options import ARTIFACT, config_from, config_options, json_option, out_option, show_manifest
from shelfqa.errors import InputError
from shelfqa.metrics.predictions import stem
from shelfqa.stages import compare as compare_stage
from shelfqa.stages import report as report_stage
from shelfqa.stages import score as score_stage


@click.command(epilog="Example:  shelfqa score zero-shot.csv tuned.csv --metrics exact_match,token_f1 --out scores")
@click.argument("predictions", type=ARTIFACT, nargs=-1, required=True)
@out_option
@click.option("--metrics", "metric_names", help="Names, separated by commas, or all. [default: the quick ones]")
@config_options(score_stage.ScoreConfig, leave_out=("metrics",))
@config_options(compare_stage.CompareConfig, leave_out=("resamples", "seed"))
@json_option
def score(predictions: tuple[Path, ...], out: Path, metric_names: str | None, as_json: bool, **options: Any) -> None:
    """Score PREDICTIONS: a folder of `shelfqa predict`, or any CSV, JSONL or Parquet file; several are compared.

    A file needs the columns question, answer and prediction. Intervals are 95%, clustered by product. A failed
    answer counts as wrong. Of several files each gets a folder in OUT, and comparison.json holds the paired tests.
    """
    extra = {"metrics": _names(metric_names)} if metric_names else {}
    config = config_from(score_stage.ScoreConfig, options, **extra)
    if len(predictions) > 1:
        _score_several(predictions, out, config, config_from(compare_stage.CompareConfig, options), as_json)
        return
    manifest = score_stage.score(predictions[0], out, config)
    if as_json:
        click.echo((out / "summary.json").read_text(encoding="utf-8"))
        return
    from shelfqa.report.terminal import print_summary

    print_summary(out)
    click.echo(f"{manifest.counts.read:,} pairs -> {out}")


def _score_several(
    predictions: Sequence[Path],
    out: Path,
    config: score_stage.ScoreConfig,
    compared: compare_stage.CompareConfig,
    as_json: bool,
) -> None:
    folders = {}
    for name, path in _by_name(predictions).items():
        folders[name] = out / name
        score_stage.score(path, out / name, config)
    compare_stage.compare(folders, out, compared)
    if as_json:
        click.echo((out / compare_stage.COMPARISON).read_text(encoding="utf-8"))
        return
    from shelfqa.report.terminal import print_models

    print_models(out)
    click.echo(f"{len(folders)} files -> {out}")


def _by_name(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the files by their stems, with the folder before them where two would be the same."""
    for path in paths:
        if [other.resolve() for other in paths].count(path.resolve()) > 1:
            raise InputError(f"{str(path)!r} is given twice: a file cannot be compared with itself.")
    stems = [path.name if path.is_dir() else stem(path) for path in paths]
    named = {
        name if stems.count(name) == 1 else f"{path.resolve().parent.name}-{name}": path
        for name, path in zip(stems, paths, strict=True)
    }
    if len(named) < len(paths):
        raise InputError("Two of the files and their folders have the same names: rename one.")
    return named


def _names(text: str) -> list[str]:
    """Return the names between commas; one before `key=` or `level:` belongs to the options of the name before it."""
    return [name.strip() for name in re.split(r",(?!\s*(?:\w+\s*=|\d+\s*:))", text) if name.strip()]


@click.command(epilog="Example:  shelfqa report runs/demo --out runs/demo/report")
@click.argument("run", type=ARTIFACT)
@out_option
@config_options(report_stage.ReportConfig)
@json_option
def report(run: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Write one offline HTML page about RUN: a run folder, or a folder of `shelfqa score` or `shelfqa curate`."""
    inputs = report_stage.find_inputs(run)
    manifest = report_stage.report(inputs, out, config_from(report_stage.ReportConfig, options))
    show_manifest(manifest, out / "index.html", as_json)


@click.command()
@json_option
def metrics(as_json: bool) -> None:
    """List the metrics that `shelfqa score` knows, with their options."""
    import json

    from shelfqa.metrics import METRICS
    from shelfqa.metrics.spec import options_of

    first_lines = {name: (METRICS.load(name).__doc__ or "").strip().splitlines()[0] for name in METRICS}
    if as_json:
        click.echo(json.dumps(first_lines))
        return
    width = max(map(len, first_lines))
    for name, line in first_lines.items():
        options = ", ".join(options_of(name))
        click.echo(f"{name:<{width}}  {line}{f' Options: {options}.' if options else ''}")
