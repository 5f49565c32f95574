"""Curate: a shop's catalogue becomes a clean table of listings, with pictures that can be read."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from shelfqa import artifacts
from shelfqa.artifacts import Manifest, StageRun
from shelfqa.catalogue import abo, pictures
from shelfqa.catalogue.describe import describe
from shelfqa.catalogue.parts import PartSummary
from shelfqa.catalogue.selection import Selection
from shelfqa.catalogue.settings import CurateConfig, CurateSettings, resolve
from shelfqa.catalogue.sources import Source, open_source
from shelfqa.machine import processors
from shelfqa.records import DROPPED_COLUMNS, IMAGE_COLUMNS, PRODUCT_COLUMNS
from shelfqa.report.card import write_card


def curate(
    catalogue: Path, out: Path, config: CurateConfig, *, images: Path | None = None, workers: int | None = None
) -> Manifest:
    """Read a catalogue and write `products`, `images` and `dropped`.

    Args:
        catalogue: a folder in ABO's layout, a CSV / TSV / JSON-lines / Parquet file, a folder of such files, or a
            folder of pictures alone.
        out: the folder to write.
        config: the settings.
        images: the folder that image paths are relative to; needed for tables.
        workers: processes and threads; as many as there are processors unless given. The result is the same.

    Raises:
        ConfigError: for an unknown preset, step or field.
        InputError: if the catalogue or its pictures are missing or lack what is needed.

    """
    workers = workers or processors()
    settings = resolve(config)
    source = open_source(catalogue, images, settings, workers)
    inputs = {"catalogue": catalogue} | ({"images": images} if images is not None else {})
    name = catalogue.resolve().name
    return artifacts.build("curate", out, settings, inputs, lambda run: _curate(run, name, source, settings, workers))


def _curate(run: StageRun, name: str, source: Source, settings: CurateSettings, workers: int) -> None:
    brief = source.twice and all(step.brief for step in settings.steps)
    try:
        with ThreadPoolExecutor(1) as pool:
            table = pool.submit(abo.read_image_table, source.image_table)
            parts = source.read(run.work / ("brief" if brief else "whole"), brief=brief)
        selection = Selection(parts, run.work, workers)
        try:
            selection.place_images(*table.result())
            checked = _select(run, selection, source.images, settings, workers)
            if brief:
                selection.replace_parts(source.read_lines(run.work / "kept", selection.kept_lines()))
            source.close()
            summaries = [summary for part in parts if (summary := part.summary()) is not None]
            _write(run, name, selection, summaries, settings, checked)
        finally:
            selection.close()
    finally:
        source.close()
    run.images = source.images
    run.write_text("card.html", write_card(name, run.counts, run.details, run.finished, source.images))


def _select(
    run: StageRun, selection: Selection, images: Path | None, settings: CurateSettings, workers: int
) -> pa.Table | None:
    """Apply the steps; pictures are looked at before the first step that compares listings with each other."""
    first = next((n for n, step in enumerate(settings.steps) if not step.by_listing), len(settings.steps))
    for step in settings.steps[:first]:
        step.apply(selection, settings.seed)
    checked = _look_at_pictures(run, selection, images, settings, workers)
    for step in settings.steps[first:]:
        step.apply(selection, settings.seed)
    return checked


def _write(
    run: StageRun,
    name: str,
    selection: Selection,
    parts: list[PartSummary],
    settings: CurateSettings,
    checked: pa.Table | None,
) -> None:
    with ThreadPoolExecutor(1) as pool:
        products = pool.submit(run.write_batches, "products", PRODUCT_COLUMNS, selection.products())
        run.write_batches("dropped", DROPPED_COLUMNS, selection.drops())
        products.result()
    run.write_batches("images", IMAGE_COLUMNS, selection.images(checked))
    run.details = {"catalogue": name, "preset": settings.preset} | describe(selection, parts)
    if checked is not None:
        run.details["pictures"] = pictures.summary(checked, selection.product_ids(checked["image_path"]))
    run.counts.dropped = selection.dropped()
    run.counts.read = sum(part.listings + part.drops for part in parts)
    run.counts.kept = selection.kept()


def _look_at_pictures(
    run: StageRun, selection: Selection, root: Path | None, settings: CurateSettings, workers: int
) -> pa.Table | None:
    """Drop listings whose main image is missing, broken, too small or blank; return what the pictures are like."""
    if settings.check_images == "none" or root is None:
        return None
    paths = selection.image_paths(others=settings.check_images != "main")
    if settings.check_images == "files":
        missing = [path for path in paths if not os.path.isfile(root / path)]  # noqa: PTH113 -- many
        faults = {"image_path": missing, "reason": ["image-file-missing"] * len(missing)}
        selection.drop_pictures(pa.table(faults | {"detail": [f"no file {path!r}" for path in missing]}))
        return None
    checked = pictures.check_pictures(run.work / "pictures", root, paths, workers=workers)
    selection.drop_pictures(pictures.faults(checked, settings.min_side_px, drop_blank=settings.blank_images == "drop"))
    return pictures.picture_groups(checked, workers=workers)
