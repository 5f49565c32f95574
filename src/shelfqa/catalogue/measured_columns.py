"""Columns with weights and sizes: gathered under `weight` and `dimensions`, in grams and centimetres."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from shelfqa.catalogue import clean
from shelfqa.catalogue.measures import CENTIMETRES, GRAMS, SIDES, measured_length, measured_sides, measured_weight

_UNIT_ENDS = ("_unit_of_measure", "_uom", "_unit", "_units")
_WEIGHT = re.compile(
    r"(?P<name>(?:(?:item|product|net|item_display)_)?weight)(?:_in)?(?:_(?P<unit>mg|g|grams?|kg|kgs|oz|ounces|lbs?|pounds))?"
    r"|grams"
)
_SIDE_NAMES = "height|width|length|depth|diameter|thickness"
_SIDE = re.compile(
    r"(?P<name>(?:(?:item|product|item_display|item_dimensions|item_display_dimensions|item_length_width_height"
    rf"|item_depth_width_height|item_width_height|item_length_width|dimensions?)_)?(?P<side>{_SIDE_NAMES}))"
    r"(?:_in(?=_))?(?:_(?P<unit>mm|cm|m|in|inch|inches|ft|feet))?"
)
_WHOLE = re.compile(
    r"(?P<name>(?:(?:item|product)_)?dimensions?)(?:_(?P<order>[lwhdbt](?:_?x_?[lwhdbt]){1,2}|[lwhd]{2,3}))?"
    r"(?:_in(?=_))?(?:_(?P<unit>mm|cm|m|in|inch|inches|ft|feet))?"
)
_SHARED_LENGTH_UNITS = (
    *("item_dimensions_unit_of_measure", "display_dimensions_unit_of_measure", "item_length_unit_of_measure"),
    *("item_display_length_unit_of_measure", "dimensions_unit", "dimension_unit", "dimensions_unit_of_measure"),
    *("dimensions_uom", "length_unit", "size_unit", "unit_of_length"),
)
_SHARED_WEIGHT_UNITS = ("item_weight_unit_of_measure", "weight_unit", "weight_uom", "unit_of_weight")


def with_measures(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes with what columns such as `item_weight` or `height_cm` say, in one shape and unit.

    `weight` becomes `{"value": grams, "unit": "g"}`, `dimensions` one `{"value": centimetres, "unit": "cm"}` a side;
    the columns read so are left out. Those whose unit or number is not certain stay, with `weight` and `dimensions`
    renamed to `weight_given` and `dimensions_given`. Names are plain, as `columns.normal` gives them.
    """
    used: set[str] = set()
    weight = None
    sides: dict[str, Any] = {}
    whole: dict[str, Any] = {}
    measured = [(key, what) for key in attributes if (what := _measured(key)) is not None]
    for key, what in sorted(measured, key=lambda one: (not one[0].startswith(("item", "product")), one[0])):
        value, unit, unit_key = attributes[key], what.unit, key
        if unit is None:
            of_weight = what.kind == "weight"
            known, shared = (GRAMS, _SHARED_WEIGHT_UNITS) if of_weight else (CENTIMETRES, _SHARED_LENGTH_UNITS)
            unit, unit_key = _unit(attributes, key, shared, known)
        found: dict[str, Any] | None
        if what.kind == "weight":
            found = measured_weight(value, unit)
            weight = weight or found
        elif what.kind == "side":
            found = measured_length(value, unit)
            if found is not None:
                sides.setdefault(SIDES[what.detail], found)
        else:
            found = measured_sides(value, unit, _order(what.detail))
            whole = whole or found
        if found:
            used |= {key, unit_key}
    if sides and "side_1" in whole:
        used -= {key for key, what in measured if what.kind == "whole"}
    else:
        sides = whole | sides
    kept = {
        f"{key}_given" if key in ("weight", "dimensions") else key: value
        for key, value in attributes.items()
        if key not in used
    }
    if weight is not None:
        kept["weight"] = weight
    if sides:
        kept["dimensions"] = dict(sorted(sides.items()))
    return kept


class _Measured(NamedTuple):
    """What a column measures: `weight`, `side` or `whole`; its unit; the side, or the order of the sides."""

    kind: str
    unit: str | None
    detail: str


@lru_cache(maxsize=1 << 12)
def _measured(key: str) -> _Measured | None:
    if match := _WEIGHT.fullmatch(key):
        return _Measured("weight", "g" if key == "grams" else match["unit"], "")
    if match := _SIDE.fullmatch(key):
        return _Measured("side", match["unit"], match["side"])
    if match := _WHOLE.fullmatch(key):
        return _Measured("whole", match["unit"], match["order"] or "")
    return None


def _unit(
    attributes: dict[str, Any], key: str, shared: Sequence[str], known: dict[str, float]
) -> tuple[str | None, str]:
    """Return the unit of a column, and the column that says it: its own, else one for all sides, else itself."""
    own = [f"{key}{end}" for end in _UNIT_ENDS if f"{key}{end}" in attributes]
    for name in (*own, *shared):
        unit = clean.text(attributes.get(name))
        if unit is not None and unit.casefold().replace("_", " ") in known:
            return unit, name
    return None, key


def _order(found: str) -> str | None:
    """Return `lxwxh` for `l_x_w_x_h` and `lwh`."""
    return "x".join(found.replace("_", "").replace("x", "")) or None
