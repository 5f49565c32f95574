from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plain_selection
from plain_selection import Plain
from shelfqa.catalogue import steps
from shelfqa.catalogue.listing import Listing
from shelfqa.catalogue.parts import Part
from shelfqa.catalogue.selection import Selection

IMAGES = [(f"I{number}", f"aa/{number}.png") for number in range(7)]
IMAGES += [("I7", "it's 100%;--.png"), ("I8", "../up.png"), ("I9", "/etc/passwd"), ("I10", "é/ü.png")]
TYPES = [None, "mug", "chair", "café table", "'; DROP TABLE parts; --", '100% "silk"', "a\\b"]
WORDS = [
    "Big",
    "big mug",
    "BIG, mug!",
    "Groß",
    "%",
    "_",
    "'; DROP TABLE fate; --",
    'a "quoted" word',
    "a, b",
    "\U0001f600",
]
LANGUAGES = ["en_US", "en_GB", None]
DOMAINS = [None, "amazon.com", "amazon.co.uk", "amazon.in", "o'neill.example"]


def some(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(values)


ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "pattern": st.sampled_from(["Striped", "gestreift ß", "a\x1fb"]),
        "country": st.sampled_from(["US", "DE"]),
        "number_of_items": st.integers(1, 3),
        "weight": st.just({"value": 1.5, "unit": "g"}),
    },
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "file": st.sampled_from(["a.json", "it's.json"]),
    "line": st.integers(1, 999),
    "product_id": st.sampled_from(["P1", "P2", "P3", "P4", "P'5", "Ü"]),
    "image_id": st.sampled_from([*(name for name, _ in IMAGES), "gone"]),
    "other_image_ids": st.lists(st.sampled_from([*(name for name, _ in IMAGES), "gone"]), max_size=3),
    "product_type": st.sampled_from(TYPES),
    "name": some(WORDS),
    "brand": some(["Acme", "Ünïcode"]),
    "color": some(["red", "blå"]),
    "material": some(["wool"]),
    "bullet_points": st.lists(st.sampled_from(WORDS), max_size=2, unique=True),
    "keywords": st.lists(st.sampled_from(WORDS), max_size=2, unique=True),
    "description": some(["Fine"]),
    "attributes": ATTRIBUTES,
    "language": st.sampled_from(LANGUAGES),
    "domain": st.sampled_from(DOMAINS),
}


@st.composite
def catalogues(draw: st.DrawFn) -> list[Listing]:
    """Listings, and copies of some of them that differ in two fields at most."""
    listings = draw(st.lists(st.builds(Listing, **FIELDS), min_size=2, max_size=14))
    for number in draw(st.lists(st.integers(0, 99), min_size=3, max_size=26)):
        names = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=2))
        changed = {name: draw(FIELDS[name]) for name in names}
        listings.append(msgspec.structs.replace(listings[number % len(listings)], **changed))
    return listings


LISTINGS = catalogues()


@contextmanager
def selecting(listings: list[Listing], table: Sequence[tuple[str, str]] = IMAGES) -> Iterator[tuple[Selection, Plain]]:
    """The listings in DuckDB and in plain Python."""
    for one in listings:
        one.language_rank = LANGUAGES.index(one.language)
        one.with_keys()
    folder = Path(tempfile.mkdtemp())
    part = Part(folder, 0)
    part.write(listings, Counter(), Counter())
    selection = Selection([part], folder, 1)
    try:
        rows = pa.table({"image_id": [one for one, _ in table], "path": [path for _, path in table]})
        selection.place_images(rows, Counter())
        yield selection, plain_selection.plain(listings, table)
    finally:
        selection.close()
        shutil.rmtree(folder)


def assert_same(selection: Selection, expected: Plain) -> None:
    """Hold the two against each other: the counts of each step, what was dropped why, and the tables."""
    ties = dict(selection.rows("SELECT row, tie FROM listing"))
    told = Counter(
        (ties[row], selection.steps[step].step, reason, ties.get(kept))
        for row, step, reason, kept in selection.rows("SELECT row, step, reason, kept_row FROM fate")
    )
    assert told == expected.told()
    counts = [{name: getattr(one, name) for name in ("step", "kept", "dropped", "restored")} for one in selection.steps]
    assert counts == expected.steps
    products = [row for batch in selection.products() for row in batch.to_pylist()]
    for row in products:
        row["attributes"] = json.loads(row["attributes"])
    assert products == expected.products()
    images = {row["image_path"]: row["product_ids"] for batch in selection.images(None) for row in batch.to_pylist()}
    assert images == expected.shown_by()
    drops = [row for batch in selection.drops() for row in batch.to_pylist()]
    assert len(drops) + len(products) == len(expected.listings)
    assert all(row["detail"] and row["detail"].strip() for row in drops)


VARIANTS: dict[str, Any] = {
    "wanted-language": steps.WantedLanguage(),
    "required-fields": steps.RequiredFields(fields=("name", "keywords", "attributes.pattern", "product_type")),
    "ascii-only": steps.AsciiOnly(),
    "ascii-only lists": steps.AsciiOnly(fields=("bullet_points", "keywords", "attributes.pattern")),
    "blocked": steps.Blocked(product_ids=("P'5", "Ü", "none"), image_ids=("I3", "aa/4.png", "'; DROP TABLE fate; --")),
    "blocked by nothing": steps.Blocked(),
    "richness": steps.Richness(),
    "richness in pieces": steps.Richness(minimum=1, min_pieces=2),
    "exact-duplicates": steps.ExactDuplicates(),
    "exact-duplicates of fields": steps.ExactDuplicates(fields=("product_type", "color")),
    "other-image-consistency": steps.OtherImageConsistency(),
    "near-duplicate-metadata": steps.NearDuplicateMetadata(),
    "near-duplicate-metadata of a field": steps.NearDuplicateMetadata(fields=("name",)),
    "cap by richness": steps.Cap(per_type=2),
    "cap by sample": steps.Cap(per_type=2, by="sample"),
    "cap by a seeded sample": steps.Cap(per_type=3, by="sample", seed=42),
    "one-per-image": steps.OnePerImage(),
    "one-per-product": steps.OnePerProduct(),
    "one-per-product of other domains": steps.OnePerProduct(domains=("o'neill.example",)),
    "one-per-product of no domains": steps.OnePerProduct(domains=()),
    "describe-from-bullet-points": steps.DescribeFromBulletPoints(separator=" '| "),
}


@pytest.mark.parametrize("name", VARIANTS)
@settings(max_examples=8, deadline=None)
@given(listings=LISTINGS, seed=st.integers(0, 9))
def test_a_step_does_as_it_says(name: str, listings: list[Listing], seed: int) -> None:
    with selecting(listings) as (selection, expected):
        VARIANTS[name].apply(selection, seed)
        plain_selection.apply(expected, VARIANTS[name], seed)
        assert_same(selection, expected)


RECIPES = st.lists(st.sampled_from(sorted(VARIANTS)), min_size=2, max_size=5)


@settings(max_examples=40, deadline=None)
@given(listings=LISTINGS, recipe=RECIPES, seed=st.integers(0, 9))
def test_steps_do_as_they_say_one_after_another(listings: list[Listing], recipe: list[str], seed: int) -> None:
    with selecting(listings) as (selection, expected):
        for name in recipe:
            VARIANTS[name].apply(selection, seed)
            plain_selection.apply(expected, VARIANTS[name], seed)
        assert_same(selection, expected)


LIMITS = st.lists(
    st.sampled_from([name for name in VARIANTS if name.split()[0] in ("richness", "near-duplicate-metadata", "cap")]),
    max_size=3,
)


@settings(max_examples=40, deadline=None)
@given(listings=LISTINGS, recipe=LIMITS, per_type=st.integers(1, 3))
def test_lost_types_come_back(listings: list[Listing], recipe: list[str], per_type: int) -> None:
    """Few images and one listing an image: types lose all, and images are swapped."""
    with selecting(listings) as (selection, expected):
        for step in (*(VARIANTS[name] for name in recipe), steps.OnePerImage(), steps.EveryType(per_type=per_type)):
            step.apply(selection, 1)
            plain_selection.apply(expected, step, 1)
        assert_same(selection, expected)
        types: dict[str, list[int]] = {}
        dropped = selection.rows("SELECT row, step FROM fate")
        for row in expected.alive:
            types.setdefault(expected.type_of(row), []).append(row)
        single = {expected.images[row] for rows in types.values() if len(rows) == 1 for row in rows}
        for row, step in dropped:
            if selection.steps[step].step not in ("images", "every-type") and expected.type_of(row) not in types:
                assert expected.images[row] in single


def reasons(listings: list[Listing], *recipe: Any, table: Sequence[tuple[str, str]] = IMAGES) -> list[str | None]:
    """Why each listing is dropped, None for those kept; read from the numbers of their lines."""
    for number, one in enumerate(listings):
        one.line = number
    with selecting(listings, table) as (selection, _):
        for step in recipe:
            step.apply(selection, 0)
        found = dict(selection.rows("SELECT line, reason FROM fate JOIN listing USING (row)"))
    return [found.get(number) for number in range(len(listings))]


def make(product_id: str = "P", image: str | None = "I0", **fields: Any) -> Listing:
    return Listing(file="f", line=0, product_id=product_id, image_id=image, **fields)


def test_the_preferred_domain_is_kept_and_repetitions_are_told_apart() -> None:
    listings = [
        make(domain="amazon.de", name="Mug"),
        make(domain="amazon.com", name="Mug"),
        make(domain="amazon.com", name="Mug", product_type="mug"),
        make(domain="amazon.com", name="Other mug", color="red"),
        make(domain="amazon.com", name="Other mug", color="red"),
        make("Q"),
    ]
    found = reasons(listings, steps.OnePerProduct())
    repeated = "repeated-product"
    assert sorted(map(str, found[3:5])) == ["None", "exact-duplicate"]
    assert [*found[:3], found[5]] == ["other-domain", repeated, repeated, None]


def test_a_wanted_language_goes_before_a_wanted_domain() -> None:
    listings = [make(domain="amazon.com", name="a"), make(domain="amazon.in", language="en_US")]
    assert reasons(listings, steps.OnePerProduct()) == ["other-domain", None]


def test_listings_that_say_the_same_under_two_ids_are_copies() -> None:
    listings = [make("P2", name="Mug"), make("P1", name="Mug"), make("P3", "I1", name="Mug")]
    listings += [make("P4", name="Mug", other_image_ids=["I2"]), make("P5", name="Mug", attributes={"country": "US"})]
    copy = "exact-duplicate"
    assert reasons(listings, steps.ExactDuplicates()) == [copy, None, None, None, copy]


def test_a_missing_text_is_no_text_and_a_separator_in_one_does_not_part_it() -> None:
    listings = [
        make("A", attributes={"a": "x\x1fy", "b": "z"}),
        make("B", attributes={"a": "x", "b": "y\x1fz"}),
        make("C", attributes={"a": "x"}),
        make("D", attributes={"b": "x"}),
        make("E", attributes={}),
        make("F", attributes={}),
    ]
    fields = ("attributes.a", "attributes.b")
    copies = reasons(listings, steps.ExactDuplicates(fields=fields))
    assert copies == [None] * 5 + ["exact-duplicate"]
    near = reasons(listings, steps.NearDuplicateMetadata(fields=fields))
    assert near == [None] * 6


@pytest.mark.parametrize(
    "name", ["a.b", "it's", "*", "a[0]", "$", "größe", "two words", "#", "-1", "a\\b", "a/b", "~1", 'a"b']
)
def test_attributes_are_found_by_any_name(name: str) -> None:
    listings = [make("A", attributes={name: "x"}), make("B", attributes={"other": "x", "a": {"b": "y"}})]
    assert reasons(listings, steps.RequiredFields(fields=(f"attributes.{name}",))) == [None, f"no-attributes.{name}"]


def test_near_duplicates_differ_in_case_and_in_lists_in_blanks() -> None:
    near = "near-duplicate-metadata"
    names = ["Big mug", "BIG MUG", "Big  mug", "Big mügs", "ÉTÉ", "été", None, None]
    listings = [make(f"P{number}", name=name) for number, name in enumerate(names)]
    listings.append(make("Q", name="Big mug", product_type="mug"))
    found = reasons(listings, steps.NearDuplicateMetadata(fields=("name",)))
    assert found == [None, near, None, None, None, near, None, None, None]
    lists = [["Big mug", "b"], ["big\u00a0mug", "B"], ["b", "Big mug"], ["  "], [], ["Big mug!", "b"]]
    listings = [make(f"P{number}", keywords=words) for number, words in enumerate(lists)]
    assert reasons(listings, steps.NearDuplicateMetadata(fields=("keywords",))) == [None, near, None, None, None, None]


def test_a_sample_does_not_depend_on_other_types() -> None:
    mugs = [make(f"M{number}", product_type="mug") for number in range(9)]
    chairs = [make(f"C{number}", product_type="chair") for number in range(9)]
    cap = steps.Cap(per_type=4, by="sample", seed=3)
    alone = reasons(mugs, cap)
    assert alone.count(None) == 4
    assert reasons(mugs + chairs, cap)[:9] == alone
    assert reasons(mugs, steps.Cap(per_type=4, by="sample", seed=4)) != alone


def test_only_main_images_of_kept_listings_make_another_image_doubtful() -> None:
    listings = [make("P", "I0", other_image_ids=["I1"]), make("Q", "I1"), make("R", "I0"), make("S", "I2")]
    doubtful = "other-image-is-main-image"
    assert reasons(listings, steps.OtherImageConsistency()) == [doubtful, None, doubtful, None]
    blocked = steps.Blocked(product_ids=("Q",))
    assert reasons(listings, blocked, steps.OtherImageConsistency()) == [None, "blocked", None, None]


def test_a_lost_type_comes_back_with_so_many_listings() -> None:
    listings = [make(f"C{number}", f"I{number}", product_type="chair") for number in range(4)]
    listings.append(make("M", "I4", product_type="mug", color="red"))
    rich = steps.Richness(minimum=1)
    poor = "low-richness"
    assert reasons(listings, rich, steps.EveryType(per_type=2)) == [None, None, poor, poor, None]
    assert reasons(listings, rich, steps.EveryType()) == [None, poor, poor, poor, None]


def test_no_type_is_lost_for_another() -> None:
    """Two lost types could take the two images of the mugs; only one of them may."""
    listings = [make("M1", "I0", product_type="mug", color="red"), make("M2", "I1", product_type="mug", color="red")]
    listings += [make("A", "I0", product_type="arch"), make("B", "I1", product_type="bed")]
    rich = steps.Richness(minimum=1)
    assert reasons(listings, rich, steps.EveryType()) == ["same-image", None, None, "low-richness"]


def test_no_type_is_lost_where_several_kept_listings_share_an_image() -> None:
    """As in recipes with every-type and without one-per-image."""
    listings = [make("Z", "I0", product_type="zebra", color="red")]
    listings += [make(f"A{number}", f"I{number}", product_type="ant", color="red") for number in range(2)]
    listings.append(make("M", "I0", product_type="mug"))
    for order in (listings, listings[::-1]):
        found = reasons(order, steps.Richness(minimum=1), steps.EveryType())
        assert found[order.index(listings[0])] is None
