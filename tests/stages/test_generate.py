from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from shelfqa.artifacts import Manifest, read_table
from shelfqa.catalogue.settings import CurateConfig
from shelfqa.errors import ConfigError, InputError
from shelfqa.questions.settings import GenerateConfig
from shelfqa.records import QUESTION_COLUMNS
from shelfqa.stages.curate import curate
from shelfqa.stages.generate import generate
from tiny_catalogue import listing, tagged, write_abo


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    lines = [listing(number, brand=tagged("Acme Inc" if number % 2 else "Acme")) for number in range(6)]
    curate(write_abo(tmp_path / "abo", [lines]), tmp_path / "curated", CurateConfig())
    return tmp_path / "curated"


def balanced(manifest: Manifest, out: Path) -> dict[str, int]:
    counts = manifest.counts
    assert counts.read == counts.kept + sum(counts.dropped.values())
    assert counts.kept == read_table(out, "questions").num_rows
    assert Counter(read_table(out, "dropped")["reason"].to_pylist()) == counts.dropped
    return counts.dropped


def test_metadata_questions_are_counted(curated: Path, tmp_path: Path) -> None:
    manifest = generate(curated, tmp_path / "out", GenerateConfig())
    assert balanced(manifest, tmp_path / "out") == {"brand-several-words": 3}
    assert manifest.details["by_field"] == {"color": 6, "product_type": 6, "brand": 3}
    table = read_table(tmp_path / "out", "questions")
    assert table.schema.equals(QUESTION_COLUMNS)
    assert set(table["split"].to_pylist()) == {None}
    assert manifest.images == str(tmp_path / "abo" / "images" / "small")
    assert read_table(tmp_path / "out", "images").equals(read_table(curated, "images"))


def test_fields_and_limit_are_settings(curated: Path, tmp_path: Path) -> None:
    manifest = generate(curated, tmp_path / "out", GenerateConfig(fields=("color", "brand"), per_product=1))
    assert manifest.counts.kept == 6
    assert balanced(manifest, tmp_path / "out")["over-per-product"] == 3
    with pytest.raises(ConfigError, match=r"unknown field 'colour'.*'color'"):
        generate(curated, tmp_path / "out", GenerateConfig(fields=("colour",)))


def test_labelled_files_are_read_and_their_change_is_seen(curated: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("path,question,answer,split\naa/000.png,What color?,blue,test\nzz/1.png,What?,mug,train\n")
    config = GenerateConfig(provider="file", files=(str(file),))
    manifest = generate(curated, tmp_path / "out", config)
    assert balanced(manifest, tmp_path / "out") == {"image-not-in-catalogue": 1}
    assert manifest.details["by_given_split"] == {"test": 1}
    with file.open("a") as more:
        more.write("aa/001.png,What is it?,mug,train\n")
    assert generate(curated, tmp_path / "out", config).counts.kept == 2


def test_provider_and_files_must_agree(curated: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs --files"):
        generate(curated, tmp_path / "out", GenerateConfig(provider="file"))
    with pytest.raises(ConfigError, match="--provider file"):
        generate(curated, tmp_path / "out", GenerateConfig(files=("a.csv",)))
    with pytest.raises(InputError, match=r"gone\.csv"):
        generate(curated, tmp_path / "out", GenerateConfig(provider="file", files=("gone.csv",)))
    with pytest.raises(InputError, match=r"products\.parquet"):
        generate(tmp_path / "abo", tmp_path / "out", GenerateConfig())
