"""Reading a catalogue in the layout of Amazon Berkeley Objects (Collins et al. 2021, arXiv 2110.06199).

`listings/metadata/*.json[.gz]` hold one JSON object a line, `images/metadata/images.csv[.gz]` says where the picture
of an image id lies, `images/small/` (or `images/original/`) holds the pictures.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from shelfqa.catalogue.abo_listing import LineReader
from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.listing import Extent, Listing
from shelfqa.catalogue.parts import Part, PartSummary
from shelfqa.errors import InputError
from shelfqa.lines import BadRow, read_lines
from shelfqa.progress import progress
from shelfqa.records import Drop
from shelfqa.rows import read_rows

_SHARE_LINES = 1024
_SMALL_BYTES = 4_000_000
"""Shards with fewer bytes than this in all are read in this process: starting others would take longer."""


class Folder(NamedTuple):
    """Where the parts of an ABO folder lie; `images` is None where there are no pictures yet."""

    shards: list[Path]
    image_table: Path
    images: Path | None


class Share(NamedTuple):
    """What one task reads: every `of`-th stretch of lines of a shard, from the `number`-th on."""

    shard: Path
    number: int
    of: int


def is_abo(folder: Path) -> bool:
    """Return whether the folder has ABO's layout, or at least its first part."""
    return (folder / "listings").is_dir()


def find_parts(folder: Path, images: Path | None = None, *, pictures_needed: bool = True) -> Folder:
    """Return the parts of an ABO folder; `images` is used in place of the folder's own pictures if given.

    Raises:
        InputError: naming the part that is missing.

    """
    metadata = folder / "listings" / "metadata"
    shards = [path for ending in ("*.json.gz", "*.json") for path in metadata.glob(ending) if path.is_file()]
    if not shards:
        raise InputError(
            f"{str(metadata)!r} holds no *.json.gz or *.json: unpack abo-listings.tar into {str(folder)!r}."
        )
    tables = [folder / "images" / "metadata" / name for name in ("images.csv.gz", "images.csv")]
    table = next((path for path in tables if path.is_file()), None)
    if table is None:
        raise InputError(f"There is no file at {str(tables[0])!r}: unpack abo-images-small.tar into {str(folder)!r}.")
    homes = [images] if images is not None else [folder / "images" / size for size in ("small", "original")]
    home = next((path for path in homes if path.is_dir()), None)
    if home is None and pictures_needed:
        raise InputError(
            f"There is no folder at {str(homes[0])!r}: give the folder of the pictures with --images, or leave them "
            "unchecked with --check-images none."
        )
    return Folder(sorted(shards, key=lambda path: path.name), table, home)


def shares_of(shards: Sequence[Path], workers: int) -> list[Share]:
    """Return what to read, at least two shares a worker where the shards alone are too few."""
    of = 1 if len(shards) >= workers else -(-2 * workers // max(len(shards), 1))
    return [Share(shard, number, of) for shard in shards for number in range(of)]


class AboSource:
    """An ABO folder, its shards read by several processes at once."""

    twice = True

    def __init__(self, found: Folder, languages: Sequence[str], workers: int) -> None:
        self.images = found.images
        self.image_table: Path | None = found.image_table
        self._languages = tuple(languages)
        small = sum(shard.stat().st_size for shard in found.shards) < _SMALL_BYTES
        self._workers = 1 if small else workers
        self._shares = shares_of(found.shards, self._workers)
        self._pool: Any = None

    def read(self, folder: Path, *, brief: bool) -> list[Part]:
        """Read all listings into parts under `folder`, and return the parts in order.

        Parts that an earlier, broken-off run finished are not read again.
        """
        extent: Extent = "brief" if brief else "whole"
        return self._read(folder, [Order(share, extent, None) for share in self._shares])

    def read_lines(self, folder: Path, lines: Mapping[str, Collection[int]]) -> list[Part]:
        """Read the given lines of each shard, whole."""
        return self._read(
            folder, [Order(share, "kept", frozenset(lines.get(share.shard.name, ()))) for share in self._shares]
        )

    def _read(self, folder: Path, orders: Sequence[Order]) -> list[Part]:
        cut = folder / str(self._shares[0].of)  # another number of workers may cut the shards in another way
        parts = [Part(cut, number) for number in range(len(orders))]
        todo = [(part, order) for part, order in zip(parts, orders, strict=True) if part.summary() is None]
        before = len(orders) - len(todo)
        with progress("reading listings", len(orders)) as tick:
            tick(before)
            for done, _ in enumerate(self._run(todo), start=1):
                tick(before + done)
        return parts

    def _run(self, todo: Sequence[tuple[Part, Order]]) -> Iterator[PartSummary]:
        if self._workers == 1 or len(todo) < 2:
            for part, order in todo:
                yield read_share(part, order, self._languages)
            return
        from loky import ProcessPoolExecutor, as_completed

        if self._pool is None:
            self._pool = ProcessPoolExecutor(max_workers=self._workers)
        largest_first = sorted(todo, key=lambda one: -one[1].share.shard.stat().st_size)
        for future in as_completed([self._pool.submit(read_share, *one, self._languages) for one in largest_first]):
            yield future.result()

    def close(self) -> None:
        """Let the processes go, which are kept from the first reading to the second."""
        if self._pool is not None:
            self._pool.shutdown(kill_workers=True)
            self._pool = None


class Order(NamedTuple):
    """What one task reads: a share of a shard; only some lines where `lines` is given."""

    share: Share
    extent: Extent
    lines: frozenset[int] | None


def read_share(part: Part, order: Order, languages: tuple[str, ...]) -> PartSummary:
    """Read a share of a shard into its part."""
    reader = LineReader(order.share.shard.name, Languages(languages), order.extent)
    collecting = gc.isenabled()
    gc.disable()  # Millions of small lists without cycles: looking for some takes a tenth of the time.
    try:
        return part.write(_found(reader, order), reader.notes, reader.seen, extent=order.extent)
    finally:
        if collecting:
            gc.enable()


def _found(reader: LineReader, order: Order) -> Iterator[Listing | Drop]:
    share = order.share
    for line in read_lines(share.shard):
        number = line.line if isinstance(line, BadRow) else line.number
        if order.lines is not None and number not in order.lines:
            continue
        if share.of > 1 and number // _SHARE_LINES % share.of != share.number:
            continue
        found = reader.read(line)
        if found is not None:
            yield found


def read_image_table(table: Path | None) -> tuple[pa.Table, Counter[str]]:
    """Return `image_id` and `path` of each row of an image table, if there is one, and counts of what is broken in it.

    Raises:
        InputError: if the table lacks `image_id` or `path`.

    """
    import pyarrow.csv

    if table is None:
        return pa.schema(_IMAGE_TYPES).empty_table(), Counter()
    try:
        found = pyarrow.csv.read_csv(
            table, convert_options=pyarrow.csv.ConvertOptions(include_columns=_IMAGE_IDS, column_types=_IMAGE_TYPES)
        )
    except (pa.ArrowException, OSError):
        return _read_broken_image_table(table)
    return _with_id_and_path(found)


_IMAGE_IDS = ["image_id", "path"]
_IMAGE_TYPES = dict.fromkeys(_IMAGE_IDS, pa.string())


def _read_broken_image_table(table: Path) -> tuple[pa.Table, Counter[str]]:
    """Read row by row what Arrow refuses as a whole."""
    found = read_rows(table)
    for column in _IMAGE_IDS:
        if column not in found.columns:
            raise InputError(f"{str(table)!r} lacks the column {column!r}; it has {', '.join(found.columns)}.")
    values = {name: [row.values.get(name) or "" for row in found.rows] for name in _IMAGE_IDS}
    whole, notes = _with_id_and_path(pa.table(values, pa.schema(_IMAGE_TYPES)))
    notes.update(f"image table: {bad.reason}" for bad in found.bad)
    return whole, notes


def _with_id_and_path(table: pa.Table) -> tuple[pa.Table, Counter[str]]:
    import pyarrow.compute as pc

    good = pc.and_(pc.greater(pc.utf8_length(table["image_id"]), 0), pc.greater(pc.utf8_length(table["path"]), 0))
    kept = table.filter(good)
    notes: Counter[str] = Counter()
    if kept.num_rows < table.num_rows:
        notes["image table: row without id or path"] = table.num_rows - kept.num_rows
    return kept, notes
