"""What the preflight of a training run finds, as records that print as JSON.

Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from shelfqa.errors import UserError

Level = Literal["error", "warning", "note"]
Check = Literal["parameters", "tokens", "answers", "pictures", "step", "memory", "overfit"]

OVERFIT_STEPS = 200
"""How many steps of learning a few pairs by heart are tried at most, by default."""
NAMED = 5
"""Questions that a finding names; it counts all."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the records below."""


class Finding(Record, frozen=True):
    """Something that was found: an error stops the run, a warning and a note do not."""

    level: Level
    check: Check
    message: str
    """What is wrong and what to do, in one line; the questions are not in it."""
    question_ids: list[str] = []
    """The first few of the questions that it is about."""
    count: int = 0
    """How many questions it is about; 0 where it is about none in particular."""

    def line(self) -> str:
        """Return message and questions in one line."""
        if not self.question_ids:
            return self.message
        more = f" and {self.count - len(self.question_ids):,} more" if self.count > len(self.question_ids) else ""
        return f"{self.message} Questions: {', '.join(self.question_ids)}{more}."


def about(level: Level, check: Check, message: str, question_ids: Sequence[str]) -> Finding:
    """Return a finding about these questions, the first of which it names."""
    return Finding(
        level=level, check=check, message=message, question_ids=list(question_ids[:NAMED]), count=len(question_ids)
    )


def counted(ids: Sequence[str], what: str) -> str:
    """Return how many there are, with the verb.

    >>> counted(["q1"], "answer"), counted(["q1", "q2"], "answer")
    ('1 answer is', '2 answers are')
    """
    return f"{len(ids):,} {what}{' is' if len(ids) == 1 else 's are'}"


class Spread(Record, frozen=True):
    """How a number of tokens is distributed over the samples."""

    median: float
    p95: float
    longest: int


class Tokens(Record, frozen=True):
    """Tokens a training sample; parts that no sample has are None."""

    whole: Spread
    question: Spread
    answer: Spread | None
    picture: Spread | None
    longest: list[str]
    """The questions with the most tokens, the first few."""


class Memory(Record, frozen=True):
    """Memory of one step at the longest batch; GB are 10^9 bytes."""

    device: str
    questions: int
    """Questions of that batch."""
    tokens: int
    """Its questions times the longest of them in tokens: padding counts."""
    longest: list[str]
    """Its longest questions, the first few."""
    step_gb: float | None
    """What a step takes beside what was taken before it; of a GPU all that is allocated; None if it did not fit."""
    optimizer_gb: float
    """What AdamW keeps of the trainable weights, computed."""
    available_gb: float | None
    """What was there to take; None where the system does not tell."""


class Duration(Record, frozen=True):
    """What the run will take if it goes to its end; early stopping makes it less."""

    steps: int
    epochs: float
    step_seconds: float
    """One step of a typical batch, measured once after a step to warm up."""
    pictures_seconds: float
    """Encoding the pictures once, where their features are kept; 0 where that is done or every step does it."""
    training_seconds: float
    evaluations: int
    evaluation_seconds: float
    """All evaluations together, from one measured block."""
    seconds: float


class Pair(Record, frozen=True):
    """A question with its answer, and what the model said instead."""

    question_id: str
    question: str
    answer: str
    said: str


class Overfit(Record, frozen=True):
    """Whether a few pairs could be learned by heart."""

    pairs: int
    steps: int
    seconds: float
    first_loss: float | None
    """None where it was no number."""
    last_loss: float | None
    exact_match: float
    """By real decoding, 0 to 1."""
    wrong: list[Pair]


class Preflight(Record, frozen=True):
    """All that was found before the first step."""

    model: str
    device: str
    samples: dict[str, int]
    """How many of each split."""
    dropped: dict[str, int]
    """Rows that are left out, by reason."""
    all_parameters: int
    trainable_parameters: dict[str, int]
    """By module group, and in `total`."""
    tokens: Tokens
    memory: Memory | None
    duration: Duration | None
    overfit: Overfit | None
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """The findings that stop a run."""
        return [finding for finding in self.findings if finding.level == "error"]

    def as_dict(self) -> dict[str, Any]:
        """Return plain, JSON-ready values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def require(self) -> None:
        """Stop a run that an error stands against.

        Raises:
            UserError: with the first error, and how many more there are.

        """
        errors = self.errors
        if errors:
            more = f" ({len(errors) - 1} more: `shelfqa train --dry-run` shows them.)" if len(errors) > 1 else ""
            raise UserError(f"The preflight stops this run: {errors[0].line()}{more}")
