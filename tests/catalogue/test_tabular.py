from __future__ import annotations

import csv
import datetime as dt
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.listing import Reading
from shelfqa.catalogue.tabular import read_tables, table_files
from shelfqa.errors import ConfigError, InputError

NAN = float("nan")


def read(file: Path, columns: dict[str, str] | None = None) -> Reading:
    return read_tables([file], file.parent, columns or {}, Languages())


def test_columns_are_guessed(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    file.write_text(
        "SKU,Title,Image Path,Category,Colour,Tags,Bullet Points,Body (HTML),Pattern,Pack\n"
        "A1,Mugs - pack of 3,a.jpg,Coffee_Mug,Red,mug;red,Big|Round,<p>Nice</p>,Striped,3\n"
    )
    (found,) = read(file).listings
    assert (found.product_id, found.name, found.image_path, found.product_type) == (
        "A1", "Mugs - pack of 3", "a.jpg", "coffee mug",
    )  # fmt: skip
    assert (found.color, found.keywords, found.bullet_points) == ("Red", ["mug", "red"], ["Big", "Round"])
    assert found.description == "Nice"
    assert found.attributes == {
        "color_given": "Red",
        "color_standard": "red",
        "pattern": "Striped",
        "pack": "3",
        "number_of_items": 3,
        "number_of_items_text": "pack of 3",
    }


def test_lists_and_attributes_of_jsonl_and_parquet(tmp_path: Path) -> None:
    row = {
        "id": 7,
        "image": "a.jpg",
        "keywords": ["x", "y"],
        "attributes": json.dumps({"shape": "Round"}),
        "weight": 1.5,
        "item_weight": "2 kg",
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        (found,) = read(tmp_path / name).listings
        assert (found.product_id, found.keywords) == ("7", ["x", "y"])
        assert found.attributes == {
            "shape": "Round",
            "weight_given": 1.5,
            "weight": {"value": 2000.0, "unit": "g"},
        }


def test_a_mapping_goes_before_the_guess(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,ref,photo\n1,R1,a.jpg\n")
    (found,) = read(file, {"product_id": "ref", "image_path": "photo"}).listings
    assert (found.product_id, found.image_path) == ("R1", "a.jpg")


def test_a_missing_column_is_named_with_those_there_and_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("ref,photo\nR1,a.jpg\n")
    with pytest.raises(
        InputError, match=r"a\.csv' lacks the column 'product_id'; it has ref, photo.*--columns product_id="
    ):
        read(file)
    with pytest.raises(InputError, match=r"lacks the column 'nummer'"):
        read(file, {"product_id": "nummer"})
    with pytest.raises(ConfigError, match=r"unknown column 'colour'.*'color'"):
        read(file, {"colour": "ref"})


def test_drops_and_paths(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        f"id,image\n1,./x/../a.jpg\n2,{tmp_path}/b.jpg\n3,../c.jpg\n4,/etc/d.jpg\n,e.jpg\n6,\n7,f.jpg,extra\n8,x\\g.jpg\n"
    )
    reading = read(file)
    assert [found.image_path for found in reading.listings] == ["a.jpg", "b.jpg", "x/g.jpg"]
    assert [(drop.line, drop.reason) for drop in sorted(reading.drops, key=lambda drop: drop.line)] == [
        (4, "image-outside-folder"),
        (5, "image-outside-folder"),
        (6, "no-product-id"),
        (7, "no-image-id"),
        (8, "malformed-row"),
    ]
    assert reading.read == 8


def test_texts_of_another_language_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,image,title,brand,language\n1,a.jpg,Tasse,Acme,de-DE\n2,b.jpg,Mug,Acme,en-GB\n")
    german, english = read(file).listings
    assert (german.name, german.brand, german.language) == (None, "Acme", None)
    assert (english.name, english.language) == ("Mug", "en-GB")


def test_a_folder_of_tables_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv.gz", "c.txt", "d.parquet"):
        (tmp_path / name).write_text("")
    assert [path.name for path in table_files(tmp_path)] == ["a.csv.gz", "b.csv", "d.parquet"]


def test_a_file_of_broken_lines_is_told_by_its_first(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1\n[]\n')
    with pytest.raises(InputError, match=r"a\.jsonl:1: .*no row of the file can be read"):
        read_tables([tmp_path / "a.jsonl"], tmp_path, {}, Languages(("en_*",)))


def test_numbered_columns_make_lists(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        "id,image_2,image_1,bullet_point2,Bullet Point 1,material1,material2,keywords1,keywords2,route66\n"
        '1,b.jpg,a.jpg,Two|2,one,Cotton,Wool,"x, y",Y,r\n2,b.jpg,,ONE,one,Cotton,cotton,,,\n'
    )
    first, second = read(file).listings
    assert (first.image_path, first.other_image_paths) == ("a.jpg", ["b.jpg"])
    assert (first.bullet_points, first.keywords, first.material) == (["one", "Two|2"], ["x", "y"], "Cotton, Wool")
    assert first.attributes == {"route66": "r"}
    assert (second.image_path, second.bullet_points, second.material) == ("b.jpg", ["one"], "Cotton")


def test_one_column_of_pictures_gives_the_main_one_and_the_others(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        'id,images\n1,"a.jpg, b.jpg"\n2,"red, blue.jpg"\n3,"https://x.y/a.jpg,https://x.y/b.jpg"\n'
        '4,c.jpg|c.jpg|d.jpg\n5,"[""e.jpg"", ""f.jpg""]"\n'
    )
    assert [(found.image_path, found.other_image_paths) for found in read(file).listings] == [
        ("a.jpg", ["b.jpg"]),
        ("red, blue.jpg", []),
        ("a.jpg", ["b.jpg"]),
        ("c.jpg", ["d.jpg"]),
        ("e.jpg", ["f.jpg"]),
    ]


def test_nested_lists_and_objects_of_json_lines(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": 1, "images": [{"src": "a.jpg"}, {"src": "b.jpg"}], "title": ["Mug"], "tags": [["x"], ["y", "X"], None]},
        {"id": 2, "image": {"path": "c.jpg", "bytes": None}, "features": [{"value": "Big"}], "dims": {"a": [1, {}]}},
        {"id": {"value": 3}, "images": [], "attributes": {"shape": ["Round"], "attributes": {"deep": 1}}},
        {"id": 4, "images": "d.jpg", "weight": {"value": 2, "unit": "kg"}, "dimensions": {"height": "3 in", "x": 1}},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    reading = read(tmp_path / "a.jsonl")
    first, second, fourth = reading.listings
    assert (first.image_path, first.name, first.keywords) == ("a.jpg", "Mug", ["x", "y"])
    assert first.other_image_paths == ["b.jpg"]
    assert (second.image_path, second.bullet_points) == ("c.jpg", ["Big"])
    assert second.attributes == {"dims": {"a": [1, {}]}}
    assert fourth.attributes == {
        "weight": {"value": 2000.0, "unit": "g"},
        "dimensions": {"height": {"value": 7.62, "unit": "cm"}},
    }
    assert [(drop.line, drop.product_id, drop.reason) for drop in reading.drops] == [(3, "3", "no-image-id")]


def test_parquet_with_lists_bytes_dates_and_missing_numbers(tmp_path: Path) -> None:
    rows = [
        {
            "sku": 1.0,
            "image": "a.jpg",
            "bullets": ["x", "X", ""],
            "made": dt.date(2024, 1, 2),
            "raw": b"\xff",
            "n": NAN,
        },
        {"sku": NAN, "image": "b.jpg", "bullets": None, "made": None, "raw": None, "n": 1.5},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    reading = read(tmp_path / "a.parquet")
    (found,) = reading.listings
    assert (found.product_id, found.bullet_points, found.attributes) == ("1", ["x"], {"made": "2024-01-02"})
    assert [(drop.line, drop.reason) for drop in reading.drops] == [(2, "no-product-id")]
    assert reading.notes["column of binary values left out: raw"] == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("opening", ["", "sep=;\n", "\n\n"])
def test_byte_order_marks_semicolons_and_line_breaks_in_cells(tmp_path: Path, encoding: str, opening: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        f'{opening}id;image;title;body\n1;a.jpg;"Mug; big";"<p>one\n\ntwo</p>"\n\n2;b.jpg;Tasse für Tee;\n',
        encoding=encoding,
    )
    first, second = read(file).listings
    assert (first.name, first.description, second.name) == ("Mug; big", "one two", "Tasse für Tee")


def test_a_wrong_encoding_costs_its_rows_only(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("id,image,title\n1,a.jpg,Größe\n2,b.jpg,Mug\n".encode("latin-1"))
    reading = read(file)
    assert [found.product_id for found in reading.listings] == ["2"]
    assert [(drop.file, drop.line, drop.reason) for drop in reading.drops] == [("a.csv", 2, "wrong-encoding")]


def test_a_header_alone_gives_no_listing_and_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,image\n")
    assert read(tmp_path / "a.csv").read == 0
    for name in ("b.csv", "b.jsonl"):
        (tmp_path / name).write_text("")
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)


def test_pictures_named_by_url_are_looked_up_in_the_folder(tmp_path: Path) -> None:
    for name in ("top.jpg", "s/files/deep.jpg", "b/my mug.jpg", "b/twice.jpg", "a/twice.jpg", ".hidden/gone.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    urls = [
        "https://cdn.shopify.com/x/top.jpg?v=1",
        "//cdn.shopify.com/s/files/deep.jpg#part",
        "HTTPS://x.y/z/my%20mug.jpg",
        "https://x.y/twice.jpg",
        "https://x.y/top_800x.jpg",
        "https://x.y/top._AC_SL1500_.jpg",
        "https://x.y/gone.jpg",
        "https://x.y/../../%2e%2e/top.jpg",
        "https://x.y/",
        "https://[broken",
        f"https://x.y/{'n' * 300}.jpg",
        "/etc/passwd",
    ]
    (tmp_path / "a.csv").write_text("id,image\n" + "\n".join(f"{number},{url}" for number, url in enumerate(urls)))
    reading = read(tmp_path / "a.csv")
    assert [found.image_path for found in reading.listings] == [
        *("top.jpg", "s/files/deep.jpg", "b/my mug.jpg", "a/twice.jpg", "top.jpg", "top.jpg", "gone.jpg", "top.jpg"),
    ]
    assert [drop.reason for drop in reading.drops] == [
        *("no-image-id", "no-image-id", "image-name-unusable", "image-outside-folder"),
    ]
    assert reading.notes["picture of a URL found in several folders: first taken"] == 1
    assert reading.notes["picture of a URL not in the images folder"] == 2


def test_texts_of_the_rows_language_only_but_measures_of_all(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,image,title,pattern,height_cm,lang\n1,a.jpg,Tasse,Streifen,10,de\n")
    (found,) = read(file).listings
    assert (found.name, found.attributes) == (None, {"dimensions": {"height": {"value": 10.0, "unit": "cm"}}})


@pytest.mark.parametrize(
    ("header", "cells", "weight", "dimensions", "rest"),
    [
        ("Weight (kg)", "1,5", 1500.0, {}, {}),
        ("weight,weight_unit", "2,lbs", 907.185, {}, {}),
        ("grams", "0", None, {}, {"grams": "0"}),
        ("weight", "light", None, {}, {"weight_given": "light"}),
        ("package_weight", "2 kg", None, {}, {"package_weight": "2 kg"}),
        ("length,width,length_unit", "2,3,in", None, {"length": 5.08, "width": 7.62}, {}),
        ("Height (in),depth_mm", "2,30", None, {"height": 5.08, "depth": 3.0}, {}),
        ("Length", "Maxi", None, {}, {"length": "Maxi"}),
        ("Dimensions", "10 x 20 x 30 cm", None, {"side_1": 10.0, "side_2": 20.0, "side_3": 30.0}, {}),
        ("Dimensions LxWxH (cm)", "10x20x30", None, {"length": 10.0, "width": 20.0, "height": 30.0}, {}),
        ("Dimensions", "10 x 20", None, {}, {"dimensions_given": "10 x 20"}),
        ("Dimensions,height_cm", "1 x 2 cm,2", None, {"height": 2.0}, {"dimensions_given": "1 x 2 cm"}),
    ],
)
def test_columns_with_measures(
    tmp_path: Path,
    header: str,
    cells: str,
    weight: float | None,
    dimensions: dict[str, float],
    rest: dict[str, str],
) -> None:
    file = tmp_path / "a.tsv"
    row = cells if "," not in header else cells.replace(",", "\t")
    file.write_text(f"id\timage\t{header}\n1\ta.jpg\t{row}\n".replace(header, header.replace(",", "\t")))
    (found,) = read(file).listings
    expected: dict[str, object] = dict(rest)
    if weight is not None:
        expected["weight"] = {"value": weight, "unit": "g"}
    if dimensions:
        expected["dimensions"] = {side: {"value": value, "unit": "cm"} for side, value in dimensions.items()}
    assert found.attributes == expected


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [
            "id,image,weight,dimensions,color",
            "Handle,Title,Body (HTML),Vendor,Image Src",
            "item_sku,item_name,brand_name,main_image_url,parent_child",
        ]
    ),
    st.lists(st.lists(st.text("a1x,.;\"'/ \\%[]{}é\n<>&:", max_size=9), min_size=5, max_size=5), max_size=6),
)
def test_every_row_is_a_listing_a_drop_or_joined(tmp_path: Path, header: str, cells: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    (tmp_path / "a.csv").write_text(f"{header}\n{text.getvalue()}", encoding="utf-8", newline="")
    reading = read_tables([tmp_path / "a.csv"], tmp_path, {}, Languages(), mapping="auto")
    assert reading.read + reading.notes["row joined to its product"] == len(cells)
