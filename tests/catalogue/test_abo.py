from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shelfqa.catalogue.abo import RawListing, find_parts, is_abo, read_abo
from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.listing import Listing, Reading
from shelfqa.errors import InputError
from tiny_catalogue import listing, tagged, write_abo


def read(folder: Path, *wanted: str) -> Reading:
    return read_abo(find_parts(folder), Languages(wanted) if wanted else Languages())


def only(folder: Path, **fields: Any) -> Listing:
    """The one listing of a catalogue that holds it alone."""
    reading = read(write_abo(folder, [[listing(0, **fields)]], images=3))
    assert reading.drops == []
    return reading.listings[0]


def test_fields_are_taken_over(tmp_path: Path) -> None:
    found = only(
        tmp_path,
        other_image_id=["I001", "I002", "I001", "I000", "gone"],
        brand=tagged("Acme"),
        bullet_point=tagged("  Big\n mug", "big mug", "Dishwasher safe"),
        product_description=tagged("<p>A <b>big</b>ger &amp; better<br/>mug</p><script>x()</script>"),
        item_shape=tagged("Round"),
        finish_type=tagged("Glazed"),
        model_year=[{"value": 2019}],
        item_weight=[{"unit": "grams", "value": 340, "normalized_value": {"unit": "pounds", "value": 0.75}}],
        item_dimensions={"height": {"unit": "cm", "value": 10}},
        node=[{"node_id": 1, "path": "/Kitchen/Mugs"}],
        item_name=tagged("Stoneware mugs, Set of 4"),
    )
    assert found.image_path == "aa/000.png"
    assert found.other_image_paths == ["aa/001.png", "aa/002.png"]
    assert (found.product_type, found.brand, found.color) == ("mug", "Acme", "blue")
    assert found.bullet_points == ["Big mug", "Dishwasher safe"]
    assert found.description == "A bigger & better mug"
    assert found.richness == 2
    assert found.attributes == {
        "color_given": "Navy",
        "shape": "Round",
        "finish": "Glazed",
        "model_year": "2019",
        "weight": {"value": 0.75, "unit": "pounds"},
        "dimensions": {"height": {"value": 10, "unit": "cm"}},
        "node": ["/Kitchen/Mugs"],
        "number_of_items": 4,
        "number_of_items_text": "Set of 4",
    }


@pytest.mark.parametrize("value", ["CELLULAR_PHONE_CASE", [{"value": "CELLULAR_PHONE_CASE"}]])
def test_the_product_type_is_a_string_or_a_list(tmp_path: Path, value: object) -> None:
    assert only(tmp_path, product_type=value).product_type == "cellular phone case"


def test_the_wanted_language_that_comes_first_is_taken(tmp_path: Path) -> None:
    name = [*tagged("Tasse", tag="de_DE"), *tagged("Beaker", tag="en_GB"), *tagged("Mug", tag="en_US")]
    folder = write_abo(tmp_path, [[listing(0, item_name=name)]], images=1)
    for wanted, expected in ((("en_US", "en_*"), "Mug"), (("en_GB", "en_*"), "Beaker"), (("de-DE",), "Tasse")):
        assert read(folder, *wanted).listings[0].name == expected


def test_another_language_is_not_taken_for_english(tmp_path: Path) -> None:
    found = only(
        tmp_path,
        item_name=tagged("Große Tasse", tag="de_DE"),
        bullet_point=tagged("Spülmaschinenfest", tag="de_DE"),
        brand=tagged("Acme", tag="de_DE"),
        color=[{"language_tag": "de_DE", "value": "Marine", "standardized_values": ["Blue"]}],
    )
    assert (found.name, found.bullet_points, found.language) == (None, [], None)
    assert (found.brand, found.color, found.product_type) == ("Acme", "blue", "mug")


def test_each_bad_line_is_told_with_file_and_line(tmp_path: Path) -> None:
    bad: list[Any] = [
        listing(0),
        b'{"item_id": "P1", ',
        b"",
        b'["no", "object"]',
        b'{"item_id": "P\xff"}',
        listing(1, item_id=None),
        listing(2, main_image_id=None),
        listing(3, main_image_id="nowhere"),
        listing(4),
    ]
    reading = read(write_abo(tmp_path, [[listing(5)], bad], images=6))
    assert [found.product_id for found in reading.listings] == ["P005", "P000", "P004"]
    assert [(drop.file, drop.line, drop.reason) for drop in reading.drops] == [
        ("listings_1.json.gz", 2, "broken-json"),
        ("listings_1.json.gz", 4, "not-an-object"),
        ("listings_1.json.gz", 5, "wrong-encoding"),
        ("listings_1.json.gz", 6, "no-product-id"),
        ("listings_1.json.gz", 7, "no-image-id"),
        ("listings_1.json.gz", 8, "image-not-listed"),
    ]
    assert reading.read == 9


def test_a_truncated_shard_is_saved_up_to_the_break(tmp_path: Path) -> None:
    rows = [
        listing(number % 12, item_id=f"Q{number}", item_keywords=tagged(str(hash(str(number)))))
        for number in range(900)
    ]
    folder = write_abo(tmp_path, [rows, [listing(0)]])
    shard = folder / "listings" / "metadata" / "listings_0.json.gz"
    shard.write_bytes(shard.read_bytes()[:-2000])
    reading = read(folder)
    assert [drop.reason for drop in reading.drops] == ["truncated-shard"]
    assert reading.drops[0].file == "listings_0.json.gz"
    assert reading.drops[0].line == len(reading.listings)
    assert 100 < len(reading.listings) < 901
    assert reading.listings[-1].product_id == "P000"


def test_fields_of_an_unexpected_form_cost_themselves_only(tmp_path: Path) -> None:
    found = read(
        write_abo(
            tmp_path,
            [
                [
                    listing(
                        0,
                        item_name="Bare mug",
                        color={"odd": 1},
                        brand=7,
                        item_dimensions="big",
                        item_id=5,
                        model_year=None,
                    )
                ]
            ],
            images=1,
        )
    )
    (kept,) = found.listings
    assert (kept.product_id, kept.name, kept.brand, kept.color) == ("5", "Bare mug", "7", None)
    assert found.notes["field of unexpected form left out: item_dimensions"] == 1


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["value", "language_tag", "x"]), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(RawListing.__struct_encode_fields__)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(NAMES, ODD, max_size=5), min_size=1, max_size=4), st.binary(max_size=30))
def test_no_line_crashes_the_reader_or_is_lost(tmp_path: Path, lines: list[dict[str, Any]], noise: bytes) -> None:
    noise = noise.replace(b"\n", b"")
    rows = [json.dumps({**listing(0), **line}).encode() for line in lines]
    reading = read(write_abo(tmp_path, [[*rows, b"x" + noise]], images=1, gzipped=False))
    assert reading.read == len(lines) + 1
    assert {drop.line for drop in reading.drops} | {found.line for found in reading.listings} == set(
        range(1, len(lines) + 2)
    )


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = write_abo(tmp_path, [[listing(0)]], images=1)
    table = folder / "images" / "metadata" / "images.csv.gz"
    content = table.read_bytes()
    table.write_bytes(b"id,where\n")
    with pytest.raises(InputError, match=r"lacks the column 'image_id'; it has id, where"):
        read(folder)
    table.unlink()
    with pytest.raises(InputError, match=r"images\.csv\.gz"):
        find_parts(folder)
    table.write_bytes(content)
    (folder / "images" / "small").rename(folder / "images" / "elsewhere")
    with pytest.raises(InputError, match="--images"):
        find_parts(folder)
    assert not is_abo(folder / "images")


def test_the_real_slice_is_read_whole(abo_slice: Path) -> None:
    reading = read(abo_slice)
    assert (reading.read, len(reading.listings), reading.drops) == (8800, 8800, [])
    assert Counter(found.product_type for found in reading.listings)["shoes"] == 1413
