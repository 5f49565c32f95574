from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfqa.catalogue.measures import (
    dimensions,
    length_cm,
    measured_length,
    measured_sides,
    measured_weight,
    weight_g,
)


@pytest.mark.parametrize(
    ("value", "unit", "grams"),
    [
        ("2.5 lbs", None, 1133.98),
        ("12,5 kg", None, 12500),
        ("1.234,5 g", None, 1234.5),
        ("1,200.5 g", None, 1200.5),
        ("1 200 g", None, 1200),
        ("2 lb 3 oz", None, 992.233),
        ("1½ kg", None, 1500),
        ("10 kg (22 lbs)", None, 10000),
        ("approx. 3 Kilograms", None, 3000),
        ("3 hundredths_pounds", None, 13.6078),
        ("500", "g", 500),
        ("500 mg", "kg", 0.5),
        (2, "Pounds", 907.185),
        (1.2, "KG", 1200),
        ("1,234 g", None, None),
        ("500", None, None),
        (500, None, None),
        (500, "furlongs", None),
        ("10 kg (30 lbs)", None, None),
        ("5 kg - 6 kg", None, None),
        ("5-6 kg", None, None),
        ("-5 kg", None, None),
        ("0 kg", None, None),
        ("5 St", None, None),
        ("", None, None),
        ("light", "kg", None),
        (math.nan, "kg", None),
        (math.inf, "kg", None),
        (True, "kg", None),
        (None, "kg", None),
        ([1], "kg", None),
    ],
)
def test_weights_in_grams(value: object, unit: str | None, grams: float | None) -> None:
    assert weight_g(value, unit) == grams


@pytest.mark.parametrize(
    ("text", "centimetres"),
    [
        ("12,5 cm", 12.5),
        ("5' 3\"", 160.02),
        ("5'3\"", 160.02),
        ("5ft 3in", 160.02),
        ("1 1/2 in", 3.81),
        ("1-1/2 in.", 3.81),
        ("3/4″", 1.905),
        ("½ inch", 1.27),
        ("2.5 Zoll", 6.35),
        ("10 cm / 3.94 in", 10),
        ("1 m 20 cm", 120),
        ("20 cm 1 m", None),
        ("10-12 cm", None),
        ("1/0 in", None),
        ("Maxi", None),
        ("10 kg", None),
    ],
)
def test_lengths_in_centimetres(text: str, centimetres: float | None) -> None:
    assert length_cm(text) == centimetres


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("10 x 20 x 30 cm", {"side_1": 10, "side_2": 20, "side_3": 30}),
        ('10"L x 5"W x 3"H', {"length": 25.4, "width": 12.7, "height": 7.62}),
        ("H10 x B20 x T5 cm", {"height": 10, "width": 20, "depth": 5}),
        ("Height 10cm × Width 20cm", {"height": 10, "width": 20}),
        ("10 x 20 x 30 cm (L x W x H)", {"length": 10, "width": 20, "height": 30}),
        ("LxWxH: 10*20*30 mm", {"length": 1, "width": 2, "height": 3}),
        ("Ø 10 x H 20 cm", {"diameter": 10, "height": 20}),
        ("5 by 7 inches", {"side_1": 12.7, "side_2": 17.78}),
        ("10cm x 5in", {"side_1": 10, "side_2": 12.7}),
        ("10 x 20 x 30", {}),
        ("L60 x l40 cm", {}),
        ("H 10 x 20 cm", {}),
        ("10 cm", {}),
        ("extra x large", {}),
    ],
)
def test_dimensions_by_side(text: str, sides: dict[str, float]) -> None:
    assert dimensions(text) == sides


def test_the_objects_of_berkeley_objects_have_the_same_shape() -> None:
    pounds = {"normalized_value": {"unit": "pounds", "value": 2}, "unit": "kg", "value": 1}
    assert measured_weight([pounds]) == {"value": 907.185, "unit": "g"}
    assert measured_length({"unit": "inches", "value": "2"}) == {"value": 5.08, "unit": "cm"}
    assert measured_weight({"value": 2}) is None
    sides = {"width": {"unit": "inches", "value": 2}, "height": {"value": 3}, "depth": None, "unit": "cm", "odd": 1}
    assert measured_sides(sides) == {
        "height": {"value": 3.0, "unit": "cm"},
        "width": {"value": 5.08, "unit": "cm"},
    }


@given(st.text("0123456789.,/ x'\"-½kgcmlbin()", max_size=20))
def test_no_text_crashes_and_every_amount_is_positive(text: str) -> None:
    for amount in (weight_g(text, "kg"), length_cm(text, "in"), *dimensions(text, "cm").values()):
        assert amount is None or (math.isfinite(amount) and amount > 0)
