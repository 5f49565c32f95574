"""Reading a catalogue in the layout of Amazon Berkeley Objects (Collins et al. 2021, arXiv 2110.06199).

`listings/metadata/*.json[.gz]` hold one JSON object a line, `images/metadata/images.csv[.gz]` says where the picture
of an image id lies, `images/small/` (or `images/original/`) holds the pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shelfqa.catalogue import clean
from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.listing import Listing, Reading
from shelfqa.catalogue.quantity import quantity
from shelfqa.errors import InputError
from shelfqa.lines import BadRow, Line, read_lines
from shelfqa.records import Drop
from shelfqa.rows import RowError, parse_object, read_rows

Scalar = str | int | float | None


class Text(msgspec.Struct, gc=False):
    """One value of a listing's field with its language."""

    language_tag: str | None = None
    value: Scalar = None
    standardized_values: list[str] | None = None


Texts = list[Text] | None


class RawListing(msgspec.Struct, rename={"model_3d_id": "3dmodel_id"}):
    """A line as it stands in the archive; any field can be missing or null."""

    item_id: str | None = None
    domain_name: str | None = None
    marketplace: str | None = None
    country: str | None = None
    main_image_id: str | None = None
    other_image_id: list[str] | None = None
    product_type: list[Text] | str | None = None
    item_name: Texts = None
    brand: Texts = None
    bullet_point: Texts = None
    color: Texts = None
    color_code: list[str] | None = None
    fabric_type: Texts = None
    finish_type: Texts = None
    item_keywords: Texts = None
    item_shape: Texts = None
    material: Texts = None
    model_name: Texts = None
    model_number: Texts = None
    model_year: Texts = None
    pattern: Texts = None
    product_description: Texts = None
    style: Texts = None
    item_dimensions: dict[str, Any] | None = None
    item_weight: list[dict[str, Any]] | None = None
    node: list[dict[str, Any]] | None = None
    number_of_items: Any = None
    spin_id: str | None = None
    model_3d_id: str | None = None


_decode = msgspec.json.Decoder(RawListing).decode
_FIELDS = {field.encode_name: field.type for field in msgspec.structs.fields(RawListing)}
_ATTRIBUTES = {
    "pattern": "pattern",
    "item_shape": "shape",
    "style": "style",
    "model_name": "model_name",
    "model_number": "model_number",
    "model_year": "model_year",
    "finish_type": "finish",
    "fabric_type": "fabric",
}
_LANGUAGE_FREE = frozenset({"model_number", "model_year"})
_STANDARD_COLORS = frozenset(
    {"beige", "black", "blue", "bronze", "brown", "clear", "gold", "green", "grey", "gray", "multi", "multicolor"}
    | {"off-white", "orange", "pink", "purple", "red", "silver", "turquoise", "white", "yellow"}
)
"""English names that are taken from a listing in another language, where they are the standardized value."""


class Folder(NamedTuple):
    """Where the parts of an ABO folder lie."""

    shards: list[Path]
    image_table: Path
    images: Path


def is_abo(folder: Path) -> bool:
    """Return whether the folder has ABO's layout, or at least its first part."""
    return (folder / "listings").is_dir()


def find_parts(folder: Path, images: Path | None = None) -> Folder:
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
    if home is None:
        raise InputError(f"There is no folder at {str(homes[0])!r}: give the folder of the pictures with --images.")
    return Folder(sorted(shards, key=lambda path: path.name), table, home)


def read_abo(parts: Folder, languages: Languages) -> Reading:
    """Return the listings of all shards, each with its texts in the best wanted language."""
    notes: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    paths = read_image_paths(parts.image_table, notes)
    listings: list[Listing] = []
    drops: list[Drop] = []
    for shard in parts.shards:
        reader = _ShardReader(shard.name, paths, languages, notes, seen)
        for line in read_lines(shard):
            found = reader.read(line)
            if isinstance(found, Listing):
                listings.append(found)
            elif found is not None:
                drops.append(found)
    return Reading(listings, drops, notes, seen)


def read_image_paths(table: Path, notes: Counter[str]) -> dict[str, str]:
    """Return the path of each image id; broken rows are counted in `notes`.

    Raises:
        InputError: if the table lacks `image_id` or `path`.

    """
    found = read_rows(table)
    for column in ("image_id", "path"):
        if column not in found.columns:
            raise InputError(f"{str(table)!r} lacks the column {column!r}; it has {', '.join(found.columns)}.")
    paths: dict[str, str] = {}
    for row in found.rows:
        image_id, path = row.values.get("image_id"), row.values.get("path")
        if image_id and path:
            paths[image_id] = path
        else:
            notes["image table: row without id or path"] += 1
    for bad in found.bad:
        notes[f"image table: {bad.reason}"] += 1
    return paths


class _ShardReader:
    """Turns the lines of one shard into listings."""

    def __init__(
        self,
        file: str,
        paths: Mapping[str, str],
        languages: Languages,
        notes: Counter[str],
        seen: Counter[str],
    ) -> None:
        self._file = file
        self._paths = paths
        self._languages = languages
        self._notes = notes
        self._seen = seen

    def read(self, line: Line | BadRow) -> Listing | Drop | None:
        """Return the listing in a line, or why there is none; None for a blank line."""
        if isinstance(line, BadRow):
            return Drop(line.file, line.line, None, line.reason, line.detail)
        if not line.data.strip():
            return None
        try:
            try:
                raw = _decode(line.data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raw = self._repaired(parse_object(line.data))
            return self._listing(raw, line.number)
        except RowError as error:
            return Drop(self._file, line.number, None, error.reason, error.detail)

    def _repaired(self, values: Mapping[str, Any]) -> RawListing:
        """Return the listing without the fields that have an unexpected form; they are counted."""
        kept: dict[str, Any] = {}
        for name, value in values.items():
            if name not in _FIELDS or value is None:
                continue
            for candidate in (value, _as_list(value), clean.text(value)):
                try:
                    kept[name] = msgspec.to_builtins(msgspec.convert(candidate, _FIELDS[name]))
                    break
                except msgspec.ValidationError:
                    continue
            else:
                self._notes[f"field of unexpected form left out: {name}"] += 1
        return msgspec.convert(kept, RawListing)

    def _listing(self, raw: RawListing, number: int) -> Listing | Drop:
        product_id = clean.text(raw.item_id)
        for text in raw.item_name or ():
            self._seen[text.language_tag or "none"] += 1
        if product_id is None:
            return Drop(self._file, number, None, "no-product-id", "item_id is missing or empty")
        image_id = clean.text(raw.main_image_id)
        if image_id is None:
            return Drop(self._file, number, product_id, "no-image-id", "main_image_id is missing or empty")
        image = self._paths.get(image_id)
        if image is None:
            return Drop(self._file, number, product_id, "image-not-listed", f"{image_id!r} is not in the image table")
        name, tag = self._one(raw.item_name)
        bullets = self._all(raw.bullet_point)
        keywords = self._all(raw.item_keywords)
        color, given = self._color(raw.color)
        brand, _ = self._one(raw.brand)
        if tag is None:
            tag = next((chosen for chosen in self._tags(raw) if chosen), None)
        rank = self._languages.rank(tag) if tag is not None else None
        return Listing(
            file=self._file,
            line=number,
            product_id=product_id,
            image_path=image,
            other_image_paths=self._others(raw.other_image_id, image),
            product_type=_product_type(raw.product_type),
            name=name,
            brand=brand or _plain_ascii(raw.brand),
            color=color,
            material=self._one(raw.material)[0],
            bullet_points=bullets,
            keywords=keywords,
            description=clean.without_html(self._one(raw.product_description)[0]),
            attributes=self._attributes(raw, given, name, bullets),
            language=tag,
            language_rank=self._languages.unwanted_rank if rank is None else rank,
            domain=clean.text(raw.domain_name),
        )

    def _one(self, texts: Texts) -> tuple[str | None, str | None]:
        """Return the first text in the best language, and that language."""
        if not texts:
            return None, None
        chosen = self._languages.choose(_tagged(texts))
        values = clean.texts(chosen.values)
        return (values[0], chosen.tag) if values else (None, None)

    def _all(self, texts: Texts) -> list[str]:
        if not texts:
            return []
        return clean.texts(self._languages.choose(_tagged(texts)).values)

    def _tags(self, raw: RawListing) -> list[str | None]:
        fields = (raw.bullet_point, raw.item_keywords, raw.product_description, raw.color, raw.material, raw.brand)
        return [self._languages.choose(_tagged(texts)).tag for texts in fields]

    def _color(self, texts: Texts) -> tuple[str | None, str | None]:
        """Return the standardized colour in lower case, else the given one; and the given one."""
        chosen = self._languages.choose((text.language_tag, text) for text in texts or ())
        given = next(iter(clean.texts(text.value for text in chosen.values)), None)
        standard = clean.texts(value for text in chosen.values for value in text.standardized_values or ())
        if not chosen.values:
            elsewhere = clean.texts(value for text in texts or () for value in text.standardized_values or ())
            standard = [value for value in elsewhere if value.lower() in _STANDARD_COLORS]
        return (standard[0].lower() if standard else given), given

    def _others(self, ids: Sequence[str] | None, main: str) -> list[str]:
        found: dict[str, None] = {}
        for image_id in ids or ():
            path = self._paths.get(image_id)
            if path is None:
                self._notes["other image left out: not in the image table"] += 1
            elif path != main:
                found[path] = None
        return list(found)

    def _attributes(self, raw: RawListing, color: str | None, name: str | None, bullets: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {"color_given": color, "color_code": raw.color_code}
        for field, ours in _ATTRIBUTES.items():
            texts: Texts = getattr(raw, field)
            value = self._one(texts)[0]
            if value is None and field in _LANGUAGE_FREE and texts:
                value = clean.text(texts[0].value)
            found[ours] = value
        found["weight"] = _measure(raw.item_weight[0]) if raw.item_weight else None
        sides = {side: _measure(value) for side, value in sorted((raw.item_dimensions or {}).items())}
        found["dimensions"] = {side: measure for side, measure in sides.items() if measure is not None}
        found["node"] = clean.texts(node.get("node_name") or node.get("path") for node in raw.node or ())
        found.update(country=clean.text(raw.country), marketplace=clean.text(raw.marketplace))
        found.update(spin_id=raw.spin_id, model_3d_id=raw.model_3d_id)
        found.update(items_attributes(raw.number_of_items, name, bullets))
        return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def items_attributes(given: Any, name: str | None, bullets: Sequence[str]) -> dict[str, Any]:
    """Return `number_of_items`, given or found in the texts, and `number_of_items_text`, the words that say so."""
    number = clean.text(given[0] if isinstance(given, list) and given else given)
    if number is None and isinstance(given, list) and given and isinstance(given[0], dict):
        number = clean.text(given[0].get("value"))
    if number is not None and number.isdecimal():
        return {"number_of_items": int(number)}
    stated = quantity(name, bullets)
    if stated is None:
        return {}
    return {"number_of_items": stated.number, "number_of_items_text": stated.text}


def _tagged(texts: Texts) -> list[tuple[str | None, Scalar]]:
    return [(text.language_tag, text.value) for text in texts or () if text.value not in (None, "")]


def _as_list(value: Any) -> Any:
    """Return a bare text, or a list with bare texts, as the list of tagged texts that it should be."""
    values = value if isinstance(value, list) else [value]
    return [
        {"value": item} if isinstance(item, (str, int, float)) else item
        for item in values
        if isinstance(item, (str, int, float)) or _is_text(item)
    ]


def _is_text(item: Any) -> bool:
    try:
        msgspec.convert(item, Text)
    except msgspec.ValidationError:
        return False
    return True


def _product_type(value: list[Text] | str | None) -> str | None:
    if isinstance(value, str):
        return clean.type_name(value)
    return next(iter(clean.texts(clean.type_name(text.value) for text in value or ())), None)


def _plain_ascii(texts: Texts) -> str | None:
    """Return a brand of another language if it is written in ASCII: names are the same everywhere."""
    names = clean.texts(text.value for text in texts or ())
    return next((name for name in names if name.isascii()), None)


def _measure(value: Any) -> dict[str, Any] | None:
    """Return {"value", "unit"} of a weight or a side, in normalised units where the archive gives them."""
    if not isinstance(value, dict):
        return None
    inner = value.get("normalized_value")
    best = inner if isinstance(inner, dict) and inner.get("value") is not None else value
    if not isinstance(best.get("value"), (int, float)):
        return None
    return {"value": best["value"], "unit": clean.text(best.get("unit"))}
