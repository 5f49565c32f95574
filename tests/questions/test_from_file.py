from __future__ import annotations

import json
from pathlib import Path

import pytest

from shelfqa.errors import ConfigError, InputError
from shelfqa.questions.from_file import questions_from_files
from shelfqa.questions.pairs import questions_table
from tiny_catalogue import product, products

PRODUCTS = products(
    product(0, image_path="aa/0.png", other_image_paths=["aa/1.png", "aa/9.png"]),
    product(1, image_path="aa/1.png", product_type="chair"),
    product(2, image_path="aa/2.png", other_image_paths=["aa/9.png"]),
)


def test_rows_are_joined_to_the_product_whose_picture_they_name(tmp_path: Path) -> None:
    file = tmp_path / "labels.v1.csv"
    file.write_text(
        "path,question,answer,split,difficulty,used_metadata\n"
        "aa/0.png,What color?,Red,test,3,True\n"
        "./aa/1.png,What is it?, a  chair ,train,,False\n"
        "images/small/aa/9.png,How many?,2,valid,x,\n"
    )
    made = questions_from_files(PRODUCTS, [file], {})
    assert made.drops == []
    assert [(pair.product_id, pair.image_paths, pair.answer, pair.split) for pair in made.pairs] == [
        ("P000", ("aa/0.png",), "Red", "test"),
        ("P001", ("aa/1.png",), "a chair", "train"),
        ("P000", ("aa/9.png",), "2", "validation"),
    ]
    assert [(pair.difficulty, pair.used_metadata) for pair in made.pairs] == [(3, True), (None, False), (None, None)]
    assert made.pairs[1].product_type == "chair"
    assert {(pair.source.provider, pair.source.model) for pair in made.pairs} == {("file", "labels.v1")}


def test_every_row_that_is_left_out_has_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        "image,question,answer\naa/0.png,Q,A\nbb/0.png,Q,A\naa/0.png,,A\naa/0.png,Q,\naa/0.png,Q,A\n,Q,A\naa/0.png,Q,A,B\n"
        "aa/0.png,Q,B\n"
    )
    made = questions_from_files(PRODUCTS, [file], {})
    assert sorted((drop.line, drop.reason) for drop in made.drops) == [
        (3, "image-not-in-catalogue"),
        (4, "empty-question"),
        (5, "empty-answer"),
        (6, "exact-duplicate"),
        (7, "no-image"),
        (8, "malformed-row"),
    ]
    assert (made.read, len(made.pairs)) == (8, 2)


def test_the_same_row_in_two_files_stays_and_ids_differ(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,question,answer\naa/0.png,Q,A\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"image_path": "aa/0.png", "question": "Q", "answer": 4}))
    made = questions_from_files(PRODUCTS, [tmp_path / "a.csv", tmp_path / "b.jsonl"], {})
    assert [pair.source.model for pair in made.pairs] == ["a", "b"]
    assert len({pair.question_id for pair in made.pairs}) == 2
    forwards, backwards = questions_table(made.pairs), questions_table(made.pairs[::-1])
    assert forwards.equals(backwards)


def test_columns_that_are_called_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("photo,frage,answer\naa/0.png,Q,A\n")
    with pytest.raises(
        InputError, match=r"a\.csv' lacks the column 'path'; it has photo, frage, answer.*columns\.image="
    ):
        questions_from_files(PRODUCTS, [file], {})
    made = questions_from_files(PRODUCTS, [file], {"image": "photo", "question": "frage"})
    assert len(made.pairs) == 1
    with pytest.raises(ConfigError, match="unknown column 'imag'"):
        questions_from_files(PRODUCTS, [file], {"imag": "photo"})


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for file in (tmp_path / "a.csv", tmp_path / "sub" / "a.csv"):
        file.write_text("path,question,answer\n")
    with pytest.raises(InputError, match="share the name"):
        questions_from_files(PRODUCTS, [tmp_path / "a.csv", tmp_path / "sub" / "a.csv"], {})
