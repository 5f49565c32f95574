"""What can be known before the first step: what fits, what is lost, what a run costs, and whether it can learn at all.

    tokens of all samples        what would be cut or lost                          in every run
    steps at two batches         memory, and the time of the run                    in every run that begins
    a block of validation        the time of evaluation                             in every run that begins
    a few pairs by heart         whether labels, loss and decoding agree            in dry runs, and where it is cheap

A run after it is the same, bit for bit, as one without (`practice.preserved`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from shelfqa.errors import InputError
from shelfqa.models.base import TokenCount, VqaModel
from shelfqa.models.batching import out_of_memory
from shelfqa.training.data import Sample
from shelfqa.training.findings import OVERFIT_STEPS, Duration, Finding, Memory, Overfit, Preflight, about
from shelfqa.training.overfit import PAIRS, choose_pairs, overfit, overfit_finding
from shelfqa.training.practice import preserved
from shelfqa.training.preflight_steps import Batch, measure, typical_and_longest
from shelfqa.training.preflight_tokens import look_at, summary
from shelfqa.training.preview import PreviewFeatures
from shelfqa.training.trainer import Trainer

_OVERFIT_SHARE = 0.05
"""The overfit check is part of a run if all of its steps take at most this share of the run's time."""
_EVALUATED = 32
"""Validation questions whose evaluation is measured."""


class Wanted(NamedTuple):
    """How much is tried."""

    steps: bool = True
    """Whether steps are taken at all, to measure memory and time."""
    overfit_steps: int = OVERFIT_STEPS
    """Most steps of the overfit check."""
    dry: bool = False
    """Whether no run follows: then the overfit check is made whatever it costs, and errors keep nothing else away."""


class _Tried(NamedTuple):
    """What came of the steps that were tried."""

    memory: Memory | None = None
    duration: Duration | None = None
    overfit: Overfit | None = None
    findings: Sequence[Finding] = ()


def preflight(
    trainer: Trainer,
    validation: Sequence[Sample],
    parameters: Mapping[str, int],
    dropped: Mapping[str, int],
    wanted: Wanted,
) -> Preflight:
    """Look at a run that has not begun.

    Args:
        trainer: of the run; its model, weights and random numbers are afterwards as they were.
        validation: the samples that it evaluates on.
        parameters: how many can be trained in each module group, and in `total`.
        dropped: rows that are left out, by reason.
        wanted: how much is tried.

    Raises:
        InputError: if no picture can be used.

    """
    model, samples, paths = trainer.model, trainer.train_samples, trainer.source.paths
    unopened = trainer.measures.unopened
    places = [place for place, sample in enumerate(samples) if sample.image not in unopened]
    if not places:
        raise InputError(f"None of the pictures can be opened, such as {str(paths[samples[0].image])!r}.")
    readable, counts = [samples[place] for place in places], [trainer.measures.counts[place] for place in places]
    looked = look_at(model, readable, counts)
    findings = [*looked.findings, *_without_choice(trainer), *_unreachable(model, validation)]
    stops = any(finding.level == "error" for finding in findings)
    tried = _Tried()
    if wanted.steps and (wanted.dry or not stops):
        sound = {
            sample.question_id: count
            for sample, count in zip(readable, counts, strict=True)
            if not (count.answer_cut or count.beyond)
        }
        if sound:
            with preserved(model):
                tried = _try(trainer, sound, sound.keys() - looked.unsound, validation, wanted)
    findings += tried.findings
    unreadable = dict.fromkeys(unopened, "it cannot be opened") | trainer.source.errors
    return Preflight(
        model=model.name,
        device=str(model.device),
        samples={"train": len(samples), "validation": len(validation)},
        dropped=dict(dropped),
        all_parameters=sum(map(_numbers, model.module.parameters())),
        trainable_parameters=dict(parameters),
        tokens=summary(readable, counts),
        memory=tried.memory,
        duration=tried.duration,
        overfit=tried.overfit,
        findings=sorted(
            [*findings, *_unreadable(samples, unreadable)],
            key=lambda one: ("error", "warning", "note").index(one.level),
        ),
    )


def _numbers(weight: Tensor) -> int:
    """Return how many numbers a weight holds; those of 4 bits lie several in a byte."""
    packed = getattr(weight, "quant_state", None)
    return weight.numel() if packed is None else math.prod(packed.shape)


def _unreadable(samples: Sequence[Sample], errors: Mapping[int, str]) -> list[Finding]:
    """Return a warning of samples that a dry run found to have no picture; runs have left them out before."""
    bad = [sample for sample in samples if sample.image in errors]
    if not bad:
        return []
    told = f"Pictures that cannot be read ({errors[bad[0].image]}): the run will leave these rows out."
    return [about("warning", "pictures", told, [sample.question_id for sample in bad])]


def _without_choice(trainer: Trainer) -> list[Finding]:
    """Return an error if a model of lists has no other answer to tell a step's answers from: its loss is always 0."""
    model, samples, settings = trainer.model, trainer.train_samples, trainer.settings
    if not trainer.has_choice(samples):
        told = (
            f"The only answer is {samples[0].answer!r}, and {model.name!r} learns to tell answers apart: add rows with "
            "other answers."
        )
    elif model.needs_candidates and settings.batch_size * settings.accumulation == 1:
        told = (
            f"A step of one question holds one answer, and {model.name!r} learns to tell answers apart: give a larger "
            "--batch-size, or --accumulation."
        )
    else:
        return []
    return [Finding(level="error", check="step", message=told)]


def _unreachable(model: VqaModel, validation: Sequence[Sample]) -> list[Finding]:
    """Return a note of validation answers that a classifier cannot give."""
    known = model.learnable([sample.answer for sample in validation])
    ids = [sample.question_id for sample, yes in zip(validation, known, strict=True) if not yes]
    if not ids:
        return []
    most = 1 - len(ids) / len(validation)
    told = f"Validation answers that the model's table lacks: exact match can reach {most:.1%} at most."
    return [about("note", "answers", told, ids)]


def _try(
    trainer: Trainer,
    sound: dict[str, TokenCount],
    learnable: Collection[str],
    validation: Sequence[Sample],
    wanted: Wanted,
) -> _Tried:
    """Measure, then try to learn a few pairs by heart; the weights are not put back.

    Args:
        trainer: of the run.
        sound: tokens of the samples that fit, by `question_id`.
        learnable: those of them whose answers the model can give.
        validation: the samples that are evaluated on.
        wanted: how much is tried.

    """
    typical, longest = typical_and_longest(trainer, sound)
    pairs = choose_pairs([sample for sample in trainer.train_samples if sample.question_id in learnable], PAIRS)
    block = list(validation[:_EVALUATED])
    pictures_seconds = 0.0
    source = trainer.source
    if isinstance(source, PreviewFeatures):
        source.prepare(sample.image for some in (typical.samples, longest.samples, pairs, block) for sample in some)
        typical, longest = _with_pictures(typical, source.errors), _with_pictures(longest, source.errors)
        pairs, block = ([one for one in some if one.image not in source.errors] for some in (pairs, block))
        pictures_seconds = source.seconds_for_all
    if not (typical.samples and longest.samples):
        return _Tried()
    measured = measure(trainer, typical, longest, block, validation=len(validation), pictures_seconds=pictures_seconds)
    tried = _Tried(measured.memory, measured.duration, None, measured.findings)
    if measured.duration is None or not pairs:
        return tried
    seconds = measured.duration.step_seconds * wanted.overfit_steps * min(1, len(pairs) / len(typical.samples))
    if not wanted.dry and seconds > _OVERFIT_SHARE * measured.duration.seconds:
        told = (
            f"Not tried whether {len(pairs)} pairs can be learned by heart, which may take {seconds:,.0f} of the run's "
            f"{measured.duration.seconds:,.0f} seconds: --dry-run tries it."
        )
        skipped = Finding(level="note", check="overfit", message=told)
        return tried._replace(findings=[*measured.findings, skipped])
    try:
        found = overfit(trainer, pairs, wanted.overfit_steps)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        told = f"Not tried whether {len(pairs)} pairs can be learned by heart: the memory does not suffice."
        return tried._replace(findings=[*measured.findings, Finding(level="warning", check="overfit", message=told)])
    return tried._replace(overfit=found, findings=[*measured.findings, overfit_finding(found)])


def _with_pictures(batch: Batch, errors: Mapping[int, str]) -> Batch:
    return batch._replace(samples=[sample for sample in batch.samples if sample.image not in errors])
