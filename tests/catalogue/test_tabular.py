from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.listing import Reading
from shelfqa.catalogue.tabular import read_tables, table_files
from shelfqa.errors import ConfigError, InputError


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
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        (found,) = read(tmp_path / name).listings
        assert (found.product_id, found.keywords) == ("7", ["x", "y"])
        assert found.attributes == {"shape": "Round", "weight": 1.5}


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
