"""What goes wrong while a model trains, told by its name: the picture, the weight, the arithmetic, the questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from shelfqa.models.base import VqaModel
from shelfqa.training.data import Sample
from shelfqa.training.features import FeatureSource

_STEPS_ABOVE = 8
_TIMES_FIRST = 4.0
_OF_A_GUESS = math.log(50_000)
"""The loss of a guess among 50,000 tokens, 10.8: a model that merely knows nothing stays below."""
_NAMED = 8


class Fault(NamedTuple):
    """What broke a step, and what to do about it; both are parts of a sentence."""

    what: str
    advice: str


def named(samples: Sequence[Sample]) -> str:
    """Return the questions' ids, the first eight of them, as part of a sentence."""
    more = f" and {len(samples) - _NAMED} more" if len(samples) > _NAMED else ""
    return f"questions {', '.join(sample.question_id for sample in samples[:_NAMED])}{more}"


class DivergenceWatch:
    """Notices a loss that has exploded and stays up, though it is a number.

    So it is after eight steps in a row whose loss is above both four times that before training and 10.8. A batch of
    wrong labels, or a rate that is a little too high, does not reach that: early stopping is for those.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        """Begin, or go on from the `state` of another."""
        self.state: dict[str, Any] = state or {"first": None, "steps": 0, "since": 0, "on": ""}

    def begins_at(self, loss: float | None) -> None:
        """Take note of the loss before training, None where it is not known."""
        self.state["first"] = loss if loss is not None and math.isfinite(loss) else None

    def look(self, step: int, loss: float, batch: Sequence[Sample]) -> Fault | None:
        """Take note of a step's loss; return what is wrong once it is certain."""
        state = self.state
        if state["first"] is None:
            state["first"] = loss
        limit = max(_TIMES_FIRST * state["first"], _OF_A_GUESS)
        if loss <= limit:
            state["steps"] = 0
            return None
        if state["steps"] == 0:
            state.update(since=step, on=named(batch))
        state["steps"] += 1
        if state["steps"] < _STEPS_ABOVE:
            return None
        return Fault(
            f"the loss has exploded and stays, {loss:.4g} now and {state['first']:.4g} before training; it rose at "
            f"step {state['since']} on {state['on']}",
            "Lower the rate",
        )


def nothing_learned(loss: float, groups: Sequence[str]) -> Fault:
    """Return what to say where the first step gives no weight a gradient."""
    if loss == 0:
        return Fault(
            "the loss is 0: no token of the answers enters it (are all labels padding?)", "Look at the answers"
        )
    return Fault(
        f"no weight gets a gradient: what is trained ({', '.join(groups)}) has no part in the loss",
        "Give other targets (--targets)",
    )


def overflow(where: str) -> Fault:
    """Return what to say where numbers are too large for fp16."""
    return Fault(f"fp16 overflows {where}", "Give --precision bf16 or fp32")


class Inquiry(NamedTuple):
    """What can be tried after a step whose loss is no finite number, to find out why."""

    model: VqaModel
    source: FeatureSource
    loss: Callable[[Sequence[Sample]], float]
    """Computes the loss as it was computed in the step."""
    loss_in_fp32: Callable[[Sequence[Sample]], float] | None
    """The same in float32; None where `loss` does so."""
    go_back: Callable[[], None]
    """Gives the model its best weights so far."""


def why_not_finite(value: float, batch: Sequence[Sample], inquiry: Inquiry) -> Fault:
    """Return why the loss of a batch is no finite number; the model has its best weights then.

    Where the best weights give a finite loss, the others have run away. Where float32 does, it is fp16. Otherwise it
    is a picture, a weight that is not trained, or some of the questions.
    """
    inquiry.go_back()
    if math.isfinite(inquiry.loss(batch)):
        return Fault(f"the loss is {value}, and with the best weights it is not: they have run away", "Lower the rate")
    if inquiry.loss_in_fp32 is not None and math.isfinite(inquiry.loss_in_fp32(batch)):
        return overflow("in the forward pass")
    pictures = inquiry.source.not_finite(sorted({sample.image for sample in batch}))
    if pictures:
        names = ", ".join(path.name for path in pictures[:_NAMED])
        return Fault(f"the features of picture {names} are no finite numbers", "Leave the picture out, or mend it")
    for name, weight in inquiry.model.module.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            return Fault(f"the weight {name} holds numbers that are not finite", "Fetch or write the checkpoint again")
    alone = [sample for sample in batch if not math.isfinite(inquiry.loss([sample]))]
    if len(alone) == len(batch):
        return Fault(
            f"the loss is {value} for each question alone, and features and weights are finite: no token of the "
            "answers enters it (are all labels padding?)",
            "Look at the answers",
        )
    what = f"the loss is {value}" + (f", and so it is for {named(alone)} alone" if alone else "")
    return Fault(what, "Look at the pictures and answers")
