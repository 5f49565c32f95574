"""Reading a catalogue from CSV, TSV, JSON-lines or Parquet files with a picture path or URL in each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shelfqa.catalogue import clean
from shelfqa.catalogue.colors import standard_color
from shelfqa.catalogue.columns import GUESSES, SEPARATORS, Record, Source, blank, items, normal, scalar
from shelfqa.catalogue.exports import check, export_named, find_header, is_export_text
from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.listing import Listing, Reading
from shelfqa.catalogue.measured_columns import with_measures
from shelfqa.catalogue.picture_paths import Fault, PicturePaths
from shelfqa.catalogue.quantity import items_attributes
from shelfqa.errors import ConfigError, InputError, did_you_mean
from shelfqa.records import Drop
from shelfqa.rows import is_table, parse_cell, read_rows

_ALIASES = {
    "item_shape": "shape",
    "finish_type": "finish",
    "fabric_type": "fabric",
    "pattern_name": "pattern",
    "pattern_type": "pattern",
    "style_name": "style",
    "size_name": "size",
    "color_standardized_values": "color_map",
}


def table_files(catalogue: Path) -> list[Path]:
    """Return the file itself, or the tables in a folder in the order of their names.

    A `.txt` file in a folder counts as a table only if it opens like a known export, such as Amazon's templates.
    """
    if catalogue.is_file():
        return [catalogue]
    return sorted(
        path
        for path in catalogue.iterdir()
        if path.is_file() and not path.name.startswith(".") and (is_table(path) or is_export_text(path))
    )


def read_tables(
    files: list[Path], images: Path, columns: Mapping[str, str], languages: Languages, *, mapping: str = "generic"
) -> Reading:
    """Return the listings in all files.

    Rows present in the files = listings + drops + the note "row joined to its product", which counts the further
    rows of products that take several (Shopify).

    Args:
        files: the tables.
        images: the folder that image paths are relative to.
        columns: our column -> the column of the file, where the guess would be wrong.
        languages: which texts are taken where a row or a column names its language.
        mapping: `generic`, `amazon` or `shopify`, or `auto`: told for each file by its header.

    Raises:
        InputError: if a file lacks the product id or the image path.
        ConfigError: if `columns` or `mapping` holds a name that is none of ours.

    """
    check(mapping)
    for ours in columns:
        if ours not in GUESSES:
            raise ConfigError(f"columns: unknown column {ours!r}.{did_you_mean(ours, GUESSES)}")
    reading = Reading([], [], Counter(), Counter())
    pictures = PicturePaths(images, reading.notes)
    for file in files:
        table = read_rows(file, find_header)
        if table.bad and not table.rows:
            first = table.bad[0]
            raise InputError(f"{file}:{first.line}: {first.detail}; no row of the file can be read. Mend it first.")
        if table.preamble:
            reading.notes["line above the header or example row passed over"] += len(table.preamble)
        reading.drops.extend(Drop(bad.file, bad.line, None, bad.reason, bad.detail) for bad in table.bad)
        reader = _RecordReader(file.name, pictures, languages, reading)
        source = Source(file, table, columns, languages, reading.notes)
        for record in export_named(mapping, table.columns).records(source):
            listing = record if isinstance(record, Drop) else reader.read(record)
            if isinstance(listing, Drop):
                reading.drops.append(listing)
            else:
                reading.listings.append(listing)
    return reading


class _RecordReader:
    """Turns the records of one file into listings."""

    def __init__(self, file: str, pictures: PicturePaths, languages: Languages, reading: Reading) -> None:
        self._file = file
        self._pictures = pictures
        self._languages = languages
        self._seen = reading.languages
        self._notes = reading.notes

    def read(self, record: Record) -> Listing | Drop:
        """Return the listing in a record, or why there is none."""
        get = {ours: None if blank(value) else value for ours, value in record.fields.items()}
        product_id = clean.text(scalar(get.get("product_id")))
        language = clean.text(scalar(get.get("language")))
        self._seen.update(record.tags or (language or "none",))
        if product_id is None:
            return self._drop(record, None, "no-product-id", "the product's id is empty")
        path = clean.text(scalar(get.get("image_path")))
        if path is None:
            return self._drop(record, product_id, "no-image-id", "no picture is named")
        image = self._pictures.resolve(path)
        if isinstance(image, Fault):
            return self._drop(record, product_id, image.reason, image.detail)
        rank = self._languages.rank(language)
        wanted = rank is not None
        texts = get if wanted else {}
        name = clean.text(scalar(texts.get("name")))
        bullets = clean.texts(items(texts.get("bullet_points"), SEPARATORS["bullet_points"]))
        color = clean.text(scalar(texts.get("color")))
        color_map = standard_color(scalar(record.attributes.get("color_map", record.attributes.get(_COLOR_VALUES))))
        attributes = self._attributes(record.attributes, wanted)
        if wanted:
            attributes.setdefault("color_given", color)
            attributes.setdefault("color_standard", color_map or standard_color(color))
            attributes = items_attributes(attributes.pop("number_of_items", None), name, bullets) | attributes
        return Listing(
            file=self._file,
            line=record.line,
            product_id=product_id,
            image_path=image,
            other_image_paths=self._others(get.get("other_image_paths"), image),
            product_type=clean.type_name(scalar(get.get("product_type"))),
            name=name,
            brand=clean.text(scalar(get.get("brand"))),
            color=color,
            material=clean.text(scalar(texts.get("material"))),
            bullet_points=bullets,
            keywords=clean.texts(items(texts.get("keywords"), SEPARATORS["keywords"])),
            description=clean.without_html(scalar(texts.get("description"))),
            attributes={key: value for key, value in attributes.items() if value not in (None, "", [], {})},
            language=language if wanted else None,
            language_rank=self._languages.unwanted_rank if rank is None else rank,
            domain=clean.text(scalar(get.get("domain"))),
        )

    def _drop(self, record: Record, product_id: str | None, reason: str, detail: str) -> Drop:
        return Drop(self._file, record.line, product_id, reason, detail)

    def _others(self, value: Any, image: str) -> list[str]:
        found: dict[str, None] = {}
        for given in clean.texts(items(value, SEPARATORS["other_image_paths"])):
            path = self._pictures.resolve(given)
            if isinstance(path, Fault):
                self._notes[f"other image left out: {path.reason}"] += 1
            elif path != image:
                found[path] = None
        return list(found)

    def _attributes(self, given: Mapping[str, Any], wanted: bool) -> dict[str, Any]:
        """Return the other columns with weights and dimensions normalised; only these of an unwanted language."""
        found: dict[str, Any] = {}
        for name, value in given.items():
            key = _ALIASES.get(normal(name), normal(name))
            if key == "attributes":
                found.update(self._object(value))
            elif isinstance(value, (bytes, bytearray)):
                self._notes[f"column of binary values left out: {name}"] += 1
            elif not blank(value):
                found[key] = value if isinstance(value, (list, dict, int, float)) else self._plain(value)
        measured = with_measures(found)
        return measured if wanted else {key: measured[key] for key in ("weight", "dimensions") if key in measured}

    def _object(self, value: Any) -> dict[str, Any]:
        """Return a cell that holds attributes as an object, in JSON or as such."""
        if isinstance(value, str):
            value = parse_cell(value, default={"attributes": value})
        return {str(key): one for key, one in value.items()} if isinstance(value, dict) else {}

    def _plain(self, value: Any) -> Any:
        return clean.text(value) if isinstance(value, str) else clean.text(str(value))


_COLOR_VALUES = "color_standardized_values"
