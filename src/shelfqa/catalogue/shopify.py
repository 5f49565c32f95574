"""Shopify's product export: several rows a product, one for each variant and each further picture.

The current header (`URL handle`, `Product image URL`, …) and the older one (`Handle`, `Image Src`, …) are known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from shelfqa.catalogue import clean
from shelfqa.catalogue.columns import Record, Source, items, normal
from shelfqa.catalogue.measures import measured_weight
from shelfqa.errors import InputError
from shelfqa.records import Drop
from shelfqa.rows import Row

_NAMES: dict[str, tuple[str, ...]] = {
    "handle": ("handle", "url_handle"),
    "title": ("title",),
    "body": ("body_html", "description"),
    "vendor": ("vendor",),
    "category": ("product_category", "standardized_product_type", "standard_product_type"),
    "type": ("type", "custom_product_type", "product_type"),
    "tags": ("tags",),
    "image": ("image_src", "product_image_url"),
    "position": ("image_position",),
    "variant_image": ("variant_image", "variant_image_url"),
    "sku": ("variant_sku", "sku"),
    "price": ("variant_price", "price"),
    "grams": ("variant_grams", "weight_value_grams"),
} | {f"option{n}_{part}": (f"option{n}_{part}", f"option_{n}_{part}") for n in (1, 2, 3) for part in ("name", "value")}
_MARKS = frozenset(
    {"option1_name", "option1_value", "variant_sku", "variant_price", "variant_grams", "variant_inventory_policy"}
    | {"variant_image", "image_src", "image_position", "body_html", "vendor", "published", "product_image_url"}
    | {"url_handle", "published_on_online_store"}
)
_COLOR = frozenset({"color", "colour", "farbe", "couleur", "colore", "cor", "kleur", "färg"})
_MATERIAL = frozenset({"material", "materials", "matériau", "matière", "materiale", "materiaal", "fabric"})
_KEPT = re.compile(r"google_shopping_.*|seo_.*|status|published|published_on_online_store|image_alt_text|gift_card")
_METAFIELD = re.compile(r"(.+?)\s*\((?:product|variant)\.metafields\.[^)]*\)\s*")
_LIST_ITEM = re.compile(r"<li\b[^>]*>(.*?)(?=</li\b|<li\b|</ul\b|</ol\b|\Z)", re.IGNORECASE | re.DOTALL)
JOINED = "row joined to its product"
"""The note that counts rows with further variants and pictures: rows = listings + drops + rows joined."""


class _Product(NamedTuple):
    """The rows of one product in the file's order; the first of them that has a title is its head."""

    head: Row
    rows: list[Row]


def recognises(columns: Sequence[str]) -> bool:
    """Return whether a header is Shopify's: a handle, a title and two more of its columns."""
    keys = {normal(name) for name in columns}
    return bool(keys & {"handle", "url_handle"}) and "title" in keys and len(keys & _MARKS) >= 2


def records(source: Source) -> Iterator[Record | Drop]:
    """Yield one record a product, and a drop for each row that belongs to none.

    Rows of one handle belong together wherever they stand. Dropped are rows without a handle (`no-product-id`), rows
    of a handle that has no title anywhere (`no-title`), and rows under a second, different title of a handle
    (`handle-used-twice`).

    Raises:
        InputError: if the handle, the title or all pictures' columns are missing.

    """
    reader = _Reader(source)
    products: dict[str, _Product] = {}
    untitled: dict[str, list[Row]] = {}
    second: dict[str, bool] = {}
    drops: list[Drop] = []
    for row in source.table.rows:
        handle, title = reader.text(row, "handle"), reader.text(row, "title")
        if handle is None:
            drops.append(reader.drop(row, None, "no-product-id", f"{reader.theirs('handle')!r} is empty"))
        elif handle in products:
            head = products[handle].head
            if title is not None:
                second[handle] = title != reader.text(head, "title")
            if second.get(handle):
                detail = f"line {head.line} has another title for the handle {handle!r}"
                drops.append(reader.drop(row, handle, "handle-used-twice", detail))
            else:
                products[handle].rows.append(row)
        elif title is None:
            untitled.setdefault(handle, []).append(row)
        else:
            products[handle] = _Product(row, [*untitled.pop(handle, []), row])
    for handle, rows in untitled.items():
        detail = f"no row of the handle {handle!r} has a title"
        drops += [reader.drop(row, handle, "no-title", detail) for row in rows]
    yield from drops
    for product in products.values():
        source.notes[JOINED] += len(product.rows) - 1
        yield reader.record(product)
    if not source.notes[JOINED]:
        del source.notes[JOINED]


class _Reader:
    """Reads cells of one export by what they hold."""

    def __init__(self, source: Source) -> None:
        keys = {normal(name): name for name in reversed(source.table.columns)}
        there = f"it has {', '.join(source.table.columns)}" if keys else "it has no columns"
        for ours, theirs in source.columns.items():
            if theirs not in source.table.columns:
                raise InputError(f"{str(source.file)!r} lacks the column {theirs!r} (columns.{ours}); {there}.")
        self._source = source
        self._columns = {what: keys[name] for what, names in _NAMES.items() for name in reversed(names) if name in keys}
        for what in ("handle", "title"):
            if what not in self._columns:
                raise InputError(f"{str(source.file)!r} is no Shopify export: it lacks {what!r}; {there}.")
        if not {"image", "variant_image"} & self._columns.keys() and "image_path" not in source.columns:
            raise InputError(f"{str(source.file)!r} has no pictures: it lacks the column 'Image Src'; {there}.")
        used = set(self._columns.values()) | set(source.columns.values())
        self._rest = {theirs: _attribute_name(theirs) for theirs in source.table.columns if theirs not in used}
        for what, theirs in self._columns.items():
            source.notes[f"column {what} <- {theirs}"] += len(source.table.rows)

    def theirs(self, what: str) -> str:
        """Return the file's name of a column."""
        return self._columns[what]

    def text(self, row: Row, what: str) -> str | None:
        """Return a cell's text, or None where it is empty or the column missing."""
        return clean.text(row.values.get(self._columns.get(what, "")))

    def drop(self, row: Row, product_id: str | None, reason: str, detail: str) -> Drop:
        """Return why a row is left out."""
        return Drop(self._source.file.name, row.line, product_id, reason, detail)

    def record(self, product: _Product) -> Record:
        """Return what the rows of a product say together."""
        pictures = self._pictures(product)
        options = self._options(product)
        attributes = self._attributes(product, options)
        body = product.head.values.get(self._columns.get("body", ""))
        fields: dict[str, Any] = {
            "product_id": self.text(product.head, "handle"),
            "name": self.text(product.head, "title"),
            "image_path": pictures[0] if pictures else None,
            "other_image_paths": pictures[1:],
            "product_type": self._type(product.head),
            "brand": self.text(product.head, "vendor"),
            "keywords": items(self.text(product.head, "tags"), ","),
            "description": body,
            "bullet_points": [clean.without_html(one) for one in _LIST_ITEM.findall(str(body or ""))],
        }
        for ours, names in (("color", _COLOR), ("material", _MATERIAL)):
            option = next((name for name in options if name.casefold() in names), None)
            if option is not None:
                shown = self._shown(product, option, pictures)
                fields[ours] = shown or options[option][0]
                if ours == "color" and shown is None and len(options[option]) > 1:
                    attributes["color_given"] = ", ".join(options[option])
            else:
                key = next((key for key in attributes if key in names and isinstance(attributes[key], str)), None)
                fields[ours] = attributes.pop(key) if key is not None else None
        for ours in ("color", "material"):
            if ours in attributes:
                attributes[f"{ours}_metafield"] = attributes.pop(ours)
        for ours, theirs in self._source.columns.items():
            cells = (row.values.get(theirs) for row in (product.head, *product.rows))
            fields[ours] = next((cell for cell in cells if clean.text(cell)), None)
        return Record(product.head.line, fields, attributes)

    def _type(self, head: Row) -> str | None:
        category = self.text(head, "category") or ""
        parts = [part.strip() for part in category.split(">") if part.strip()]
        return self.text(head, "type") or (parts[-1] if parts else None)

    def _pictures(self, product: _Product) -> list[str]:
        """Return the product's pictures by position, then those of its variants."""
        placed: list[tuple[float, str]] = []
        for row in product.rows:
            picture = self.text(row, "image")
            if picture is not None:
                placed.append((_amount(self.text(row, "position")) or float("inf"), picture))
        of_variants = [self.text(row, "variant_image") for row in product.rows]
        ordered = [picture for _, picture in sorted(placed, key=lambda one: one[0])]
        return list(dict.fromkeys(ordered + [picture for picture in of_variants if picture is not None]))

    def _options(self, product: _Product) -> dict[str, list[str]]:
        """Return option -> its values in order; the lone option `Title` of a product without variants is left out."""
        found: dict[str, list[str]] = {}
        for number in (1, 2, 3):
            names = [self.text(row, f"option{number}_name") for row in (product.head, *product.rows)]
            name = next((name for name in names if name is not None), None)
            values = clean.texts(self.text(row, f"option{number}_value") for row in product.rows)
            if name is not None and values and (name.casefold(), values) != ("title", ["Default Title"]):
                found.setdefault(name, values)
        return found

    def _shown(self, product: _Product, option: str, pictures: list[str]) -> str | None:
        """Return the value of an option on the main picture: the one of the variant whose picture it is."""
        number = next(n for n in (1, 2, 3) for row in product.rows if self.text(row, f"option{n}_name") == option)
        rows = [row for row in product.rows if pictures and self.text(row, "variant_image") == pictures[0]]
        values = clean.texts(self.text(row, f"option{number}_value") for row in rows)
        return values[0] if len(values) == 1 else None

    def _attributes(self, product: _Product, options: dict[str, list[str]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for theirs, key in self._rest.items():
            if key is not None:
                cells = (row.values.get(theirs) for row in (product.head, *product.rows))
                value = next((text for cell in cells if (text := clean.text(cell))), None)
                several = clean.texts(value.split(";")) if value and _METAFIELD.fullmatch(theirs) else []
                found[key] = several if len(several) > 1 else value
        for name, values in options.items():
            if len(values) == 1 and name.casefold() not in _COLOR | _MATERIAL:
                found[normal(name)] = values[0]
        variants = [row for row in product.rows if self.text(row, "option1_value") or self.text(row, "sku")]
        found["variants"] = {name: values for name, values in options.items() if len(variants) > 1}
        found["number_of_variants"] = len(variants) if len(variants) > 1 else None
        found["sku"] = self.text(product.head, "sku") if len(variants) < 2 else None
        prices = [price for row in product.rows if (price := _amount(self.text(row, "price"))) is not None]
        if prices:
            found.update(price_min=min(prices), price_max=max(prices))
        grams = {self.text(row, "grams") for row in variants}
        if len(grams) == 1:
            found["weight"] = measured_weight(grams.pop(), "g")
        return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _attribute_name(theirs: str) -> str | None:
    """Return the plain name of a column that is kept as an attribute; stock, tax, cost and prices elsewhere are not."""
    metafield = _METAFIELD.fullmatch(theirs)
    if metafield:
        return normal(metafield[1])
    key = normal(theirs).replace("/_", "")
    return key if _KEPT.fullmatch(key) else None


def _amount(text: str | None) -> float | None:
    try:
        amount = float(text) if text else None
    except ValueError:
        return None
    return amount if amount is not None and math.isfinite(amount) else None
