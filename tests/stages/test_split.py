from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from shelfqa.artifacts import read_table, write_parquet
from shelfqa.errors import ConfigError, GateFailure, InputError
from shelfqa.questions.pairs import Pair, Source, questions_table
from shelfqa.records import QUESTION_COLUMNS
from shelfqa.stages import split as stage
from shelfqa.stages.split import SplitConfig, split
from tiny_catalogue import picture


def ask(number: int, *, image: int | None = None, source: str = "a", given: str | None = None) -> Pair:
    return Pair(
        product_id=f"P{number:03}",
        product_type=("mug", "chair")[number % 2],
        image_paths=(f"{number if image is None else image:03}.png",),
        question="What is it?",
        answer="mug",
        source=Source("file", source),
        split=given,
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(60):
        picture(folder / f"{number:03}.png", number)
    shutil.copy(folder / "001.png", folder / "002.png")
    picture(folder / "004.png", 3, size=48)
    (folder / "005.png").write_bytes(b"no picture")
    return folder


def write(folder: Path, pairs: Sequence[Pair]) -> Path:
    write_parquet(folder / "questions.parquet", questions_table(pairs))
    return folder


def splits(out: Path) -> dict[str, str]:
    table = read_table(out, "questions")
    return dict(zip(table["product_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def test_all_rows_get_a_split_and_the_audit_is_clean(tmp_path: Path, images: Path) -> None:
    questions = write(tmp_path / "q", [ask(number, source=s) for number in range(60) for s in "ab"])
    manifest = split(questions, tmp_path / "out", SplitConfig(), images=images)
    assert read_table(tmp_path / "out", "questions").schema.equals(QUESTION_COLUMNS)
    assert (manifest.counts.read, manifest.counts.kept) == (120, 120)
    assert manifest.details["rows"] == {"train": 96, "validation": 12, "test": 12}
    assert manifest.details["groups"] == 58
    assert manifest.details["largest_group"] == {"rows": 4, "products": 2}
    for shared in manifest.details["leakage"].values():
        assert (shared["products"], shared["image_files"], shared["near_duplicate_images"]) == (0, 0, 0)
    found = splits(tmp_path / "out")
    assert found["P001"] == found["P002"]
    assert found["P003"] == found["P004"]
    assert manifest.images == str(images)


def test_only_some_sources_are_kept_after_the_same_split(tmp_path: Path, images: Path) -> None:
    pairs = [ask(number, source="ab"[number % 3 == 0]) for number in range(60)]
    questions = write(tmp_path / "q", pairs)
    split(questions, tmp_path / "all", SplitConfig(), images=images)
    manifest = split(questions, tmp_path / "some", SplitConfig(only=("b",)), images=images)
    assert manifest.counts.dropped == {"other-source": 40}
    assert manifest.counts.kept == 20
    everything = splits(tmp_path / "all")
    assert all(everything[product] == found for product, found in splits(tmp_path / "some").items())
    with pytest.raises(ConfigError, match="no question is from 'c'"):
        split(questions, tmp_path / "none", SplitConfig(only=("c",)), images=images)


def test_held_out_rows_take_their_near_duplicates_along(tmp_path: Path, images: Path) -> None:
    pairs = [ask(number, given="test" if number in (1, 10) else "train") for number in range(60)]
    questions = write(tmp_path / "q", pairs)
    split(questions, tmp_path / "out", SplitConfig(held_out_rows=True), images=images)
    found = splits(tmp_path / "out")
    assert {product for product, name in found.items() if name == "test"} == {"P001", "P002", "P010"}
    with pytest.raises(ConfigError, match="held_out_rows"):
        split(write(tmp_path / "r", [ask(1)]), tmp_path / "r-out", SplitConfig(held_out_rows=True), images=images)


MARKED = "path,question,split\nimages/small/001.png,what?,test\n010.png,what?,TEST\n020.png,what?,train\nno.png,,test\n"
LISTED = "image\n./001.png\n020.png\n"


@pytest.mark.parametrize(("text", "tested"), [(MARKED, {"P001", "P002", "P010"}), (LISTED, {"P001", "P002", "P020"})])
def test_pictures_of_a_published_test_set_are_held_out(
    text: str, tested: set[str], tmp_path: Path, images: Path
) -> None:
    questions = write(tmp_path / "q", [ask(number) for number in range(60)])
    file = tmp_path / "published.csv"
    file.write_text(text)
    config = SplitConfig(held_out_pictures=str(file))
    manifest = split(questions, tmp_path / "out", config, images=images)
    assert {product for product, name in splits(tmp_path / "out").items() if name == "test"} == tested
    assert "held_out_pictures" in manifest.inputs
    file.write_text("question\nwhat?\n")
    with pytest.raises(InputError, match="no column of pictures"):
        split(questions, tmp_path / "bad", config, images=images)
    file.write_text("path\nunknown.png\n")
    with pytest.raises(InputError, match="holds out none of the 60 pictures"):
        split(questions, tmp_path / "bad", config, images=images)


def test_it_is_not_done_twice(tmp_path: Path, images: Path) -> None:
    questions = write(tmp_path / "q", [ask(number) for number in range(20)])
    split(questions, tmp_path / "out", SplitConfig(), images=images)
    made = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    split(questions, tmp_path / "out", SplitConfig(), images=images)
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == made
    split(questions, tmp_path / "out", SplitConfig(seed=1), images=images)
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns > made


def test_a_leak_is_a_failed_gate(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = write(tmp_path / "q", [ask(number) for number in range(20)])
    monkeypatch.setattr(stage, "assign", lambda rows, *_: [("train", "test")[place % 2] for place in range(len(rows))])
    with pytest.raises(GateFailure, match="train/test share 2 near duplicate images"):
        split(questions, tmp_path / "out", SplitConfig(), images=images)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    questions = write(tmp_path / "q", [ask(1)])
    with pytest.raises(InputError, match="--images"):
        split(questions, tmp_path / "out", SplitConfig())
    with pytest.raises(ConfigError, match=r"add up to 1\.1"):
        split(questions, tmp_path / "out", SplitConfig(train=0.9))
    with pytest.raises(InputError, match="holds no questions"):
        split(write(tmp_path / "empty", []), tmp_path / "out", SplitConfig())
    with pytest.raises(InputError, match="no file or folder"):
        split(tmp_path / "gone", tmp_path / "out", SplitConfig())
