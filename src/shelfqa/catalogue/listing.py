"""What every catalogue reader hands on: listings in one language, and what it had to leave out."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import pyarrow as pa

from shelfqa.catalogue import clean
from shelfqa.records import PRODUCT_COLUMNS, Drop


class Listing(msgspec.Struct, kw_only=True, gc=False):
    """One listing with its texts in one language.

    Pictures are named by paths relative to the images folder, or by ids that an image table turns into paths.
    """

    file: str
    line: int
    product_id: str
    image_path: str | None = None
    other_image_paths: list[str] = []
    image_id: str | None = None
    other_image_ids: list[str] = []
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
    bullet_points_key: bytes | None = None
    keywords_key: bytes | None = None
    tie: int = 0

    def with_keys(self) -> Listing:
        """Set the digests by which steps compare listings, from the texts as they are."""
        self.bullet_points_key, self.keywords_key = key_of(self.bullet_points), key_of(self.keywords)
        self.tie = zlib.crc32(_encode(self))
        return self


class Reading(NamedTuple):
    """A catalogue as read: `read` = listings and drops together.

    `notes` counts what was set right within listings that are kept, by what it was; `languages` counts the texts'
    language tags as they stand in the files.
    """

    listings: list[Listing]
    drops: list[Drop]
    notes: Counter[str]
    languages: Counter[str]

    @property
    def read(self) -> int:
        """How many listings the files hold, broken ones included."""
        return len(self.listings) + len(self.drops)


LISTING_COLUMNS = pa.schema(
    [
        pa.field("row", pa.int64()),  # the listing's place in the catalogue: part, then place in the part
        pa.field("file", pa.string()),
        pa.field("line", pa.int64()),
        *PRODUCT_COLUMNS,
        pa.field("image_id", pa.string()),
        pa.field("other_image_ids", pa.list_(pa.string())),
        pa.field("language_rank", pa.int32()),  # 0 is the language wanted most
        pa.field("bullet_points_key", pa.binary(16)),  # digest of the texts without case and blanks, null if none
        pa.field("keywords_key", pa.binary(16)),
        pa.field("content", pa.binary(16)),  # digest of all that is said of the product, its market apart
        pa.field("tie", pa.int64()),  # checksum of the listing as it stands, to tell apart what nothing else does
    ]
)
BRIEF_TEXTS = ("product_type", "name", "color", "domain")
"""The texts that a brief reading has; of bullet points and keywords it has the keys alone."""

_PLACE = (
    "file", "line", "product_id", "image_path", "other_image_paths", "image_id", "other_image_ids", "language",
    "language_rank", *BRIEF_TEXTS,
)  # fmt: skip
_TOLD = ("brand", "material", "bullet_points", "keywords", "description")
_MARKET = ("country", "marketplace")
_WIDE_BLANKS = tuple(chr(code) for code in range(0x80, 0x3001) if chr(code).isspace())
_BLANKS = b" \t\n\r\v\f\x1c\x1d\x1e\x1f"
_encode = msgspec.json.Encoder(order="sorted").encode


Extent = Literal["brief", "kept", "whole"]
"""What is read of each listing: what steps compare (`brief`), what products are made of (`kept`), or both (`whole`)."""


def listings_batch(listings: Sequence[Listing], first_row: int, extent: Extent = "whole") -> pa.RecordBatch:
    """Return the listings as `LISTING_COLUMNS`, numbered from `first_row`; columns outside the extent are null."""
    columns: dict[str, Any] = {name: [getattr(listing, name) for listing in listings] for name in _PLACE}
    columns["row"] = range(first_row, first_row + len(listings))
    if extent != "kept":
        columns["bullet_points_key"] = points = [listing.bullet_points_key for listing in listings]
        columns["keywords_key"] = words = [listing.keywords_key for listing in listings]
        columns["tie"] = [listing.tie for listing in listings]
        columns["richness"] = [
            (color is not None) + (point is not None) + (word is not None)
            for color, point, word in zip(columns["color"], points, words, strict=True)
        ]
    if extent != "brief":
        columns |= {name: [getattr(listing, name) for listing in listings] for name in _TOLD}
        columns["attributes"] = [_encode(listing.attributes) for listing in listings]
    if extent == "whole":
        columns["content"] = [_content(listing) for listing in listings]
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(len(listings), field.type)
        for field in LISTING_COLUMNS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=LISTING_COLUMNS)


def key_of(texts: Sequence[object]) -> bytes | None:
    """Return a digest that lists of texts share which differ in case and blanks only; None if they say nothing."""
    if not texts:
        return None
    try:
        said = "\n".join(texts).lower()  # type: ignore[arg-type]
    except TypeError:
        return key_of(clean.texts(texts))
    if not said.isascii():
        for blank in _WIDE_BLANKS:
            said = said.replace(blank, "")
    data = said.encode("utf-8", "surrogatepass").translate(None, _BLANKS)
    return hashlib.blake2b(data, digest_size=16).digest() if data else None


def _content(listing: Listing) -> bytes:
    one = listing
    attributes = {key: value for key, value in one.attributes.items() if key not in _MARKET}
    said = (
        one.product_type, one.name, one.brand, one.color, one.material, one.bullet_points, one.keywords,
        one.description, one.language, attributes,
    )  # fmt: skip
    return hashlib.blake2b(_encode(said), digest_size=16).digest()
