"""Steps that are taken on trial: which batches, how long they take, how much memory, and what is wrong with them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from shelfqa.models.base import TokenCount
from shelfqa.models.batching import out_of_memory
from shelfqa.training.data import Sample, choices_among
from shelfqa.training.faults import nothing_learned
from shelfqa.training.findings import NAMED, Duration, Finding, Memory, about
from shelfqa.training.practice import Practice, Step
from shelfqa.training.preflight_memory import MemoryWatch, optimizer_gb
from shelfqa.training.trainer import Trainer

_EPOCHS_LOOKED_AT = 5
_TIGHT = 0.9
"""The share of the memory above which a step may well fail some time."""


class Batch(NamedTuple):
    """A batch of the run, and its size."""

    samples: list[Sample]
    tokens: int
    """Questions times the longest of them in tokens: padding is computed, too."""
    longest: list[str]
    """Its longest questions, the first few."""

    def told(self) -> str:
        """Return its size as part of a sentence."""
        return f"{len(self.samples)} questions, {self.tokens:,} tokens with padding"


def typical_and_longest(trainer: Trainer, counts: dict[str, TokenCount]) -> tuple[Batch, Batch]:
    """Return the batch of median size of the first epoch, and the largest of the first five.

    Args:
        trainer: of the run.
        counts: tokens of the samples to look at, by `question_id`; others are left out of the batches.

    """
    settings = trainer.settings

    def batches(epoch: int) -> list[Batch]:
        found = []
        for rows in trainer.batches(epoch):
            samples = [one for one in (trainer.train_samples[row] for row in rows) if one.question_id in counts]
            samples.sort(key=lambda one: (-counts[one.question_id].read, one.question_id))
            if samples:
                most = counts[samples[0].question_id].read
                found.append(Batch(samples, len(samples) * most, [one.question_id for one in samples[:NAMED]]))
        return found

    first = sorted(batches(0), key=lambda one: one.tokens)
    later = [one for epoch in range(1, min(settings.epochs, _EPOCHS_LOOKED_AT)) for one in batches(epoch)]
    return first[len(first) // 2], max([*first, *later], key=lambda one: one.tokens)


class Measured(NamedTuple):
    """What trial steps took; None where they failed, and then `findings` say why."""

    memory: Memory | None
    duration: Duration | None
    findings: list[Finding]


def measure(
    trainer: Trainer,
    typical: Batch,
    longest: Batch,
    block: Sequence[Sample],
    *,
    validation: int,
    pictures_seconds: float,
) -> Measured:
    """Take a step at a typical batch twice and one at the longest, and evaluate once.

    Args:
        trainer: of the run.
        typical: a batch of usual size.
        longest: the largest batch.
        block: samples of validation to measure evaluation on.
        validation: how many samples are evaluated in the run.
        pictures_seconds: what encoding all pictures once will take.

    """
    device, watch = trainer.model.device, MemoryWatch(trainer.model.device)
    practice = Practice(trainer, rate=0.0, at_once=trainer.settings.batch_size)
    try:
        step = practice.step(typical.samples)
        fault = _fault(trainer, typical, step)
        if fault is not None:
            return Measured(None, None, [fault])
        step_seconds = _timed(device, lambda: practice.step(typical.samples))
        taken = watch.peak_gb()
        expected = None if taken is None else taken * longest.tokens / typical.tokens
        if device.type == "cpu" and expected is not None and expected > (watch.available_gb or math.inf):
            # where a CPU's memory is short, the system ends the process: this step is not even tried
            memory = _memory(trainer, longest, watch, expected)
        else:
            step = practice.step(longest.samples)
            memory = _memory(trainer, longest, watch, watch.peak_gb())
            fault = _fault(trainer, longest, step)
            if fault is not None:
                return Measured(memory, None, [fault])
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return Measured(_memory(trainer, longest, watch, None), None, [_too_large(trainer, longest, watch, None)])
    candidates = choices_among(trainer.train_samples)

    def evaluate() -> None:
        practice.answers(block, candidates)
        practice.loss(block)

    block_seconds = _timed(device, evaluate) if block else 0.0
    duration = _duration(
        trainer, step_seconds, block_seconds / max(1, len(block)) * validation, pictures_seconds=pictures_seconds
    )
    return Measured(memory, duration, _memory_findings(trainer, longest, watch, memory))


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    """Return the seconds that some work takes, what it leaves to the GPU counted in."""
    started = time.monotonic()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - started


def _fault(trainer: Trainer, batch: Batch, step: Step) -> Finding | None:
    """Return what is wrong with a step: its loss is no number, or it teaches nothing."""
    samples = batch.samples
    if not math.isfinite(step.loss):
        fault = trainer.why_not_finite(step.loss, samples)
    elif step.gradient == 0 and trainer.has_choice(samples):
        fault = nothing_learned(step.loss, trainer.groups())
    else:
        return None
    what = fault.what[:1].upper() + fault.what[1:]
    return about("error", "step", f"{what}. {fault.advice}.", [sample.question_id for sample in samples])


def _memory(trainer: Trainer, batch: Batch, watch: MemoryWatch, step_gb: float | None) -> Memory:
    return Memory(
        device=str(trainer.model.device),
        questions=len(batch.samples),
        tokens=batch.tokens,
        longest=batch.longest,
        step_gb=step_gb,
        optimizer_gb=optimizer_gb(trainer.weights.values()),
        available_gb=watch.available_gb,
    )


def _memory_findings(trainer: Trainer, batch: Batch, watch: MemoryWatch, memory: Memory) -> list[Finding]:
    step_gb, there = memory.step_gb, watch.available_gb
    if step_gb is None or there is None or step_gb <= _TIGHT * there:
        return []
    if step_gb > there:
        return [_too_large(trainer, batch, watch, step_gb)]
    told = f"A step at the longest batch ({batch.told()}) takes {step_gb:.1f} GB of {there:.1f}, which is tight: "
    return [Finding(level="warning", check="memory", message=told + _to_do(trainer), question_ids=batch.longest)]


def _too_large(trainer: Trainer, batch: Batch, watch: MemoryWatch, step_gb: float | None) -> Finding:
    takes = "more" if step_gb is None else f"about {step_gb:.1f} GB"
    there = "the device has" if watch.available_gb is None else f"the {watch.available_gb:.1f} GB that are there"
    told = f"A step at the longest batch ({batch.told()}) takes {takes}{' than' if step_gb is None else ', more than'} "
    message = f"{told}{there}: {_to_do(trainer)}"
    return Finding(level="error", check="memory", message=message, question_ids=batch.longest)


def _to_do(trainer: Trainer) -> str:
    ways = [f"lower --batch-size (now {trainer.settings.batch_size}) and give more --accumulation"]
    if not trainer.settings.gradient_checkpointing:
        ways.append("give --gradient-checkpointing")
    return f"{', '.join(ways)}, or shorten the longest of these questions."


def _duration(
    trainer: Trainer, batch_seconds: float, evaluation_seconds: float, *, pictures_seconds: float
) -> Duration:
    settings, steps = trainer.settings, trainer.total_steps
    batches = trainer.batches(0)
    epochs = steps / -(-len(batches) // settings.accumulation)
    every = settings.evaluate_every
    evaluations = 1 + (-(-steps // every) if every else math.ceil(epochs))
    step_seconds = batch_seconds * settings.accumulation / trainer.processes.number
    evaluation_seconds /= trainer.processes.number
    return Duration(
        steps=steps,
        epochs=round(epochs, 3),
        step_seconds=step_seconds,
        pictures_seconds=pictures_seconds,
        training_seconds=step_seconds * steps,
        evaluations=evaluations,
        evaluation_seconds=evaluation_seconds * evaluations,
        seconds=step_seconds * steps + evaluation_seconds * evaluations + pictures_seconds,
    )
