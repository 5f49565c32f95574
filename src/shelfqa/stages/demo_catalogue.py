"""Demo catalogue: a drawn catalogue in the layout of Amazon Berkeley Objects, to try every other stage on."""

from __future__ import annotations

from pathlib import Path

from shelfqa import artifacts
from shelfqa.artifacts import Manifest, StageRun
from shelfqa.catalogue.demo import DemoConfig, draw_catalogue
from shelfqa.progress import progress

__all__ = ["DemoConfig", "demo_catalogue"]


def demo_catalogue(out: Path, config: DemoConfig, *, workers: int | None = None) -> Manifest:
    """Draw the catalogue into `out`, which then is both a catalogue for `curate` and an artifact.

    Args:
        out: the folder to write.
        config: what to draw.
        workers: processes that draw; None for one a core.

    """
    return artifacts.build("demo-catalogue", out, config, {}, lambda run: _draw(run, config, workers))


def _draw(run: StageRun, config: DemoConfig, workers: int | None) -> None:
    with progress("drawing products", config.products) as tick:
        run.details = dict(
            draw_catalogue(run.finished, config, workers=workers, progress=lambda done, _total: tick(done))
        )
    run.images = run.out / "images" / "small"
    run.counts.read = run.counts.kept = config.products
