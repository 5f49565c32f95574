"""The stage `predict`: questions and pictures in, the k best answers to each out, failures among them."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from msgspec import Meta

from shelfqa.artifacts import Manifest, StageRun, build, image_folder
from shelfqa.config import Config
from shelfqa.errors import ConfigError, InputError
from shelfqa.models.answering import Asked, Found, alternatives, answer_in_parts
from shelfqa.models.presets import source_of
from shelfqa.question_types import question_type

if TYPE_CHECKING:
    import pyarrow as pa

    from shelfqa.models.base import VqaModel


class PredictConfig(Config, frozen=True):
    """Settings of `predict`."""

    model: Annotated[
        str,
        Meta(
            description="A preset of `shelfqa models`, a hub name, a folder, or a blind baseline: majority, "
            "majority-per-type, question-only."
        ),
    ] = "mini"
    splits: Annotated[
        list[str] | None, Meta(description="Splits to answer; by default test where rows have a split, else all.")
    ] = None
    top_k: Annotated[int, Meta(description="How many answers to keep for each question.")] = 5
    batch_size: Annotated[int | None, Meta(description="Questions at once; by default what suits the device.")] = None
    shuffle_images: Annotated[
        bool, Meta(description="Ask each question of another product's picture: what is left is guessed blindly.")
    ] = False
    seed: Annotated[int, Meta(description="Seed of the shuffling.")] = 0
    limit: Annotated[int | None, Meta(description="Answer the first so many questions only.")] = None


def predict(
    questions: Path,
    out: Path,
    config: PredictConfig,
    *,
    images: Path | None = None,
    adapter: Path | None = None,
    device: str = "auto",
) -> Manifest:
    """Answer questions about pictures; writes `predictions.parquet`, one row a question in the input's order.

    A picture that cannot be read or an empty question gives a row without prediction and with the error. Parts that
    are finished when the run is killed are not computed again.

    Args:
        questions: a folder with questions.parquet, or a CSV, JSON-lines or Parquet file with the columns `question`
            and `image_path`, `image` or `path`; all others of the predictions' columns are taken on if there.
        out: the folder to make.
        config: the settings.
        images: the folder that image paths are relative to; by default the one that the artifact names.
        adapter: a LoRA adapter for the model.
        device: where to run.

    Raises:
        UserError: for input, settings or a model that cannot be used.

    """
    for name in ("top_k", "batch_size", "limit"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"predict.{name} is {value!r}: expected 1 or more.")
    inputs = {"questions": questions} | ({"images": images} if images is not None else {})
    if adapter is not None:
        inputs["adapter"] = adapter
    source = Path(source_of(config.model))
    if source.is_dir():
        inputs["model"] = source
    where = _Where(questions, images, adapter, device)
    return build("predict", out, config, inputs, lambda run: _predict(run, config, where))


class _Where(NamedTuple):
    """What the stage was called with beside its settings."""

    questions: Path
    images: Path | None
    adapter: Path | None
    device: str


def _predict(run: StageRun, config: PredictConfig, where: _Where) -> None:
    from shelfqa.models.blind import BLIND_BASELINES

    table = _read_questions(run, where.questions)
    rows = _chosen(table, config, where.questions)
    if config.model in BLIND_BASELINES:
        if where.questions.is_dir():
            run.images = image_folder(where.questions, where.images) if where.images else None
        found = _answer_blindly(table, rows, config)
    else:
        run.images = _images(rows, where)
        found = _answer_by_model(run, rows, config, where)
    failures = Counter(one.error.split(":")[0] for one in found if one.error is not None)
    run.counts.read = len(rows) + sum(run.counts.dropped.values())
    run.counts.kept = len(rows)
    run.details = {
        "questions": len(rows),
        "pictures": len({path for row in rows for path in row["image_paths"][:1]}),
        "failures": dict(sorted(failures.items())),
    }
    run.write_table("predictions", _predictions(rows, found, _label(config, where.adapter)))


def _label(config: PredictConfig, adapter: Path | None) -> str:
    tuned = f"{config.model} + LoRA" if adapter is not None else config.model
    return f"{tuned}, shuffled pictures" if config.shuffle_images else tuned


def _images(rows: list[dict[str, Any]], where: _Where) -> Path:
    if not where.questions.is_dir() and where.images is None:
        paths = [Path(path) for row in rows for path in row["image_paths"][:1]]
        if paths and all(path.is_absolute() for path in paths):
            return Path(paths[0].anchor)
    return image_folder(where.questions, where.images)


def _read_questions(run: StageRun, path: Path) -> list[dict[str, Any]]:
    """Return the rows of the questions, with all columns of a predictions table that the input can fill."""
    from shelfqa.artifacts import read_table
    from shelfqa.rows import PICTURE_NAMES, Row, Rows, read_rows

    if path.is_dir():
        table = read_table(path, "questions", ("question_id", "image_paths", "question"))
        found = Rows(table.column_names, [Row(line, row) for line, row in enumerate(table.to_pylist(), 1)], [])
    else:
        found = read_rows(path)
    image_column = next((name for name in PICTURE_NAMES if name in found.columns), None)
    lacking = "question" if "question" not in found.columns else None if image_column else "image_path"
    if lacking is not None or image_column is None:
        raise InputError(
            f"{str(path)!r} lacks the column {lacking!r}; it has {', '.join(found.columns) or 'none'}. Expected "
            f"question and one of {', '.join(PICTURE_NAMES)}."
        )
    for bad in found.bad:
        run.drop(bad.reason)
    return [_question(row.values, row.line, image_column, path) for row in found.rows]


def _question(values: dict[str, Any], line: int, image_column: str, path: Path) -> dict[str, Any]:
    images = values.get(image_column)
    question = "" if values.get("question") is None else str(values["question"])
    difficulty = str(values.get("difficulty") or "").strip()
    texts = {name: values.get(name) for name in ("answer", "product_id", "product_type", "task", "split")}
    source = values.get("source")
    if not isinstance(source, dict):
        source = {"provider": "file", "model": path.stem, "prompt_version": None, "field": None}
    return {
        "question_id": str(values.get("question_id") or f"row-{line}"),
        "question": question,
        "image_paths": [str(one) for one in images if one] if isinstance(images, list) else [images] if images else [],
        **{name: None if value is None else str(value) for name, value in texts.items()},
        "task": texts["task"] or question_type(question),
        "difficulty": int(difficulty) if difficulty.lstrip("-").isdigit() else None,
        "source": source,
    }


def _chosen(table: list[dict[str, Any]], config: PredictConfig, path: Path) -> list[dict[str, Any]]:
    """Return the rows of the wanted splits."""
    present = Counter(row["split"] for row in table if row["split"] is not None)
    splits = config.splits or (["test"] if present else None)
    rows = [row for row in table if splits is None or row["split"] in splits]
    if not rows:
        known = ", ".join(f"{name} ({count:,})" for name, count in sorted(present.items())) or "no splits"
        wanted = f" of split {', '.join(splits)}" if splits else ""
        raise InputError(f"{str(path)!r} has no questions{wanted}; it has {known}. Choose others with --splits.")
    return rows[: config.limit]


def _answer_blindly(table: list[dict[str, Any]], rows: list[dict[str, Any]], config: PredictConfig) -> list[Found]:
    from shelfqa.models.blind import BLIND_BASELINES

    seen = [row for row in table if row["split"] == "train" and row["question"].strip() and row["answer"]]
    baseline = BLIND_BASELINES.load(config.model)()
    started = time.monotonic()
    baseline.fit([row["question"] for row in seen], [row["answer"] for row in seen])
    answers = baseline.answer([row["question"] for row in rows], top_k=config.top_k)
    share = (time.monotonic() - started) / len(rows)
    return [Found(found, None, share) for found in answers]


def _answer_by_model(run: StageRun, rows: list[dict[str, Any]], config: PredictConfig, where: _Where) -> list[Found]:
    assert run.images is not None
    folder = run.images

    def load() -> VqaModel:
        from shelfqa.models.loading import load_model

        return load_model(config.model, adapter=where.adapter, device=where.device)

    asked = [
        Asked(row["question"], folder / picture if picture else None)
        for row, picture in zip(rows, _pictures(rows, config), strict=True)
    ]
    return answer_in_parts(asked, load, run.work / "parts", top_k=config.top_k, batch_size=config.batch_size)


def _pictures(rows: list[dict[str, Any]], config: PredictConfig) -> list[str | None]:
    """Return the path of the picture that each question is asked of."""
    own = [row["image_paths"][0] if row["image_paths"] else None for row in rows]
    if not config.shuffle_images:
        return own
    product_of = {
        path: row["product_id"] or path for path, row in zip(reversed(own), reversed(rows), strict=True) if path
    }
    other = derangement(product_of, seed=config.seed)
    return [other[path] if path else None for path in own]


def derangement(product_of: dict[str, str], *, seed: int) -> dict[str, str]:
    """Return for each picture one of another product, drawn by `seed`; each is used once where that is possible.

    Raises:
        InputError: if all pictures are of one product.

    """
    generator = random.Random(seed)
    by_product: dict[str, list[str]] = {}
    for path, product in sorted(product_of.items()):
        by_product.setdefault(product, []).append(path)
    if len(by_product) < 2:
        raise InputError("Shuffling pictures needs those of two products at least; the questions are all about one.")
    products = list(by_product.values())
    generator.shuffle(products)
    for paths in products:
        generator.shuffle(paths)
    ring = [path for paths in products for path in paths]
    largest = max(map(len, products))
    if 2 * largest <= len(ring):
        # Pictures of a product stand together, so a turn by the largest product takes each to another one.
        return {path: ring[(place + largest) % len(ring)] for place, path in enumerate(ring)}
    return {path: generator.choice([other for other in ring if product_of[other] != product_of[path]]) for path in ring}


def _predictions(rows: list[dict[str, Any]], found: list[Found], model: str) -> pa.Table:
    import pyarrow as pa

    from shelfqa.records import PREDICTION_COLUMNS

    values = [
        {
            **row,
            "model": model,
            "prediction": one.answers[0].text if one.answers else None,
            "error": one.error,
            "alternatives": alternatives(one),
            "seconds": one.seconds,
        }
        for row, one in zip(rows, found, strict=True)
    ]
    return pa.Table.from_pylist(values, schema=PREDICTION_COLUMNS)
