"""Reading a catalogue from CSV, TSV, JSON-lines or Parquet files with a picture path in each row."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from shelfqa.catalogue import clean
from shelfqa.catalogue.abo import items_attributes
from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.listing import Listing, Reading
from shelfqa.errors import ConfigError, InputError, did_you_mean
from shelfqa.records import Drop
from shelfqa.rows import Row, is_table, read_rows

GUESSES: dict[str, tuple[str, ...]] = {
    "product_id": ("product_id", "id", "sku", "asin", "item_id", "product_code", "handle", "code"),
    "image_path": ("image_path", "image", "path", "main_image", "image_file", "filename", "file_name", "image_src"),
    "other_image_paths": ("other_image_paths", "other_images", "additional_images", "images"),
    "product_type": ("product_type", "type", "category", "product_category"),
    "name": ("name", "title", "item_name", "product_name", "product_title"),
    "brand": ("brand", "brand_name", "vendor", "manufacturer"),
    "color": ("color", "colour", "color_name"),
    "material": ("material", "materials", "material_type"),
    "bullet_points": ("bullet_points", "bullet_point", "bullets", "features", "highlights"),
    "keywords": ("keywords", "item_keywords", "tags", "search_terms"),
    "description": ("description", "product_description", "body_html", "body", "long_description"),
    "language": ("language", "language_tag", "lang", "locale"),
    "domain": ("domain", "domain_name"),
}
"""The names under which each of our columns is looked for, best first; case, blanks and dashes do not matter."""

_ALIASES = {"item_shape": "shape", "finish_type": "finish", "fabric_type": "fabric"}


def table_files(catalogue: Path) -> list[Path]:
    """Return the file itself, or the tables in a folder in the order of their names."""
    if catalogue.is_file():
        return [catalogue]
    return sorted(path for path in catalogue.iterdir() if path.is_file() and is_table(path))


def read_tables(files: list[Path], images: Path, columns: Mapping[str, str], languages: Languages) -> Reading:
    """Return the listings in all files.

    Args:
        files: the tables.
        images: the folder that image paths are relative to.
        columns: our column -> the column of the file, where the guess would be wrong.
        languages: which texts are taken where a row names its language.

    Raises:
        InputError: if a file lacks the product id or the image path.
        ConfigError: if `columns` holds a name that is none of ours.

    """
    for ours in columns:
        if ours not in GUESSES:
            raise ConfigError(f"columns: unknown column {ours!r}.{did_you_mean(ours, GUESSES)}")
    reading = Reading([], [], Counter(), Counter())
    for file in files:
        table = read_rows(file)
        if table.bad and not table.rows:
            first = table.bad[0]
            raise InputError(f"{file}:{first.line}: {first.detail}; no row of the file can be read. Mend it first.")
        found = find_columns(file, table.columns, columns)
        for ours, theirs in found.items():
            reading.notes[f"column {ours} <- {theirs}"] += len(table.rows)
        reading.drops.extend(Drop(bad.file, bad.line, None, bad.reason, bad.detail) for bad in table.bad)
        reader = _RowReader(file.name, found, images, languages, reading.languages)
        for row in table.rows:
            listing = reader.read(row)
            (reading.listings if isinstance(listing, Listing) else reading.drops).append(listing)  # type: ignore[arg-type]
    return reading


def find_columns(file: Path, present: list[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return our column -> theirs for a file with the columns `present`."""
    names = {_normal(name): name for name in reversed(present)}
    there = f"it has {', '.join(present)}" if present else "it has no columns"
    found: dict[str, str] = {}
    for ours, theirs in mapping.items():
        if theirs not in present:
            raise InputError(f"{str(file)!r} lacks the column {theirs!r} (columns.{ours}); {there}.")
        found[ours] = theirs
    taken = set(found.values())
    for ours, guesses in GUESSES.items():
        theirs = next((names[guess] for guess in guesses if guess in names and names[guess] not in taken), "")
        if ours not in found and theirs:
            found[ours] = theirs
            taken.add(theirs)
    for ours in ("product_id", "image_path"):
        if ours not in found:
            raise InputError(
                f"{str(file)!r} lacks the column {ours!r}; {there}. Name yours: --columns {ours}=COLUMN, or "
                f"in a recipe curate.columns."
            )
    return found


def _normal(name: str) -> str:
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").replace("(", " ").replace(")", " ").split())


class _RowReader:
    """Turns the rows of one file into listings."""

    def __init__(
        self, file: str, columns: Mapping[str, str], images: Path, languages: Languages, seen: Counter[str]
    ) -> None:
        self._file = file
        self._columns = columns
        self._theirs = set(columns.values())
        self._images = images
        self._languages = languages
        self._seen = seen

    def read(self, row: Row) -> Listing | Drop:
        """Return the listing in a row, or why there is none."""
        get = {ours: row.values.get(theirs) for ours, theirs in self._columns.items()}
        product_id = clean.text(get["product_id"])
        language = clean.text(get.get("language"))
        self._seen[language or "none"] += 1
        if product_id is None:
            return self._drop(row, None, "no-product-id", f"{self._columns['product_id']!r} is empty")
        path = clean.text(get["image_path"])
        if path is None:
            return self._drop(row, product_id, "no-image-id", f"{self._columns['image_path']!r} is empty")
        image = self._inside(path)
        if image is None:
            return self._drop(row, product_id, "image-outside-folder", f"{path!r} is not under the images folder")
        rank = self._languages.rank(language)
        wanted = rank is not None
        texts = get if wanted else {}
        name = clean.text(texts.get("name"))
        bullets = clean.texts(_items(texts.get("bullet_points"), "|\n"))
        color = clean.text(texts.get("color"))
        others = dict.fromkeys(self._inside(str(other)) for other in _items(get.get("other_image_paths"), "|;,\n"))
        return Listing(
            file=self._file,
            line=row.line,
            product_id=product_id,
            image_path=image,
            other_image_paths=[other for other in others if other is not None and other != image],
            product_type=clean.type_name(get.get("product_type")),
            name=name,
            brand=clean.text(get.get("brand")),
            color=color,
            material=clean.text(texts.get("material")),
            bullet_points=bullets,
            keywords=clean.texts(_items(texts.get("keywords"), "|;,\n")),
            description=clean.without_html(texts.get("description")),
            attributes=self._attributes(row, name, bullets, color) if wanted else {},
            language=language if wanted else None,
            language_rank=self._languages.unwanted_rank if rank is None else rank,
            domain=clean.text(get.get("domain")),
        )

    def _drop(self, row: Row, product_id: str | None, reason: str, detail: str) -> Drop:
        return Drop(self._file, row.line, product_id, reason, detail)

    def _inside(self, path: str) -> str | None:
        """Return the path relative to the images folder, or None where it leads out of it."""
        path = path.strip().replace("\\", "/")
        if Path(path).is_absolute():
            try:
                path = Path(path).relative_to(self._images.absolute()).as_posix()
            except ValueError:
                return None
        path = posixpath.normpath(path)
        return None if path.startswith("../") or path in ("..", ".") else path

    def _attributes(self, row: Row, name: str | None, bullets: list[str], color: str | None) -> dict[str, Any]:
        found: dict[str, Any] = {"color_given": color}
        given = None
        for theirs, value in row.values.items():
            key = _ALIASES.get(_normal(theirs), _normal(theirs))
            if theirs in self._theirs:
                continue
            if key == "attributes":
                found.update(_object(value))
            elif key == "number_of_items":
                given = value
            else:
                found[key] = value if isinstance(value, (list, dict, int, float)) else clean.text(value)
        number = items_attributes(given, name, bullets)
        found = {key: value for key, value in found.items() if value not in (None, "", [], {})}
        return number | {key: msgspec.to_builtins(value, str_keys=True) for key, value in found.items()}


def _object(value: Any) -> dict[str, Any]:
    """Return a cell that holds attributes as an object, in JSON or as such."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return {"attributes": value}
    return value if isinstance(value, dict) else {}


def _items(value: Any, separators: str) -> list[Any]:
    """Return a cell as a list: a list as it is, JSON in brackets, else split at the first separator that occurs."""
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return list(value)
    whole = str(value).strip()
    if whole.startswith("["):
        try:
            decoded = msgspec.json.decode(whole)
        except msgspec.DecodeError:
            decoded = None
        if isinstance(decoded, list):
            return decoded
    for separator in separators:
        if separator in whole:
            return whole.split(separator)
    return [whole]
