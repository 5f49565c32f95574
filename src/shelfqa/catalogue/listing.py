"""What every catalogue reader hands on: listings in one language, and what it had to leave out."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from shelfqa.records import PRODUCT_COLUMNS, Drop


class Listing(msgspec.Struct, kw_only=True, gc=False):
    """One listing with its texts in one language; image paths are relative to the images folder."""

    file: str
    line: int
    product_id: str
    image_path: str
    other_image_paths: list[str] = []
    product_type: str | None = None
    name: str | None = None
    brand: str | None = None
    color: str | None = None
    material: str | None = None
    bullet_points: list[str] = []
    keywords: list[str] = []
    description: str | None = None
    attributes: dict[str, Any] = {}
    language: str | None = None
    language_rank: int = 0
    domain: str | None = None

    @property
    def richness(self) -> int:
        """How many of color, bullet points and keywords are present, 0 to 3."""
        return sum(1 for value in (self.color, self.bullet_points, self.keywords) if value)

    def content(self) -> bytes:
        """Return a digest of all that is said of the product and its images, but for its id, market and place."""
        values = [getattr(self, name) for name in _CONTENT]
        attributes = sorted((key, value) for key, value in self.attributes.items() if key not in _MARKET)
        return hashlib.blake2b(msgspec.json.encode([values, attributes], order="sorted"), digest_size=16).digest()


_MARKET = frozenset({"country", "marketplace"})
_CONTENT = tuple(
    name
    for name in Listing.__struct_fields__
    if name not in ("file", "line", "product_id", "domain", "language_rank", "attributes")
)


class Reading(NamedTuple):
    """A catalogue as read: `read` = listings and drops together.

    `notes` counts what was set right within listings that are kept, by what it was.
    """

    listings: list[Listing]
    drops: list[Drop]
    notes: Counter[str]
    languages: Counter[str]

    @property
    def read(self) -> int:
        """How many listings the files hold, broken ones included."""
        return len(self.listings) + len(self.drops)


def products_table(listings: list[Listing]) -> pa.Table:
    """Return the listings as `PRODUCT_COLUMNS`, sorted by product id."""
    ordered = sorted(listings, key=lambda listing: listing.product_id)
    columns = {
        name: [getattr(listing, name) for listing in ordered] for name in PRODUCT_COLUMNS.names if name != "attributes"
    }
    columns["attributes"] = [
        msgspec.json.encode(listing.attributes, order="sorted").decode("utf-8") for listing in ordered
    ]
    return pa.table({name: pa.array(columns[name], PRODUCT_COLUMNS.field(name).type) for name in PRODUCT_COLUMNS.names})
