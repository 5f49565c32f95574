"""One line of an Amazon Berkeley Objects shard as a listing (Collins et al. 2021, arXiv 2110.06199)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from isal import isal_zlib

from shelfqa.catalogue import clean
from shelfqa.catalogue.colors import STANDARD_COLOR_WORDS
from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.listing import Extent, Listing, key_of
from shelfqa.catalogue.measures import measured_length, measured_weight
from shelfqa.catalogue.quantity import items_attributes
from shelfqa.lines import BadRow, Line
from shelfqa.records import Drop
from shelfqa.rows import RowError, parse_object

Scalar = str | int | float | None


class Text(msgspec.Struct, gc=False):
    """One value of a listing's field with its language."""

    language_tag: str | None = None
    value: Scalar = None
    standardized_values: list[str] | None = None


Texts = list[Text] | None


_MAX_MEASURE = 1e15
"""What is not below it, infinity included, is no measure of a product."""


class Measure(msgspec.Struct, gc=False):
    """A weight or a side, as given and in the archive's normalised units."""

    value: float | int | None = None
    unit: str | None = None
    normalized_value: Measure | None = None

    def best(self) -> tuple[float | int, str | None] | None:
        """Return value and unit, normalised where the archive says so."""
        inner = self.normalized_value
        best = inner if inner is not None and inner.value is not None else self
        return (best.value, best.unit) if best.value is not None and abs(best.value) < _MAX_MEASURE else None


class Node(msgspec.Struct, gc=False):
    """A place in the shop's tree of categories; the archive's own description calls the name `path`."""

    node_name: Scalar = None
    path: Scalar = None


class RawListing(msgspec.Struct, rename={"model_3d_id": "3dmodel_id"}, gc=False):
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
    item_dimensions: dict[str, Measure | None] | None = None
    item_weight: list[Measure] | None = None
    node: list[Node] | None = None
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


class LineReader:
    """Turns the lines of one shard into listings; counts in `notes` and `seen` what it met."""

    def __init__(self, file: str, languages: Languages, extent: Extent = "whole") -> None:
        self.notes: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self._file = file
        self._languages = languages
        self._extent = extent

    def read(self, line: Line | BadRow) -> Listing | Drop | None:
        """Return the listing in a line, or why there is none; None for a blank line."""
        if isinstance(line, BadRow):
            return Drop(line.file, line.line, None, line.reason, line.detail)
        try:
            try:
                raw = _decode(line.data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                if not line.data.strip():
                    return None
                raw = self._repaired(parse_object(line.data))
            return self._listing(raw, line)
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
                self.notes[f"field of unexpected form left out: {name}"] += 1
        return msgspec.convert(kept, RawListing)

    def _listing(self, raw: RawListing, line: Line) -> Listing | Drop:
        number = line.number
        product_id = clean.text(raw.item_id)
        for text in raw.item_name or ():
            self.seen[text.language_tag or "none"] += 1
        if product_id is None:
            return Drop(self._file, number, None, "no-product-id", "item_id is missing or empty")
        image_id = clean.text(raw.main_image_id)
        if image_id is None:
            return Drop(self._file, number, product_id, "no-image-id", "main_image_id is missing or empty")
        name, tag = self._one(raw.item_name)
        color, given, color_tag = self._color(raw.color)
        listing = Listing(
            file=self._file,
            line=number,
            product_id=product_id,
            image_id=image_id,
            other_image_ids=raw.other_image_id or [],
            product_type=_product_type(raw.product_type),
            name=name,
            color=color,
            language=tag or color_tag,
            domain=clean.text(raw.domain_name),
        )
        points, points_tag = self._chosen(raw.bullet_point)
        words, words_tag = self._chosen(raw.item_keywords)
        if self._extent != "kept":
            listing.bullet_points_key, listing.keywords_key = key_of(points), key_of(words)
            listing.tie = isal_zlib.crc32(line.data)
        if self._extent != "brief":
            listing.bullet_points, listing.keywords = clean.texts(points), clean.texts(words)
            said = [points_tag if listing.bullet_points else None, words_tag if listing.keywords else None]
            self._complete(listing, raw, [tag, *said], color_tag, given)
        return listing

    def _complete(
        self, listing: Listing, raw: RawListing, tags: list[str | None], color_tag: str | None, color: str | None
    ) -> None:
        """Add what a brief listing lacks."""
        brand, brand_tag = self._one(raw.brand)
        listing.brand = brand or _plain_ascii(raw.brand)
        listing.material, material_tag = self._one(raw.material)
        description, description_tag = self._one(raw.product_description)
        listing.description = clean.without_html(description) if description is not None else None
        tags += [description_tag, color_tag, material_tag, brand_tag]
        tag = next((tag for tag in tags if tag), None)
        rank = self._languages.rank(tag) if tag is not None else None
        listing.language = tag
        listing.language_rank = self._languages.unwanted_rank if rank is None else rank
        listing.attributes = self._attributes(raw, color, listing.name, listing.bullet_points)

    def _chosen(self, texts: Texts) -> tuple[list[Scalar], str | None]:
        """Return the values in the best language, and that language; None where they are not tagged."""
        if not texts:
            return [], None
        if len(texts) == 1:
            tag = texts[0].language_tag
            return ([texts[0].value], tag) if self._languages.rank(tag) is not None else ([], None)
        best = self._languages.best({text.language_tag for text in texts if text.value})
        if best is None:
            return [], None
        tag = best or None
        return [text.value for text in texts if text.language_tag == tag], tag

    def _one(self, texts: Texts) -> tuple[str | None, str | None]:
        """Return the first text in the best language, and that language."""
        values, tag = self._chosen(texts)
        for value in values:
            cleaned = clean.text(value)
            if cleaned is not None:
                return cleaned, tag
        return None, None

    def _color(self, texts: Texts) -> tuple[str | None, str | None, str | None]:
        """Return the standardized colour in lower case, else the given one; the given one; and its language."""
        if not texts:
            return None, None, None
        best = self._languages.best({text.language_tag for text in texts})
        chosen = [text for text in texts if (text.language_tag or "") == best]
        given = next(iter(clean.texts(text.value for text in chosen)), None)
        standard = clean.texts(value for text in chosen for value in text.standardized_values or ())
        if not chosen:
            elsewhere = clean.texts(value for text in texts for value in text.standardized_values or ())
            standard = [value for value in elsewhere if value.lower() in STANDARD_COLOR_WORDS]
        return (standard[0].lower() if standard else given), given, (best or None) if given is not None else None

    def _attributes(self, raw: RawListing, color: str | None, name: str | None, bullets: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if color is not None:
            found["color_given"] = color
        if raw.color_code:
            found["color_code"] = raw.color_code
        for field, ours in _ATTRIBUTES.items():
            texts: Texts = getattr(raw, field)
            if not texts:
                continue
            value = self._one(texts)[0]
            if value is None and field in _LANGUAGE_FREE:
                value = clean.text(texts[0].value)
            if value is not None:
                found[ours] = value
        if raw.item_weight and (given := raw.item_weight[0].best()) is not None:
            found["weight"] = _weight(*given)
        if raw.item_dimensions:
            found["dimensions"] = {
                side: _side(*given)
                for side, measure in raw.item_dimensions.items()
                if measure is not None and (given := measure.best()) is not None
            }
        if raw.node:
            found["node"] = clean.texts(node.node_name or node.path for node in raw.node)
        if raw.country is not None:
            found["country"] = clean.text(raw.country)
        if raw.marketplace is not None:
            found["marketplace"] = clean.text(raw.marketplace)
        if raw.spin_id is not None:
            found["spin_id"] = raw.spin_id
        if raw.model_3d_id is not None:
            found["model_3d_id"] = raw.model_3d_id
        found.update(items_attributes(raw.number_of_items, name, bullets))
        return {key: value for key, value in found.items() if value}


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
    for text in value or ():
        name = clean.type_name(text.value)
        if name is not None:
            return name
    return None


def _plain_ascii(texts: Texts) -> str | None:
    """Return a brand of another language if it is written in ASCII: names are the same everywhere."""
    names = clean.texts(text.value for text in texts or ())
    return next((name for name in names if name.isascii()), None)


@lru_cache(maxsize=1 << 12, typed=True)
def _weight(value: float | int, unit: str | None) -> dict[str, Any]:
    """Return a weight in grams, or as given where its unit is not known."""
    return measured_weight(value, unit) or {"value": value, "unit": clean.text(unit)}


@lru_cache(maxsize=1 << 12, typed=True)
def _side(value: float | int, unit: str | None) -> dict[str, Any]:
    """Return a length in centimetres, or as given where its unit is not known."""
    return measured_length(value, unit) or {"value": value, "unit": clean.text(unit)}
