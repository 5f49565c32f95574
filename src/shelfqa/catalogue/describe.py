"""What a curation did, in numbers: for the manifest and the data card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from shelfqa.catalogue.parts import PartSummary
from shelfqa.catalogue.selection import Selection

_TEXTS = ("product_type", "name", "brand", "color", "material", "description")
_LISTS = ("bullet_points", "keywords")


def describe(selection: Selection, parts: Sequence[PartSummary]) -> dict[str, Any]:
    """Return counts by step, product type, field, language and file, and notes on what was set right."""
    notes, languages = Counter(selection.notes), Counter[str]()
    for part in parts:
        notes.update(part.notes)
        languages.update(part.languages)
    read = {"step": "read", "parameters": {}, "kept": sum(part.listings for part in parts), "restored": {}}
    read["dropped"] = dict(selection.rows("SELECT reason, count(*) FROM part_drops GROUP BY reason ORDER BY reason"))
    return {
        "steps": [read, *(msgspec.to_builtins(step) for step in selection.steps)],
        "by_product_type": _counts(selection, "SELECT coalesce(product_type, 'none') AS name FROM alive"),
        "types": _types(selection),
        "field_coverage": _coverage(selection),
        "languages_kept": _counts(
            selection, "SELECT coalesce(language, 'none') AS name FROM parts SEMI JOIN alive USING (row)"
        ),
        "languages_read": _ordered(languages),
        "dropped_by_file": _counts(
            selection,
            """SELECT file || ': ' || reason AS name FROM part_drops
               UNION ALL SELECT file || ': ' || reason FROM fate JOIN listing USING (row)""",
        ),
        "notes": {name: number for name, number in sorted(notes.items()) if number},
    }


def _counts(selection: Selection, query: str) -> dict[str, int]:
    return dict(selection.rows(f"SELECT name, count(*) AS n FROM ({query}) GROUP BY name ORDER BY n DESC, name"))


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _types(selection: Selection) -> dict[str, dict[str, Any]]:
    """Return, for each product type, how many listings were read and kept, and why the others were dropped."""
    found: dict[str, dict[str, Any]] = {}
    for name, reason, number in selection.rows(
        """SELECT coalesce(product_type, 'none') AS name, reason, count(*) AS n
           FROM listing LEFT JOIN fate USING (row) GROUP BY ALL ORDER BY name, reason NULLS FIRST"""
    ):
        one = found.setdefault(name, {"read": 0, "kept": 0, "dropped": {}})
        one["read"] += number
        if reason is None:
            one["kept"] = number
        else:
            one["dropped"][reason] = number
    return dict(sorted(found.items(), key=lambda item: (-item[1]["read"], item[0])))


def _coverage(selection: Selection) -> dict[str, float]:
    """Return the share of kept listings that have each field."""
    have = {name: f"count(p.{name})" for name in _TEXTS} | {name: f"count_if(len(p.{name}) > 0)" for name in _LISTS}
    columns = ", ".join(f"{count} AS {name}" for name, count in have.items())
    (values,) = selection.rows(f"SELECT count(*), {columns} FROM parts p SEMI JOIN alive USING (row)")
    total = max(values[0], 1)
    numbers = dict(zip(have, values[1:], strict=True))
    numbers |= dict(
        selection.rows(
            """SELECT 'attributes.' || name, count(*)
               FROM (SELECT unnest(json_keys(p.attributes)) AS name FROM parts p SEMI JOIN alive USING (row))
               GROUP BY name"""
        )
    )
    ((other_images,),) = selection.rows("SELECT count(DISTINCT row) FROM other SEMI JOIN alive USING (row)")
    numbers["other_image_paths"] = other_images
    return {name: round(number / total, 4) for name, number in sorted(numbers.items()) if number}
