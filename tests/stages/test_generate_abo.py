"""`shelfqa generate` on real photographs and listings, by listing fields and by a model on this machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shelfqa.artifacts import read_manifest, read_table
from shelfqa.catalogue.settings import CurateConfig
from shelfqa.questions.checks import one_word
from shelfqa.questions.settings import GenerateConfig
from shelfqa.records import QUESTION_COLUMNS
from shelfqa.stages.curate import curate
from shelfqa.stages.generate import generate
from shelfqa.stages.split import SplitConfig, split


@pytest.fixture(scope="module")
def curated(abo_slice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("abo") / "curated"
    curate(abo_slice, folder, CurateConfig())
    return folder


def valid(folder: Path, curated: Path) -> list[dict[str, Any]]:
    """The rows of a table of questions that `split` and all that follows can read."""
    table = read_table(folder, "questions")
    assert table.schema.equals(QUESTION_COLUMNS)
    rows: list[dict[str, Any]] = table.to_pylist()
    pictures = dict(zip(*read_table(curated, "products").select(["product_id", "image_path"]).columns, strict=True))
    pictures = {str(product): str(path) for product, path in pictures.items()}
    assert len({row["question_id"] for row in rows}) == len(rows)
    for row in rows:
        assert row["image_paths"][0] == pictures[row["product_id"]]
        assert row["question"].strip()
        assert one_word(row["answer"]) == row["answer"]
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.counts.read == manifest.counts.kept + sum(manifest.counts.dropped.values())
    assert Counter(read_table(folder, "dropped")["reason"].to_pylist()) == manifest.counts.dropped
    return rows


def test_listing_fields_give_questions(curated: Path, tmp_path: Path) -> None:
    generate(curated, tmp_path / "out", GenerateConfig())
    assert len(valid(tmp_path / "out", curated)) > 5_000


def test_a_model_on_this_machine_gives_questions(curated: Path, tmp_path: Path) -> None:
    """The model's weights are random: what it writes has the right form and no sense."""
    pytest.importorskip("llguidance")
    pytest.importorskip("torch")
    from tiny_chat import tiny_writer

    writer = tiny_writer(tmp_path / "writer")
    config = GenerateConfig(provider="local", model=str(writer), limit=12)
    manifest = generate(curated, tmp_path / "out", config, device="cpu")
    rows = valid(tmp_path / "out", curated)
    assert rows
    failed = read_table(tmp_path / "out", "failures").to_pylist()
    answered = {row["product_id"] for row in rows}
    assert len(answered) + len(failed) == 12
    assert not answered & {row["product_id"] for row in failed}
    assert all(row["reply"] for row in failed)
    assert manifest.details["spent"]["tokens"] > 10_000
    assert split(tmp_path / "out", tmp_path / "split", SplitConfig()).counts.kept == len(rows)
