"""Score tables and pictures to report on, small and made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from shelfqa.artifacts import StageRun, build
from shelfqa.config import Config
from shelfqa.records import PREDICTION_COLUMNS, PRODUCT_COLUMNS, QUESTION_COLUMNS, attention_columns
from shelfqa.stages.score import ScoreConfig, score

NASTY = "<script>alert('x')</script> & \"quotes\""
PRODUCTS = 30
_KINDS = (("What color is it?", "red", "colour"), ("How many legs?", "4", "count"))


class AnyConfig(Config, frozen=True, kw_only=True):
    """Settings of a stage that is only pretended."""

    seed: int = 7


def questions(images: Path) -> list[dict[str, Any]]:
    """Two questions a product, in three splits."""
    rows = []
    for product in range(PRODUCTS):
        for place, (question, answer, task) in enumerate(_KINDS):
            rows.append(
                {
                    "question_id": f"q{product}-{place}",
                    "product_id": f"p{product}",
                    "image_paths": [f"{product}.jpg"],
                    "question": NASTY if product == 0 else question,
                    "answer": f"{answer}{product % 3 or ''}",
                    "task": task,
                    "source": {"provider": "metadata", "model": None, "prompt_version": "1", "field": "color"},
                    "product_type": ("mug", "lamp", NASTY)[product % 3],
                    "split": ("train", "validation", "test")[product % 3],
                }
            )
    return rows


def write_pictures(folder: Path) -> Path:
    """One small picture a product; the last is broken."""
    folder.mkdir(parents=True)
    for product in range(PRODUCTS - 1):
        Image.new("RGB", (40, 30), (product * 8, 90, 120)).save(folder / f"{product}.jpg")
    (folder / f"{PRODUCTS - 1}.jpg").write_bytes(b"no picture")
    return folder


def write_scores(
    run: Path, name: str, images: Path, *, right: float, failures: int = 0, attention: bool = False
) -> None:
    """A folder of `predict` with the given share of right answers, and its folder of `score`."""
    generator = np.random.default_rng(len(name))

    def body(stage: StageRun) -> None:
        rows = []
        for number, row in enumerate(questions(images)):
            prediction = row["answer"] if generator.random() < right else NASTY
            failed = number < failures
            considered = [{"answer": text, "probability": p} for text, p in ((prediction, 0.6), ("blue", 0.3))]
            rows.append(
                row
                | {
                    "model": "mini",
                    "prediction": None if failed else prediction,
                    "error": "truncated: breaks off" if failed else None,
                    "alternatives": None if failed else considered,
                }
            )
        stage.write_table("predictions", pa.Table.from_pylist(rows, schema=PREDICTION_COLUMNS))
        if attention:
            shares = [0.1, 0.2, 0.6, 0.1]
            maps = [{"question_id": row["question_id"], "rows": 2, "columns": 2, "shares": shares} for row in rows]
            stage.write_table("attention", pa.Table.from_pylist(maps, schema=attention_columns(4)))
        stage.images = images
        stage.counts.read = stage.counts.kept = len(rows)

    build("predict", run / "predictions" / name, AnyConfig(), {}, body)
    score(run / "predictions" / name, run / "scores" / name, ScoreConfig(resamples=200))


def write_run(run: Path) -> Path:
    """A whole run folder."""
    images = write_pictures(run / "images")

    def curated(stage: StageRun) -> None:
        rows = [{"product_id": f"p{n}", "product_type": "mug" if n % 2 else "lamp"} for n in range(PRODUCTS)]
        stage.write_table("products", pa.Table.from_pylist(rows, schema=PRODUCT_COLUMNS))
        stage.images = images
        stage.counts.read, stage.counts.kept = PRODUCTS + 5, PRODUCTS
        stage.drop("duplicate listing", 5)

    def asked(stage: StageRun) -> None:
        stage.write_table("questions", pa.Table.from_pylist(questions(images), schema=QUESTION_COLUMNS))
        stage.images = images
        stage.details = {"leakage": {"train/test": {"products": 0, "near_duplicate_images": 0}}}

    def trained(stage: StageRun) -> None:
        steps = [
            {"step": step, "train_loss": 2.0 - step / 100, "validation_loss": 1.9, "validation_exact_match": 0.4}
            for step in range(0, 100, 10)
        ]
        stage.write_table("history", pa.Table.from_pylist(steps))

    build("curate", run / "curated", AnyConfig(), {}, curated)
    build("generate", run / "questions", AnyConfig(), {}, asked)
    build("split", run / "split", AnyConfig(), {}, asked)
    build("train", run / "train", AnyConfig(), {}, trained)
    for name, right, failures in (
        ("majority", 0.1, 0),
        ("zero-shot", 0.3, 0),
        ("tuned", 0.9, 2),
        ("tuned-shuffled", 0.2, 0),
    ):
        write_scores(run, name, images, right=right, failures=failures, attention=name == "tuned")
    return run
