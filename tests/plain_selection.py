"""Selection of listings in plain Python over lists, to hold against the steps that run in DuckDB.

Written from what the steps say of themselves, without regard to speed.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shelfqa.catalogue import steps
from shelfqa.catalogue.listing import Listing, listings_batch

Fault = tuple[int, str, int | None]
"""The listing dropped, the reason, and the listing that is kept in its place."""


@dataclass
class Fate:
    step: str
    reason: str
    kept: int | None


@dataclass
class Plain:
    """Listings by number; `fates` holds those that are dropped."""

    listings: list[Listing]
    images: list[str | None]
    others: list[list[str]]
    content: list[bytes]
    tie: list[int]
    place: dict[int, int]
    fates: dict[int, Fate] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    separator: str | None = None

    @property
    def alive(self) -> list[int]:
        """The numbers of the listings that are kept, the richest first."""
        return sorted((row for row in range(len(self.listings)) if row not in self.fates), key=self.place.__getitem__)

    def type_of(self, row: int) -> str:
        return self.listings[row].product_type or ""

    def image_of(self, row: int) -> str:
        image = self.images[row]
        assert image is not None
        return image

    def drop(self, step: str, faults: Iterable[Fault], back: Sequence[int] = ()) -> None:
        before = Counter(fate.reason for fate in self.fates.values())
        for row in back:
            del self.fates[row]
        for row, reason, kept in faults:
            assert row not in self.fates
            self.fates[row] = Fate(step, reason, kept)
        after = Counter(fate.reason for fate in self.fates.values())
        self.steps.append(
            {"step": step, "kept": len(self.alive), "dropped": dict(after - before), "restored": dict(before - after)}
        )

    def identity(self, row: int | None) -> int | None:
        """What tells a listing from others that are not its exact copy."""
        return None if row is None else self.tie[row]

    def told(self) -> Counter[tuple[int | None, str, str, int | None]]:
        return Counter(
            (self.identity(row), fate.step, fate.reason, self.identity(fate.kept)) for row, fate in self.fates.items()
        )

    def products(self) -> list[dict[str, Any]]:
        found = []
        for row in sorted(self.alive, key=lambda row: (self.listings[row].product_id, self.images[row], self.tie[row])):
            listing = self.listings[row]
            description = listing.description
            if self.separator is not None:
                description = self.separator.join(listing.bullet_points) or None
            own: dict[str, Any] = {
                "image_path": self.images[row],
                "other_image_paths": self.others[row],
                "description": description,
            }
            own["richness"] = richness(listing)
            names = ("product_id", "product_type", "name", "brand", "color", "material", "bullet_points", "keywords")
            named = {name: getattr(listing, name) for name in (*names, "language", "domain", "attributes")}
            found.append(named | own)
        return found

    def shown_by(self) -> dict[str, list[str]]:
        """The products that show each picture."""
        found: dict[str, set[str]] = {}
        for row in self.alive:
            for path in (self.image_of(row), *self.others[row]):
                found.setdefault(path, set()).add(self.listings[row].product_id)
        return {path: sorted(found[path]) for path in sorted(found)}


def plain(listings: list[Listing], image_table: Sequence[tuple[str, str]]) -> Plain:
    """Return the listings before any step, after those without a usable image are dropped."""
    paths = dict(image_table)
    images = [one.image_path or paths.get(one.image_id or "") for one in listings]
    others = []
    for one, image in zip(listings, images, strict=True):
        given = [*one.other_image_paths, *(paths[name] for name in one.other_image_ids if name in paths)]
        others.append([path for path in dict.fromkeys(given) if path != image and not leads_out(path)])
    batch = listings_batch(listings, 0)
    content, tie = batch["content"].to_pylist(), batch["tie"].to_pylist()

    def preferred(row: int) -> tuple[Any, ...]:
        one = listings[row]
        return (-richness(one), images[row] or "", one.product_id, one.domain or "", tie[row], one.file, one.line)

    place = {row: number for number, row in enumerate(sorted(range(len(listings)), key=preferred))}
    found = Plain(listings, images, others, content, tie, place)
    faults: list[Fault] = [(row, "image-not-listed", None) for row, image in enumerate(images) if image is None]
    faults += [(row, "image-outside-folder", None) for row, image in enumerate(images) if image and leads_out(image)]
    found.drop("images", faults)
    return found


def leads_out(path: str) -> bool:
    parts = re.split(r"[/\\]", path)
    return ".." in parts or posixpath.isabs(path.replace("\\", "/")) or path[1:2] == ":"


def richness(one: Listing) -> int:
    return (one.color is not None) + bool(one.bullet_points) + bool(one.keywords)


def text(one: Listing, name: str) -> str | None:
    if name in ("bullet_points", "keywords"):
        return ", ".join(getattr(one, name)) or None
    if name.startswith("attributes."):
        value = one.attributes.get(name.removeprefix("attributes."))
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    value = getattr(one, name)
    assert value is None or isinstance(value, str)
    return value


def said(one: Listing, name: str) -> Any:
    """What two listings share that say the same in a field: texts but for case, lists but for case and blanks."""
    if name in ("bullet_points", "keywords"):
        return "".join("".join(getattr(one, name)).lower().split()) or None
    value = text(one, name)
    return None if value is None else value.lower()


def apply(selection: Plain, step: Any, seed: int) -> None:
    """Let a step act, as it says of itself."""
    acts: dict[type, Callable[[Plain, Any, int], None]] = {
        steps.ExactDuplicates: _exact_duplicates,
        steps.OtherImageConsistency: _other_image_consistency,
        steps.NearDuplicateMetadata: _near_duplicates,
        steps.Cap: _cap,
        steps.OnePerImage: _one_per_image,
        steps.OnePerProduct: _one_per_product,
        steps.EveryType: _every_type,
        steps.DescribeFromBulletPoints: _describe,
    }
    act = acts.get(type(step))
    if act is not None:
        act(selection, step, seed)
        return
    judged = [(row, _judge(selection, step, row)) for row in selection.alive]
    selection.drop(step.name, [(row, reason, None) for row, reason in judged if reason is not None])


def _judge(selection: Plain, step: Any, row: int) -> str | None:
    one = selection.listings[row]
    if isinstance(step, steps.WantedLanguage):
        said = ("name", "color", "material", "description", "bullet_points", "keywords")
        silent = one.language is None and all(text(one, name) is None for name in said)
        return "no-wanted-language" if silent else None
    if isinstance(step, steps.RequiredFields):
        return next((f"no-{name}" for name in step.fields if text(one, name) is None), None)
    if isinstance(step, steps.AsciiOnly):
        return None if all((text(one, name) or "").isascii() for name in step.fields) else "not-ascii"
    if isinstance(step, steps.Blocked):
        named = one.product_id in step.product_ids or {one.image_id, selection.images[row]} & set(step.image_ids)
        return "blocked" if named else None
    assert isinstance(step, steps.Richness)
    pieces = [(text(one, name) or "").split(",") if text(one, name) else [] for name in ("bullet_points", "keywords")]
    points = (one.color is not None) + sum(len(parts) >= step.min_pieces for parts in pieces)
    return "low-richness" if points < step.minimum else None


def _all_but_first(
    rows: Iterable[int], key: Callable[[int], Any], order: Callable[[int], Any]
) -> Iterable[tuple[int, int]]:
    """Yield (row, first row of its group)."""
    groups: dict[Any, list[int]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    for group in groups.values():
        first, *rest = sorted(group, key=order)
        yield from ((row, first) for row in rest)


def _exact_duplicates(selection: Plain, step: steps.ExactDuplicates, seed: int) -> None:
    def key(row: int) -> Any:
        same = tuple(said(selection.listings[row], name) for name in step.fields) or selection.content[row]
        return selection.image_of(row), tuple(selection.others[row]), same

    found = _all_but_first(selection.alive, key, selection.place.__getitem__)
    selection.drop(step.name, [(row, "exact-duplicate", kept) for row, kept in found])


def _other_image_consistency(selection: Plain, step: steps.OtherImageConsistency, seed: int) -> None:
    mains = {selection.images[row] for row in selection.alive}
    doubtful = {selection.images[row] for row in selection.alive if mains & set(selection.others[row])}
    rows = [row for row in selection.alive if selection.images[row] in doubtful]
    selection.drop(step.name, [(row, "other-image-is-main-image", None) for row in rows])


def _near_duplicates(selection: Plain, step: steps.NearDuplicateMetadata, seed: int) -> None:
    def all_said(row: int) -> tuple[Any, ...]:
        return tuple(said(selection.listings[row], name) for name in step.fields)

    rows = [row for row in selection.alive if any(one is not None for one in all_said(row))]
    found = _all_but_first(rows, lambda row: (selection.type_of(row), all_said(row)), selection.place.__getitem__)
    selection.drop(step.name, [(row, "near-duplicate-metadata", kept) for row, kept in found])


def _cap(selection: Plain, step: steps.Cap, seed: int) -> None:
    over: list[int] = []
    for name in {selection.type_of(row) for row in selection.alive}:
        rows = [row for row in selection.alive if selection.type_of(row) == name]
        if len(rows) <= step.per_type:
            continue
        if step.by == "richness":
            over += rows[step.per_type :]
            continue
        rows.sort(key=lambda row: (selection.images[row], selection.place[row]))
        rng = np.random.RandomState(seed if step.seed is None else step.seed)
        lucky = {rows[number] for number in rng.choice(len(rows), step.per_type, replace=False)}
        over += [row for row in rows if row not in lucky]
    selection.drop(step.name, [(row, "over-cap", None) for row in over])


def _one_per_image(selection: Plain, step: steps.OnePerImage, seed: int) -> None:
    found = _all_but_first(selection.alive, lambda row: selection.images[row], selection.place.__getitem__)
    selection.drop(step.name, [(row, "same-image", kept) for row, kept in found])


def _one_per_product(selection: Plain, step: steps.OnePerProduct, seed: int) -> None:
    listings = selection.listings

    def order(row: int) -> Any:
        one = listings[row]
        place = step.domains.index(one.domain) if one.domain in step.domains else len(step.domains)
        rest = (selection.content[row], selection.tie[row], selection.place[row])
        return (one.language_rank, place, -richness(one), one.domain or "", *rest)

    faults: list[Fault] = []
    for row, kept in _all_but_first(selection.alive, lambda row: listings[row].product_id, order):
        if listings[row].domain != listings[kept].domain:
            reason = "other-domain"
        elif selection.content[row] == selection.content[kept] and selection.images[row] == selection.images[kept]:
            reason = "exact-duplicate"
        else:
            reason = "repeated-product"
        faults.append((row, reason, kept))
    selection.drop(step.name, faults)


def _every_type(selection: Plain, step: steps.EveryType, seed: int) -> None:
    """Bring back types without listings, one type after the other by name; see `EveryType`."""
    limits = ("richness", "near-duplicate-metadata", "cap", "one-per-image")
    kept = set(selection.alive)
    there = {selection.type_of(row) for row in kept}
    dropped = [row for row, fate in selection.fates.items() if fate.step in limits]
    swapped: dict[int, int] = {}
    for name in sorted({selection.type_of(row) for row in dropped} - there):
        candidates = sorted((row for row in dropped if selection.type_of(row) == name), key=selection.place.__getitem__)
        for row in candidates:
            mine = sum(selection.type_of(other) == name for other in kept)
            if mine < step.per_type and not any(selection.images[other] == selection.images[row] for other in kept):
                kept.add(row)
        if any(selection.type_of(row) == name for row in kept):
            continue
        for row in candidates:
            (holder,) = (other for other in kept if selection.images[other] == selection.images[row])
            if sum(selection.type_of(other) == selection.type_of(holder) for other in kept) > 1:
                kept.remove(holder)
                kept.add(row)
                swapped[holder] = row
                break
    before = set(selection.alive)
    faults: list[Fault] = [(row, "same-image", by) for row, by in swapped.items() if row in before]
    selection.drop(step.name, faults, back=sorted(kept - before))


def _describe(selection: Plain, step: steps.DescribeFromBulletPoints, seed: int) -> None:
    selection.separator = step.separator
    selection.drop(step.name, [])
