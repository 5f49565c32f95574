"""Answering many questions about many pictures in parts that survive a kill.

Importing this module imports no torch; a run whose parts are all done never does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shelfqa.artifacts import read_table, write_parquet
from shelfqa.progress import progress
from shelfqa.records import ALTERNATIVES, Answer

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from shelfqa.models.base import Decoded, VqaModel

PART_QUESTIONS = 128
"""What a kill costs at most, and how many questions are batched by length."""
_QUESTIONS_AT_ONCE = {"cpu": 32, "cuda": 256}
_IMAGES_AT_ONCE = {"cpu": 16, "cuda": 64}


class Asked(NamedTuple):
    """A question and the file of the picture that it is asked of, if there is one."""

    question: str
    picture: Path | None


class Found(NamedTuple):
    """The k best answers, best first, or why there are none."""

    answers: list[Answer]
    error: str | None
    seconds: float
    """This question's share of its part's time."""


class _Part(NamedTuple):
    """Questions, by position, that are answered and saved together, by picture."""

    number: int
    positions: dict[Path, list[int]]

    def __len__(self) -> int:
        return sum(map(len, self.positions.values()))


def answer_in_parts(
    asked: Sequence[Asked],
    load: Callable[[], VqaModel],
    folder: Path,
    *,
    top_k: int,
    batch_size: int | None = None,
) -> list[Found]:
    """Return what is found for each question; questions of one picture share its features.

    Args:
        asked: the questions.
        load: makes the model; called only if something is left to do.
        folder: where parts are kept; those that are there already are read.
        top_k: how many answers to keep.
        batch_size: questions at once, by default what suits the device; halved where memory is short.

    """
    found: dict[int, Found] = {}
    by_picture: dict[Path, list[int]] = {}
    for position, one in enumerate(asked):
        if one.picture is None:
            found[position] = Found([], "no picture: the row names none", 0.0)
        elif not one.question.strip():
            found[position] = Found([], "empty question: nothing is asked", 0.0)
        else:
            by_picture.setdefault(one.picture, []).append(position)
    parts = list(_parts(by_picture))
    files = [folder / f"part-{part.number:06d}.parquet" for part in parts]
    todo = [part for part, file in zip(parts, files, strict=True) if not file.is_file()]
    if todo:
        model = load()

        from shelfqa.models.base import decode_ahead

        decoded = decode_ahead(model, [path for part in todo for path in part.positions])
        total = sum(map(len, parts))
        done = total - sum(map(len, todo))
        with progress("answer", total) as tick:
            for part in todo:
                answers = _answer_part(model, decoded, part, asked, top_k, batch_size)
                write_parquet(files[part.number], _table(answers))
                done += len(part)
                tick(done)
    for file in files:
        found.update(_read(file))
    return [found[position] for position in range(len(asked))]


def _parts(by_picture: dict[Path, list[int]]) -> Iterator[_Part]:
    """Yield the questions in parts of whole pictures, in the order of the pictures."""
    number, size = 0, 0
    positions: dict[Path, list[int]] = {}
    for path, group in by_picture.items():
        positions[path] = group
        size += len(group)
        if size >= PART_QUESTIONS:
            yield _Part(number, positions)
            number, size, positions = number + 1, 0, {}
    if positions:
        yield _Part(number, positions)


def _answer_part(
    model: VqaModel,
    decoded: Iterator[Decoded],
    part: _Part,
    asked: Sequence[Asked],
    top_k: int,
    batch_size: int | None,
) -> dict[int, Found]:
    import torch

    from shelfqa.models.base import answer_in_batches, encode_in_batches

    started = time.monotonic()
    found: dict[int, Found] = {}
    pixels: list[Tensor] = []
    index: list[int] = []
    positions: list[int] = []
    for group in part.positions.values():
        picture = next(decoded)
        if picture.pixels is None:
            found.update((position, Found([], picture.error, 0.0)) for position in group)
            continue
        index.extend([len(pixels)] * len(group))
        positions.extend(group)
        pixels.append(picture.pixels)
    if positions:
        device = model.device.type
        features = encode_in_batches(model, torch.cat(pixels), _IMAGES_AT_ONCE.get(device, 16))
        answers = answer_in_batches(
            model,
            features,
            index,
            [asked[position].question for position in positions],
            top_k=top_k,
            batch_size=batch_size or _QUESTIONS_AT_ONCE.get(device, 32),
        )
        share = (time.monotonic() - started) / len(positions)
        found.update((position, Found(best, None, share)) for position, best in zip(positions, answers, strict=True))
    return found


def alternatives(found: Found) -> list[dict[str, object]]:
    """Return the answers as the column `alternatives` holds them."""
    return [{"answer": answer.text, "probability": answer.probability} for answer in found.answers]


def _table(found: dict[int, Found]) -> pa.Table:
    import pyarrow as pa

    columns = {"row": pa.int64(), "alternatives": ALTERNATIVES, "error": pa.string(), "seconds": pa.float64()}
    values = [
        {"row": row, "alternatives": alternatives(one), "error": one.error, "seconds": one.seconds}
        for row, one in sorted(found.items())
    ]
    return pa.Table.from_pylist(values, schema=pa.schema(columns))


def _read(file: Path) -> Iterator[tuple[int, Found]]:
    for row in read_table(file, file.stem).to_pylist():
        answers = [Answer(one["answer"], one["probability"]) for one in row["alternatives"]]
        yield row["row"], Found(answers, row["error"], row["seconds"])
