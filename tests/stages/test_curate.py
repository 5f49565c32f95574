from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shelfqa.artifacts import Manifest, read_table
from shelfqa.errors import InputError
from shelfqa.images import Fingerprint, fingerprint_files, near_duplicate_pairs
from shelfqa.records import PRODUCT_COLUMNS
from shelfqa.stages import curate as stage
from shelfqa.stages.curate import CurateConfig, curate
from shelfqa.stages.demo_catalogue import DemoConfig, demo_catalogue
from shelfqa.stages.generate import GenerateConfig, generate
from shelfqa.stages.split import SplitConfig, split
from tiny_catalogue import listing, picture, tagged, write_abo


def balanced(manifest: Manifest, out: Path) -> dict[str, int]:
    """The drops, after checking that every listing read is either kept or named among them."""
    counts = manifest.counts
    assert counts.read == counts.kept + sum(counts.dropped.values())
    assert counts.kept == read_table(out, "products").num_rows
    assert Counter(read_table(out, "dropped")["reason"].to_pylist()) == counts.dropped
    return counts.dropped


def troubled(folder: Path) -> Path:
    """A catalogue with one of every trouble."""
    write_abo(
        folder,
        [
            [
                listing(0, other_image_id=["I001", "I002", "I003", "nowhere"]),
                listing(0, domain_name="amazon.co.uk"),
                listing(0, other_image_id=["I001", "I002", "I003", "nowhere"]),
                b'{"item_id": ',
                listing(4, main_image_id="nowhere"),
                listing(5, main_image_id=None),
            ],
            [
                listing(2),
                listing(3),
                listing(6, item_name=tagged("Tasse", tag="de_DE"), color=None),
                listing(7, item_id=None),
                b'"text"',
                listing(8, item_name=tagged("Twin"), main_image_id="I009"),
                listing(9, item_name=tagged("Twin"), main_image_id="I009"),
            ],
        ],
    )
    (folder / "images" / "small" / "aa" / "002.png").write_bytes(b"<html>503</html>")
    (folder / "images" / "small" / "aa" / "003.png").unlink()
    return folder


def test_every_trouble_is_counted_and_named(tmp_path: Path) -> None:
    manifest = curate(troubled(tmp_path / "abo"), tmp_path / "out", CurateConfig())
    assert balanced(manifest, tmp_path / "out") == {
        "broken-json": 1,
        "exact-duplicate": 2,
        "image-file-missing": 1,
        "image-not-listed": 1,
        "no-image-id": 1,
        "no-product-id": 1,
        "not-an-object": 1,
        "other-domain": 1,
        "unreadable-image": 1,
    }
    table = read_table(tmp_path / "out", "products")
    assert table.schema.equals(PRODUCT_COLUMNS)
    assert table["product_id"].to_pylist() == ["P000", "P006", "P008"]
    assert table["other_image_paths"].to_pylist()[0] == ["aa/001.png"]
    assert manifest.details["notes"] == {
        "other image left out: file missing": 2,
        "other image left out: not in the image table": 2,
        "other image left out: unreadable": 2,
    }
    assert manifest.images == str(tmp_path / "abo" / "images" / "small")
    dropped = read_table(tmp_path / "out", "dropped").to_pylist()
    assert (dropped[2]["file"], dropped[2]["line"]) == ("listings_0.json.gz", 4)
    assert not any(str(tmp_path) in str(row["detail"]) for row in dropped if row["reason"] == "unreadable-image")


def test_images_carry_their_hash_and_their_products(tmp_path: Path) -> None:
    curate(troubled(tmp_path / "abo"), tmp_path / "out", CurateConfig())
    images = {row["image_path"]: row for row in read_table(tmp_path / "out", "images").to_pylist()}
    assert set(images) == {"aa/000.png", "aa/001.png", "aa/002.png", "aa/006.png", "aa/009.png"}
    assert images["aa/001.png"]["product_ids"] == ["P000"]
    assert images["aa/002.png"]["error"].startswith("not-an-image")
    good = [row["perceptual_hash"] for row in images.values() if row["error"] is None]
    assert len(good) == 4
    assert len(near_duplicate_pairs(good)) == 0
    assert images["aa/000.png"]["width_px"] == 48


def test_a_truncated_shard_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    rows = [listing(number % 12, item_id=f"Q{number}", style=tagged(f"{hash(str(number))}")) for number in range(500)]
    folder = write_abo(tmp_path / "abo", [rows, [listing(0)]])
    shard = folder / "listings" / "metadata" / "listings_0.json.gz"
    shard.write_bytes(shard.read_bytes()[:-1000])
    manifest = curate(folder, tmp_path / "out", CurateConfig())
    assert balanced(manifest, tmp_path / "out")["truncated-shard"] == 1
    assert manifest.counts.kept > 100


def test_listings_without_a_wanted_language_are_dropped_on_request(tmp_path: Path) -> None:
    manifest = curate(troubled(tmp_path / "abo"), tmp_path / "out", CurateConfig(require_language=True))
    assert balanced(manifest, tmp_path / "out")["no-wanted-language"] == 1


def test_it_is_not_done_twice_but_again_when_settings_or_files_change(tmp_path: Path) -> None:
    folder, out = write_abo(tmp_path / "abo", [[listing(0), listing(1)]]), tmp_path / "out"
    curate(folder, out, CurateConfig())
    made = (out / "manifest.json").stat().st_mtime_ns
    curate(folder, out, CurateConfig(), workers=3)
    assert (out / "manifest.json").stat().st_mtime_ns == made
    curate(folder, out, CurateConfig(check_images="main"))
    assert (out / "manifest.json").stat().st_mtime_ns > made
    (folder / "listings" / "metadata" / "listings_1.json").write_text(json.dumps(listing(2)))
    assert curate(folder, out, CurateConfig(check_images="main")).counts.kept == 3


def test_the_same_tables_whatever_the_shards_and_threads(tmp_path: Path) -> None:
    lines = [listing(number % 9, item_id=f"Q{number // 2}", domain_name=f"d{number % 3}") for number in range(40)]
    write_abo(tmp_path / "a", [lines])
    write_abo(tmp_path / "b", [lines[25:], lines[:10], lines[10:25]], gzipped=False)
    manifests = [
        curate(tmp_path / name, tmp_path / f"{name}-out", CurateConfig(), workers=w) for name, w in (("a", 1), ("b", 4))
    ]
    for table in ("products.parquet", "images.parquet"):
        assert manifests[0].outputs[table].sha256 == manifests[1].outputs[table].sha256


def test_a_broken_off_check_of_images_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_abo(tmp_path / "abo", [[listing(number) for number in range(12)]])
    monkeypatch.setattr(stage, "_PART_IMAGES", 5)
    asked: list[int] = []

    def failing(paths: list[Path], **options: Any) -> list[Fingerprint]:
        asked.append(len(paths))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return fingerprint_files(paths, **options)

    monkeypatch.setattr(stage, "fingerprint_files", failing)
    with pytest.raises(KeyboardInterrupt):
        curate(folder, tmp_path / "out", CurateConfig())
    curate(folder, tmp_path / "out", CurateConfig())
    assert asked == [5, 5, 5, 2]
    monkeypatch.undo()
    whole = curate(folder, tmp_path / "whole", CurateConfig())
    broken_off = curate(folder, tmp_path / "out", CurateConfig())
    assert whole.outputs == broken_off.outputs


def test_tables_need_their_images(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png", 1)
    table = tmp_path / "shop.csv"
    table.write_text("sku,image,title,colour\n1,a.png,Mug,Red\n2,b.png,Mug,Red\n3,a.png\n")
    with pytest.raises(InputError, match="--images DIR"):
        curate(table, tmp_path / "out", CurateConfig())
    manifest = curate(table, tmp_path / "out", CurateConfig(), images=tmp_path / "images")
    assert balanced(manifest, tmp_path / "out") == {"image-file-missing": 1, "malformed-row": 1}
    assert manifest.images == str(tmp_path / "images")


def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "abo" / "listings").mkdir(parents=True)
    for catalogue, images, said in (
        (tmp_path / "gone", None, "no catalogue at"),
        (tmp_path / "empty", None, "holds neither"),
        (tmp_path / "abo", None, r"holds no \*\.json\.gz"),
        (tmp_path / "empty", tmp_path / "gone", "no folder at"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            curate(catalogue, tmp_path / "out", CurateConfig(), images=images)
        assert "\n" not in str(caught.value)


def test_a_drawn_catalogue_goes_all_the_way(tmp_path: Path) -> None:
    drawn = demo_catalogue(tmp_path / "catalogue", DemoConfig(products=18), workers=1)
    assert drawn.counts.kept == 18
    curated = curate(tmp_path / "catalogue", tmp_path / "curated", CurateConfig())
    balanced(curated, tmp_path / "curated")
    assert curated.counts.read == drawn.details["listings"]
    assert drawn.images == curated.images
    asked = generate(tmp_path / "curated", tmp_path / "questions", GenerateConfig())
    dealt = split(tmp_path / "questions", tmp_path / "split", SplitConfig())
    assert dealt.counts.kept == asked.counts.kept >= 3 * curated.counts.kept


@pytest.mark.slow
def test_the_real_slice_is_kept_whole(abo_slice: Path, tmp_path: Path) -> None:
    manifest = curate(abo_slice, tmp_path / "out", CurateConfig())
    assert balanced(manifest, tmp_path / "out") == {}
    assert manifest.counts.kept == 8800
