"""Questions that a language model writes: what it is asked about each product, and what is made of its replies.

The questions are a function of the products and of the replies that are kept, read in the order of the products. So
it does not matter in which order replies came, or how often the run was broken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from shelfqa.providers.base import Request
from shelfqa.providers.jobs import Job, Outcome, Replies
from shelfqa.questions.checks import check_pairs, yes_no_surplus
from shelfqa.questions.pairs import Pair, Source, digest
from shelfqa.questions.rules import Proposed, Rules
from shelfqa.questions.structured import read_reply, reply_schema
from shelfqa.questions.styles import COMPARISON, Style, render, rules_for
from shelfqa.records import Drop

FAILURE_COLUMNS = pa.schema(
    {
        "product_id": pa.string(),
        "reason": pa.string(),  # refused, off-schema, no-pair-left, or a kind of error: server, timeout, request, …
        "detail": pa.string(),
        "askings": pa.int64(),  # how often the model was asked
        "reply": pa.string(),  # the last reply as it came; null where there was none
    }
)
"""Products without a question, and why."""

_FILE = "replies"
_TOKENS_A_PAIR = {"one-word": 40, "free": 90}
_SLICE = 1000


class Failed(NamedTuple):
    """A product without a question; the fields are `FAILURE_COLUMNS`."""

    product_id: str
    reason: str
    detail: str
    askings: int
    reply: str | None


class About(NamedTuple):
    """What a job is about."""

    number: int
    """The product's place in the table."""
    product_id: str
    product_type: str | None
    pictures: tuple[str, ...]
    """The product's, and that of the one it is compared with."""
    rules: Rules


class Yield(NamedTuple):
    """What a model's reply about a product gave."""

    accepted: list[Proposed]
    rejected: list[tuple[str, str]]
    """Reason and detail."""
    failed: Failed | None


@dataclass(frozen=True, kw_only=True)
class Questionnaire:
    """What a model is asked about each product; iterating gives the jobs, in the order of the products."""

    products: pa.Table
    """With `PRODUCT_COLUMNS`."""
    style: Style
    images: Path | None
    """Folder of the pictures; None if they are not shown."""
    image_side_px: int | None = None
    feedback: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seed: int = 0

    def __len__(self) -> int:
        return int(self.products.num_rows)

    def __iter__(self) -> Iterator[Job]:
        others = self._others() if self.style.compares else {}
        for start in range(0, len(self), _SLICE):
            for number, product in enumerate(self.products.slice(start, _SLICE).to_pylist(), start):
                place = others.get(number)
                other = self.products.slice(place, 1).to_pylist()[0] if place is not None else None
                yield self._job(number, product, other)

    def _job(self, number: int, product: dict[str, Any], other: dict[str, Any] | None) -> Job:
        said = self.feedback.get(product["product_id"], ())
        system, prompt = render(self.style, product, shown=self.images is not None, feedback=said, other=other)
        rules = rules_for(self.style, compared=other is not None)
        pictures = tuple(one["image_path"] for one in (product, other) if one is not None)
        about = About(number, product["product_id"], product["product_type"], pictures, rules)
        request = Request(
            prompt=prompt,
            system=system,
            images=tuple(self.images / path for path in pictures) if self.images is not None else (),
            schema=reply_schema(rules),
            max_tokens=self.style.max_tokens,
            image_side_px=self.image_side_px,
        )
        return Job(
            id=about,
            request=request,
            review=lambda reply: None if reply.refused else read_reply(reply.text, rules, cut=reply.cut).problem,
            output_tokens=_TOKENS_A_PAIR[rules.answers] * (rules.least + rules.most) // 2 + 10,
        )

    def _others(self) -> dict[int, int]:
        """Return for each product another one of its type to compare it with, where there is one."""
        by_type: dict[str, list[tuple[str, int]]] = {}
        columns = (self.products[name].to_pylist() for name in ("product_type", "product_id", "image_path"))
        pictures = []
        for number, (kind, product_id, path) in enumerate(zip(*columns, strict=True)):
            pictures.append(path)
            if kind is not None:
                by_type.setdefault(kind, []).append((digest(self.seed, product_id), number))
        found = {}
        for ring in map(sorted, by_type.values()):
            for place, (_, number) in enumerate(ring):
                other = ring[(place + 1) % len(ring)][1]
                if pictures[other] != pictures[number]:
                    found[number] = other
        return found


def yield_of(about: About, outcome: Outcome) -> Yield:
    """Return the pairs in the reply that a job ended with, and what was rejected."""
    reply = outcome.reply
    if reply is None:
        kind, why = outcome.failure or ("not-asked", "the run was broken off")
        return Yield([], [], Failed(about.product_id, kind, why, outcome.askings, None))
    if reply.refused:
        return Yield([], [], Failed(about.product_id, "refused", "the model declined", outcome.askings, reply.text))
    read = read_reply(reply.text, about.rules, cut=reply.cut)
    checked = check_pairs(read.pairs, about.rules)
    rejected = [(reason, f"{pair.question!r} {pair.answer!r}: {detail}") for pair, reason, detail in checked.rejected]
    if checked.accepted:
        if read.problem is not None:
            rejected.append(("off-schema", read.problem))
        return Yield(checked.accepted, rejected, None)
    reason, detail = ("no-pair-left", f"{len(rejected)} rejected") if read.pairs else ("off-schema", read.problem or "")
    return Yield([], rejected, Failed(about.product_id, reason, detail, outcome.askings, reply.text))


def outcomes_of(questionnaire: Questionnaire, replies: Replies) -> Iterator[tuple[About, Outcome]]:
    """Yield how each job has ended, in the order of the products."""
    for job in questionnaire:
        step = replies.next_step(job)
        yield job.id, step if isinstance(step, Outcome) else Outcome(None, None, 0, ())


def forget_failed(questionnaire: Questionnaire, replies: Replies) -> None:
    """Forget the replies about products that gave no pair, so that these are asked about again."""
    replies.store.forget(
        key
        for about, outcome in outcomes_of(questionnaire, replies)
        if yield_of(about, outcome).failed is not None
        for key in outcome.keys
    )


class Written(NamedTuple):
    """What a model wrote about all products."""

    pairs: list[Pair]
    drops: list[Drop]
    failed: list[Failed]


def questions_from_model(
    questionnaire: Questionnaire,
    outcomes: Iterator[tuple[About, Outcome]],
    *,
    provider: str,
    model: str,
    yes_share: float,
) -> Written:
    """Return the pairs in all replies, and products without any.

    Args:
        questionnaire: what was asked.
        outcomes: how each job ended, in the order of the products.
        provider: who was asked, for the pairs' source.
        model: which model of it.
        yes_share: the most that yes, or no, may be among the yes/no answers; what is over is dropped.

    """
    source = Source(provider, model, questionnaire.style.version)
    written = Written([], [], [])
    places: dict[str, tuple[int, str]] = {}
    for about, outcome in outcomes:
        found = yield_of(about, outcome)
        line = about.number + 1
        written.drops.extend(Drop(_FILE, line, about.product_id, reason, detail) for reason, detail in found.rejected)
        if found.failed is not None:
            written.failed.append(found.failed)
            written.drops.append(Drop(_FILE, line, about.product_id, found.failed.reason, found.failed.detail))
        for proposed in found.accepted:
            pair = _pair(about, proposed, source)
            first = places.setdefault(pair.question_id, (line, about.product_id))
            if first[0] == line:
                written.pairs.append(pair)
            else:
                detail = f"{pair.question!r} is asked of the same picture for {first[1]!r}, with the same answer"
                written.drops.append(Drop(_FILE, line, about.product_id, "same-pair", detail))
    surplus = yes_no_surplus([(pair.question_id, pair.answer) for pair in written.pairs], yes_share)
    kept = [pair for pair in written.pairs if pair.question_id not in surplus]
    for pair in written.pairs:
        if pair.question_id in surplus:
            line, product_id = places[pair.question_id]
            written.drops.append(Drop(_FILE, line, product_id, "yes-no-balance", f"{pair.question!r} {pair.answer!r}"))
    return written._replace(pairs=kept)


def _pair(about: About, proposed: Proposed, source: Source) -> Pair:
    return Pair(
        product_id=about.product_id,
        product_type=about.product_type,
        image_paths=about.pictures if proposed.task == COMPARISON else about.pictures[:1],
        question=proposed.question,
        answer=proposed.answer,
        source=source,
        difficulty=proposed.difficulty,
        used_metadata=proposed.used_metadata,
        task=proposed.task,
    )


def failures_table(failed: Sequence[Failed]) -> pa.Table:
    """Return the failures as `FAILURE_COLUMNS`."""
    return pa.Table.from_pylist([one._asdict() for one in failed], schema=FAILURE_COLUMNS)


class Count:
    """Pairs and products counted while replies come in, for the progress line."""

    def __init__(self) -> None:
        self.accepted = self.rejected = self.failed = 0

    def see(self, about: About, outcome: Outcome) -> None:
        """Count how a job ended."""
        found = yield_of(about, outcome)
        self.accepted += len(found.accepted)
        self.rejected += len(found.rejected)
        self.failed += found.failed is not None

    @property
    def note(self) -> str:
        """What the progress line says."""
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.accepted:,} pairs, {self.rejected:,} rejected{failed}"
