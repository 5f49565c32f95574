"""Checking a catalogue's pictures: which can be read, which are blank, which are the same under another name."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shelfqa import artifacts
from shelfqa.errors import InputError
from shelfqa.images import Fingerprint, fingerprint_files
from shelfqa.near_duplicates import NEAR_DUPLICATE_BITS, near_duplicate_groups
from shelfqa.progress import Tick, progress, say
from shelfqa.records import IMAGE_COLUMNS

_PART_IMAGES = 2000

CHECKED_COLUMNS = pa.schema(
    [field for field in IMAGE_COLUMNS if field.name in ("image_path", *Fingerprint._fields)]  # in the table's order
)


def check_pictures(work: Path, root: Path, paths: Sequence[str], *, workers: int) -> pa.Table:
    """Decode each picture and return what was found, a row a path in the order given, whatever the workers.

    Parts of 2,000 pictures are kept in `work` as soon as they are done. When the same stage runs again after a kill,
    whole parts for the same paths are taken over, others made anew.

    Args:
        work: a folder of its own for finished parts, below `StageRun.work`.
        root: the folder of the pictures.
        paths: the pictures, relative to `root`. A path that leads out of `root` is not opened.
        workers: threads that decode.

    Returns:
        the columns `CHECKED_COLUMNS`: image_path and the fields of `Fingerprint`. What is wrong with a picture is
        its `error`, with the path relative to `root`; nothing about a picture raises.

    """
    starts = range(0, len(paths), _PART_IMAGES)
    wanted = {start: pa.array(paths[start : start + _PART_IMAGES], pa.string()) for start in starts}
    files = {start: work / f"{start:08d}.parquet" for start in starts}
    parts = {start: part for start in starts if (part := _finished(files[start], wanted[start])) is not None}
    remaining = sum(len(wanted[start]) for start in starts if start not in parts)
    if parts and remaining:
        say(f"  checking images: {len(paths) - remaining} of {len(paths)} were checked before")
    done = 0
    with progress("checking images", remaining) as tick:
        for start in starts:
            if start not in parts:
                parts[start] = _check(root, wanted[start], workers, _after(done, tick))
                artifacts.write_parquet(files[start], parts[start])
                done += len(wanted[start])
                tick(done)
    return pa.concat_tables([CHECKED_COLUMNS.empty_table(), *(parts[start] for start in starts)]).combine_chunks()


def _finished(file: Path, wanted: pa.Array) -> pa.Table | None:
    """Return the part in `file` if it is whole and about just the wanted paths."""
    if not file.is_file():
        return None
    try:
        part = artifacts.read_table(file, file.stem, CHECKED_COLUMNS.names)
    except InputError:
        return None
    same = part.schema.equals(CHECKED_COLUMNS) and part["image_path"].combine_chunks().equals(wanted)
    return part if same else None


def _after(done: int, tick: Tick) -> Tick:
    return lambda more: tick(done + more)


def _check(root: Path, wanted: pa.Array, workers: int, tick: Tick) -> pa.Table:
    paths = wanted.to_pylist()
    inside = [path for path in paths if not leads_out(path)]
    prints = fingerprint_files([root / path for path in inside], names=inside, workers=workers, progress=tick)
    found = dict(zip(inside, prints, strict=True))
    rows = [found.get(path) or Fingerprint.unreadable(f"outside the images folder: {path!r}") for path in paths]
    columns = {name: [getattr(row, name) for row in rows] for name in Fingerprint._fields}
    return pa.table({"image_path": wanted, **columns}, schema=CHECKED_COLUMNS)


def leads_out(path: str) -> bool:
    """Say whether a relative path, taken as text, leads out of its folder: absolute, or up by `..`.

    >>> leads_out("../secret.jpg"), leads_out("/etc/passwd"), leads_out("a/../b.jpg")
    (True, True, False)
    """
    flat = posixpath.normpath(path.replace("\\", "/"))
    absolute = flat.startswith("/") or Path(path).anchor != "" or PureWindowsPath(path).is_absolute()
    return absolute or flat == ".." or flat.startswith("../")


def faults(table: pa.Table, min_side_px: int = 0, *, drop_blank: bool = False) -> pa.Table:
    """Return what is wrong with pictures: image_path, reason, detail, a row for each that is faulty, in order.

    Args:
        table: as `check_pictures` returns it.
        min_side_px: a picture whose shorter side has fewer pixels is `image-too-small`.
        drop_blank: whether a blank picture is a fault, `blank-image`.

    Returns:
        beside these, the reasons `image-file-missing` and `unreadable-image` for what has an error.

    """
    error = table["error"]
    broken = pc.is_valid(error)
    missing = pc.fill_null(pc.starts_with(error, "missing: "), False)
    small = pc.less(pc.min_element_wise(table["width_px"], table["height_px"]), min_side_px)
    blank = pc.and_(table["blank"], pa.scalar(drop_blank))
    size = pc.binary_join_element_wise(
        pc.cast(table["width_px"], pa.string()), pc.cast(table["height_px"], pa.string()), "x"
    )
    too_small = pc.binary_join_element_wise(size, f" pixels, its shorter side under {min_side_px}", "")
    cases = pc.make_struct(missing, broken, small, blank)
    reason = pc.case_when(cases, "image-file-missing", "unreadable-image", "image-too-small", "blank-image")
    detail = pc.case_when(cases, error, error, too_small, "one colour all over")
    found = pa.table({"image_path": table["image_path"], "reason": reason, "detail": detail})
    return found.filter(pc.is_valid(found["reason"]))


def picture_groups(table: pa.Table, *, max_bits: int = NEAR_DUPLICATE_BITS, workers: int = 2) -> pa.Table:
    """Return the table with the columns `same_file` and `same_picture` added.

    Args:
        table: image_path, content_hash, perceptual_hash, blank, as `check_pictures` returns them.
        max_bits: pictures whose hashes differ in at most so many bits look the same.
        workers: threads that compare.

    Returns:
        `same_file`: the least image_path of those whose files have equal bytes, null where no file could be opened.
        `same_picture`: the least image_path of the connected group of near-duplicates, null where the picture cannot
        be read. Blank pictures have no shape to compare: they are the same picture only if their files are equal.

    """
    contents = _codes(table["content_hash"])
    looks = np.full(table.num_rows, -1, dtype=np.int64)
    hashed = pc.is_valid(table["perceptual_hash"]).to_numpy()
    blank = hashed & pc.fill_null(table["blank"], False).to_numpy()
    shaped = hashed & ~blank
    hashes = table["perceptual_hash"].filter(pa.array(shaped)).to_pylist()
    looks[shaped] = near_duplicate_groups(hashes, max_bits=max_bits, workers=workers)
    looks[blank] = contents[blank] + len(looks)
    for name, groups in (("same_file", contents), ("same_picture", looks)):
        table = table.append_column(name, _least_path(table["image_path"], groups))
    return table


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a number for each value, equal for equal ones; -1 for null."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _least_path(paths: pa.ChunkedArray, groups: NDArray[np.int64]) -> pa.Array:
    """Return for each row the least path of its group; null where the group is -1."""
    order = pc.sort_indices(paths).to_numpy()
    _, first, which = np.unique(groups[order], return_index=True, return_inverse=True)
    least = np.empty_like(groups)
    least[order] = order[first][which.reshape(-1)]
    return paths.combine_chunks().take(pa.array(least, mask=groups < 0))


def summary(table: pa.Table, product_ids: Iterable[Iterable[str] | None] | None = None) -> dict[str, Any]:
    """Return how many pictures were checked, and how many are unreadable, blank, or the same as another.

    Args:
        table: what `picture_groups` returned.
        product_ids: the products that show each picture, as many as rows; without them `across_products` is left out.

    Returns:
        `checked`, `unreadable`, `blank`; and for `equal_files` and `near_duplicates` (equal files among them) the
        number of `groups` of at least two pictures, the `pictures` in them, and `across_products`: how many of the
        groups are shown by several products.

    """
    readable = pc.is_valid(table["perceptual_hash"])
    counts: dict[str, Any] = {
        "checked": table.num_rows,
        "unreadable": table.num_rows - (pc.sum(readable).as_py() or 0),
        "blank": pc.sum(table["blank"]).as_py() or 0,
    }
    lists = None if product_ids is None else pa.array(product_ids, pa.list_(pa.string()))
    for name, column in (("equal_files", "same_file"), ("near_duplicates", "same_picture")):
        groups = _codes(table[column])
        members = np.bincount(groups[groups >= 0], minlength=1)
        several = members > 1
        counts[name] = {"groups": int(several.sum()), "pictures": int(members[several].sum())}
        if lists is not None:
            counts[name]["across_products"] = int((several & (_products(groups, lists, len(members)) > 1)).sum())
    return counts


def _products(groups: NDArray[np.int64], product_ids: pa.Array, size: int) -> NDArray[np.int64]:
    """Return how many different products show the pictures of each of `size` groups."""
    shown = groups[pc.list_parent_indices(product_ids).to_numpy()]
    products = _codes(pa.chunked_array([product_ids.flatten()]))
    pairs = np.unique(np.stack([shown, products], axis=1)[shown >= 0], axis=0)
    return np.bincount(pairs[:, 0], minlength=size)
