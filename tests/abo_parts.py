"""What the reader of ABO's folders finds, as plain rows."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from shelfqa.catalogue.abo import AboSource, find_parts
from shelfqa.catalogue.languages import DEFAULT_LANGUAGES
from shelfqa.catalogue.parts import Part
from tiny_catalogue import listing, write_abo


class Found(NamedTuple):
    """All that the parts of a folder hold, in their order."""

    listings: list[dict[str, Any]]
    drops: list[dict[str, Any]]
    notes: Counter[str]
    languages: Counter[str]

    @property
    def read(self) -> int:
        return len(self.listings) + len(self.drops)


def found_in(parts: list[Part]) -> Found:
    found = Found([], [], Counter(), Counter())
    for part in parts:
        summary = part.summary()
        assert summary is not None
        found.listings.extend(pq.read_table(part.listings).to_pylist())
        found.drops.extend(pq.read_table(part.drops).to_pylist())
        found.notes.update(summary.notes)
        found.languages.update(summary.languages)
    assert [row["row"] for row in found.listings] == sorted({row["row"] for row in found.listings})
    return found


def read(folder: Path, *wanted: str) -> Found:
    work = Path(tempfile.mkdtemp(dir=folder, prefix="parts-"))
    return found_in(AboSource(find_parts(folder), wanted or DEFAULT_LANGUAGES, 1).read(work, brief=False))


def only(folder: Path, **fields: Any) -> dict[str, Any]:
    """The one listing of a catalogue that holds it alone."""
    reading = read(write_abo(folder, [[listing(0, **fields)]], images=3))
    assert reading.drops == []
    return reading.listings[0] | {"attributes": json.loads(reading.listings[0]["attributes"])}
