from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shelfqa.catalogue import selection as module
from shelfqa.catalogue.listing import Listing
from shelfqa.catalogue.parts import Part
from shelfqa.catalogue.selection import Selection, literal
from shelfqa.records import DROPPED_COLUMNS, IMAGE_COLUMNS, PRODUCT_COLUMNS

TABLE = [("A", "a.png"), ("B", "b.png"), ("A", "again.png"), ("UP", "x/../../up.png"), ("ROOT", "/etc/passwd")]
TABLE += [("DRIVE", "C:\\x.png"), ("BACK", "x\\..\\y.png"), ("DOTS", "x../..y/z..png"), ("HERE", "./h.png")]
Make = Callable[..., Selection]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Selection] = []

    def selection(*listings: Listing, threads: int = 1) -> Selection:
        for number, one in enumerate(listings):
            one.line = number
            one.with_keys()
        folder = tmp_path / f"it's part [{len(made)}] *"
        part = Part(folder, 0)
        part.write(listings, Counter(), Counter())
        found = Selection([part], folder, threads)
        made.append(found)
        found.place_images(pa.Table.from_pylist([{"image_id": one, "path": path} for one, path in TABLE]), Counter())
        return found

    yield selection
    for one in made:
        one.close()


def listing(product_id: str = "P", image: str | None = "A", **fields: Any) -> Listing:
    return Listing(file="f.json", line=0, product_id=product_id, image_id=image, **fields)


def rows(batches: Iterator[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def why(selection: Selection) -> dict[int, str]:
    return {row["line"]: row["reason"] for row in rows(selection.drops())}


def test_images_are_found_by_their_ids(make: Make) -> None:
    selection = make(listing(other_image_ids=["B", "A", "gone", "HERE", "B", "UP"]), listing("Q", "gone"))
    (product,) = rows(selection.products())
    assert product["image_path"] == "again.png"  # the row of a table that comes last counts
    assert product["other_image_paths"] == ["b.png", "./h.png"]
    assert why(selection) == {1: "image-not-listed"}
    assert selection.notes == {"other image left out: not in the image table": 1}


@pytest.mark.parametrize(
    ("image", "good"), [("UP", False), ("ROOT", False), ("DRIVE", False), ("BACK", False), ("DOTS", True)]
)
def test_images_outside_the_folder_are_refused(make: Make, image: str, good: bool) -> None:
    selection = make(listing(image=image))
    assert why(selection) == ({} if good else {0: "image-outside-folder"})


def test_paths_are_taken_as_they_stand(make: Make) -> None:
    selection = make(
        listing(image=None, image_path="it's.png", other_image_paths=["b.png", "it's.png", "b.png", "a.png"])
    )
    (product,) = rows(selection.products())
    assert (product["image_path"], product["other_image_paths"]) == ("it's.png", ["b.png", "a.png"])
    assert selection.image_paths(others=True) == ["a.png", "b.png", "it's.png"]
    assert selection.image_paths(others=False) == ["it's.png"]


def test_faulty_pictures_drop_listings_and_leave_other_images_out(make: Make) -> None:
    selection = make(
        listing("P", None, image_path="a.png", other_image_paths=["b.png", "c.png"]),
        listing("Q", None, image_path="b.png", other_image_paths=["c.png"]),
        listing("R", None, image_path="d.png"),
    )
    faults = [
        ("b.png", "unreadable-image", "truncated: broken off"),
        ("c.png", "image-file-missing", "no file 'c.png'"),
    ]
    names = ("image_path", "reason", "detail")
    selection.drop_pictures(pa.Table.from_pylist([dict(zip(names, fault, strict=True)) for fault in faults]))
    assert [row["product_id"] for row in rows(selection.products())] == ["P", "R"]
    assert [row["other_image_paths"] for row in rows(selection.products())] == [[], []]
    assert rows(selection.drops())[0]["detail"] == "truncated: broken off"
    assert selection.notes["other image left out: unreadable-image"] == 1
    assert selection.notes["other image left out: image-file-missing"] == 1


def test_pictures_carry_the_products_that_show_them(make: Make) -> None:
    selection = make(
        listing("Q", None, image_path="a.png"),
        listing("P", None, image_path="b.png", other_image_paths=["a.png"]),
        listing("P", None, image_path="a.png"),
        listing("R", None, image_path="c.png"),
    )
    selection.drop("mine", "SELECT row, 'r' AS reason, 'd' AS detail FROM alive WHERE product_id = 'R'")
    found = {row["image_path"]: row["product_ids"] for row in rows(selection.images(None))}
    assert found == {"a.png": ["P", "Q"], "b.png": ["P"]}
    asked = pa.chunked_array([["b.png", "none.png"], ["a.png"]])
    assert selection.product_ids(asked) == [["P"], None, ["P", "Q"]]


def test_each_drop_is_counted_and_comes_back(make: Make) -> None:
    selection = make(*(listing(f"P{number}", product_type="mug") for number in range(4)))
    selection.drop(
        "one", "SELECT row, 'few' AS reason, 'd' AS detail FROM alive WHERE product_id IN ('P0', 'P1')", {"a": 1}
    )
    selection.drop(
        "two", "SELECT row, 'same' AS reason, NULL AS detail, 3 AS kept_row FROM alive WHERE product_id = 'P2'"
    )
    assert [row["detail"] for row in rows(selection.drops())] == ["d", "d", "f.json:3 is kept"]
    selection.restore("three", {}, [0, 2], {3: 0})
    steps = [(one.step, one.kept, one.dropped, one.restored) for one in selection.steps]
    assert steps == [
        ("images", 4, {}, {}),
        ("one", 2, {"few": 2}, {}),
        ("two", 1, {"same": 1}, {}),
        ("three", 2, {"same-image": 1}, {"few": 1, "same": 1}),
    ]
    assert selection.steps[1].parameters == {"a": 1}
    assert why(selection) == {1: "few", 3: "same-image"}


@pytest.mark.parametrize("threads", [1, 4])
def test_tables_come_in_batches_of_one_size(make: Make, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(module, "_BATCH_ROWS", 10)
    selection = make(*(listing(f"P{number:03}") for number in range(57)), threads=threads)
    for batches, schema in (
        (selection.products(), PRODUCT_COLUMNS),
        (selection.drops(), DROPPED_COLUMNS),
        (selection.images(None), IMAGE_COLUMNS),
    ):
        found = list(batches)
        assert all(batch.schema.equals(schema) for batch in found)
        assert all(batch.num_rows == 10 for batch in found[:-1])
    assert [row["product_id"] for row in rows(selection.products())] == [f"P{number:03}" for number in range(57)]


def test_listings_read_again_keep_their_rows(make: Make, tmp_path: Path) -> None:
    selection = make(listing("P0"), listing("P1"), listing("P2"))
    selection.drop("mine", "SELECT row, 'r' AS reason, 'd' AS detail FROM alive WHERE product_id = 'P1'")
    assert {file: sorted(lines) for file, lines in selection.kept_lines().items()} == {"f.json": [0, 2]}
    again = Part(tmp_path / "again", 0)
    told = [listing("P2", name="Two"), listing("P0", name="Zero")]
    told[0].line, told[1].line = 2, 0
    again.write(told, Counter(), Counter())
    selection.replace_parts([again])
    assert [(row["product_id"], row["name"]) for row in rows(selection.products())] == [("P0", "Zero"), ("P2", "Two")]


def test_text_becomes_a_literal() -> None:
    assert literal("it's '; DROP TABLE parts; --") == "'it''s ''; DROP TABLE parts; --'"
