"""Can a few pairs be learned by heart? If not, labels, loss and decoding do not agree, or nothing is trained.

The check learns at a rate of its own, which it raises while the loss stands still and lowers when it jumps, and without
dropout: what is tried is whether the model can be taught at all in this way, not whether the run's rate is a good one.
It is right about answers only if they are found by real decoding, as evaluation finds them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from shelfqa.text import normalize_answer
from shelfqa.training.data import Sample
from shelfqa.training.findings import Finding, Overfit, Pair, about, counted
from shelfqa.training.practice import Practice, kept_weights, put_back
from shelfqa.training.trainer import Trainer

PAIRS = 8
_MOST_SECONDS = 600.0

_FIRST_RATE, _HIGHEST_RATE = 3e-4, 3e-2
_GROWTH, _GROWTH_LATER = 1.15, 1.02
"""By what the rate is multiplied in each step, until the loss jumps for the first time and after."""
_JUMPS = 1.5
"""How many times the lowest loss is a jump, after which the best weights come back at a third of the rate."""
_LOOK_EVERY = 10
_FELL = 0.8
"""The share of the lowest loss that makes weights worth keeping between looks."""
_WORTH_DECODING = 0.5
_LEARNED = 0.05
"""The mean loss a token (in nats) below which each answer is by far the likeliest."""
_KNOWN_BY_HEART = 0.01
"""Where the loss is less and an answer wrong, more steps will not mend it."""
_STOOD_STILL, _SURE_AFTER = 0.9, 40
"""The share of the first loss that is left where nothing was learned, and the steps in which all rates were tried."""
_NOTHING = 1e-6


def choose_pairs(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Return at most `most` samples of different pictures, with as many different answers and questions as there are.

    Two questions about one picture, or one question with two answers about pictures that look alike, may be impossible
    to learn by heart together; of different pictures that is rare.
    """
    chosen: list[Sample] = []
    images: set[int] = set()
    for new_answer, new_question in ((True, True), (True, False), (False, False)):
        answers = {normalize_answer(sample.answer) for sample in chosen}
        questions = {sample.question for sample in chosen}
        for sample in samples:
            if len(chosen) == most:
                return chosen
            answer = normalize_answer(sample.answer)
            if (
                sample.image in images
                or (new_answer and answer in answers)
                or (new_question and sample.question in questions)
            ):
                continue
            chosen.append(sample)
            images.add(sample.image)
            answers.add(answer)
            questions.add(sample.question)
    return chosen


def overfit(trainer: Trainer, pairs: Sequence[Sample], most_steps: int) -> Overfit:
    """Train on `pairs` until all answers are right, at most so many steps; the weights are not put back."""
    started = time.monotonic()
    trainer.model.module.eval()
    at_once = min(len(pairs), trainer.settings.batch_size)
    rate, growth = _FIRST_RATE, _GROWTH
    practice = Practice(trainer, rate=rate, at_once=at_once)
    first = lowest = practice.loss(pairs)
    best = kept_weights(trainer.model.module)
    steps = 0
    while math.isfinite(first) and steps < most_steps and time.monotonic() - started < _MOST_SECONDS:
        loss, gradient = practice.gradients(pairs)
        steps += 1
        if not math.isfinite(loss + gradient) or loss > max(_JUMPS * lowest, _LEARNED):
            put_back(best)
            rate, growth = rate / 3, _GROWTH_LATER
            practice = Practice(trainer, rate=rate, at_once=at_once)
            continue
        looks = steps % _LOOK_EVERY == 0
        if loss < (lowest if looks else _FELL * lowest):
            lowest, best = loss, kept_weights(trainer.model.module)
        if (
            looks
            and loss <= _WORTH_DECODING
            and (loss <= _KNOWN_BY_HEART or not _wrong(pairs, practice.answers(pairs)))
        ):
            break
        practice.update()
        rate = practice.set_rate(min(rate * growth, _HIGHEST_RATE))
    if not practice.loss(pairs) <= lowest:
        put_back(best)
    said = practice.answers(pairs)
    wrong = _wrong(pairs, said)
    return Overfit(
        pairs=len(pairs),
        steps=steps,
        seconds=round(time.monotonic() - started, 3),
        first_loss=_number(first),
        last_loss=_number(practice.loss(pairs)),
        exact_match=1 - len(wrong) / len(pairs),
        wrong=wrong,
    )


def _wrong(pairs: Sequence[Sample], said: Sequence[str]) -> list[Pair]:
    return [
        Pair(question_id=pair.question_id, question=pair.question, answer=pair.answer, said=text)
        for pair, text in zip(pairs, said, strict=True)
        if normalize_answer(pair.answer) != normalize_answer(text)
    ]


def _number(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


def overfit_finding(result: Overfit) -> Finding:
    """Return what the check means."""
    ids = [pair.question_id for pair in result.wrong]
    first, last = result.first_loss, result.last_loss
    if first is None or last is None:
        return about(
            "error",
            "overfit",
            f"The loss of {result.pairs} pairs is no number {'at the start' if first is None else 'after training'}: "
            "labels that are all padding or ignored, or an overflow (try --precision fp32).",
            ids,
        )
    if not ids:
        told = f"{result.pairs} pairs were learned by heart in {result.steps} steps, loss {first:.3g} to {last:.3g}."
        return Finding(level="note", check="overfit", message=told)
    examples = "; ".join(f"{pair.answer!r} answered as {pair.said!r}" for pair in result.wrong[:3])
    if first < _NOTHING:
        return about(
            "error",
            "overfit",
            f"The loss of {result.pairs} pairs is 0 before anything is learned and {counted(ids, 'answer')} wrong "
            f"({examples}): their labels are all ignored, as padding is.",
            ids,
        )
    fell = f"fell from {first:.3g} to {last:.3g} in {result.steps} steps"
    if last <= _LEARNED:
        return about(
            "error",
            "overfit",
            f"The loss of {result.pairs} pairs {fell} and {counted(ids, 'answer')} wrong all the same ({examples}): "
            "labels, loss and decoding do not agree.",
            ids,
        )
    if last > _STOOD_STILL * first and result.steps >= _SURE_AFTER:
        return about(
            "error",
            "overfit",
            f"The loss of {result.pairs} pairs stays at {last:.3g} ({first:.3g} before {result.steps} steps): what is "
            "trained cannot learn them. Look at --targets and --full, and at the labels.",
            ids,
        )
    return about(
        "warning",
        "overfit",
        f"The loss of {result.pairs} pairs {fell}, too few to tell: {counted(ids, 'answer')} still wrong ({examples}). "
        "Give more --overfit-steps, a higher --rank or more --targets.",
        ids,
    )
