"""Regions computed elsewhere: the files that are read, and what is said of broken ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shelfqa.errors import InputError
from shelfqa.models.region_features import read_region_features

BOXES = np.array([[0, 0, 0.5, 0.5], [0.25, 0.5, 1, 1], [0, 0, 1, 1]])
FEATURES = np.arange(12, dtype=np.float32).reshape(3, 4)


def npz(folder: Path, name: str = "1.npz", **change: Any) -> Path:
    arrays = {"features": FEATURES, "boxes": BOXES} | change
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.savez(folder / name, **{key: value for key, value in arrays.items() if value is not None})
    return folder


def table(file: Path, rows: list[dict[str, Any]], *, flat: bool = False, **options: Any) -> Path:
    features: Any = pa.list_(pa.float32()) if flat else pa.list_(pa.list_(pa.float32()))
    boxes: Any = pa.list_(pa.float64(), 12) if flat else pa.list_(pa.list_(pa.float64()))
    schema = pa.schema([("image_path", pa.string()), ("features", features), ("boxes", boxes)])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, **options)
    return file


def row(path: str = "a/1.jpg", **change: Any) -> dict[str, Any]:
    return {"image_path": path, "features": FEATURES.tolist(), "boxes": BOXES.tolist()} | change


def test_a_table_is_read_row_by_row(tmp_path: Path) -> None:
    rows = [row(f"{n}.jpg", features=(FEATURES + n).tolist()) for n in range(7)]
    source = read_region_features(table(tmp_path / "r.parquet", rows, row_group_size=2), feature_size=4)
    for n in (6, 0, 3, 0):
        regions = source.read(f"{n}.jpg")
        assert regions.features.numpy() == pytest.approx((FEATURES + n)[None])
        assert regions.boxes.numpy() == pytest.approx(BOXES[None])
    assert "6.jpg" in source
    assert "7.jpg" not in source


def test_a_table_may_hold_one_list_a_picture(tmp_path: Path) -> None:
    rows = [row(features=FEATURES.ravel().tolist(), boxes=BOXES.ravel().tolist())]
    regions = read_region_features(table(tmp_path / "r.parquet", rows, flat=True), feature_size=4).read("a/1.jpg")
    assert regions.features.numpy() == pytest.approx(FEATURES[None])
    assert regions.boxes.numpy() == pytest.approx(BOXES[None])


@pytest.mark.parametrize("name", ["1.npz", "1.jpg.npz", "shirts/1.npz", "shirts/1.jpg.npz"])
def test_an_archive_is_found_by_the_pictures_name(tmp_path: Path, name: str) -> None:
    source = read_region_features(npz(tmp_path, name), feature_size=4)
    assert source.read("shirts/1.jpg").features.numpy() == pytest.approx(FEATURES[None])
    assert "shirts/1.jpg" in source
    assert "shirts/2.jpg" not in source


def test_the_nearer_of_two_archives_counts(tmp_path: Path) -> None:
    npz(npz(tmp_path, "1.npz"), "shirts/1.npz", features=FEATURES + 1)
    source = read_region_features(tmp_path, feature_size=4)
    assert source.read("shirts/1.jpg").features.numpy() == pytest.approx(FEATURES[None] + 1)
    assert source.read("../pictures/shirts/1.jpg").features.numpy() == pytest.approx(FEATURES[None] + 1)
    assert source.read("shirts/../1.jpg").features.numpy() == pytest.approx(FEATURES[None])


def test_archives_of_extractors_are_read(tmp_path: Path) -> None:
    padded = np.concatenate([BOXES * [200, 100, 200, 100], np.zeros((2, 4))])
    features = np.concatenate([FEATURES, np.zeros((2, 4))])
    info = np.array({"objects": [1, 2]}, dtype=object)
    for x in (features, features.T):
        named: dict[str, Any] = {
            "x": x,
            "bbox": padded,
            "num_bbox": np.array([3]),
            "image_w": 200,
            "image_h": 100,
            "info": info,
        }
        source = read_region_features(npz(tmp_path, features=None, boxes=None, **named), feature_size=4)
        regions = source.read("1.jpg")
        assert regions.features.numpy() == pytest.approx(FEATURES[None])
        assert regions.boxes.numpy() == pytest.approx(BOXES[None])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": FEATURES[:, :3]}, r"features have the shape \(3, 3\), expected \(3, 4\)"),
        ({"features": FEATURES[:2]}, r"features have the shape \(2, 4\), expected \(3, 4\)"),
        ({"features": np.where(FEATURES == 5, np.nan, FEATURES)}, "features hold NaN"),
        ({"features": None}, "lacks the array 'features' or 'x'"),
        ({"features": np.array(["a"])}, "not a NumPy archive of arrays of numbers"),
        ({"features": np.array([{}], dtype=object)}, "not a NumPy archive of arrays of numbers"),
        ({"boxes": BOXES[:, :3]}, r"boxes have the shape \(3, 3\)"),
        ({"boxes": BOXES[:0]}, r"boxes have the shape \(0, 4\)"),
        ({"boxes": np.where(BOXES == 0.25, np.inf, BOXES)}, "'width' and 'height'"),
        ({"boxes": np.where(BOXES == 0.25, np.nan, BOXES)}, "boxes hold NaN"),
        ({"boxes": BOXES[:, [2, 3, 0, 1]]}, r"box 0 is \[0.5, 0.5, 0.0, 0.0\]"),
        ({"boxes": BOXES * 100}, "in pixels, which needs the arrays 'width' and 'height'"),
        ({"boxes": BOXES * 100, "width": 90, "height": 100}, r"box 1 is \[0.2778, 0.5, 1.1111, 1.0\]"),
        ({"boxes": BOXES * 100, "width": 0, "height": 100}, "size is 0 x 100"),
        ({"num_boxes": np.array([1, 2])}, r"'num_boxes' has the shape \(2,\)"),
    ],
)
def test_what_is_wrong_in_an_archive_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    source = read_region_features(npz(tmp_path, **change), feature_size=4)
    with pytest.raises(InputError, match=message) as caught:
        source.read("1.jpg")
    assert "1.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": [[1.0, 2.0, 3.0]] * 3}, "features are no list of lists of 4 floats"),
        ({"features": [[1.0] * 4, [1.0] * 3, [1.0] * 4]}, "features are no list of lists of 4 floats"),
        ({"features": None}, "features are no list"),
        ({"features": [[1.0] * 4] * 2}, r"features have the shape \(2, 4\), expected \(3, 4\) for 3 boxes"),
        ({"features": [[1.0] * 4, [None] * 4, [1.0] * 4]}, "features hold NaN"),
        ({"boxes": []}, r"boxes have the shape \(0, 4\)"),
        ({"boxes": (BOXES * 100).tolist()}, r"box 0 is \[0.0, 0.0, 50.0, 50.0\] in shares"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    source = read_region_features(table(tmp_path / "r.parquet", [row(**change)]), feature_size=4)
    with pytest.raises(InputError, match=message) as caught:
        source.read("a/1.jpg")
    assert "r.parquet" in str(caught.value)
    assert "a/1.jpg" in str(caught.value)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"<html>")
    pq.write_table(pa.table({"image_path": ["1.jpg"]}), tmp_path / "narrow.parquet")
    pq.write_table(pa.table({"image_path": ["1.jpg"], "features": [1], "boxes": [1]}), tmp_path / "flat.parquet")
    table(tmp_path / "twice.parquet", [row(), row()])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "1.npz").write_bytes(b"<html>")
    for name, message in (
        ("none.parquet", "holds no region features"),
        ("broken.parquet", "Cannot read"),
        ("narrow.parquet", "lacks the column 'features'"),
        ("twice.parquet", "'a/1.jpg' more than once"),
    ):
        with pytest.raises(InputError, match=message):
            read_region_features(tmp_path / name)
    for name, picture, message in (
        ("flat.parquet", "1.jpg", "'features' holds int64"),
        ("flat.parquet", "2.jpg", "no row for it"),
        ("folder", "1.jpg", "not a NumPy archive"),
        ("folder", "2.jpg", r"no 2\.npz for '2\.jpg'"),
    ):
        with pytest.raises(InputError, match=message):
            read_region_features(tmp_path / name).read(picture)
