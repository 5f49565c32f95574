"""report: whatever a run left -> one offline HTML page and its numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pyarrow as pa
from msgspec import Meta

from shelfqa.artifacts import Manifest, StageRun, build, fingerprint, read_manifest, read_table
from shelfqa.config import Config
from shelfqa.errors import ConfigError, InputError
from shelfqa.metrics.comparison import read_scored
from shelfqa.report.card import Card, read_card
from shelfqa.report.material import Material, ScoredModel
from shelfqa.report.page import Limits, render
from shelfqa.report.tables import paired_tests, results

SCORES = "scores.parquet"
ATTENTION = "attention"


class ReportConfig(Config, frozen=True, kw_only=True):
    """Settings of `report`."""

    title: Annotated[str | None, Meta(description="Line over the headline; left out: the name of the run.")] = None
    metric: Annotated[str, Meta(description="The metric that the report leads with.")] = "exact_match"
    images: Annotated[
        str | None, Meta(description="Folder of the pictures; left out: the one that the inputs name.")
    ] = None
    examples: Annotated[int, Meta(ge=0, le=100, description="Example pairs to show.")] = 12
    errors: Annotated[int, Meta(ge=0, le=100, description="Worst errors to show.")] = 12
    picture_side_px: Annotated[int, Meta(ge=64, le=1024, description="Longer side of the pictures.")] = 260
    resamples: Annotated[int, Meta(ge=100, description="Resamples of the bootstrap behind the paired tests.")] = 2000
    seed: Annotated[int, Meta(ge=0, description="Seed of the bootstrap and of the choice of examples.")] = 0


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """The artifact folders that a report is made from: scores, a curated catalogue, or both, and what else there is."""

    scores: Mapping[str, Path]
    """Folders of `score`, by the name that the report uses."""
    curated: Path | None = None
    questions: Path | None = None
    split: Path | None = None
    train: Path | None = None
    predictions: Mapping[str, Path] = field(default_factory=dict)
    """Folders of `predict`, for their settings and times, and where the model looked."""
    before: str | None = None
    """Name of the scores before training."""
    after: str | None = None
    """Name of the scores after it; left out: the best."""
    name: str = "report"
    """Title where the settings give none."""

    def folders(self) -> dict[str, Path]:
        """Return all folders by role."""
        stages = {"curated": self.curated, "questions": self.questions, "split": self.split, "train": self.train}
        found = {role: path for role, path in stages.items() if path is not None}
        found |= {f"predictions/{name}": path for name, path in self.predictions.items()}
        return found | {f"scores/{name}": path for name, path in self.scores.items()}


def find_inputs(run: Path) -> ReportInputs:
    """Return what there is in a run folder, in a folder of folders of `score`, or in one folder of `score` or `curate`.

    Raises:
        InputError: if neither scores nor a curated catalogue are found.

    """
    if not run.is_dir():
        raise InputError(
            f"There is no folder at {str(run)!r}: give a run folder, or a folder of shelfqa score or curate."
        )
    if (run / SCORES).is_file():
        name = run.resolve().name
        return ReportInputs(scores={name: run}, after=name, name=name)
    own = read_manifest(run, missing_ok=True)
    if own is not None and own.stage == "curate":
        return ReportInputs(scores={}, curated=run, name=own.details.get("catalogue") or run.resolve().name)
    scores = _children(run / "scores", SCORES) or _children(run, SCORES)

    def stage(name: str) -> Path | None:
        return run / name if read_manifest(run / name, missing_ok=True) is not None else None

    curated = stage("curated")
    if not scores and curated is None:
        raise InputError(
            f"{str(run)!r} holds no scores and no curated catalogue: expected scores/NAME/{SCORES} or curated/; run "
            "shelfqa score or shelfqa curate first."
        )
    return ReportInputs(
        scores=scores,
        curated=curated,
        questions=stage("questions"),
        split=stage("split"),
        train=stage("train"),
        predictions=_children(run / "predictions", "manifest.json"),
        before="zero-shot" if {"zero-shot", "tuned"} <= scores.keys() else None,
        after="tuned" if "tuned" in scores else None,
        name=run.resolve().name,
    )


def report(inputs: ReportInputs, out: Path, config: ReportConfig) -> Manifest:
    """Write `index.html`, one page that loads nothing from anywhere, and `results.json`.

    Raises:
        InputError: if a folder is missing or unreadable, or there are neither scores nor a curated catalogue.
        ConfigError: if no model was scored by the metric that the report is to lead with.

    """
    if not inputs.scores and inputs.curated is None:
        raise InputError("A report needs scores or a curated catalogue: run shelfqa score or shelfqa curate first.")

    def body(run: StageRun) -> None:
        material = read_material(inputs, config)
        tests = paired_tests(material, resamples=config.resamples, seed=config.seed)
        limits = Limits(
            examples=config.examples, errors=config.errors, picture_side_px=config.picture_side_px, seed=config.seed
        )
        run.write_text("index.html", render(material, tests, limits))
        run.write_text("results.json", json.dumps(results(material, tests), indent=2, ensure_ascii=False) + "\n")
        run.images = material.images

    return build("report", out, config, inputs.folders(), body)


def read_material(inputs: ReportInputs, config: ReportConfig) -> Material:
    """Return all that the input folders hold, read."""
    images = Path(config.images) if config.images is not None else None
    if images is not None and not images.is_dir():
        raise InputError(f"There is no folder at {config.images!r}: give the folder of the pictures.")
    models = [_scored(name, folder) for name, folder in inputs.scores.items()]
    models.sort(key=lambda model: (-model.mean(config.metric), model.name))
    if models and not any(config.metric in model.metrics for model in models):
        known = sorted({metric for model in models for metric in model.metrics})
        raise ConfigError(f"metric: no scores of {config.metric!r}; there are {', '.join(known)}.")
    by_name = {model.name: model for model in models}
    seeing = [model for model in models if model.kind == "model"] or models
    manifests = _manifests(inputs)
    roots = [manifest.images for manifest in manifests.values() if manifest.images is not None]
    images = images or (Path(roots[0]) if roots else None)
    after = by_name.get(inputs.after or "") or next(iter(seeing), None)
    return Material(
        title=config.title or inputs.name,
        models=tuple(models),
        metric=config.metric,
        before=by_name.get(inputs.before or ""),
        after=after,
        attention=_attention(inputs, after.name) if after is not None else None,
        manifests=manifests,
        card=_card(inputs, manifests, images),
        questions=_table(inputs.split or inputs.questions, "questions"),
        history=_table(inputs.train, "history"),
        images=images,
    )


def _card(inputs: ReportInputs, manifests: Mapping[str, Manifest], images: Path | None) -> Card | None:
    manifest = manifests.get("curate")
    if inputs.curated is None or manifest is None:
        return None
    name = manifest.details.get("catalogue") or inputs.name
    return read_card(name, manifest.counts, manifest.details, inputs.curated, images)


def _scored(name: str, folder: Path) -> ScoredModel:
    read = read_scored(name, folder)
    manifest = read_manifest(folder, missing_ok=True)
    root = manifest.images if manifest is not None else None
    return ScoredModel(
        name=name, summary=read.summary, table=read.table, images=Path(root) if root is not None else None
    )


def _attention(inputs: ReportInputs, name: str) -> pa.Table | None:
    """Return where a model looked, if it tells, and its answers have been scored since."""
    folder = inputs.predictions.get(name)
    if folder is None or not (folder / f"{ATTENTION}.parquet").is_file():
        return None
    scored = read_manifest(inputs.scores[name], missing_ok=True)
    if scored is None or scored.inputs.get("predictions") != fingerprint(folder):
        return None
    return read_table(folder, ATTENTION, ("question_id", "rows", "columns", "shares"))


def _manifests(inputs: ReportInputs) -> dict[str, Manifest]:
    found = {}
    for role, folder in inputs.folders().items():
        manifest = read_manifest(folder, missing_ok=True)
        if manifest is not None:
            found["curate" if role == "curated" else "generate" if role == "questions" else role] = manifest
    return found


def _table(folder: Path | None, name: str) -> pa.Table | None:
    if folder is None or not (folder / f"{name}.parquet").is_file():
        return None
    return read_table(folder, name)


def _children(folder: Path, file: str) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.name: path for path in sorted(folder.iterdir()) if (path / file).is_file()}
