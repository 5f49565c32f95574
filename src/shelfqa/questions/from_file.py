"""Questions from labelled files: each row names a picture, a question and its answer."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from shelfqa.errors import ConfigError, InputError, did_you_mean
from shelfqa.questions.pairs import Made, Pair, Source
from shelfqa.records import Drop
from shelfqa.rows import Row, read_rows

GUESSES: dict[str, tuple[str, ...]] = {
    "image": ("path", "image", "image_path", "image_file", "filename"),
    "question": ("question",),
    "answer": ("answer", "label"),
    "split": ("split",),
    "difficulty": ("difficulty",),
    "used_metadata": ("used_metadata",),
}
"""The names under which each column is looked for, best first."""

_REQUIRED = ("image", "question", "answer")
_SPLITS = {"train": "train", "training": "train", "test": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev", "eval"), "validation"
)
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})
_HOMES = ("images/small/", "images/original/", "small/", "images/")


def questions_from_files(products: pa.Table, files: Iterable[Path], columns: Mapping[str, str]) -> Made:
    """Return the pairs in the files, each joined to the product whose main or other picture it names.

    Args:
        products: with `PRODUCT_COLUMNS`.
        files: CSV, TSV, JSON-lines or Parquet; the stem of the name becomes `source.model`.
        columns: our column (the keys of `GUESSES`) -> the files' column, where it is called otherwise.

    Raises:
        InputError: if a file is missing, unreadable, or lacks a column, or two files share a stem.
        ConfigError: if `columns` holds a name that is none of ours.

    """
    for ours in columns:
        if ours not in GUESSES:
            raise ConfigError(f"columns: unknown column {ours!r}.{did_you_mean(ours, GUESSES)}")
    owners = owners_of_images(products)
    made = Made([], [])
    stems: dict[str, Path] = {}
    for file in files:
        stem = file.name.removesuffix(".gz").rpartition(".")[0] or file.name
        if stem in stems:
            raise InputError(f"{str(file)!r} and {str(stems[stem])!r} share the name {stem!r}: rename one.")
        stems[stem] = file
        table = read_rows(file)
        reader = _RowReader(file.name, stem, find_columns(file, table.columns, columns), owners)
        made.drops.extend(Drop(bad.file, bad.line, None, bad.reason, bad.detail) for bad in table.bad)
        for row in table.rows:
            found = reader.read(row)
            if isinstance(found, Pair):
                made.pairs.append(found)
            else:
                made.drops.append(found)
    return made


def owners_of_images(products: pa.Table) -> dict[str, tuple[str, str | None]]:
    """Return (product id, product type) for each picture: whose main picture it is, else whose other picture.

    Of several such products it is the one whose id comes first.
    """
    rows = sorted(
        products.select(["product_id", "product_type", "image_path", "other_image_paths"]).to_pylist(),
        key=lambda row: str(row["product_id"]),
    )
    owners: dict[str, tuple[str, str | None]] = {}
    for row in rows:
        owners.setdefault(row["image_path"], (row["product_id"], row["product_type"]))
    for row in rows:
        for path in row["other_image_paths"] or ():
            owners.setdefault(path, (row["product_id"], row["product_type"]))
    return owners


def find_columns(file: Path, present: list[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return our column -> theirs for a file with the columns `present`."""
    names = {name.casefold(): name for name in reversed(present)}
    found: dict[str, str] = {}
    there = f"it has {', '.join(present)}" if present else "it has no columns"
    for ours, guesses in GUESSES.items():
        if ours in mapping:
            if mapping[ours] not in present:
                raise InputError(f"{str(file)!r} lacks the column {mapping[ours]!r} (columns.{ours}); {there}.")
            found[ours] = mapping[ours]
            continue
        theirs = next((names[guess] for guess in guesses if guess in names), None)
        if theirs is not None:
            found[ours] = theirs
        elif ours in _REQUIRED:
            raise InputError(
                f"{str(file)!r} lacks the column {guesses[0]!r}; {there}. Name yours: "
                f"--set generate.columns.{ours}=COLUMN."
            )
    return found


class _RowReader:
    """Turns the rows of one file into pairs."""

    def __init__(
        self, file: str, stem: str, columns: Mapping[str, str], owners: Mapping[str, tuple[str, str | None]]
    ) -> None:
        self._file = file
        self._source = Source(provider="file", model=stem)
        self._columns = columns
        self._owners = owners
        self._seen: dict[tuple[str, str, str], int] = {}

    def read(self, row: Row) -> Pair | Drop:
        """Return the pair in a row, or why there is none."""
        get = {ours: row.values.get(theirs) for ours, theirs in self._columns.items()}
        image, question, answer = (_text(get[name]) for name in _REQUIRED)
        path = _as_known(image, self._owners)
        product_id, product_type = self._owners.get(path, (None, None))
        if not image:
            return self._drop(row, None, "no-image", f"{self._columns['image']!r} is empty")
        if product_id is None:
            return self._drop(row, None, "image-not-in-catalogue", f"no product shows {image!r}")
        for name, value in (("question", question), ("answer", answer)):
            if not value:
                return self._drop(row, product_id, f"empty-{name}", f"{self._columns[name]!r} is empty")
        first = self._seen.setdefault((path, question, answer), row.line)
        if first != row.line:
            return self._drop(row, product_id, "exact-duplicate", f"says the same as line {first}")
        return Pair(
            product_id=product_id,
            product_type=product_type,
            image_paths=(path,),
            question=question,
            answer=answer,
            source=self._source,
            difficulty=_number(get.get("difficulty")),
            used_metadata=_truth(get.get("used_metadata")),
            split=_SPLITS.get(_text(get.get("split")).casefold()),
        )

    def _drop(self, row: Row, product_id: str | None, reason: str, detail: str) -> Drop:
        return Drop(self._file, row.line, product_id, reason, detail)


def held_out_pictures(file: Path, pictures: Collection[str]) -> set[str]:
    """Return those of `pictures` that a table marks as test or, where it has no column `split`, that it names.

    Raises:
        InputError: if the file is missing, unreadable, has no column of pictures, or holds out none of `pictures`.

    """
    table = read_rows(file)
    names = {name.casefold(): name for name in reversed(table.columns)}
    image, split = (
        next((names[guess] for guess in GUESSES[ours] if guess in names), None) for ours in ("image", "split")
    )
    if image is None:
        raise InputError(f"{str(file)!r} has no column of pictures, such as 'path'; it has {', '.join(table.columns)}.")
    known = frozenset(pictures)
    found = {
        _as_known(_text(row.values.get(image)), known)
        for row in table.rows
        if split is None or _SPLITS.get(_text(row.values.get(split)).casefold()) == "test"
    }
    if not found & known:
        raise InputError(f"{str(file)!r} holds out none of the {len(known)} pictures that are asked about.")
    return found & known


def _as_known(image: str, known: Container[str]) -> str:
    """Return a path as the catalogue, which knows the paths `known`, writes it."""
    path = image.replace("\\", "/").removeprefix("./")
    if path not in known:
        for home in _HOMES:
            if path.startswith(home) and path.removeprefix(home) in known:
                return path.removeprefix(home)
    return path


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


def _number(value: Any) -> int | None:
    try:
        return int(float(_text(value)))
    except (ValueError, OverflowError):
        return None


def _truth(value: Any) -> bool | None:
    word = _text(value).casefold()
    return True if word in _TRUE else False if word in _FALSE else None
