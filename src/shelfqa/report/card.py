"""The data card: what a curation kept, of what, and how it looks; a page of its own and a section of the report.

It is made from the counts and details of curation's manifest and from a few columns and rows of its tables, so that
it costs little however large the catalogue. Details that are not there are left out of the card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import shelfqa
from shelfqa.artifacts import Counts
from shelfqa.errors import InputError
from shelfqa.report.samples import Sample, contact_sheet
from shelfqa.report.step_words import field_words, step_words
from shelfqa.report.templating import commas, percent_text, render_template, style

_MOST_TYPES = 20
_MOST_LANGUAGES = 12
_MOST_FILES = 200
_SIZE_STEPS_PX = (64, 128, 256, 512, 1024, 2048)


class StepRow(NamedTuple):
    """One step of the selection; shares are of all listings that were read."""

    name: str
    words: str
    kept: int
    share: float
    dropped_share: float
    dropped: list[tuple[str, int]]
    restored: list[tuple[str, int]]


class TypeRow(NamedTuple):
    """A product type; `read` is None where the details do not tell it."""

    name: str
    read: int | None
    kept: int
    dropped: Mapping[str, int]

    @property
    def share(self) -> float | None:
        """How much of it was kept."""
        return self.kept / self.read if self.read else None


class Bar(NamedTuple):
    """A name, the length of its bar from 0 to 1, and the number that it stands for."""

    name: str
    share: float
    told: str


class LanguageRow(NamedTuple):
    """A language: listings kept in it, and texts read in it; None where the details do not tell them."""

    name: str
    kept: int | None
    read: int | None


class PictureCounts(NamedTuple):
    """What checking the pictures found, as (number, what it counts), and their sizes."""

    facts: list[tuple[int, str]]
    sizes: list[Bar]
    median_px: int | None


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that a data card shows."""

    name: str
    preset: str | None
    counts: Counts
    headline: str
    sentence: str
    steps: list[StepRow]
    types: list[TypeRow]
    """By listings kept, then read."""
    type_number: int
    """How many product types were read; the details may list only the largest."""
    reasons: list[str]
    fields: list[Bar]
    """How many of the kept listings have each field; then each attribute."""
    attributes: list[Bar]
    languages: list[LanguageRow]
    pictures: PictureCounts
    notes: list[tuple[str, int]]
    files: list[tuple[str, list[tuple[str, int]]]]
    """The files that most was dropped from, and why."""
    more_files: int
    samples: list[Sample]

    @property
    def kept_types(self) -> list[TypeRow]:
        """The types that have a listing."""
        return [row for row in self.types if row.kept]

    @property
    def lost_types(self) -> list[TypeRow]:
        """The types of which no listing was kept."""
        return [row for row in self.types if not row.kept]

    @property
    def top_types(self) -> list[TypeRow]:
        """The types with the most listings kept."""
        return self.kept_types[:_MOST_TYPES]


def write_card(name: str, counts: Counts, details: Mapping[str, Any], folder: Path, images: Path | None) -> str:
    """Return the data card as an HTML page that needs nothing from outside; arguments as of `read_card`."""
    card = read_card(name, counts, details, folder, images)
    return render_template("card.html.j2", card=card, version=shelfqa.__version__, style=style("page.css", "card.css"))


def read_card(name: str, counts: Counts, details: Mapping[str, Any], folder: Path, images: Path | None) -> Card:
    """Return what there is to say of a curation.

    Args:
        name: what to call the catalogue.
        counts: of curation: how many listings were read, kept, and dropped for which reason.
        details: of curation's manifest; each may be missing.
        folder: holds products.parquet and images.parquet.
        images: the folder that image paths are relative to; None for no contact sheet.

    Raises:
        InputError: if a table cannot be read.

    """
    types = _types(details)
    known = details.get("types_read")
    type_number = known if isinstance(known, int) else len(types)
    reasons = Counter[str]()
    for row in types:
        reasons.update(row.dropped)
    shares = _most_first(details.get("field_coverage", {}))
    coverage = [(field, Bar(field_words(field), share, percent_text(share))) for field, share in shares]
    files = _files(details.get("dropped_by_file", {}))
    return Card(
        name=name,
        preset=details.get("preset"),
        counts=counts,
        headline=_headline(counts, types),
        sentence=_sentence(name, counts, details, type_number, types),
        steps=_steps(counts, details.get("steps", ())),
        types=types,
        type_number=type_number,
        reasons=[reason for reason, _ in _most_first(reasons)],
        fields=[bar for field, bar in coverage if not field.startswith("attributes.")],
        attributes=[bar for field, bar in coverage if field.startswith("attributes.")],
        languages=_languages(details),
        pictures=_pictures(details.get("pictures", {}), folder / "images.parquet"),
        notes=_most_first(details.get("notes", {})),
        files=files[:_MOST_FILES],
        more_files=max(0, len(files) - _MOST_FILES),
        samples=contact_sheet(folder / "products.parquet", images),
    )


def _most_first(numbers: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(numbers.items(), key=lambda item: (-item[1], item[0]))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else what.removesuffix('y') + 'ies' if what.endswith('y') else what + 's'}"


def _headline(counts: Counts, types: Iterable[TypeRow]) -> str:
    kept = sum(1 for row in types if row.kept)
    of_types = f" of {_counted(kept, 'product type')}" if kept else ""
    return f"{_counted(counts.kept, 'listing')}{of_types}"


def _sentence(name: str, counts: Counts, details: Mapping[str, Any], type_number: int, types: Iterable[TypeRow]) -> str:
    """Return the card in a sentence: catalogue, listings read and kept, product types, pictures."""
    kept_types = sum(1 for row in types if row.kept)
    share = f" ({percent_text(counts.kept / counts.read)})" if counts.read else ""
    said = f"Of {_counted(counts.read, 'listing')} in {name}, {counts.kept:,}{share} are kept"
    if type_number:
        said += f", in {kept_types:,} of {_counted(type_number, 'product type')}"
    checked = details.get("pictures", {}).get("checked")
    return said + (f"; {_counted(checked, 'picture')} were looked at." if checked else ".")


def _steps(counts: Counts, steps: Iterable[Mapping[str, Any]]) -> list[StepRow]:
    """Return the steps in their order; without them, all that was dropped as one step."""
    listed = list(steps) or [{"step": "curate", "kept": counts.kept, "dropped": counts.dropped}]
    total = max(counts.read, *(step["kept"] for step in listed), 1)
    rows = []
    for step in listed:
        dropped, restored = _most_first(step.get("dropped", {})), _most_first(step.get("restored", {}))
        words = step_words(step["step"], step.get("parameters", {}))
        gone = sum(number for _, number in dropped) / total
        share = step["kept"] / total
        rows.append(StepRow(step["step"], words, step["kept"], share, min(gone, 1 - share), dropped, restored))
    return rows


def _types(details: Mapping[str, Any]) -> list[TypeRow]:
    rows = [TypeRow(name, one["read"], one["kept"], one["dropped"]) for name, one in details.get("types", {}).items()]
    listed = {row.name for row in rows}
    others = details.get("by_product_type", {})
    rows += [TypeRow(name, None, kept, {}) for name, kept in others.items() if name not in listed]
    return sorted(rows, key=lambda row: (-row.kept, -(row.read or 0), row.name))


def _languages(details: Mapping[str, Any]) -> list[LanguageRow]:
    """Return the commonest languages; the rest are summed up."""
    kept, read = details.get("languages_kept"), details.get("languages_read")
    names = list(dict.fromkeys(name for numbers in (kept, read) for name, _ in _most_first(numbers or {})))
    tail = names[_MOST_LANGUAGES:] if len(names) > _MOST_LANGUAGES + 1 else []

    def row(name: str, some: Iterable[str]) -> LanguageRow:
        numbers = [None if of is None else sum(of.get(one, 0) for one in some) for of in (kept, read)]
        return LanguageRow(name, *numbers)

    rows = [row(name, [name]) for name in names[: len(names) - len(tail)]]
    return [*rows, row(f"{len(tail)} others", tail)] if tail else rows


def _pictures(found: Mapping[str, Any], table: Path) -> PictureCounts:
    sizes, median_px = _sizes(table)
    facts = []
    if found:
        facts = [(found.get("checked", 0), "looked at"), (found.get("unreadable", 0), "unreadable")]
        facts.append((found.get("blank", 0), "blank"))
    for name, what in (
        ("equal_files", "in groups of equal files"),
        ("near_duplicates", "in groups that look the same"),
    ):
        of = found.get(name)
        if isinstance(of, Mapping):
            across = of.get("across_products")
            several = f", {across:,} of them across products" if across else ""
            facts.append((of.get("pictures", 0), f"{what} ({_counted(of.get('groups', 0), 'group')}{several})"))
    return PictureCounts(facts, sizes, median_px)


def _sizes(table: Path) -> tuple[list[Bar], int | None]:
    """Return how many pictures have which longer side, and the median of it, from images.parquet."""
    sides = np.empty(0, dtype=np.int64)
    if table.is_file():
        try:
            with pq.ParquetFile(table) as file:
                if {"width_px", "height_px"} <= set(file.schema_arrow.names):
                    both = file.read(columns=["width_px", "height_px"])
                    columns = [both[name].drop_null().to_numpy() for name in ("width_px", "height_px")]
                    sides = np.maximum(*columns) if len(columns[0]) == len(columns[1]) else sides
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{str(table)!r} is no readable Parquet file: {str(error).splitlines()[0]}.") from None
    sides = sides[sides > 0]
    if not len(sides):
        return [], None
    counted = np.bincount(np.digitize(sides, _SIZE_STEPS_PX), minlength=len(_SIZE_STEPS_PX) + 1).tolist()
    bounds = (1, *_SIZE_STEPS_PX)
    names = [f"{low:,} to {high - 1:,}" for low, high in zip(bounds, _SIZE_STEPS_PX, strict=False)]
    names = [f"under {_SIZE_STEPS_PX[0]}", *names[1:], f"{_SIZE_STEPS_PX[-1]:,} and more"]
    bars = [Bar(name, number / max(counted), commas(number)) for name, number in zip(names, counted, strict=True)]
    filled = [place for place, bar in enumerate(bars) if bar.share]
    return bars[filled[0] : filled[-1] + 1], int(np.median(sides))


def _files(dropped: Mapping[str, int]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return the files that most was dropped from; keys are `FILE: REASON`."""
    by_file: dict[str, dict[str, int]] = {}
    for name, number in dropped.items():
        file, _, reason = name.rpartition(": ")
        by_file.setdefault(file, {})[reason] = number
    ordered = sorted(by_file.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return [(file, _most_first(reasons)) for file, reasons in ordered]
