from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from scale_catalogue import Options, generate, images_for, is_generated

SMALL = Options(listings=2500, images=images_for(2500), shards=3, broken_every=200)
FLATTENED = ("bullet_point", "color", "item_keywords", "item_name", "main_image_id", "other_image_id", "product_type")


def _texts(folder: Path) -> bytes:
    shards = sorted((folder / "listings" / "metadata").glob("*.json.gz"))
    return b"".join(gzip.decompress(shard.read_bytes()) for shard in shards)


def _parsed(folder: Path) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the listings, and the lines that are none."""
    listings, broken = [], []
    for line in _texts(folder).splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict) and value:
            listings.append(value)
        else:
            broken.append(line)
    return listings, broken


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    generate(folder, SMALL, processes=1)
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_bytes_on_any_number_of_processes(small: Path, tmp_path: Path) -> None:
    generate(tmp_path, SMALL, processes=2)
    assert _files(tmp_path) == _files(small)


def test_same_texts_on_any_number_of_shards_and_in_a_larger_catalogue(small: Path, tmp_path: Path) -> None:
    generate(tmp_path, Options(listings=2600, images=images_for(2600), shards=17, broken_every=200), processes=1)
    names = sorted(path.name for path in (tmp_path / "listings" / "metadata").iterdir())
    assert names[0] == "listings_00.json.gz"
    assert len(names) == 17
    assert _texts(tmp_path).startswith(_texts(small))


def test_another_seed_gives_other_listings(small: Path, tmp_path: Path) -> None:
    generate(tmp_path, Options(listings=50, images=images_for(50), shards=1, seed=1), processes=1)
    ids = {listing["item_id"] + str(listing["item_name"]) for listing in _parsed(tmp_path)[0]}
    assert not ids & {listing["item_id"] + str(listing.get("item_name")) for listing in _parsed(small)[0]}


def test_counts_are_true(small: Path) -> None:
    report = json.loads((small / "generated.json").read_text("utf-8"))
    listings, broken = _parsed(small)
    table = gzip.decompress((small / "images" / "metadata" / "images.csv.gz").read_bytes()).decode().splitlines()
    known = {row.split(",")[0] for row in table[1:]}
    flattened = Counter(json.dumps([listing.get(field) for field in FLATTENED]) for listing in listings)

    assert len(listings) == report["listings"] == 2500
    assert len(broken) == sum(report["broken_lines"].values()) == 12
    assert report["lines"] == 2512
    assert min(report["broken_lines"].values()) > 0
    assert sum(count - 1 for count in flattened.values()) == report["exact_duplicates"] > 0
    assert sum(listing.get("main_image_id") not in known for listing in listings) == report["without_usable_image"] > 0
    given = [listing["product_type"] for listing in listings if "product_type" in listing]
    types = {value if isinstance(value, str) else value[0]["value"] for value in given}
    assert len(types) == report["product_types"]
    assert len(known) == len(table) - 1 == report["images"] == images_for(2500)
    assert len({row.split(",")[3] for row in table}) == len(table)


def test_listings_are_unique_by_id_and_domain_and_some_products_have_several_domains(small: Path) -> None:
    listings, _ = _parsed(small)
    assert len({(listing["item_id"], listing["domain_name"]) for listing in listings}) == len(listings)
    repeated = len(listings) - len({listing["item_id"] for listing in listings})
    assert 0.1 < repeated / len(listings) < 0.14


def test_broken_shard_and_pictures(tmp_path: Path) -> None:
    from PIL import Image

    options = Options(listings=120, images=images_for(120), shards=2, pictures=3, truncate_last=True)
    report = generate(tmp_path, options, processes=1)
    with pytest.raises(EOFError):
        gzip.decompress((tmp_path / "listings" / "metadata" / report["truncated"]["file"]).read_bytes())
    pictures = sorted((tmp_path / "images" / "small").rglob("*.jpg"))
    assert len(pictures) == 3
    with Image.open(pictures[0]) as picture:
        assert picture.size == (32, 32)


def test_cache_is_used_for_the_same_options_only(small: Path, tmp_path: Path) -> None:
    assert is_generated(small, SMALL)
    assert not is_generated(small, Options(listings=2500, images=images_for(2500), shards=3))
    assert not is_generated(tmp_path, SMALL)
