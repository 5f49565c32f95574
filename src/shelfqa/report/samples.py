"""The contact sheet of a data card: a few products of each of many types, picked without reading the whole table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shelfqa.errors import InputError
from shelfqa.images import data_uri, try_image

_COLUMNS = ("product_id", "product_type", "name", "image_path")
_SIDE_PX = 144
_QUALITY = 72
_FIRST_TYPES = 20
"""The largest types, which share the sheet as long as they have pictures."""

_TRIES = 5
"""Rows looked at for each sample wanted, so that a catalogue without its pictures does not take long."""


class Sample(NamedTuple):
    """A product of the contact sheet; `uri` is its thumbnail as a JPEG."""

    product_id: str
    product_type: str
    name: str
    uri: str


def contact_sheet(products: Path, images: Path | None, *, number: int = 40) -> list[Sample]:
    """Return products with pictures, of the largest types first, in the order of the types.

    Each of the largest types gives the same number, spread over the table; other types fill what is missing.
    Products whose picture is missing or broken are passed over, and no picture is shown twice. The same table and
    pictures give the same sheet.

    Args:
        products: the file products.parquet.
        images: the folder that image paths are relative to; None for no samples.
        number: samples wanted.

    Raises:
        InputError: if the table cannot be read.

    """
    if images is None or not images.is_dir() or not products.is_file():
        return []
    try:
        with pq.ParquetFile(products, read_dictionary=["product_type"]) as file:
            return _samples(file, images, number)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{str(products)!r} is no readable Parquet file: {str(error).splitlines()[0]}.") from None


def _samples(file: pq.ParquetFile, images: Path, number: int) -> list[Sample]:
    order = _order(file, number)
    found: list[tuple[int, Sample]] = []
    seen: set[str] = set()
    for start in range(0, min(len(order), number * _TRIES), max(number, 1)):
        rows = order[start : start + number]
        wanted = _read_rows(file, [row for row, _ in rows])
        for (_, place), row in zip(rows, wanted, strict=True):
            path = row["image_path"]
            if len(found) == number:
                break
            if not path or path in seen:
                continue
            seen.add(path)
            loaded = try_image(images / path, max_side_px=_SIDE_PX)
            if loaded.image is not None:
                uri = data_uri(loaded.image, max_side_px=_SIDE_PX, quality=_QUALITY)
                found.append((place, Sample(row["product_id"], row["product_type"], row["name"], uri)))
        if len(found) == number:
            break
    return [sample for _, sample in sorted(found, key=lambda item: item[0])]  # stable: within a type as drawn


def _order(file: pq.ParquetFile, number: int) -> list[tuple[int, int]]:
    """Return rows in the order in which they are tried, each with the place of its type among the types by size."""
    if "product_type" not in file.schema_arrow.names:
        return [(row, 0) for row in _spread(np.arange(file.metadata.num_rows), number * _TRIES)]
    column = file.read(columns=["product_type"])["product_type"].unify_dictionaries().combine_chunks()
    names = [*column.dictionary.to_pylist(), ""]
    codes = column.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
    sizes = np.bincount(codes, minlength=len(names))
    types = sorted(np.flatnonzero(sizes).tolist(), key=lambda code: (-sizes[code], names[code]))
    by_code = np.split(np.argsort(codes, kind="stable"), np.cumsum(sizes)[:-1])
    share = -(-number // max(1, min(len(types), _FIRST_TYPES)))
    most = number * _TRIES
    spread = [_spread(by_code[code], most) for code in types[:most]]
    turns = [
        (place >= _FIRST_TYPES or turn >= share, turn, place, row)
        for place, rows in enumerate(spread)
        for turn, row in enumerate(rows)
    ]
    return [(row, place) for _, _, place, row in sorted(turns)]


def _spread(rows: NDArray[np.int64], most: int) -> list[int]:
    """Return at most `most` of the rows; however few of the first are used, they lie far apart.

    >>> _spread(np.arange(100), 4)
    [0, 61, 23, 85]
    """
    golden = (5**0.5 - 1) / 2
    picked = (np.arange(min(4 * most, 4 * len(rows))) * golden % 1 * len(rows)).astype(np.int64)
    return [int(rows[place]) for place in dict.fromkeys(picked.tolist())][:most]


def _read_rows(file: pq.ParquetFile, rows: list[int]) -> list[dict[str, str]]:
    """Return the rows in the order given, reading only their row groups and what a caption needs; "" for null."""
    columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    ends = np.cumsum(sizes)
    groups = np.searchsorted(ends, rows, side="right")
    found: dict[int, dict[str, Any]] = {}
    for group in np.unique(groups).tolist():
        here = [row for row, own in zip(rows, groups.tolist(), strict=True) if own == group]
        table = file.read_row_group(group, columns=columns)
        first = int(ends[group]) - sizes[group]
        found |= zip(here, table.take([row - first for row in here]).to_pylist(), strict=True)
    return [{name: found[row].get(name) or "" for name in _COLUMNS} for row in rows]
