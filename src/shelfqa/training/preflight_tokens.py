"""What samples take in tokens, and which of them the model could not read or learn whole."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from shelfqa.models.base import Decoding, TokenCount, VqaModel
from shelfqa.progress import progress
from shelfqa.text import normalize_answer
from shelfqa.training.data import Sample, writes
from shelfqa.training.findings import NAMED, Check, Finding, Level, Spread, Tokens, about, counted

_MOST_SIZES = 200
"""Sizes of pictures that are tried; where there are more, they are rounded up until there are no more than these."""
_ORIENTATION = 0x0112
_TURNED = range(5, 9)
"""Values of EXIF's orientation by which width and height change places."""

Size = tuple[int, int]


def count_pictures(model: VqaModel, paths: Mapping[int, Path]) -> dict[int, int]:
    """Return how many tokens each picture takes among the words, told by its size; it is not decoded.

    Args:
        model: makes blank pictures of these sizes its own and counts.
        paths: by the number that the result has, too; what cannot be opened or suits no model is left out.

    """
    if type(model).picture_tokens is VqaModel.picture_tokens:
        return dict.fromkeys(paths, 0)
    sizes: dict[int, Size] = {}
    with progress("sizes of pictures", len(paths)) as tick:
        for number, (image, path) in enumerate(paths.items(), start=1):
            size = _size(path)
            if size is not None:
                sizes[image] = size
            tick(number)
    step = 1
    while len({_rounded(size, step) for size in sizes.values()}) > _MOST_SIZES:
        step *= 2
    counts: dict[Size, int | None] = {}
    for size in sizes.values():
        size = _rounded(size, step)
        if size not in counts:
            counts[size] = _count_blank(model, size)
    found = {image: counts[_rounded(size, step)] for image, size in sizes.items()}
    return {image: count for image, count in found.items() if count is not None}


def _size(path: Path) -> Size | None:
    """Return width and height in pixels as the picture is shown, None if it cannot be opened."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                turned = image.getexif().get(_ORIENTATION) in _TURNED
    except Exception:  # Pillow raises what it likes for a broken file; decoding will tell
        return None
    return (height, width) if turned else (width, height)


def _rounded(size: Size, step: int) -> Size:
    return -(-size[0] // step) * step, -(-size[1] // step) * step


def _count_blank(model: VqaModel, size: Size) -> int | None:
    try:
        return model.picture_tokens(model.inputs(Image.new("RGB", size)))
    except (ValueError, ZeroDivisionError):  # refused as `inputs_of` will refuse it
        return None


def count_samples(model: VqaModel, samples: Sequence[Sample], pictures: Mapping[int, int]) -> list[TokenCount]:
    """Return the tokens of each sample; what comes again is counted once."""
    keys = [(sample.question, sample.answer, pictures[sample.image]) for sample in samples]
    distinct = list(dict.fromkeys(keys))
    counts = dict(zip(distinct, model.token_counts(*(list(part) for part in zip(*distinct, strict=True))), strict=True))
    return [counts[key] for key in keys]


def summary(samples: Sequence[Sample], counts: Sequence[TokenCount]) -> Tokens:
    """Return how the tokens are distributed, and which samples have the most."""
    order = sorted(range(len(samples)), key=lambda place: (-counts[place].read, place))

    def spread(values: Iterable[int]) -> Spread:
        numbers = list(values)
        median, p95 = np.percentile(numbers, [50, 95])
        return Spread(median=float(median), p95=float(p95), longest=max(numbers))

    def present(values: Iterable[int]) -> Spread | None:
        found = spread(values)
        return found if found.longest else None

    return Tokens(
        whole=spread(one.question + one.answer + one.picture for one in counts),
        question=spread(one.question for one in counts),
        answer=present(one.answer for one in counts),
        picture=present(one.picture for one in counts),
        longest=[samples[place].question_id for place in order[:NAMED]],
    )


class Looked(NamedTuple):
    """What is wrong with samples, and which of them cannot be learned as they are."""

    findings: list[Finding]
    unsound: frozenset[str]


def look_at(model: VqaModel, samples: Sequence[Sample], counts: Sequence[TokenCount]) -> Looked:
    """Look at the lengths of samples, and for answers that the model cannot write."""

    findings: list[Finding] = []

    def look(
        level: Level,
        check: Check,
        wanted: Callable[[TokenCount], bool],
        told: Callable[[list[str], list[TokenCount]], str],
    ) -> None:
        found = [(sample.question_id, count) for sample, count in zip(samples, counts, strict=True) if wanted(count)]
        if found:
            ids = [question_id for question_id, _ in found]
            findings.append(about(level, check, told(ids, [count for _, count in found]), ids))

    look(
        "error",
        "answers",
        lambda one: one.answer_cut > 0,
        lambda ids, found: (
            f"{counted(ids, 'answer')} longer than the {found[0].answer - found[0].answer_cut} tokens that "
            f"{model.name!r} learns, up to {max(one.answer for one in found):,}: the rest would be lost. Shorten these "
            "answers, or leave their rows out."
        ),
    )
    look(
        "error",
        "tokens",
        lambda one: one.beyond > 0,
        lambda ids, found: (
            f"{counted(ids, 'picture')} too large for {model.name!r}: up to {max(one.picture for one in found):,} "
            f"tokens, {max(one.beyond for one in found):,} more than it reads with the prompt around a question. "
            "Scale these pictures down, or leave their rows out: pictures are never cut."
        ),
    )
    look(
        "warning",
        "tokens",
        lambda one: one.question_cut > 0,
        lambda ids, found: (
            f"{counted(ids, 'question')} longer than {model.name!r} reads: up to "
            f"{max(one.question_cut for one in found):,} tokens of them are cut. Shorten these questions, or leave "
            "their rows out."
        ),
    )
    most = Decoding().max_new_tokens
    look(
        "warning",
        "answers",
        lambda one: writes(model) and not one.answer_cut and one.answer > most,
        lambda ids, _: (
            f"{counted(ids, 'answer')} longer than the {most} tokens that evaluation writes: they will count as wrong. "
            "Shorten these answers, or leave their rows out."
        ),
    )
    unsound = {one.question_id for one, count in zip(samples, counts, strict=True) if count.answer_cut or count.beyond}
    rest = _unwritable(model, [sample for sample in samples if sample.question_id not in unsound])
    return Looked(findings + rest.findings, rest.unsound | unsound)


def _unwritable(model: VqaModel, samples: Sequence[Sample]) -> Looked:
    """Return answers that would not be recognised even if the model said just what it was taught."""
    answers = list(dict.fromkeys(sample.answer for sample in samples))
    if not answers:
        return Looked([], frozenset())
    back = dict(zip(answers, model.read_back(answers), strict=True))
    lost = [sample.question_id for sample in samples if not normalize_answer(back[sample.answer])]
    changed = [
        sample
        for sample in samples
        if normalize_answer(back[sample.answer]) not in ("", normalize_answer(sample.answer))
    ]
    findings = []
    if lost:
        findings.append(
            about(
                "error",
                "answers",
                f"{counted(lost, 'answer')} empty in the tokens of {model.name!r}, whose vocabulary lacks such "
                "characters: nothing would be learned. Spell these answers otherwise, or leave their rows out.",
                lost,
            )
        )
    ids = [sample.question_id for sample in changed]
    if ids:
        first = changed[0].answer
        findings.append(
            about(
                "error" if len(changed) == len(samples) else "warning",
                "answers",
                f"{counted(ids, 'answer')} not read back as written, such as {first!r} as {back[first]!r}: said just "
                "so they would count as wrong. Spell these answers as the model does, or leave their rows out.",
                ids,
            )
        )
    return Looked(findings, frozenset([*lost, *ids]))
