"""compare: folders of `score` -> models side by side, with paired tests on the questions they share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shelfqa.artifacts import Manifest, StageRun, build
from shelfqa.config import Config
from shelfqa.errors import InputError
from shelfqa.metrics.comparison import comparison, read_scored
from shelfqa.statistics import Correction

COMPARISON = "comparison.json"


class CompareConfig(Config, frozen=True, kw_only=True):
    """Settings of the comparison of several files."""

    correction: Annotated[
        Correction, Meta(description="How p-values are corrected for the number of pairs of models.")
    ] = "holm"
    resamples: Annotated[int, Meta(ge=100, description="Resamples of the bootstrap behind the tests.")] = 2000
    seed: Annotated[int, Meta(ge=0, description="Seed of the bootstrap.")] = 0


def compare(scores: Mapping[str, Path], out: Path, config: CompareConfig) -> Manifest:
    """Write `comparison.json` about folders of `score`, by name, in the order given.

    Raises:
        InputError: if there are fewer than two, or one is missing or unreadable.

    """
    if len(scores) < 2:
        raise InputError("A comparison needs two folders of shelfqa score or more.")

    def body(run: StageRun) -> None:
        models = [read_scored(name, folder) for name, folder in scores.items()]
        found = comparison(models, correction=config.correction, resamples=config.resamples, seed=config.seed)
        run.write_text(COMPARISON, msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
        run.counts.read = run.counts.kept = found["items"]
        run.details = {"models": list(scores)}

    ordered = {f"scores/{place:02}-{name}": folder for place, (name, folder) in enumerate(scores.items())}
    return build("compare", out, config, ordered, body)
