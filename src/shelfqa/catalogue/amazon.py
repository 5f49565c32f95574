"""Amazon's inventory templates and listings reports as tables.

Three kinds of header are known: the classic flat file (`item_sku`, `bullet_point1`, …), the newer one with an
attribute path a column (`bullet_point[marketplace_id=…][language_tag=en_US]#1.value`), and the listings report
(`seller-sku`, `item-name`, …). Rows above the field names (`TemplateType=…`, labels) are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from shelfqa.catalogue import clean
from shelfqa.catalogue.columns import GUESSES, Column, Layout, Record, Source, normal, scalar
from shelfqa.records import Drop

_ALIASES: dict[str, tuple[str, ...]] = {
    "product_id": ("item_sku", "contribution_sku", "seller_sku", "asin1"),
    "image_path": ("main_image_url", "main_product_image_locator", "main_image"),
    "other_image_paths": ("other_image_url", "other_product_image_locator", "other_image"),
    "product_type": ("feed_product_type", "product_type", "item_type_keyword", "item_type", "item_type_name"),
    "name": ("item_name", "title", "product_name"),
    "brand": ("brand_name", "brand", "manufacturer"),
    "color": ("color_name", "color"),
    "material": ("material_type", "material", "material_name"),
    "bullet_points": ("bullet_point", "key_product_features"),
    "keywords": ("generic_keywords", "generic_keyword", "search_terms", "search_term", "keywords"),
    "description": ("product_description", "item_description"),
}
_IDS = frozenset({"item_sku", "contribution_sku", "seller_sku"})
_MARKS = frozenset(
    {"item_name", "brand_name", "feed_product_type", "product_type", "main_image_url", "main_product_image_locator"}
    | {"product_description", "item_description", "bullet_point", "external_product_id", "external_product_id_type"}
    | {"item_type_keyword", "update_delete", "parent_child", "parentage_level", "generic_keywords", "generic_keyword"}
    | {"color_map", "standard_price", "listing_id", "asin1", "record_action"}
)
_PATH = re.compile(r"(?:::)?(?P<field>[a-z0-9_]+)(?P<where>(?:\[[^\]]*\])*)(?:#(?P<number>\d+))?(?:\.(?P<part>.+))?")
_TAG = re.compile(r"\[language_tag=([^\]]+)\]")
_TRAILING_NUMBER = re.compile(r"(.*?[a-z])_?(\d{1,2})")
_PLAIN_PARTS = frozenset({"value", "media_location", "name"})
_CONTENT_LANGUAGE = re.compile(r"contentLanguageTag=([A-Za-z]{2}[_-][A-Za-z]{2})")


def recognises(columns: Sequence[str]) -> bool:
    """Return whether a header is one of Amazon's: the seller's item number and two more of its field names."""
    keys = {column.key for column in map(_column, columns)}
    return bool(keys & _IDS) and len(keys & _MARKS) >= 2


def records(source: Source) -> Iterator[Record | Drop]:
    """Yield one record a row. Parent rows, which stand for a family of variants, count only with a picture.

    Dropped are parent rows without one (`parent-without-image`) and rows that ask Amazon to delete the product
    (`marked-for-deletion`).
    """
    columns = [_column(name) for name in source.table.columns]
    layout = Layout(source, columns, {ours: (*_ALIASES.get(ours, ()), *names) for ours, names in GUESSES.items()})
    found = _CONTENT_LANGUAGE.search("\n".join(source.table.preamble))
    language = found[1] if found else None
    for row in source.table.rows:
        record = layout.record(row)
        if language is not None:
            record.fields.setdefault("language", language)
        yield _without_action(source, record)


def _without_action(source: Source, record: Record) -> Record | Drop:
    attributes = record.attributes
    action = _word(attributes.pop("update_delete", None)) or _word(attributes.pop("record_action", None))
    levels = [_word(attributes.pop(key, None)) for key in ("parent_child", "parentage_level", "parentage")]
    reason = detail = None
    if action == "delete":
        reason, detail = "marked-for-deletion", "the row asks Amazon to delete the product"
    elif "parent" in levels and record.fields.get("image_path") is None:
        reason, detail = "parent-without-image", "a parent row without a picture; its variants have rows of their own"
    if reason is None or detail is None:
        return record
    product_id = clean.text(scalar(record.fields.get("product_id")))
    return Drop(source.file.name, record.line, product_id, reason, detail)


def _word(value: object) -> str:
    return (clean.text(scalar(value)) or "").casefold()


def _column(theirs: str) -> Column:
    """Return a header of either kind under one plain name, as in `item_dimensions_length_unit`.

    >>> _column("bullet_point[marketplace_id=X][language_tag=en_US]#2.value")[1:]
    ('bullet_point', 2, 'en_US')
    """
    text = theirs.strip()
    path = _PATH.fullmatch(text) if "[" in text or "#" in text or text.startswith("::") else None
    if path is None:
        return _numbered(theirs, normal(text))
    tag = _TAG.search(text)
    parts = re.sub(r"\[[^\]]*\]|#\d+", "", path["part"] or "").split(".")
    if parts[-1] == "value" and len(parts) > 1:
        parts.pop()
    kept = [part for part in parts if part and part not in _PLAIN_PARTS and part != "normalized_value"]
    key = "_".join([path["field"], *kept])
    return _numbered(theirs, key, int(path["number"] or 0), tag[1] if tag else None)


def _numbered(theirs: str, key: str, number: int = 0, tag: str | None = None) -> Column:
    match = _TRAILING_NUMBER.fullmatch(key)
    if match and key != "asin1":
        return Column(theirs, match[1], int(match[2]), tag)
    return Column(theirs, key, number, tag)
