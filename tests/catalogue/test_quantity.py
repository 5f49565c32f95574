from __future__ import annotations

import pytest

from shelfqa.catalogue.quantity import quantity


@pytest.mark.parametrize(
    ("name", "number", "kind"),
    [
        ("Mugs, Set of 4", 4, "set"),
        ("Pack of 3 towels", 3, "pack"),
        ("binder - 12-pack (white)", 12, "pack"),
        ("6-Piece knife block", 6, "pieces"),
        ("Tassen, 2er-Set", 2, "set"),
        ("Tassen im 3er Pack", 3, "pack"),
        ("set of two chairs", 2, "set"),
        ("juego de 4 tazas", 4, "set"),
        ("150-count bags", 150, "pieces"),
    ],
)
def test_quantities_are_found(name: str, number: int, kind: str) -> None:
    found = quantity(name)
    assert found is not None
    assert (found.number, found.kind) == (number, kind)
    assert found.text in name


@pytest.mark.parametrize(
    "name", [None, "Mug", "Knob ab500-pc-10", "1.5-pack", "Set of 2, 6-piece", "4 inch mug", "pack of zero", "set of 0"]
)
def test_nothing_certain_is_nothing(name: str | None) -> None:
    assert quantity(name) is None


def test_bullet_points_are_asked_where_the_name_is_silent() -> None:
    found = quantity("Mugs", ["Comes as a set of 4", "Set of 4 mugs"])
    assert found is not None
    assert found.number == 4
    assert quantity("Mugs, set of 2", ["Set of 4"]) == quantity("Mugs, set of 2")
