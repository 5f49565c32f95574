"""Which listings bring back product types that a selection has lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from shelfqa.catalogue.selection import Selection


class Back(NamedTuple):
    """Rows to bring back, and kept rows to drop since their image goes to a row that comes back."""

    rows: list[int]
    swapped: dict[int, int]


class _Holder(NamedTuple):
    row: int
    product_type: str


def find_missing_types(selection: Selection, steps: Sequence[str], per_type: int) -> Back:
    """Return at most `per_type` listings of each product type that has none left, the richest first.

    Args:
        selection: the listings.
        steps: names of the steps whose drops may come back.
        per_type: listings of a type that come back at most.

    """
    numbers = [str(n) for n, step in enumerate(selection.steps) if step.step in steps] or ["NULL"]
    selection.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE candidate AS
            SELECT coalesce(product_type, '') AS product_type, place, row, image_path
            FROM listing JOIN fate USING (row) WHERE step IN ({", ".join(numbers)})
            AND coalesce(product_type, '') NOT IN (SELECT coalesce(product_type, '') FROM alive)"""
    )
    candidates: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for product_type, row, image_path in selection.rows(
        "SELECT product_type, row, image_path FROM candidate ORDER BY product_type, place"
    ):
        candidates[product_type].append((row, image_path))
    holders = {
        image_path: _Holder(row, product_type)
        for image_path, row, product_type in selection.rows(
            """SELECT image_path, arg_max(row, place), arg_max(coalesce(product_type, ''), place) FROM alive
               WHERE image_path IN (SELECT image_path FROM candidate) GROUP BY image_path"""
        )
    }
    kept = Counter(
        dict(selection.rows("SELECT coalesce(product_type, '') AS product_type, count(*) FROM alive GROUP BY 1"))
    )
    selection.con.execute("DROP TABLE candidate")
    return _choose(candidates, holders, kept, per_type)


def _choose(
    candidates: dict[str, list[tuple[int, str]]], holders: dict[str, _Holder], kept: Counter[str], per_type: int
) -> Back:
    back = Back([], {})
    for product_type, listings in candidates.items():
        for row, image_path in listings:
            if image_path not in holders and kept[product_type] < per_type:
                holders[image_path] = _Holder(row, product_type)
                kept[product_type] += 1
                back.rows.append(row)
        if kept[product_type]:
            continue
        for row, image_path in listings:
            holder = holders[image_path]
            if kept[holder.product_type] > 1:
                if holder.row in back.rows:
                    back.rows.remove(holder.row)
                else:
                    back.swapped[holder.row] = row
                kept[holder.product_type] -= 1
                kept[product_type] += 1
                holders[image_path] = _Holder(row, product_type)
                back.rows.append(row)
                break
    return back
