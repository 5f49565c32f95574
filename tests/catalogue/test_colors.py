from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfqa.catalogue.colors import STANDARD_COLOR_WORDS, STANDARD_COLORS, standard_color


@pytest.mark.parametrize("color", STANDARD_COLORS)
def test_standard_colours_stand_for_themselves(color: str) -> None:
    assert standard_color(color) == color
    assert standard_color(color.title()) == color
    assert color in STANDARD_COLOR_WORDS


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("Navy Blue", "blue"),
        ("Sky Blue", "blue"),
        ("Charcoal", "grey"),
        ("Gray", "grey"),
        ("Multicolour", "multicolor"),
        ("Multi-Coloured", "multicolor"),
        ("Ivory", "off-white"),
        ("Black Leather", "black"),
        ("Red (Glossy)", "red"),
        ("Color: red", "red"),
        ("Walnut Brown", "brown"),
        ("Black / Jet Black", "black"),
        ("red, white and blue", "multicolor"),
        ("dunkelblau", "blue"),
        ("Weiß", "white"),
        ("WEISS", "white"),
        ("bleu marine", "blue"),
        ("gris clair", "grey"),
        ("steelblue", "blue"),
        ("Clear Glass", "clear"),
        ("Black/White", None),
        ("Blue Gray", None),
        ("Orange Red", None),
        ("Rose Gold", None),
        ("Warm White", None),
        ("Greyish Blue", None),
        ("non-red", None),
        ("taupe", None),
        ("Teal", None),
        ("Oak", None),
        ("Blue jeans", None),
        ("Brot", None),
        ("assorted", None),
        ("#000000", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_what_a_colour_is_called(text: object, color: str | None) -> None:
    assert standard_color(text) == color


@given(st.text(max_size=30))
def test_any_text_gives_a_standard_colour_or_none(text: str) -> None:
    assert standard_color(text) in {*STANDARD_COLORS, None}
