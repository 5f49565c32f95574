"""Which column of a table holds what: guessed from its name, or named by the user; numbered columns make lists."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from shelfqa.catalogue import clean
from shelfqa.catalogue.languages import Languages
from shelfqa.errors import InputError
from shelfqa.records import Drop
from shelfqa.rows import Row, Rows, parse_cell

GUESSES: dict[str, tuple[str, ...]] = {
    "product_id": ("product_id", "id", "sku", "asin", "item_id", "product_code", "handle", "code"),
    "image_path": ("image_path", "image", "path", "main_image", "image_file", "filename", "file_name", "image_src",
        "image_url", "image_link", "main_image_url", "picture", "photo"),
    "other_image_paths": ("other_image_paths", "other_images", "additional_images", "images", "other_image",
        "additional_image", "additional_image_link", "other_image_url"),
    "product_type": ("product_type", "type", "category", "product_category"),
    "name": ("name", "title", "item_name", "product_name", "product_title"),
    "brand": ("brand", "brand_name", "vendor", "manufacturer"),
    "color": ("color", "colour", "color_name"),
    "material": ("material", "materials", "material_type"),
    "bullet_points": ("bullet_points", "bullet_point", "bullets", "features", "highlights", "bullet", "feature",
        "highlight", "product_highlight"),
    "keywords": ("keywords", "item_keywords", "tags", "search_terms", "keyword", "tag", "search_term"),
    "description": ("description", "product_description", "body_html", "body", "long_description"),
    "language": ("language", "language_tag", "lang", "locale"),
    "domain": ("domain", "domain_name"),
}  # fmt: skip
"""The names under which each of our columns is looked for, best first; case, blanks and dashes do not matter."""

SEPARATORS = {"bullet_points": "|\n", "keywords": "|;,\n", "other_image_paths": "|;,\n"}
"""Our columns that are lists, and what a cell is split at: the first that occurs in it."""

_NUMBERED = re.compile(r"(.*?[a-z])_?(\d{1,2})")
_JOINABLE = frozenset(
    name for ours in (*SEPARATORS, "material", "image_path") for name in GUESSES[ours] if name != "path"
)
_TEXTS = frozenset({"name", "color", "material", "bullet_points", "keywords", "description"})
_SEVERAL_PICTURES = re.compile(
    r"\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif)(?:\?[^\s,;]*)?\s*[,;]|[,;]\s*(?:https?:)?//", re.IGNORECASE
)


class Record(NamedTuple):
    """What a table says of one product: our columns with their values, and all others by plain name."""

    line: int
    fields: dict[str, Any]
    attributes: dict[str, Any]
    tags: tuple[str, ...] = ()


class Source(NamedTuple):
    """A table to read, with all that its reader needs; `notes` is added to."""

    file: Path
    table: Rows
    columns: Mapping[str, str]
    languages: Languages
    notes: Counter[str]


class Column(NamedTuple):
    """A column of the file: its plain name, its place among those numbered alike, and the language it is in."""

    theirs: str
    key: str
    number: int = 0
    tag: str | None = None


@lru_cache(maxsize=1 << 12)
def normal(name: str) -> str:
    """Return a column's name in lower case with single underscores.

    >>> normal("Body (HTML)")
    'body_html'
    """
    return "_".join(re.sub(r"[-_().]", " ", name.casefold()).split())


def records(source: Source) -> Iterator[Record | Drop]:
    """Yield one record for each row of a table whose columns are guessed."""
    columns = [_column(name) for name in source.table.columns]
    layout = Layout(source, columns, GUESSES)
    for row in source.table.rows:
        yield layout.record(row)


def _column(theirs: str) -> Column:
    name = normal(theirs)
    match = _NUMBERED.fullmatch(name)
    if match and match[1] in _JOINABLE:
        return Column(theirs, match[1], int(match[2]))
    return Column(theirs, name)


class Layout:
    """The columns of a file, sorted into ours and the rest."""

    def __init__(self, source: Source, columns: Sequence[Column], guesses: Mapping[str, Sequence[str]]) -> None:
        self._languages = source.languages
        self._notes = source.notes
        self.fields = _find(source, columns, guesses)
        taken = {column.theirs for found in self.fields.values() for column in found}
        self.rest: dict[str, list[Column]] = {}
        for column in columns:
            if column.theirs not in taken:
                self.rest.setdefault(column.key, []).append(column)
        for ours, found in self.fields.items():
            names = [column.theirs for column in found]
            shown = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
            source.notes[f"column {ours} <- {shown}"] += len(source.table.rows)

    def record(self, row: Row) -> Record:
        """Return the record in a row: texts in the best wanted language, numbered columns joined."""
        fields: dict[str, Any] = {}
        named: tuple[str, ...] = ()
        tags: list[str] = []
        unwanted: list[str] = []
        for ours, columns in self.fields.items():
            cells = [(column.tag, value) for column in columns if not blank(value := row.values.get(column.theirs))]
            given = [tag for tag, _ in cells if tag]
            if given and ours in _TEXTS:
                chosen = self._languages.choose(cells)
                tags += [chosen.tag] if chosen.tag else []
                unwanted += given if not chosen.values else []
                cells = [(None, value) for value in chosen.values]
            if ours == "name":
                named = tuple(dict.fromkeys(given))
            fields[ours] = _joined(ours, [value for _, value in cells])
        if "language" not in fields and (tags or unwanted):
            fields["language"] = (tags or unwanted)[0]
        _split_images(fields, self._notes)
        attributes: dict[str, Any] = {}
        for key, columns in self.rest.items():
            cells = [(column.tag, value) for column in columns if not blank(value := row.values.get(column.theirs))]
            values = self._languages.choose(cells).values if any(tag for tag, _ in cells) else [one for _, one in cells]
            if values:
                attributes[key] = values[0] if len(values) == 1 else clean.texts(values)
        return Record(row.line, fields, attributes, named)


def _find(source: Source, columns: Sequence[Column], guesses: Mapping[str, Sequence[str]]) -> dict[str, list[Column]]:
    """Return our column -> theirs; one that the user names stands alone.

    Raises:
        InputError: if a named column is missing, or the product id or the image path.

    """
    by_key: dict[str, list[Column]] = {}
    for column in columns:
        by_key.setdefault(column.key, []).append(column)
    there = f"it has {', '.join(source.table.columns)}" if columns else "it has no columns"
    found: dict[str, list[Column]] = {}
    for ours, theirs in source.columns.items():
        if theirs not in source.table.columns:
            raise InputError(f"{str(source.file)!r} lacks the column {theirs!r} (columns.{ours}); {there}.")
        found[ours] = [Column(theirs, normal(theirs))]
    taken = {column.theirs for one in found.values() for column in one}
    for ours, names in guesses.items():
        if ours in found:
            continue
        for name in names:
            free = [column for column in by_key.get(name, ()) if column.theirs not in taken]
            if free:
                found[ours] = sorted(free, key=lambda column: column.number)
                taken.update(column.theirs for column in free)
                break
    if "image_path" not in found and "other_image_paths" in found:
        found["image_path"] = found.pop("other_image_paths")
    for ours in ("product_id", "image_path"):
        if ours not in found:
            raise InputError(
                f"{str(source.file)!r} lacks the column {ours!r}; {there}. Name yours: --columns {ours}=COLUMN, or "
                f"in a recipe curate.columns."
            )
    return found


def _joined(ours: str, values: list[Any]) -> Any:
    """Return one value for our column from the cells that hold it."""
    if len(values) < 2 and ours != "image_path":
        return values[0] if values else None
    if ours == "image_path":
        return list(chain.from_iterable(items(value, _image_separators(value)) for value in values))
    if ours in ("keywords", "other_image_paths"):
        return list(chain.from_iterable(items(value, SEPARATORS[ours]) for value in values))
    if ours == "material":
        return ", ".join(clean.texts(scalar(value) for value in values))
    return values if ours in SEPARATORS else values[0]


def _image_separators(value: Any) -> str:
    """Return what parts several pictures in a cell; a comma does only after a picture's ending or before a URL."""
    return "|\n;," if isinstance(value, str) and _SEVERAL_PICTURES.search(value) else "|\n"


def _split_images(fields: dict[str, Any], notes: Counter[str]) -> None:
    """Take the first picture as the main one, and those after it as others."""
    pictures = [one for one in fields.get("image_path") or [] if not blank(scalar(one))]
    others = items(fields.get("other_image_paths"), SEPARATORS["other_image_paths"])
    if not pictures and others:
        notes["main picture missing: first of the others taken"] += 1
    every = pictures + others
    fields["image_path"] = every[0] if every else None
    fields["other_image_paths"] = every[1:]


def blank(value: Any) -> bool:
    """Return whether a cell holds nothing: null, blanks or not-a-number."""
    return value is None or (isinstance(value, str) and not value.strip()) or value != value


def scalar(value: Any) -> Any:
    """Return the value itself, the first of a list, or what an object calls its value or path; None for neither."""
    if isinstance(value, (list, tuple)):
        return next((one for one in map(scalar, value) if not blank(one)), None)
    if isinstance(value, Mapping):
        return next((scalar(value[name]) for name in _VALUE_NAMES if not blank(value.get(name))), None)
    return None if isinstance(value, (bytes, bytearray)) else value


_VALUE_NAMES = ("value", "path", "src", "url", "name", "label", "title")


def items(value: Any, separators: str) -> list[Any]:
    """Return a cell as a flat list: a list as it is, JSON in brackets, else split at the first separator in it."""
    if blank(value):
        return []
    if isinstance(value, (list, tuple)):
        return list(chain.from_iterable(items(one, "") for one in value))
    if isinstance(value, Mapping):
        return items(scalar(value), "")
    whole = str(value).strip()
    if whole.startswith("["):
        decoded = parse_cell(whole)
        if isinstance(decoded, list):
            return items(decoded, "")
    for separator in separators:
        if separator in whole:
            return [part for part in whole.split(separator) if part.strip()]
    return [whole]
