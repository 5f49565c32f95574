from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abo_parts import Found, found_in, only, read
from shelfqa.catalogue import abo
from shelfqa.catalogue.abo import (
    AboSource,
    Folder,
    Order,
    Share,
    find_parts,
    is_abo,
    read_image_table,
    read_share,
    shares_of,
)
from shelfqa.catalogue.abo_listing import LineReader, RawListing
from shelfqa.catalogue.languages import DEFAULT_LANGUAGES, Languages
from shelfqa.catalogue.listing import Listing
from shelfqa.catalogue.parts import Part, PartSummary
from shelfqa.errors import InputError
from shelfqa.lines import Line
from tiny_catalogue import listing, tagged, write_abo


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
    assert found["image_id"] == "I000"
    assert found["other_image_ids"] == ["I001", "I002", "I001", "I000", "gone"]
    assert (found["product_type"], found["brand"], found["color"]) == ("mug", "Acme", "blue")
    assert found["bullet_points"] == ["Big mug", "Dishwasher safe"]
    assert found["description"] == "A bigger & better mug"
    assert found["richness"] == 2
    assert found["attributes"] == {
        "color_given": "Navy",
        "shape": "Round",
        "finish": "Glazed",
        "model_year": "2019",
        "weight": {"value": 340.194, "unit": "g"},
        "dimensions": {"height": {"value": 10.0, "unit": "cm"}},
        "node": ["/Kitchen/Mugs"],
        "number_of_items": 4,
        "number_of_items_text": "Set of 4",
    }


@pytest.mark.parametrize("value", ["CELLULAR_PHONE_CASE", [{"value": "CELLULAR_PHONE_CASE"}]])
def test_the_product_type_is_a_string_or_a_list(tmp_path: Path, value: object) -> None:
    assert only(tmp_path, product_type=value)["product_type"] == "cellular phone case"


def test_the_wanted_language_that_comes_first_is_taken(tmp_path: Path) -> None:
    name = [*tagged("Tasse", tag="de_DE"), *tagged("Beaker", tag="en_GB"), *tagged("Mug", tag="en_US")]
    folder = write_abo(tmp_path, [[listing(0, item_name=name)]], images=1)
    for wanted, expected in ((("en_US", "en_*"), "Mug"), (("en_GB", "en_*"), "Beaker"), (("de-DE",), "Tasse")):
        assert read(folder, *wanted).listings[0]["name"] == expected


def test_another_language_is_not_taken_for_english(tmp_path: Path) -> None:
    found = only(
        tmp_path,
        item_name=tagged("Große Tasse", tag="de_DE"),
        bullet_point=tagged("Spülmaschinenfest", tag="de_DE"),
        brand=tagged("Acme", tag="de_DE"),
        color=[{"language_tag": "de_DE", "value": "Marine", "standardized_values": ["Blue"]}],
    )
    assert (found["name"], found["bullet_points"], found["language"]) == (None, [], None)
    assert (found["brand"], found["color"], found["product_type"]) == ("Acme", "blue", "mug")


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
    assert [found["product_id"] for found in reading.listings] == ["P005", "P000", "P003", "P004"]
    assert [(drop["file"], drop["line"], drop["reason"]) for drop in reading.drops] == [
        ("listings_1.json.gz", 2, "broken-json"),
        ("listings_1.json.gz", 4, "not-an-object"),
        ("listings_1.json.gz", 5, "wrong-encoding"),
        ("listings_1.json.gz", 6, "no-product-id"),
        ("listings_1.json.gz", 7, "no-image-id"),
    ]
    assert reading.read == 9


def test_a_truncated_shard_is_saved_up_to_the_break(tmp_path: Path) -> None:
    rows = [
        listing(number % 12, item_id=f"Q{number}", item_keywords=tagged(hashlib.md5(b"%d" % number).hexdigest()))
        for number in range(900)
    ]
    folder = write_abo(tmp_path, [rows, [listing(0)]])
    shard = folder / "listings" / "metadata" / "listings_0.json.gz"
    shard.write_bytes(shard.read_bytes()[:-2000])
    reading = read(folder)
    assert [drop["reason"] for drop in reading.drops] == ["truncated-shard"]
    assert reading.drops[0]["file"] == "listings_0.json.gz"
    assert reading.drops[0]["line"] == len(reading.listings)
    assert 100 < len(reading.listings) < 901
    assert reading.listings[-1]["product_id"] == "P000"


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
    assert (kept["product_id"], kept["name"], kept["brand"], kept["color"]) == ("5", "Bare mug", "7", None)
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
    assert {one["line"] for one in (*reading.drops, *reading.listings)} == set(range(1, len(lines) + 2))


def test_a_line_read_leniently_says_the_same() -> None:
    fields = {
        "item_weight": [{"unit": "grams", "value": 340}],
        "bullet_point": tagged("Gro\u00df", 'it\'s "x"'),
        "model_number": [{"value": 7}],
        "node": [{"node_name": "/Kitchen"}],
        "3dmodel_id": "B1",
        "number_of_items": [{"value": 2}],
    }
    line = json.dumps(listing(0, **fields)).encode()
    reader = LineReader("f", Languages())
    strict, lenient = (
        reader.read(Line(1, one)) for one in (line, line[:-1] + b', "odd": NaN, "item_dimensions": "big"}')
    )
    assert isinstance(strict, Listing)
    assert isinstance(lenient, Listing)
    assert strict == msgspec.structs.replace(lenient, tie=strict.tie)
    assert reader.notes == {"field of unexpected form left out: item_dimensions": 1}


@pytest.mark.parametrize(
    "value",
    ["9" * 5000, "9" * 30, 10**30, 1e300, [{"value": "9" * 5000}], "\u0663", "-1", "1.5", True, {"value": []}],
)
def test_no_number_of_items_is_too_odd(tmp_path: Path, value: object) -> None:
    attributes = only(tmp_path, number_of_items=value)["attributes"]
    assert isinstance(attributes.get("number_of_items", 1), int)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = write_abo(tmp_path, [[listing(0)]], images=1)
    table = folder / "images" / "metadata" / "images.csv.gz"
    content = table.read_bytes()
    table.write_bytes(b"id,where\n")
    with pytest.raises(InputError, match=r"lacks the column 'image_id'; it has id, where"):
        read_image_table(table)
    table.unlink()
    with pytest.raises(InputError, match=r"images\.csv\.gz"):
        find_parts(folder)
    table.write_bytes(content)
    (folder / "images" / "small").rename(folder / "images" / "elsewhere")
    with pytest.raises(InputError, match="--images"):
        find_parts(folder)
    assert find_parts(folder, pictures_needed=False).images is None
    assert not is_abo(folder / "images")


IMAGE_TABLES = {
    "plain": (b"image_id,height,width,path\nA,1,2,a.png\nB,1,2,b.png\n", {}),
    "no line end, columns moved": (b"path,image_id\r\na.png,A\r\nb.png,B", {}),
    "quotes": (b'image_id,path\n"A","a.png"\n"B",b.png\n', {}),
    "byte-order mark": (b"\xef\xbb\xbfimage_id,path\nA,a.png\nB,b.png\n", {}),
    "UTF-16": ("image_id,path\nA,a.png\nB,b.png\n".encode("utf-16"), {}),
    "cells missing": (
        b"image_id,path\nA,a.png\n,c.png\nC,\nB,b.png\n", {"image table: row without id or path": 2},
    ),
    "a short row": (b"image_id,path\nA,a.png\nC\nB,b.png\n", {"image table: malformed-row": 1}),
    "a row in another encoding": (
        b"image_id,path\nA,a.png\nC,\xff.png\nB,b.png\n", {"image table: wrong-encoding": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGE_TABLES)
@pytest.mark.parametrize("gzipped", [False, True])
def test_image_tables(tmp_path: Path, name: str, gzipped: bool) -> None:
    data, notes = IMAGE_TABLES[name]
    file = tmp_path / ("images.csv.gz" if gzipped else "images.csv")
    file.write_bytes(gzip.compress(data) if gzipped else data)
    table, found = read_image_table(file)
    assert table.select(["image_id", "path"]).to_pylist() == [
        {"image_id": "A", "path": "a.png"},
        {"image_id": "B", "path": "b.png"},
    ]
    assert table.schema.types == [pa.string(), pa.string()]
    assert found == notes


def test_an_image_table_that_breaks_off_is_saved_up_to_the_break(tmp_path: Path) -> None:
    rows = [f"{hashlib.md5(b'%d' % number).hexdigest()},{number}.png" for number in range(3000)]
    file = tmp_path / "images.csv.gz"
    file.write_bytes(gzip.compress("\n".join(["image_id,path", *rows]).encode())[:-9000])
    table, notes = read_image_table(file)
    assert 500 < table.num_rows < 3000
    assert [",".join(row.values()) for row in table.to_pylist()] == rows[: table.num_rows]
    assert notes == {"image table: truncated-shard": 1}


@pytest.mark.parametrize(("shards", "workers", "of"), [(16, 16, 1), (16, 2, 1), (1, 2, 4), (3, 4, 3), (1, 1, 1)])
def test_few_shards_are_read_in_several_shares(shards: int, workers: int, of: int) -> None:
    shares = shares_of([Path(str(number)) for number in range(shards)], workers)
    assert len(set(shares)) == len(shares) == shards * of
    assert of == 1 or len(shares) >= 2 * workers


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_each_line_is_in_one_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: int) -> None:
    monkeypatch.setattr(abo, "_SHARE_LINES", 4)
    lines: list[Any] = [listing(number, item_id=f"Q{number}") for number in range(50)]
    lines[9:9] = [b"{", b"", b"[]"]
    shard = write_abo(tmp_path, [lines], images=1) / "listings" / "metadata" / "listings_0.json.gz"
    shard.write_bytes(shard.read_bytes() + b"junk" * 9)
    parts = [Part(tmp_path / "parts", number) for number in range(of)]
    for part in parts:
        read_share(part, Order(Share(shard, part.number, of), "whole", None), DEFAULT_LANGUAGES)
    found = found_in(parts)
    assert sorted(row["product_id"] for row in found.listings) == sorted(f"Q{number}" for number in range(50))
    assert sorted((row["line"], row["reason"]) for row in found.drops) == [
        (10, "broken-json"),
        (12, "not-an-object"),
        (54, "corrupt-shard"),
    ]


@pytest.fixture
def three_shards(tmp_path: Path) -> Folder:
    return find_parts(write_abo(tmp_path, [[listing(0), b"{"], [listing(1)], [listing(2), listing(3)]]))


def read_parts(found: Folder, work: Path, workers: int = 1, *, brief: bool = False) -> Found:
    return found_in(AboSource(found, DEFAULT_LANGUAGES, workers).read(work, brief=brief))


def failing_at(monkeypatch: pytest.MonkeyPatch, place: int) -> list[int]:
    """Let reading break off at the part `place`; returns the numbers of the parts that are read."""
    asked: list[int] = []

    def breaking_off(part: Part, order: Order, languages: tuple[str, ...]) -> PartSummary:
        asked.append(part.number)
        if len(asked) == place:
            raise KeyboardInterrupt
        return read_share(part, order, languages)

    monkeypatch.setattr(abo, "read_share", breaking_off)
    return asked


def test_finished_parts_are_not_read_again(
    three_shards: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    asked = failing_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        read_parts(three_shards, work)
    again = read_parts(three_shards, work)
    assert asked == [0, 1, 1, 2]
    assert again == read_parts(three_shards, tmp_path / "whole")
    assert again.read == 5


def test_a_part_without_its_summary_is_read_again(three_shards: Folder, tmp_path: Path) -> None:
    whole = read_parts(three_shards, tmp_path / "work")
    for file, damage in (("00001.json", b'{"listings": 1'), ("00002.json", b"")):
        (path,) = (tmp_path / "work").rglob(file)
        path.write_bytes(damage)
    (listings,) = (tmp_path / "work").rglob("00001.listings.parquet")
    listings.write_bytes(b"PAR1")
    assert read_parts(three_shards, tmp_path / "work") == whole


ROWS = ("row", "file", "line", "product_id", "image_id", "other_image_ids", "product_type", "name", "color", "domain")
KEYS = ("bullet_points_key", "keywords_key", "richness", "tie")


def test_what_a_brief_reading_has_is_what_the_whole_one_has(tmp_path: Path) -> None:
    """Texts with blanks and repetitions, numbers among them, several languages: the keys are the same."""
    odd: list[list[Any]] = [
        ["a b", "a  b", "A B"],
        [" ", None],
        ["\u00a0"],
        [5, 5.0, "5"],
        ["Straße", "STRASSE"],
        ["\x1fa", "b\n"],
        [True],
        [],
    ]
    lines: list[Any] = [b"{", *(listing(0, bullet_point=tagged(*one), item_keywords=tagged(*one)) for one in odd)]
    lines += [listing(1, item_keywords=[*tagged("x", tag="de_DE"), *tagged("y")], color=None), listing(2, item_name=[])]
    found = find_parts(write_abo(tmp_path, [lines, [listing(3)]]))
    brief, whole = (read_parts(found, tmp_path / str(one), brief=one) for one in (True, False))
    assert [{name: row[name] for name in ROWS + KEYS} for row in brief.listings] == [
        {name: row[name] for name in ROWS + KEYS} for row in whole.listings
    ]
    assert (brief.drops, brief.notes, brief.languages) == (whole.drops, whole.notes, whole.languages)
    assert {row["attributes"] for row in brief.listings} == {None}
    says = [(row["bullet_points_key"] is not None, bool(row["bullet_points"])) for row in whole.listings]
    assert all(key == text for key, text in says)
    lines_wanted = {"listings_0.json.gz": [3, 5], "listings_1.json.gz": [1]}
    again = found_in(AboSource(found, DEFAULT_LANGUAGES, 1).read_lines(tmp_path / "kept", lines_wanted))
    wanted = [row for row in whole.listings if row["line"] in lines_wanted[row["file"]]]
    told = ("line", "name", "brand", "bullet_points", "keywords", "description", "attributes", "language", "domain")
    assert [{name: row[name] for name in told} for row in again.listings] == [
        {name: row[name] for name in told} for row in wanted
    ]


def test_a_broken_off_reading_goes_on_with_more_workers(
    three_shards: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another number of workers cuts the shards into other shares: parts of the first cut must not be mixed in."""
    monkeypatch.setattr(abo, "_SHARE_LINES", 1)
    monkeypatch.setattr(abo, "_SMALL_BYTES", 0)
    failing_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        read_parts(three_shards, tmp_path / "work")

    def in_this_process(self: AboSource, todo: list[tuple[Part, Order]]) -> list[PartSummary]:
        return [read_share(part, order, DEFAULT_LANGUAGES) for part, order in todo]

    monkeypatch.setattr(AboSource, "_run", in_this_process)
    again = read_parts(three_shards, tmp_path / "work", 5)
    assert sorted(row["product_id"] for row in again.listings) == ["P000", "P001", "P002", "P003"]
    assert again.read == 5


def test_the_real_slice_is_read_whole(abo_slice: Path) -> None:
    reading = read(abo_slice)
    assert (reading.read, len(reading.listings), reading.drops) == (8800, 8800, [])
    assert Counter(found["product_type"] for found in reading.listings)["shoes"] == 1413
