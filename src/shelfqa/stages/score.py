"""score: predictions -> a score a pair, and means with 95% intervals, as a whole and by slices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shelfqa.artifacts import Manifest, StageRun, build, read_manifest
from shelfqa.config import Config
from shelfqa.metrics.predictions import read_predictions
from shelfqa.metrics.scoring import score_predictions
from shelfqa.metrics.slices import SLICES

_BAD_ROWS_KEPT = 20


class ScoreConfig(Config, frozen=True, kw_only=True):
    """Settings of `score`."""

    metrics: Annotated[
        tuple[str, ...],
        Meta(description="Names of metrics, or `all`; none given: the quick ones that the predictions allow."),
    ] = ()
    cluster: Annotated[
        str | None,
        Meta(description="Column whose equal values are drawn together; left out: product, else picture, else row."),
    ] = None
    resamples: Annotated[int, Meta(ge=100, description="Resamples of the bootstrap behind the intervals.")] = 2000
    slices: Annotated[tuple[str, ...], Meta(description="Columns by which to slice the scores.")] = SLICES
    seed: Annotated[int, Meta(ge=0, description="Seed of the bootstrap.")] = 0


def score(predictions: Path, out: Path, config: ScoreConfig) -> Manifest:
    """Score a folder of predictions, or a CSV, JSONL or Parquet file with question, answer and prediction.

    Writes `scores.parquet`, a row a pair with one column a metric, and `summary.json` with means, slices and findings.
    A failed prediction (null) scores 0 and stays in the denominator.

    Raises:
        InputError: if the file is missing, unreadable or lacks a column.
        ConfigError: for an unknown metric, or one that the predictions lack the columns for.

    """

    def body(run: StageRun) -> None:
        name = predictions.name if predictions.is_dir() else None
        found = score_predictions(
            read_predictions(predictions, name=name),
            config.metrics,
            cluster=config.cluster,
            slices=config.slices,
            resamples=config.resamples,
            seed=config.seed,
        )
        summary = found.summary
        run.write_table("scores", found.table)
        run.write_text("summary.json", msgspec.json.format(msgspec.json.encode(summary), indent=2).decode() + "\n")
        for reason, number in found.dropped.items():
            run.drop(reason, number)
        run.counts.kept = len(found.table)
        run.counts.read = len(found.table) + sum(found.dropped.values())
        before = read_manifest(predictions, missing_ok=True) if predictions.is_dir() else None
        run.images = Path(before.images) if before is not None and before.images is not None else None
        run.details = {key: summary[key] for key in ("model", "n", "failures", "metrics", "clusters", "cluster_by")}
        if found.bad:
            run.details["bad_rows"] = [f"{row.file}:{row.line}: {row.detail}" for row in found.bad[:_BAD_ROWS_KEPT]]

    return build("score", out, config, {"predictions": predictions}, body)
