from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from random_listings import random_lines, sharded
from shelfqa.artifacts import Manifest, read_table
from shelfqa.catalogue import abo, pictures, steps
from shelfqa.catalogue.settings import CurateConfig, preset_names, resolve
from shelfqa.errors import InputError
from shelfqa.images import Fingerprint, fingerprint_files
from shelfqa.near_duplicates import near_duplicate_pairs
from shelfqa.questions.settings import GenerateConfig
from shelfqa.records import PRODUCT_COLUMNS
from shelfqa.stages.curate import curate
from shelfqa.stages.demo_catalogue import DemoConfig, demo_catalogue
from shelfqa.stages.generate import generate
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
        "other image left out: image-file-missing": 2,
        "other image left out: not in the image table": 2,
        "other image left out: unreadable-image": 2,
    }
    assert manifest.images == str(tmp_path / "abo" / "images" / "small")
    dropped = read_table(tmp_path / "out", "dropped").to_pylist()
    assert (dropped[2]["file"], dropped[2]["line"]) == ("listings_0.json.gz", 4)
    assert not any(str(tmp_path) in str(row["detail"]) for row in dropped if row["reason"] == "unreadable-image")


def test_images_carry_their_hash_and_their_products(tmp_path: Path) -> None:
    curate(troubled(tmp_path / "abo"), tmp_path / "out", CurateConfig())
    images = {row["image_path"]: row for row in read_table(tmp_path / "out", "images").to_pylist()}
    assert sorted(images) == [f"aa/{number:03}.png" for number in (0, 1, 2, 3, 6, 9)]
    assert images["aa/001.png"]["product_ids"] == ["P000"]
    assert images["aa/002.png"]["error"].startswith("not-an-image")
    assert (images["aa/003.png"]["error"] is not None, images["aa/003.png"]["product_ids"]) == (True, [])
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
    recipe = CurateConfig(steps=(steps.WantedLanguage(), steps.OnePerProduct()))
    manifest = curate(troubled(tmp_path / "abo"), tmp_path / "out", recipe)
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


PRESETS = preset_names()

SMALL_CAPS = CurateConfig(
    languages=("en_US", "en_*"),
    steps=tuple(
        msgspec.structs.replace(step, per_type=2) if isinstance(step, (steps.Cap, steps.EveryType)) else step
        for step in resolve(CurateConfig(preset="score-and-cap")).steps
    ),
    check_images="none",
)
RECIPES = {name: CurateConfig(preset=name, check_images="none", seed=3) for name in PRESETS} | {
    "score-and-cap with small caps": SMALL_CAPS,
    "a sample of each type": CurateConfig(
        languages=("*",), steps=(steps.Cap(per_type=3, by="sample"), steps.OnePerImage()), check_images="none"
    ),
}


def told(out: Path) -> Counter[tuple[str, str, str]]:
    """What was dropped why, apart from where it stands."""
    rows = read_table(out, "dropped").to_pylist()
    return Counter((row["product_id"], row["reason"], re.sub(r"\S+:\d+ is kept", "", row["detail"])) for row in rows)


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_tables_whatever_the_order_and_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(abo, "_SHARE_LINES", 7)
    lines = random_lines(len(name))
    made = []
    for number, (shards, gzipped) in enumerate([(1, True), (2, False), (5, True), (1, False)]):
        folder = sharded(tmp_path / f"abo{number}", lines, shards, number, gzipped=gzipped)
        out = tmp_path / f"out{number}"
        if number == 3:  # the one shard is read in several shares
            monkeypatch.setattr(
                abo, "shares_of", lambda shards, workers: [abo.Share(shards[0], n, 4) for n in range(4)]
            )
        made.append(curate(folder, out, RECIPES[name], workers=1 + number % 2))
        balanced(made[-1], out)
        assert told(out) == told(tmp_path / "out0")
        for table in ("products.parquet", "images.parquet"):
            assert made[-1].outputs[table] == made[0].outputs[table], (table, number)
    assert made[0].counts.read == len(lines)


def test_the_same_tables_whatever_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sharded(tmp_path / "abo", random_lines(1, 300), 2, 1)
    alone = curate(folder, tmp_path / "alone", SMALL_CAPS, workers=1)
    monkeypatch.setattr(abo, "_SMALL_BYTES", 0)
    together = curate(folder, tmp_path / "together", SMALL_CAPS, workers=3)
    assert together.outputs.keys() == alone.outputs.keys()
    for table in ("products.parquet", "images.parquet", "dropped.parquet"):
        assert together.outputs[table] == alone.outputs[table]
    assert together.counts == alone.counts


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", RECIPES)
def test_each_step_is_accounted_for(tmp_path: Path, name: str, seed: int) -> None:
    lines = random_lines(seed)
    manifest = curate(sharded(tmp_path / "abo", lines, 2, seed), tmp_path / "out", RECIPES[name], workers=1)
    balanced(manifest, tmp_path / "out")
    assert manifest.counts.read == len(lines)
    read, *later = manifest.details["steps"]
    assert read["kept"] + sum(read["dropped"].values()) == len(lines)
    kept = read["kept"]
    for step in later:
        kept += sum(step["restored"].values()) - sum(step["dropped"].values())
        assert step["kept"] == kept
    assert kept == manifest.counts.kept
    reasons = Counter(read["dropped"])
    for step in later:
        reasons.update(step["dropped"])
        reasons.subtract(step["restored"])
    assert +reasons == manifest.counts.dropped
    rows = read_table(tmp_path / "out", "products").to_pylist()
    assert manifest.details["by_product_type"] == dict(Counter(row["product_type"] or "none" for row in rows))
    types = manifest.details["types"].values()
    assert all(one["read"] == one["kept"] + sum(one["dropped"].values()) for one in types)
    assert sum(one["read"] for one in types) == read["kept"]
    assert sum(manifest.details["dropped_by_file"].values()) == sum(manifest.counts.dropped.values())


@pytest.mark.parametrize("seed", range(4))
def test_rich_listings_of_every_type_one_an_image(tmp_path: Path, seed: int) -> None:
    folder = sharded(tmp_path / "abo", random_lines(seed, 120), 1, seed)
    curate(folder, tmp_path / "out", SMALL_CAPS, workers=1)
    rows = read_table(tmp_path / "out", "products").to_pylist()
    images = [row["image_path"] for row in rows]
    assert len(images) == len(set(images))
    kept = Counter(row["product_type"] for row in rows)
    assert max(kept.values()) <= 2
    sound = SMALL_CAPS.steps[:2] if SMALL_CAPS.steps is not None else ()
    curate(folder, tmp_path / "sound", msgspec.structs.replace(SMALL_CAPS, steps=sound), workers=1)
    pictures: dict[str | None, set[str]] = {}
    for row in read_table(tmp_path / "sound", "products").to_pylist():
        pictures.setdefault(row["product_type"], set()).add(row["image_path"])
    single = {row["image_path"] for row in rows if kept[row["product_type"]] == 1}
    for product_type, paths in pictures.items():
        assert product_type in kept or paths <= single


def test_a_sample_is_the_seed_s(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "abo", random_lines(5, 120), 1, 0)

    def sampled(seed: int, out: str) -> list[tuple[str, str]]:
        recipe = msgspec.structs.replace(RECIPES["a sample of each type"], seed=seed)
        curate(folder, tmp_path / out, recipe, workers=1)
        return [(row["product_id"], row["image_path"]) for row in read_table(tmp_path / out, "products").to_pylist()]

    assert sampled(1, "a") == sampled(1, "b")
    assert sampled(1, "a") != sampled(2, "c")


@pytest.mark.parametrize("preset", PRESETS)
def test_an_empty_catalogue_is_no_mistake(tmp_path: Path, preset: str) -> None:
    manifest = curate(
        sharded(tmp_path / "abo", [], 1, 0), tmp_path / "out", CurateConfig(preset=preset, check_images="none")
    )
    assert (manifest.counts.read, balanced(manifest, tmp_path / "out")) == (0, {})
    assert read_table(tmp_path / "out", "products").schema.equals(PRODUCT_COLUMNS)


def test_folders_may_have_any_name(tmp_path: Path) -> None:
    place = tmp_path / 'it\'s [1] a*b? {x} 100% "quoted"'
    lines = random_lines(2)
    manifest = curate(sharded(place / "abo", lines, 2, 0), place / "out", SMALL_CAPS, workers=1)
    assert manifest.counts.read == len(lines)
    balanced(manifest, place / "out")


def test_a_broken_off_reading_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sharded(tmp_path / "abo", random_lines(7), 3, 0)
    asked: list[tuple[str, int]] = []
    read_share = abo.read_share

    def failing(part: Any, order: Any, *rest: Any) -> Any:
        asked.append((part.listings.parent.name, part.number))
        if len(asked) in (2, 6):
            raise KeyboardInterrupt
        return read_share(part, order, *rest)

    monkeypatch.setattr(abo, "read_share", failing)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            curate(folder, tmp_path / "out", SMALL_CAPS, workers=1)
    resumed = curate(folder, tmp_path / "out", SMALL_CAPS, workers=1)
    assert [number for _, number in asked] == [0, 1, 1, 2, 0, 1, 1, 2]
    monkeypatch.undo()
    assert resumed.outputs == curate(folder, tmp_path / "whole", SMALL_CAPS, workers=1).outputs
    assert not (tmp_path / "out" / ".work").exists()


def test_a_broken_off_check_of_images_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_abo(tmp_path / "abo", [[listing(number) for number in range(12)]])
    monkeypatch.setattr(pictures, "_PART_IMAGES", 5)
    asked: list[int] = []

    def failing(paths: list[Path], **options: Any) -> list[Fingerprint]:
        asked.append(len(paths))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return fingerprint_files(paths, **options)

    monkeypatch.setattr(pictures, "fingerprint_files", failing)
    with pytest.raises(KeyboardInterrupt):
        curate(folder, tmp_path / "out", CurateConfig())
    broken_off = curate(folder, tmp_path / "out", CurateConfig())
    assert asked == [5, 5, 5, 2]
    monkeypatch.undo()
    whole = curate(folder, tmp_path / "whole", CurateConfig())
    for table in ("products.parquet", "images.parquet", "dropped.parquet"):
        assert whole.outputs[table] == broken_off.outputs[table]


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
