"""Which listings stay: steps that take listings and return those kept, and the others with a reason each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from shelfqa.catalogue.listing import Listing
from shelfqa.images import Fingerprint
from shelfqa.records import Drop


class Selection(NamedTuple):
    """What a step kept and what it dropped; `notes` counts what it changed within kept listings."""

    listings: list[Listing]
    drops: list[Drop]
    notes: Counter[str]


Verdict = tuple[str, str] | None
"""None to keep a listing, else the reason and the detail of its drop."""


def keep_if(listings: Iterable[Listing], judge: Callable[[Listing], Verdict]) -> Selection:
    """Keep the listings that `judge` has nothing against."""
    selection = Selection([], [], Counter())
    for listing in listings:
        verdict = judge(listing)
        if verdict is None:
            selection.listings.append(listing)
        else:
            selection.drops.append(dropped(listing, *verdict))
    return selection


def dropped(listing: Listing, reason: str, detail: str) -> Drop:
    """Return the record of a listing that is left out."""
    return Drop(listing.file, listing.line, listing.product_id, reason, detail)


def in_wanted_language(listings: Iterable[Listing]) -> Selection:
    """Keep listings that have a name or another text in a wanted language."""

    def judge(listing: Listing) -> Verdict:
        texts = (listing.name, listing.color, listing.material, listing.description)
        if listing.language is not None or any((*texts, listing.bullet_points, listing.keywords)):
            return None
        return "no-wanted-language", "no text is in a wanted language (see `languages`)"

    return keep_if(listings, judge)


def with_image_file(listings: Iterable[Listing], images: Path) -> Selection:
    """Keep listings whose main image is a file; other images that are none are left out of the listing."""
    known: dict[str, bool] = {}

    def present(path: str) -> bool:
        if path not in known:
            known[path] = os.path.isfile(images / path)  # noqa: PTH113 -- hundreds of thousands of times
        return known[path]

    selection = keep_if(
        listings,
        lambda listing: (
            None if present(listing.image_path) else ("image-file-missing", f"no file {listing.image_path!r}")
        ),
    )
    _keep_others(selection, present, "other image left out: file missing")
    return selection


def with_readable_image(listings: Iterable[Listing], found: Mapping[str, Fingerprint]) -> Selection:
    """Keep listings whose main image can be decoded, as far as `found` tells; the same for other images."""

    def judge(listing: Listing) -> Verdict:
        fingerprint = found.get(listing.image_path)
        if fingerprint is None or fingerprint.error is None:
            return None
        return "unreadable-image", fingerprint.error

    def readable(path: str) -> bool:
        return path not in found or found[path].error is None

    selection = keep_if(listings, judge)
    _keep_others(selection, readable, "other image left out: unreadable")
    return selection


def _keep_others(selection: Selection, good: Callable[[str], bool], note: str) -> None:
    for listing in selection.listings:
        kept = [path for path in listing.other_image_paths if good(path)]
        removed = len(listing.other_image_paths) - len(kept)
        if removed:
            listing.other_image_paths = kept
            selection.notes[note] += removed


def one_per_product(listings: Iterable[Listing], domains: Sequence[str]) -> Selection:
    """Keep one listing of each product id: the best language first, then the domain, then the richer one.

    Which one is kept does not depend on the order of the listings. Those that say nothing else than the kept one
    are dropped as `exact-duplicate`, the rest as `other-domain` or, within a domain, `repeated-product`.
    """
    places = {domain: place for place, domain in enumerate(domains)}

    def preference(listing: Listing) -> tuple[int, int, int, str, bytes, str, int]:
        domain = listing.domain or ""
        place = places.get(domain, len(places))
        order = (listing.language_rank, place, -listing.richness, domain)
        return (*order, listing.content(), listing.file, listing.line)

    by_product: dict[str, list[Listing]] = {}
    for listing in listings:
        by_product.setdefault(listing.product_id, []).append(listing)
    selection = Selection([], [], Counter())
    for same in by_product.values():
        kept = min(same, key=preference) if len(same) > 1 else same[0]
        selection.listings.append(kept)
        for other in same:
            if other is not kept:
                where = f"{kept.file}:{kept.line} is kept"
                selection.drops.append(dropped(other, _repetition(other, kept), where))
    return selection


def _repetition(other: Listing, kept: Listing) -> str:
    if other.domain == kept.domain:
        return "exact-duplicate" if other.content() == kept.content() else "repeated-product"
    return "other-domain"


def without_copies(listings: Iterable[Listing]) -> Selection:
    """Of listings under several product ids that agree in everything else, images included, keep the first id."""
    by_content: dict[bytes, list[Listing]] = {}
    for listing in listings:
        by_content.setdefault(listing.content(), []).append(listing)
    selection = Selection([], [], Counter())
    for same in by_content.values():
        kept = min(same, key=lambda listing: listing.product_id)
        selection.listings.append(kept)
        detail = f"says the same as {kept.product_id!r}"
        selection.drops.extend(dropped(other, "exact-duplicate", detail) for other in same if other is not kept)
    return selection


def image_paths(listings: Iterable[Listing], *, others: bool = True) -> list[str]:
    """Return every image path of the listings once, sorted."""
    found: set[str] = set()
    for listing in listings:
        found.add(listing.image_path)
        if others:
            found.update(listing.other_image_paths)
    return sorted(found)


def products_of_images(listings: Iterable[Listing], wanted: Collection[str]) -> dict[str, list[str]]:
    """Return, for each wanted image path, the sorted ids of the products that show it."""
    found: dict[str, list[str]] = {path: [] for path in wanted}
    for listing in listings:
        for path in {listing.image_path, *listing.other_image_paths}:
            if path in found:
                found[path].append(listing.product_id)
    return {path: sorted(ids) for path, ids in found.items()}
