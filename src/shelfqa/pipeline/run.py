"""Running a recipe: each stage in turn, each skipped when it is done already."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from shelfqa.artifacts import Manifest
from shelfqa.models.adapter_folder import ADAPTER_FOLDER, MODEL_FOLDER
from shelfqa.pipeline.recipe import Recipe
from shelfqa.progress import say
from shelfqa.stages.curate import curate
from shelfqa.stages.demo_catalogue import demo_catalogue
from shelfqa.stages.generate import generate
from shelfqa.stages.predict import predict
from shelfqa.stages.report import find_inputs, report
from shelfqa.stages.score import score
from shelfqa.stages.split import split
from shelfqa.stages.train import train


class Contender(NamedTuple):
    """A row of the comparison: which model answers, with or without the adapter and the right pictures."""

    name: str
    model: str
    tuned: bool = False
    shuffled: bool = False


def contenders(model: str) -> list[Contender]:
    """Return the rows of the before/after table: four blind baselines, the model before and after tuning."""
    return [
        Contender("majority", "majority"),
        Contender("majority-per-type", "majority-per-type"),
        Contender("question-only", "question-only"),
        Contender("zero-shot-shuffled", model, shuffled=True),
        Contender("tuned-shuffled", model, tuned=True, shuffled=True),
        Contender("zero-shot", model),
        Contender("tuned", model, tuned=True),
    ]


def run_recipe(recipe: Recipe, out: Path, *, device: str = "auto") -> Path:
    """Run the whole recipe in the folder `out` and return the path of the report's page."""
    log = _Log()
    catalogue = Path(recipe.catalogue) if recipe.catalogue is not None else out / "catalogue"
    if recipe.catalogue is None:
        log.stage("demo-catalogue", demo_catalogue(catalogue, recipe.demo_catalogue))
    images = Path(recipe.images) if recipe.images is not None else None
    log.stage("curate", curate(catalogue, out / "curated", recipe.curate, images=images))
    questions = generate(out / "curated", out / "questions", recipe.generate, client=recipe.client, device=device)
    log.stage("generate", questions)
    log.stage("split", split(out / "questions", out / "split", recipe.split))
    log.stage("train", train(out / "split", out / "train", recipe.train, device=device))
    for contender in contenders(recipe.train.model):
        predictions = out / "predictions" / contender.name
        model, adapter = tuned_model(out / "train", contender.model) if contender.tuned else (contender.model, None)
        config = msgspec.structs.replace(recipe.predict, model=model, shuffle_images=contender.shuffled)
        manifest = predict(out / "split", predictions, config, adapter=adapter, device=device)
        log.stage(f"predict {contender.name}", manifest)
        score(predictions, out / "scores" / contender.name, recipe.score)
    report(find_inputs(out), out / "report", recipe.report)
    log.done()
    return out / "report" / "index.html"


def tuned_model(trained: Path, model: str) -> tuple[str, Path | None]:
    """Return the model that answers after tuning, and its adapter; after full fine-tuning it is a checkpoint."""
    whole = trained / MODEL_FOLDER
    return (str(whole), None) if whole.is_dir() else (model, trained / ADAPTER_FOLDER)


class _Log:
    """One line a stage on stderr."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()

    def stage(self, name: str, manifest: Manifest) -> None:
        now = time.monotonic()
        counts = manifest.counts
        dropped = sum(counts.dropped.values())
        told = f"{counts.kept:>7,} kept" if counts.kept else ""
        told += f", {dropped:,} dropped" if dropped else ""
        say(f"{name:<26} {now - self._last:6.1f} s  {told}")
        self._last = now

    def done(self) -> None:
        say(f"{'all':<26} {time.monotonic() - self._started:6.1f} s")
