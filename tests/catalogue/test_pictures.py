from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from shelfqa.catalogue import pictures
from shelfqa.catalogue.pictures import CHECKED_COLUMNS, check_pictures, faults, leads_out, picture_groups, summary
from shelfqa.images import Fingerprint, fingerprint_files
from shelfqa.records import IMAGE_COLUMNS


def photograph(number: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for step in range(9):
        x, y = (number * 37 + step * 29) % size[0], (number * 53 + step * step * 17) % size[1]
        draw.ellipse((x, y, x + 12 + step * 3, y + 8 + number % 7), fill=(number * 19 % 256, step * 28, 90))
    return image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten good pictures 0.png to 9.png, and one of each trouble."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(10):
        photograph(number).save(folder / f"{number}.png")
    whole = io.BytesIO()
    photograph(3).save(whole, "JPEG")
    (folder / "truncated.jpg").write_bytes(whole.getvalue()[:-300])
    (folder / "page.jpg").write_bytes(b"<html>gone</html>")
    (folder / "empty.jpg").write_bytes(b"")
    Image.new("RGB", (60, 60), "grey").save(folder / "box.png")
    Image.new("RGB", (60, 60), "white").save(folder / "white.png")
    (tmp_path / "secret.png").write_bytes((folder / "1.png").read_bytes())
    return folder


GOOD = [f"{number}.png" for number in range(10)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that are decoded from here on, in parts of three."""
    names_seen: list[str] = []

    def counting(paths: Sequence[Path], *, names: Sequence[str], **options: Any) -> list[Fingerprint]:
        names_seen.extend(names)
        return fingerprint_files(paths, names=names, **options)

    monkeypatch.setattr(pictures, "_PART_IMAGES", 3)
    monkeypatch.setattr(pictures, "fingerprint_files", counting)
    return names_seen


def test_troubles_are_results(root: Path, tmp_path: Path) -> None:
    paths = ["page.jpg", "0.png", "truncated.jpg", "empty.jpg", "gone.jpg", "box.png", ""]
    table = check_pictures(tmp_path / "work", root, paths, workers=2)
    assert table.schema == CHECKED_COLUMNS
    assert table["image_path"].to_pylist() == paths
    reasons = [str(error).split(":")[0] for error in table["error"].to_pylist()]
    assert reasons == ["not-an-image", "None", "truncated", "empty", "missing", "None", "unreadable"]
    assert table["blank"].to_pylist() == [False, False, False, False, False, True, False]
    assert not any(str(tmp_path) in str(error) for error in table["error"].to_pylist())
    assert table["file_bytes"].to_pylist()[:2] == [17, (root / "0.png").stat().st_size]


def test_every_column_has_its_place_in_the_images_table() -> None:
    assert [name for name in IMAGE_COLUMNS.names if name in CHECKED_COLUMNS.names] == CHECKED_COLUMNS.names
    assert set(CHECKED_COLUMNS.names) == {"image_path", *Fingerprint._fields}
    added = picture_groups(CHECKED_COLUMNS.empty_table()).schema
    assert added.names[-2:] == ["same_file", "same_picture"]
    assert all(IMAGE_COLUMNS.field(name) == added.field(name) for name in added.names)


@pytest.mark.parametrize(
    "path", ["../secret.png", "a/../../secret.png", "/etc/hostname", "..", "C:\\a.png", "..\\a.png"]
)
def test_paths_that_lead_out_are_not_opened(root: Path, tmp_path: Path, decoded: list[str], path: str) -> None:
    absolute = str(tmp_path / "secret.png")
    table = check_pictures(tmp_path / "work", root, ["1.png", path, absolute], workers=1)
    assert decoded == ["1.png"]
    assert [str(error)[:25] for error in table["error"].to_pylist()] == ["None", *["outside the images folder"] * 2]
    assert table["content_hash"].null_count == 2


def test_harmless_paths_stay_inside() -> None:
    assert not any(
        leads_out(path) for path in ("a.png", "./a.png", "a/../b.png", "..a/b.png", "a:b.png", "a b/…/ü.png")
    )


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_same_whatever_the_workers(root: Path, tmp_path: Path, workers: int, decoded: list[str]) -> None:
    paths = [*GOOD, "page.jpg", "gone.jpg", "../secret.png"] * 3
    table = check_pictures(tmp_path / f"{workers}", root, paths, workers=workers)
    assert table.equals(check_pictures(tmp_path / "one", root, paths, workers=1))
    assert table["image_path"].to_pylist() == paths
    again = check_pictures(tmp_path / f"{workers}", root, paths, workers=workers)
    assert again.equals(table)


def test_finished_parts_are_taken_over(
    root: Path, tmp_path: Path, decoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    whole = check_pictures(work, root, GOOD, workers=2)
    parts = sorted(work.iterdir())
    assert len(parts) == 4
    decoded.clear()
    assert check_pictures(work, root, GOOD, workers=2).equals(whole)
    assert decoded == []
    parts[0].unlink()
    parts[2].write_bytes(parts[2].read_bytes()[:200])  # a part that the disk lost the end of
    (work / "00000003.parquet.partial").write_bytes(b"half")
    assert check_pictures(work, root, GOOD, workers=2).equals(whole)
    assert sorted(decoded) == ["0.png", "1.png", "2.png", "6.png", "7.png", "8.png"]
    assert "4 of 10 were checked before" in capsys.readouterr().err


def test_a_kill_costs_no_more_than_a_part(
    root: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(paths: Sequence[Path], *, names: Sequence[str], **options: Any) -> list[Fingerprint]:
        if "6.png" in names:
            raise KeyboardInterrupt
        return fingerprint_files(paths, names=names, **options)

    with monkeypatch.context() as until_killed:
        until_killed.setattr(pictures, "fingerprint_files", killed)
        with pytest.raises(KeyboardInterrupt):
            check_pictures(tmp_path / "work", root, GOOD, workers=2)
    table = check_pictures(tmp_path / "work", root, GOOD, workers=2)
    assert decoded == ["6.png", "7.png", "8.png", "9.png"]
    assert table.equals(check_pictures(tmp_path / "other", root, GOOD, workers=2))


def test_parts_of_other_pictures_or_older_columns_are_not_taken(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    work = tmp_path / "work"
    check_pictures(work, root, GOOD[:6], workers=2)
    decoded.clear()
    table = check_pictures(work, root, [*GOOD[:3], *GOOD[4:7]], workers=2)
    assert decoded == GOOD[4:7]
    assert table["image_path"].to_pylist() == [*GOOD[:3], *GOOD[4:7]]
    pq.write_table(table.slice(0, 3).drop_columns("blank"), work / "00000000.parquet")
    decoded.clear()
    check_pictures(work, root, GOOD[:3], workers=2)
    assert decoded == GOOD[:3]


def test_no_pictures(tmp_path: Path) -> None:
    table = picture_groups(check_pictures(tmp_path / "work", tmp_path, [], workers=2))
    assert table.num_rows == 0
    nothing = {"groups": 0, "pictures": 0, "across_products": 0}
    counts = {"checked": 0, "unreadable": 0, "blank": 0, "equal_files": nothing, "near_duplicates": nothing}
    assert summary(table, []) == counts


def test_the_same_picture_under_two_names_is_known(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "4.png", root / "copy-of-4.png")
    shutil.copy(root / "page.jpg", root / "another-page.jpg")
    shutil.copy(root / "box.png", root / "another-box.png")
    photograph(5).save(root / "zip.jpg", quality=70)
    photograph(5).resize((72, 60)).save(root / "a-small-5.png")
    paths = [*sorted(path.name for path in root.iterdir()), "gone.jpg"]
    table = picture_groups(check_pictures(tmp_path / "work", root, list(reversed(paths)), workers=2))
    rows = {row["image_path"]: row for row in table.to_pylist()}
    file_of = {path: row["same_file"] for path, row in rows.items() if row["same_file"] != path}
    assert file_of == {
        "copy-of-4.png": "4.png",
        "page.jpg": "another-page.jpg",
        "box.png": "another-box.png",
        "empty.jpg": None,
        "gone.jpg": None,
    }
    picture_of = {path: row["same_picture"] for path, row in rows.items() if row["same_picture"] != path}
    assert picture_of == {
        "copy-of-4.png": "4.png",
        "box.png": "another-box.png",  # and not white.png, though no shape tells them apart
        "zip.jpg": "5.png",
        "a-small-5.png": "5.png",
        **dict.fromkeys(["page.jpg", "another-page.jpg", "truncated.jpg", "empty.jpg", "gone.jpg"]),
    }


def test_counts_tell_groups_across_products(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "4.png", root / "4b.png")
    shutil.copy(root / "6.png", root / "6b.png")
    photograph(5).save(root / "5b.jpg", quality=70)
    owners = {
        "4.png": ["A"],
        "4b.png": ["B"],
        "5.png": ["A", "C"],
        "5b.jpg": ["A", "C"],
        "6.png": ["D"],
        "6b.png": ["D"],
        "page.jpg": [],
        "7.png": ["A", "B", "C"],
        "box.png": None,
    }
    table = picture_groups(check_pictures(tmp_path / "work", root, list(owners), workers=2))
    assert summary(table, owners.values()) == {
        "checked": 9,
        "unreadable": 1,
        "blank": 1,
        "equal_files": {"groups": 2, "pictures": 4, "across_products": 1},
        "near_duplicates": {"groups": 3, "pictures": 6, "across_products": 2},
    }
    assert summary(table)["equal_files"] == {"groups": 2, "pictures": 4}


def test_faults_are_reasons_to_drop(root: Path, tmp_path: Path) -> None:
    photograph(1, (200, 30)).save(root / "flat.png")
    paths = ["0.png", "flat.png", "gone.jpg", "box.png", "page.jpg", "../secret.png"]
    table = check_pictures(tmp_path / "work", root, paths, workers=2)
    found = faults(table, 40, drop_blank=True).to_pylist()
    assert [(row["image_path"], row["reason"]) for row in found] == [
        ("flat.png", "image-too-small"),
        ("gone.jpg", "image-file-missing"),
        ("box.png", "blank-image"),
        ("page.jpg", "unreadable-image"),
        ("../secret.png", "unreadable-image"),
    ]
    assert found[0]["detail"] == "200x30 pixels, its shorter side under 40"
    assert found[1]["detail"] == "missing: no file at 'gone.jpg'"
    assert faults(table).num_rows == 3
    assert faults(CHECKED_COLUMNS.empty_table(), 40).num_rows == 0
