"""Whether several forms of one model answer alike: the gate that an export passes before it counts as done.

A form is anything that answers questions: an adapter on its base, the merged weights, a checkpoint read back, later a
quantised one or a server. The first form is what the others are held against. Importing this module imports no torch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shelfqa.artifacts import write_atomically
from shelfqa.errors import GateFailure, InputError
from shelfqa.models.answering import Asked, Found
from shelfqa.progress import say

_NAMED = 10
"""How many differing items a report lists."""
_TOLD = 3
"""How many of them the one line of a failure names."""
_ROUNDING = 1e-9
"""So that .29 of 100 questions are 29."""
_LETTERS = 40
"""How much of an answer stands in that line."""


class Item(NamedTuple):
    """A question of the gate, and what it is called."""

    question_id: str
    asked: Asked


Answerer = Callable[[Sequence[Asked]], Sequence[Found]]
"""Answers questions, one `Found` each in their order; it is called once, when those before it have been called."""


class Limits(NamedTuple):
    """What forms may differ by."""

    tolerance: float
    """How far apart two probabilities of one answer may be, in 0..1."""
    different: float = 0.0
    """Share of the questions whose best answer may be another, in 0..1."""


class Given(msgspec.Struct, frozen=True):
    """What one form answered: its best answer, with its probability, or why there is none."""

    answer: str | None
    probability: float | None
    error: str | None = None


class Difference(msgspec.Struct, frozen=True):
    """A question to which two forms answer differently."""

    question_id: str
    question: str
    given: dict[str, Given]
    """By form."""


class Distance(msgspec.Struct, frozen=True):
    """How far a form is from the first."""

    different: int
    """Questions whose best answer is another, or which only one of the two could answer."""
    largest: float
    """The largest difference between two probabilities of one answer, over the answers that both forms give."""
    largest_at: str | None
    """The question of that difference."""


class Parity(msgspec.Struct, frozen=True):
    """How alike the forms answered."""

    passed: bool
    items: int
    pictures: int
    unanswered: int
    """Questions that the first form could not answer, for example since their picture is broken."""
    forms: list[str]
    """The first is what the others were held against."""
    tolerance: float
    allowed_different: int
    distances: dict[str, Distance]
    """Of each form but the first."""
    differences: list[Difference]
    """The first questions that were answered differently or, where there are none, those of too large a distance."""

    def write(self, file: Path) -> None:
        """Write all of this as JSON."""
        write_atomically(file, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")

    def summary(self) -> dict[str, Any]:
        """Return what a manifest keeps of it: all but the questions."""
        whole: dict[str, Any] = msgspec.to_builtins(self)
        del whole["differences"]
        return whole

    def told(self) -> str:
        """Return the outcome in one sentence."""
        first = self.forms[0]
        largest = max(one.largest for one in self.distances.values())
        apart = f"the largest difference of a probability is {largest:.2g} (tolerance {self.tolerance:g})"
        if self.passed:
            different = max(one.different for one in self.distances.values())
            but = f" but for {different:,}" if different else ""
            forms = f"{', '.join(self.forms[:-1])} and {self.forms[-1]}"
            return f"{forms} answer {self.items:,} questions alike{but}; {apart}."
        others = ", ".join(
            f"{one.different:,} of {self.items:,} answers of {name} differ from those of {first}"
            for name, one in self.distances.items()
        )
        return f"{others}; {apart}. {' '.join(map(_one_line, self.differences[:_TOLD]))}".rstrip()


def sampled(rows: Sequence[Mapping[str, Any]], number: int, *, seed: int) -> list[int]:
    """Return the positions of at most `number` rows drawn by `seed`, in order; pictures are distinct where possible.

    Args:
        rows: each with its `image_paths`.
        number: how many to draw; where there are fewer pictures than that, some are asked about again.
        seed: of the draw.

    """
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    seen: dict[tuple[str, ...], int] = {}
    turns = []
    for position in order:
        pictures = tuple(rows[position]["image_paths"])
        turns.append((seen.setdefault(pictures, 0), position))
        seen[pictures] += 1
    turns.sort(key=lambda turn: turn[0])  # stable: of each picture one question first, in the order of the draw
    return sorted(position for _, position in turns[:number])


def compare(items: Sequence[Item], answerers: Mapping[str, Answerer], limits: Limits) -> Parity:
    """Let each form answer the same questions, and hold the answers against those of the first.

    Args:
        items: the questions.
        answerers: the forms by name, two at least; asked one after the other, so that each may free what it holds.
        limits: what they may differ by.

    Raises:
        InputError: if the first form can answer none of the questions.

    """
    asked = [item.asked for item in items]
    answered: dict[str, list[Found]] = {}
    for name, answerer in answerers.items():
        answered[name] = list(answerer(asked))
        if len(answered) == 1 and all(one.error is not None for one in answered[name]):
            reason = answered[name][0].error if items else "there are none"
            raise InputError(f"None of the {len(items)} questions of the gate can be answered: {reason}.")
    first, *others = answered
    distances = {name: _distance(items, answered[first], answered[name]) for name in others}
    allowed = math.floor(limits.different * len(items) + _ROUNDING)
    passed = all(one.different <= allowed and one.largest <= limits.tolerance for one in distances.values())
    return Parity(
        passed=passed,
        items=len(items),
        pictures=len({path for one in asked for path in one.pictures}),
        unanswered=sum(one.error is not None for one in answered[first]),
        forms=list(answered),
        tolerance=limits.tolerance,
        allowed_different=allowed,
        distances=distances,
        differences=_differences(items, answered, distances, limits.tolerance)[:_NAMED],
    )


def gate(items: Sequence[Item], answerers: Mapping[str, Answerer], limits: Limits, report: Path) -> Parity:
    """Do what `compare` does, write the outcome to the file `report` and say it on stderr.

    Raises:
        GateFailure: if the forms differ by more than the limits; it names the first questions.
        InputError: if the first form can answer none of the questions.

    """
    found = compare(items, answerers, limits)
    found.write(report)
    if not found.passed:
        raise GateFailure(f"The parity gate failed: {found.told()} Everything is in {str(report)!r}.")
    say(f"parity: {found.told()}")
    return found


def _distance(items: Sequence[Item], reference: Sequence[Found], other: Sequence[Found]) -> Distance:
    apart = [_apart(one, two) for one, two in zip(reference, other, strict=True)]
    largest = max(apart, default=0.0)
    return Distance(
        different=sum(_differ(one, two) for one, two in zip(reference, other, strict=True)),
        largest=round(largest, 9),
        largest_at=items[apart.index(largest)].question_id if largest > 0 else None,
    )


def _differ(one: Found, other: Found) -> bool:
    return _given(one).answer != _given(other).answer or (one.error is None) != (other.error is None)


def _apart(one: Found, other: Found) -> float:
    """Return the largest difference between probabilities of an answer that both give."""
    known = {answer.text: answer.probability for answer in other.answers}
    return max(
        (
            abs(answer.probability - probability)
            for answer in one.answers
            if answer.probability is not None and (probability := known.get(answer.text)) is not None
        ),
        default=0.0,
    )


def _given(found: Found) -> Given:
    best = found.answers[0] if found.answers else None
    return Given(best.text if best else None, best.probability if best else None, found.error)


def _differences(
    items: Sequence[Item], answered: Mapping[str, list[Found]], distances: Mapping[str, Distance], tolerance: float
) -> list[Difference]:
    """Return the questions that were answered differently; without any, that of each form's largest distance."""
    first, *others = answered
    far = {one.largest_at for one in distances.values() if one.largest > tolerance}
    differing = [
        position
        for position in range(len(items))
        if any(_differ(answered[first][position], answered[name][position]) for name in others)
    ]
    named = differing or [position for position, item in enumerate(items) if item.question_id in far]
    return [
        Difference(
            items[position].question_id,
            items[position].asked.question,
            {name: _given(found[position]) for name, found in answered.items()},
        )
        for position in named
    ]


def _one_line(difference: Difference) -> str:
    given = ", ".join(
        f"{name} {_short(one.answer)!r}{f' ({one.probability:.3f})' if one.probability is not None else ''}"
        if one.error is None
        else f"{name} failed ({one.error})"
        for name, one in difference.given.items()
    )
    return f"{difference.question_id} ({difference.question!r}): {given}."


def _short(answer: str | None) -> str | None:
    """Return what fits into a line of an answer."""
    return answer if answer is None or len(answer) <= _LETTERS else f"{answer[:_LETTERS]}…"
