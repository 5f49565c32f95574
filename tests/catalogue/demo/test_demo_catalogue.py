"""A drawn catalogue: its layout, its listings, its trouble, and the same bytes every time."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from shelfqa.catalogue.demo import DemoConfig, draw_catalogue, write
from shelfqa.catalogue.demo.identifiers import item_id
from shelfqa.catalogue.demo.listings import listing_of
from shelfqa.catalogue.demo.spec import Spec, sample_spec
from shelfqa.catalogue.demo.vocabulary import TRANSLATIONS
from shelfqa.errors import UserError

PRODUCTS = 130


def sketch(spec: Spec, view: int = 0) -> Image.Image:
    """Stand in for the drawing, which is slow: the layout does not depend on it."""
    picture = Image.effect_noise((256, 200), 40).convert("RGB")
    picture.putpixel((0, 0), spec.rgb)
    return picture


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(folder: Path) -> tuple[list[dict[str, Any]], int]:
    rows, broken = [], 0
    for name in "0123456789abcdef":
        text = gzip.decompress((folder / f"listings/metadata/listings_{name}.json.gz").read_bytes()).decode()
        for line in text.splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                broken += 1
    return rows, broken


def images_of(folder: Path) -> list[dict[str, str]]:
    text = gzip.decompress((folder / "images/metadata/images.csv.gz").read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    out = tmp_path_factory.mktemp("demo") / "catalogue"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "render", sketch)
        return out, draw_catalogue(out, DemoConfig(products=PRODUCTS, seed=4), workers=1)


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    config = DemoConfig(products=10, seed=2)
    draw_catalogue(tmp_path / "one", config, workers=1)
    told: list[tuple[int, int]] = []
    draw_catalogue(tmp_path / "two", config, workers=2, progress=lambda done, total: told.append((done, total)))
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert told[-1] == (10, 10)
    for row in images_of(tmp_path / "one"):
        assert (tmp_path / "one/images/small" / row["path"]).is_file()


def test_more_products_leave_the_first_ones_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "render", lambda spec, view: Image.new("RGB", (64, 64), spec.rgb))
    for products in (20, 40):
        draw_catalogue(tmp_path / str(products), DemoConfig(products=products), workers=1)
    few, many = (images_of(tmp_path / str(products)) for products in (20, 40))
    assert {row["path"] for row in few} < {row["path"] for row in many}
    known = {row["item_id"]: row for row in rows_of(tmp_path / "40")[0]}
    assert all(known[row["item_id"]] == row for row in rows_of(tmp_path / "20")[0])


def test_another_seed_gives_other_products() -> None:
    assert sample_spec(0, 7) != sample_spec(1, 7)
    assert item_id(0, 7) != item_id(1, 7)


def test_every_listed_image_exists(drawn: tuple[Path, dict[str, int]]) -> None:
    out, counts = drawn
    rows = images_of(out)
    assert set(rows[0]) == {"image_id", "height", "width", "path"}
    assert len({row["image_id"] for row in rows}) == len(rows)
    assert all((out / "images/small" / row["path"]).is_file() for row in rows)
    assert len(rows) == counts["images"] - counts["unlisted_images"]


def test_every_line_parses_but_the_deliberate_ones(drawn: tuple[Path, dict[str, int]]) -> None:
    out, counts = drawn
    rows, broken = rows_of(out)
    assert broken == counts["broken_rows"] >= 1
    assert len(rows) + broken == counts["listings"] > counts["products"] == PRODUCTS
    assert all(row["item_id"] and row["domain_name"] for row in rows)


def test_the_trouble_is_there(drawn: tuple[Path, dict[str, int]]) -> None:
    out, counts = drawn
    rows, _ = rows_of(out)
    known = {row["image_id"] for row in images_of(out)}
    assert sum("main_image_id" not in row for row in rows) == counts["listings_without_image"] >= 1
    assert sum(row.get("main_image_id", "") not in known for row in rows) >= 2
    assert len(rows) - len({json.dumps(row, sort_keys=True) for row in rows}) == counts["repeated_rows"] >= 1
    domains: dict[str, set[str]] = {}
    for row in rows:
        domains.setdefault(row["item_id"], set()).add(row["domain_name"])
    assert sum(len(names) > 1 for names in domains.values()) == counts["second_domains"] >= 5
    assert any(isinstance(row.get("product_type"), str) for row in rows)
    assert any("color" not in row for row in rows)


def test_some_files_cannot_be_read_and_some_are_odd(drawn: tuple[Path, dict[str, int]]) -> None:
    out, counts = drawn
    unreadable, modes, turned = 0, set(), 0
    for row in images_of(out):
        path = out / "images/small" / row["path"]
        try:
            with Image.open(path) as picture:
                picture.load()
                modes.add(picture.mode)
                turned += ImageOps.exif_transpose(picture).size != picture.size
                assert (picture.height, picture.width) == (int(row["height"]), int(row["width"]))
        except (UnidentifiedImageError, OSError):
            unreadable += 1
    assert unreadable == counts["unreadable_images"] >= 3
    assert modes == {"RGB", "L", "CMYK"}
    assert turned >= 1


def test_listings_say_what_was_drawn() -> None:
    for index in range(300):
        spec = sample_spec(0, index)
        listing = listing_of(spec)
        text = json.dumps(listing)
        for entry in listing.get("color", []):
            assert entry["standardized_values"] == [spec.color]
        for entry in listing.get("material", []):
            assert entry["value"] in {spec.material, *(table[spec.material] for table in TRANSLATIONS.values())}
        assert [entry["value"] for entry in listing.get("brand", [])] in ([], [spec.brand])
        assert ("item_shape" in listing) <= (spec.shape is not None)
        english = [e["value"] for e in listing.get("item_name", []) if e["language_tag"].startswith("en")]
        for name in english:
            assert (f"Set of {spec.count}" in name) == (spec.count > 1)
        assert "Set of 1" not in text


def test_languages_vary() -> None:
    languages = [
        {entry["language_tag"] for entry in listing_of(sample_spec(0, index)).get("item_name", [])}
        for index in range(400)
    ]
    assert {"de_DE", "fr_FR", "es_ES", "ja_JP", "hi_IN", "en_US", "en_GB", "en_IN"} <= set().union(*languages)
    foreign_only = sum(bool(tags) and not any(tag.startswith("en") for tag in tags) for tags in languages)
    both = sum(len(tags) > 1 for tags in languages)
    assert 20 < foreign_only < 120
    assert 20 < both < 120


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="holds other files"):
        draw_catalogue(tmp_path, DemoConfig(products=1))
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_no_products_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0 products"):
        draw_catalogue(tmp_path / "new", DemoConfig(products=0))


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"product": 3}, DemoConfig)
