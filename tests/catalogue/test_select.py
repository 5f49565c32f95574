from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shelfqa.catalogue import select
from shelfqa.catalogue.listing import Listing
from shelfqa.images import Fingerprint

GOOD = Fingerprint(4, 4, b"\0" * 32, None)
BAD = Fingerprint(0, 0, None, "truncated: broken off")


def make(product_id: str = "P", line: int = 1, **fields: Any) -> Listing:
    values: dict[str, Any] = {"file": "f", "line": line, "product_id": product_id, "image_path": "a.png"}
    return Listing(**(values | fields))


def reasons(selection: select.Selection) -> list[tuple[int, str]]:
    return sorted((drop.line, drop.reason) for drop in selection.drops)


def test_the_preferred_domain_is_kept_and_repetitions_are_told_apart() -> None:
    found = select.one_per_product(
        [
            make(line=1, domain="amazon.de", name="Mug"),
            make(line=2, domain="amazon.com", name="Mug"),
            make(line=3, domain="amazon.com", name="Mug"),
            make(line=4, domain="amazon.com", name="Other mug", color="red"),
            make("Q", line=5),
        ],
        ["amazon.com"],
    )
    assert [listing.line for listing in found.listings] == [4, 5]
    assert reasons(found) == [(1, "other-domain"), (2, "repeated-product"), (3, "repeated-product")]


def test_a_wanted_language_goes_before_a_wanted_domain() -> None:
    found = select.one_per_product(
        [make(line=1, domain="amazon.com", language_rank=5), make(line=2, domain="amazon.in", language_rank=0)],
        ["amazon.com"],
    )
    assert [listing.line for listing in found.listings] == [2]


LISTINGS = st.lists(
    st.builds(
        make,
        st.sampled_from("PQ"),
        st.integers(1, 99),
        domain=st.sampled_from(["amazon.com", "amazon.de", None]),
        name=st.sampled_from(["a", "b"]),
        language_rank=st.integers(0, 1),
    ),
    max_size=8,
)


@given(LISTINGS, st.randoms())
def test_what_is_kept_does_not_depend_on_the_order(listings: list[Listing], rng: Any) -> None:
    shuffled = list(listings)
    rng.shuffle(shuffled)
    kept = [
        {(one.product_id, one.domain, one.name) for one in select.one_per_product(some, ["amazon.com"]).listings}
        for some in (listings, shuffled)
    ]
    assert kept[0] == kept[1]


def test_listings_that_say_the_same_under_two_ids_are_copies() -> None:
    found = select.without_copies(
        [make("P2", 1, name="Mug"), make("P1", 2, name="Mug"), make("P3", 3, name="Mug", image_path="b.png")]
    )
    assert sorted(listing.product_id for listing in found.listings) == ["P1", "P3"]
    assert reasons(found) == [(1, "exact-duplicate")]


def test_missing_and_unreadable_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    present = select.with_image_file(
        [make(line=1, other_image_paths=["b.png", "no.png"]), make(line=2, image_path="no.png")], tmp_path
    )
    assert present.listings[0].other_image_paths == ["b.png"]
    assert reasons(present) == [(2, "image-file-missing")]
    assert present.notes == {"other image left out: file missing": 1}
    readable = select.with_readable_image(
        [make(line=1, other_image_paths=["b.png"]), make(line=2, image_path="b.png")], {"a.png": GOOD, "b.png": BAD}
    )
    assert readable.listings[0].other_image_paths == []
    assert reasons(readable) == [(2, "unreadable-image")]
    assert readable.drops[0].detail == "truncated: broken off"


def test_listings_without_wanted_texts() -> None:
    found = select.in_wanted_language([make(line=1), make(line=2, name="Mug"), make(line=3, language="en_US")])
    assert reasons(found) == [(1, "no-wanted-language")]
