"""Listings on disk between reading and selection: one Parquet file a part, so that no catalogue has to fit in memory.

A part is whole or absent: its summary is written last. A broken-off run finds the finished parts and goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from shelfqa.artifacts import storage_errors, write_atomically
from shelfqa.catalogue.listing import LISTING_COLUMNS, Extent, Listing, listings_batch
from shelfqa.records import DROPPED_COLUMNS, Drop

_BATCH_ROWS = 8192
_QUICK: Any = {"compression": "lz4", "use_dictionary": False, "write_statistics": False}
_ROWS_A_PART = 1 << 36


class PartSummary(msgspec.Struct):
    """What a part holds, and what was met while it was read."""

    listings: int
    drops: int
    notes: dict[str, int]
    languages: dict[str, int]


class Part:
    """One part of a catalogue: where its listings and its drops lie."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.listings = folder / f"{number:05d}.listings.parquet"
        self.drops = folder / f"{number:05d}.drops.parquet"
        self._summary = folder / f"{number:05d}.json"

    def summary(self) -> PartSummary | None:
        """Return the summary of a finished part, or None."""
        try:
            return msgspec.json.decode(self._summary.read_bytes(), type=PartSummary)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write(
        self,
        found: Iterable[Listing | Drop],
        notes: Counter[str],
        languages: Counter[str],
        *,
        extent: Extent = "whole",
    ) -> PartSummary:
        """Write what is found; `notes` and `languages` are read once `found` is used up."""
        listings: list[Listing] = []
        drops: list[Drop] = []
        summary = PartSummary(0, 0, {}, {})
        self.listings.parent.mkdir(parents=True, exist_ok=True)
        with (
            storage_errors(self.listings),
            pq.ParquetWriter(self.listings, LISTING_COLUMNS, **_QUICK) as listing_writer,
            pq.ParquetWriter(self.drops, DROPPED_COLUMNS, **_QUICK) as drop_writer,
        ):

            def flush() -> None:
                first = self.number * _ROWS_A_PART + summary.listings
                listing_writer.write_batch(listings_batch(listings, first, extent))
                rows = [drop._asdict() for drop in drops]
                drop_writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=DROPPED_COLUMNS))
                summary.listings += len(listings)
                summary.drops += len(drops)
                listings.clear()
                drops.clear()

            for one in found:
                if isinstance(one, Listing):
                    listings.append(one)
                else:
                    drops.append(one)
                if len(listings) + len(drops) == _BATCH_ROWS:
                    flush()
            flush()
        summary.notes, summary.languages = dict(notes), dict(languages)
        write_atomically(self._summary, msgspec.json.encode(summary))
        return summary
