"""Cards with a picture: example pairs of the training data, and answers of a model with where it looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shelfqa.heat import hottest, overlay_uri
from shelfqa.images import data_uri, try_image
from shelfqa.report.material import ScoredModel
from shelfqa.text import normalize_answer

_QUALITY = 78


class Picture(NamedTuple):
    """A picture as a data URI, or why there is none."""

    uri: str | None
    alt: str
    missing: str | None
    heat: Heat | None = None


class Heat(NamedTuple):
    """Where a model looked, as a square to lay over the picture in the middle of one."""

    uri: str
    alt: str


class Example(NamedTuple):
    """A question-answer pair, and where its answer comes from."""

    picture: Picture
    question: str
    answer: str
    origin: str
    product_type: str | None


class Bar(NamedTuple):
    """One of the answers that the model considered."""

    answer: str
    probability: float
    right: bool


class Answered(NamedTuple):
    """What a model answered, with what else it considered."""

    picture: Picture
    question: str
    answer: str
    prediction: str
    confidence: float | None
    bars: tuple[Bar, ...]
    product_type: str | None


def examples(questions: pa.Table, images: Path | None, *, number: int, side_px: int, seed: int) -> list[Example]:
    """Return pairs that differ in what they ask about, each with another picture; the same seed gives the same."""
    rows = _varied_rows(questions, number * 3, seed)
    found = []
    for row in rows:
        source = row.get("source") or {}
        picture = _picture(row, images, side_px)
        if picture.uri is None and images is not None:
            continue
        origin = source.get("field") or source.get("model") or source.get("provider") or ""
        found.append(
            Example(picture, row["question"], row["answer"], str(origin).replace("_", " "), row.get("product_type"))
        )
        if len(found) == number:
            break
    return found


def _varied_rows(questions: pa.Table, number: int, seed: int) -> list[dict[str, Any]]:
    """Return rows taken in turn from each kind of question; no picture twice, and answers repeated only if need be."""
    columns = [name for name in ("task", "answer", "image_paths") if name in questions.column_names]
    light = questions.select(columns).to_pylist()
    order = np.random.default_rng(seed).permutation(len(light)).tolist()
    chosen: list[int] = []
    images: set[str] = set()
    answers: set[tuple[Any, Any]] = set()
    for fresh_answers in (True, False):
        for row in _in_turn(order, [one.get("task") for one in light]):
            image, answer = str(light[row].get("image_paths")), (light[row].get("task"), light[row]["answer"])
            if len(chosen) < number and image not in images and not (fresh_answers and answer in answers):
                chosen.append(row)
                images.add(image)
                answers.add(answer)
    return list(questions.take(chosen).to_pylist())


def _in_turn(order: Sequence[int], kinds: Sequence[Any]) -> list[int]:
    """Return the rows so that each kind has its first, then each its second, and so on; the commonest kind first."""
    rank: dict[Any, int] = {}
    place = {}
    for row in order:
        rank[kinds[row]] = place[row] = rank.get(kinds[row], 0) + 1
    return sorted(order, key=lambda row: (place[row], -rank[kinds[row]], str(kinds[row])))


def worst_errors(
    model: ScoredModel,
    metric: str,
    images: Path | None,
    *,
    number: int,
    side_px: int,
    attention: pa.Table | None = None,
) -> list[Answered]:
    """Return the wrong answers that the model was surest of; no picture twice, and no confusion more than twice.

    Args:
        model: whose answers.
        metric: by which they are wrong.
        images: the folder that image paths are relative to.
        number: answers wanted.
        side_px: longer side of the pictures.
        attention: where the model looked, as `predict` keeps it.

    """
    light = model.table.select(["prediction", "alternatives", metric]).to_pylist()
    wrong = [
        (-_confidence(row), place)
        for place, row in enumerate(light)
        if row["prediction"] is not None and row[metric] == 0
    ]
    places = [place for _, place in sorted(wrong)]
    return list(islice(_distinct(model, places, images, side_px, attention), number))


def surest_right(
    model: ScoredModel, metric: str, images: Path | None, attention: pa.Table, *, number: int, side_px: int
) -> list[Answered]:
    """Return right answers that the model was surest of, of each kind of question in turn; else as `worst_errors`."""
    columns = [name for name in ("prediction", "alternatives", "task", metric) if name in model.table.column_names]
    light = model.table.select(columns).to_pylist()
    right = [place for place, row in enumerate(light) if row["prediction"] is not None and row[metric] == 1]
    right.sort(key=lambda place: (-_confidence(light[place]), place))
    places = _in_turn(right, [row.get("task") for row in light])
    return list(islice(_distinct(model, places, images, side_px, attention), number))


def _distinct(
    model: ScoredModel, places: Sequence[int], images: Path | None, side_px: int, attention: pa.Table | None
) -> Iterator[Answered]:
    pictures: set[str] = set()
    confusions: dict[tuple[str, str], int] = {}
    known_images = images is not None and images.is_dir()
    for place in places:
        row = model.table.slice(place, 1).to_pylist()[0]
        confusion = (str(row["answer"]).casefold(), str(row["prediction"]).casefold())
        name = str(row["image_paths"] or place)
        if name in pictures or confusions.get(confusion, 0) >= 2:
            continue
        picture = _picture(row, images, side_px)
        if known_images and picture.uri is None:
            continue
        pictures.add(name)
        confusions[confusion] = confusions.get(confusion, 0) + 1
        if picture.uri is not None and attention is not None:
            picture = picture._replace(heat=_heat(attention, row.get("question_id")))
        yield _answered(row, picture)


def _heat(attention: pa.Table, question_id: str | None) -> Heat | None:
    """Return where the model looked for a question; None if the table does not tell, or has its id twice."""
    found = attention.filter(pc.equal(attention["question_id"], question_id)).to_pylist()
    if len(found) != 1:
        return None
    [row] = found
    shares = np.array(row["shares"], dtype=np.float32).reshape(row["rows"], row["columns"])
    return Heat(overlay_uri(shares), f"Heat map: it looked most at the {hottest(shares)}")


def _answered(row: dict[str, Any], picture: Picture) -> Answered:
    right = normalize_answer(row["answer"])
    bars = tuple(
        Bar(item["answer"], float(item["probability"] or 0.0), normalize_answer(item["answer"] or "") == right)
        for item in (row["alternatives"] or [])[:5]
    )
    confidence = bars[0].probability if bars else None
    return Answered(
        picture, row["question"] or "", row["answer"], row["prediction"], confidence, bars, row.get("product_type")
    )


def _confidence(row: dict[str, Any]) -> float:
    considered = row["alternatives"]
    return float(considered[0]["probability"] or 0.0) if considered else 0.0


def _picture(row: dict[str, Any], images: Path | None, side_px: int) -> Picture:
    paths = row.get("image_paths") or []
    product = row.get("product_type") or "product"
    alt = f"Picture of a {product}"
    if not paths or images is None:
        return Picture(None, alt, None)
    loaded = try_image(images / paths[0], max_side_px=side_px)
    if loaded.image is None:
        return Picture(None, alt, loaded.error)
    return Picture(data_uri(loaded.image, max_side_px=side_px, quality=_QUALITY), alt, None)
