"""Curate: a shop's catalogue becomes one row a product, with pictures that can be read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
from msgspec import Meta, field

from shelfqa import artifacts
from shelfqa.artifacts import Manifest, StageRun
from shelfqa.catalogue import abo, select, tabular
from shelfqa.catalogue.languages import DEFAULT_LANGUAGES, Languages
from shelfqa.catalogue.listing import Listing, Reading, products_table
from shelfqa.catalogue.select import Selection
from shelfqa.config import Config
from shelfqa.errors import InputError
from shelfqa.images import Fingerprint, fingerprint_files
from shelfqa.progress import Tick, progress
from shelfqa.records import IMAGE_COLUMNS, Drop

_PART_IMAGES = 2000


class CurateConfig(Config, frozen=True, kw_only=True):
    """Settings of `curate`."""

    languages: Annotated[
        tuple[str, ...], Meta(description="Languages whose texts are taken, best first; `*` stands for anything.")
    ] = DEFAULT_LANGUAGES
    require_language: Annotated[
        bool,
        Meta(description="Drop listings without any text in a wanted language; else their other fields are kept."),
    ] = False
    domains: Annotated[
        tuple[str, ...], Meta(description="Which domain's listing of a product is kept, best first; then by name.")
    ] = ("amazon.com", "amazon.co.uk", "amazon.in")
    columns: Annotated[
        dict[str, str], Meta(description="For tables: our column -> yours, where it is not guessed from the name.")
    ] = field(default_factory=dict)
    check_images: Annotated[
        Literal["all", "main", "none"],
        Meta(description="Which pictures are decoded to see that they can be read and to find near-duplicates."),
    ] = "all"


def curate(
    catalogue: Path, out: Path, config: CurateConfig, *, images: Path | None = None, workers: int = 2
) -> Manifest:
    """Read a catalogue and write `products`, `images` and `dropped`.

    Args:
        catalogue: a folder in ABO's layout, a CSV / TSV / JSON-lines / Parquet file, or a folder of such files.
        out: the folder to write.
        config: the settings.
        images: the folder that image paths are relative to; needed for tables.
        workers: threads that decode pictures.

    Raises:
        InputError: if the catalogue or its pictures are missing or lack what is needed.

    """
    if not catalogue.exists():
        raise InputError(f"There is no catalogue at {str(catalogue)!r}: give a folder or a table file.")
    if images is not None and not images.is_dir():
        raise InputError(f"There is no folder at {str(images)!r}: give the folder of the pictures with --images.")
    read, root = _reader(catalogue, images, config)
    inputs = {"catalogue": catalogue} | ({"images": images} if images is not None else {})
    return artifacts.build("curate", out, config, inputs, lambda run: _curate(run, read, root, config, workers))


def _reader(catalogue: Path, images: Path | None, config: CurateConfig) -> tuple[Callable[[], Reading], Path]:
    """Return what reads the catalogue, and the folder that its image paths are relative to."""
    languages = Languages(config.languages)
    if catalogue.is_dir() and abo.is_abo(catalogue):
        parts = abo.find_parts(catalogue, images)
        return lambda: abo.read_abo(parts, languages), parts.images
    files = tabular.table_files(catalogue)
    if not files:
        raise InputError(
            f"{str(catalogue)!r} holds neither listings/metadata/*.json.gz nor a table (.csv, .tsv, .jsonl, .parquet)."
        )
    if images is None:
        raise InputError(f"{str(catalogue)!r} is a table: give the folder of its pictures with --images DIR.")
    return lambda: tabular.read_tables(files, images, config.columns, languages), images


def _curate(run: StageRun, read: Callable[[], Reading], root: Path, config: CurateConfig, workers: int) -> None:
    reading = read()
    listings, drops, notes = reading.listings, list(reading.drops), Counter(reading.notes)

    def step(selection: Selection) -> None:
        nonlocal listings
        listings = selection.listings
        drops.extend(selection.drops)
        notes.update(selection.notes)

    if config.require_language:
        step(select.in_wanted_language(listings))
    step(select.with_image_file(listings, root))
    wanted = select.image_paths(listings, others=config.check_images == "all") if config.check_images != "none" else []
    found = _fingerprints(run.work, root, wanted, workers)
    step(select.with_readable_image(listings, found))
    step(select.one_per_product(listings, config.domains))
    step(select.without_copies(listings))

    run.images = root
    run.write_table("products", products_table(listings))
    run.write_table("images", _images_table(listings, found))
    run.drop_rows(drops)
    run.counts.read = reading.read
    run.counts.kept = len(listings)
    run.details = _details(listings, drops, notes, reading.languages)


def _fingerprints(work: Path, root: Path, paths: list[str], workers: int) -> dict[str, Fingerprint]:
    """Return the fingerprint of each picture; parts are kept in `work`, so that a broken-off run goes on."""
    schema = pa.schema([IMAGE_COLUMNS.field(name) for name in Fingerprint._fields])
    found: list[Fingerprint] = []
    with progress("checking images", len(paths)) as tick:
        for start in range(0, len(paths), _PART_IMAGES):
            part = work / "fingerprints" / f"{start}.parquet"
            if part.exists():
                rows = artifacts.read_table(part, part.stem).to_pylist()
                found += [Fingerprint(**row) for row in rows]
            else:
                files = [root / path for path in paths[start : start + _PART_IMAGES]]
                new = [
                    one if one.error is None else one._replace(error=one.error.replace(f"{root}{os.sep}", ""))
                    for one in fingerprint_files(files, workers=workers, progress=_after(start, tick))
                ]
                rows = [fingerprint._asdict() for fingerprint in new]
                artifacts.write_parquet(part, pa.Table.from_pylist(rows, schema=schema))
                found += new
            tick(len(found))
    return dict(zip(paths, found, strict=True))


def _after(start: int, tick: Tick) -> Tick:
    return lambda done: tick(start + done)


def _images_table(listings: list[Listing], found: dict[str, Fingerprint]) -> pa.Table:
    """Return the pictures of the kept products, and those that could not be read."""
    kept = set(select.image_paths(listings))
    paths = sorted(kept | {path for path, fingerprint in found.items() if fingerprint.error is not None})
    products = select.products_of_images(listings, paths)
    unchecked = Fingerprint(0, 0, None, None)
    rows = [
        {"image_path": path, **found.get(path, unchecked)._asdict(), "product_ids": products[path]} for path in paths
    ]
    return pa.Table.from_pylist(rows, schema=IMAGE_COLUMNS)


_COVERED = ("product_type", "name", "brand", "color", "material", "bullet_points", "keywords", "description")


def _details(
    listings: list[Listing], drops: Iterable[Drop], notes: Counter[str], languages: Counter[str]
) -> dict[str, object]:
    total = max(len(listings), 1)
    fields: Counter[str] = Counter()
    for listing in listings:
        fields.update(name for name in _COVERED if getattr(listing, name))
        fields.update(f"attributes.{name}" for name in listing.attributes)
        fields["other_image_paths"] += bool(listing.other_image_paths)
    return {
        "by_product_type": _by_count(listing.product_type or "none" for listing in listings),
        "field_coverage": {name: round(number / total, 4) for name, number in sorted(fields.items())},
        "languages_kept": _by_count(listing.language or "none" for listing in listings),
        "languages_read": dict(sorted(languages.items(), key=lambda item: (-item[1], item[0]))),
        "dropped_by_file": _by_count(f"{drop.file}: {drop.reason}" for drop in drops),
        "notes": dict(sorted(notes.items())),
    }


def _by_count(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
