"""`shelfqa score`, `shelfqa report` and `shelfqa metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shelfqa.cli.options import ARTIFACT, config_from, config_options, json_option, out_option, show_manifest
from shelfqa.stages import report as report_stage
from shelfqa.stages import score as score_stage


@click.command(epilog="Example:  shelfqa score predictions.csv --metrics exact_match,token_f1 --out scores")
@click.argument("predictions", type=ARTIFACT)
@out_option
@click.option("--metrics", "metric_names", help="Names, separated by commas. [default: all that the file allows]")
@config_options(score_stage.ScoreConfig, leave_out=("metrics",))
@json_option
def score(predictions: Path, out: Path, metric_names: str | None, as_json: bool, **options: Any) -> None:
    """Score PREDICTIONS: a folder of `shelfqa predict`, or any CSV, JSONL or Parquet file.

    The file needs the columns question, answer and prediction. Intervals are 95%, clustered by product. A failed
    answer counts as wrong.
    """
    extra = {"metrics": [name.strip() for name in metric_names.split(",") if name.strip()]} if metric_names else {}
    manifest = score_stage.score(predictions, out, config_from(score_stage.ScoreConfig, options, **extra))
    if as_json:
        click.echo((out / "summary.json").read_text(encoding="utf-8"))
        return
    from shelfqa.report.terminal import print_summary

    print_summary(out)
    click.echo(f"{manifest.counts.read:,} pairs -> {out}")


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
    """List the metrics that `shelfqa score` knows."""
    import json

    from shelfqa.metrics import METRICS

    first_lines = {name: (METRICS.load(name).__doc__ or "").strip().splitlines()[0] for name in METRICS}
    if as_json:
        click.echo(json.dumps(first_lines))
        return
    for name, line in first_lines.items():
        click.echo(f"{name:<18} {line}")
