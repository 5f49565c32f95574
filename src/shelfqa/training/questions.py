"""The rows that a run trains on and measures itself by, and which rows are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shelfqa.artifacts import StageRun, read_table
from shelfqa.errors import InputError
from shelfqa.text import normalize_answer
from shelfqa.training.data import Sample

if TYPE_CHECKING:
    from shelfqa.models.base import VqaModel

_NEEDED = ("question_id", "image_paths", "question", "answer", "split")


class Rows(NamedTuple):
    """Samples of the two splits, and the pictures that they are about."""

    train: list[Sample]
    validation: list[Sample]
    images: list[str]


def read_rows(run: StageRun, questions: Path) -> Rows:
    """Return the rows of both splits that have a picture, a question and an answer; drop the others, counted."""
    table = read_table(questions, "questions", _NEEDED)
    places: dict[str, int] = {}
    samples: dict[str, list[Sample]] = {"train": [], "validation": []}
    for row in table.select(list(_NEEDED)).to_pylist():
        if row["split"] not in samples:
            continue
        run.counts.read += 1
        paths, question, answer = row["image_paths"], row["question"], row["answer"]
        if not paths:
            run.drop("no picture")
        elif not (question or "").strip():
            run.drop("empty question")
        elif not normalize_answer(answer or ""):
            run.drop("empty answer")
        else:
            image = places.setdefault(paths[0], len(places))
            samples[row["split"]].append(Sample(row["question_id"], question, answer, image))
    for name, found in samples.items():
        if not found:
            raise InputError(
                f"{str(questions)!r} has no usable rows of split {name!r} (column 'split'): run `shelfqa split` on it."
            )
    return Rows(samples["train"], samples["validation"], list(places))


def worded(samples: Sequence[Sample], words: Callable[[str], str]) -> list[Sample]:
    """Return the samples with their questions in the words that a model is asked with."""
    return [sample._replace(question=words(sample.question)) for sample in samples]


def usable(
    run: StageRun, model: VqaModel, samples: list[Sample], errors: dict[int, str], split: str, *, learnable_only: bool
) -> list[Sample]:
    """Return the samples that can be used, and drop the others with their reason."""
    readable = [sample for sample in samples if sample.image not in errors]
    run.drop(f"unreadable picture ({split})", len(samples) - len(readable))
    kept = readable
    if learnable_only:
        learnable = model.learnable([sample.answer for sample in readable])
        kept = [sample for sample, yes in zip(readable, learnable, strict=True) if yes]
        run.drop("answer not in the model's table", len(readable) - len(kept))
    if not kept:
        raise InputError(
            f"Of {len(samples)} rows of split {split!r} none is usable: "
            f"{len(samples) - len(readable)} have an unreadable picture ({next(iter(errors.values()), 'none')}), "
            f"{len(readable) - len(kept)} an answer that is not in the model's table (lower min_answer_count)."
        )
    return kept
