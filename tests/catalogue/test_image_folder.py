from __future__ import annotations

import os
from pathlib import Path

import pytest

from shelfqa.catalogue.image_folder import has_images, read_images
from shelfqa.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_one_product_a_picture_and_its_folder_as_the_type(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "Coffee_Mugs/red.webp", "shoes/boots/a.png", "notes.txt", "shoes/README", "a.heic")
    touch(tmp_path, ".hidden/x.jpg", "shoes/.DS_Store", "shoes/._a.png")
    reading = read_images(tmp_path)
    assert [(found.product_id, found.image_path, found.product_type) for found in reading.listings] == [
        ("Coffee_Mugs/red", "Coffee_Mugs/red.webp", "coffee mugs"),
        ("b", "b.JPG", None),
        ("shoes/boots/a", "shoes/boots/a.png", "boots"),
    ]
    assert all(found.name is None and found.language is None for found in reading.listings)
    assert reading.read == 3
    assert reading.notes == {
        "file that is no picture: .txt": 1,
        "file that is no picture: without ending": 1,
        "file that is no picture: .heic": 1,
    }


def test_product_ids_are_unique(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "a.jpg.png", "b.jpg.png", "c.jpg", "x/c.jpg", "C.jpg", "d.e.jpg")
    ids = [found.product_id for found in read_images(tmp_path).listings]
    assert len(ids) == len(set(ids)) == 8
    assert {"a.jpg", "a.png", "b.jpg", "c", "x/c", "d.e"} <= set(ids)


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    touch(tmp_path, "outside/x.jpg", "shop/a.jpg")
    (shop / "out.jpg").symlink_to(tmp_path / "outside" / "x.jpg")
    (shop / "in.jpg").symlink_to(shop / "a.jpg")
    (shop / "folder").symlink_to(tmp_path / "outside")
    (shop / "self").symlink_to(shop)
    (shop / "loop.jpg").symlink_to(shop / "loop.jpg")
    (shop / "broken.jpg").symlink_to(shop / "gone.jpg")
    reading = read_images(shop)
    assert [found.image_path for found in reading.listings] == ["a.jpg", "in.jpg"]
    assert reading.notes == {
        "linked folder not followed": 2,
        "link that leads nowhere or out of the folder not followed": 3,
    }


def test_a_file_name_that_is_not_utf8_is_dropped_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    reading = read_images(tmp_path)
    assert [found.product_id for found in reading.listings] == ["a"]
    assert [(drop.file, drop.reason) for drop in reading.drops] == [("caf\\udce9.jpg", "file-name-not-utf8")]


def test_a_folder_without_pictures_says_what_is_expected(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    assert not has_images(tmp_path)
    with pytest.raises(InputError, match=r"holds no picture: .*\.jpg"):
        read_images(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        read_images(tmp_path / "gone")
