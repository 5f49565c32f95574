"""The training loop: AdamW, warm-up and decay, accumulation, evaluation by real answers, early stopping, resumption."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from shelfqa.errors import InputError, UserError
from shelfqa.models.base import Query, VqaModel
from shelfqa.training.data import Sample, choices_among, epoch_batches, share_of
from shelfqa.training.distributed import ALONE, Processes
from shelfqa.training.evaluation import Evaluation, Evaluator
from shelfqa.training.faults import Fault, Inquiry, named, nothing_learned, overflow, why_not_finite
from shelfqa.training.features import FeatureSource
from shelfqa.training.lengths import measured
from shelfqa.training.optimisation import (
    Arithmetic,
    build_optimizer,
    clip,
    rate_factor,
    recompute_activations,
)
from shelfqa.training.retention import Retention
from shelfqa.training.run_state import RunState
from shelfqa.training.settings import Settings
from shelfqa.training.sharding import Sharded
from shelfqa.training.trackers import Trackers

_HISTORY_ROWS = 100
"""About how many rows the history has between evaluations, over the whole run."""


class Cost(NamedTuple):
    """What a run took, its resumptions counted in; each process knows its own memory alone."""

    seconds: float
    evaluation_seconds: float
    samples: int
    skipped_steps: int
    """Steps that were not taken because fp16 overflowed."""
    peak_memory_bytes: int
    """Of the GPU, or of the process where there is none."""


class Result(NamedTuple):
    """What a finished run leaves; the model holds the weights of `best_step`."""

    history: list[dict[str, Any]]
    steps: int
    best_step: int
    best_exact_match: float
    first_exact_match: float
    stopped_early: bool
    cost: Cost


class Trainer:
    """Trains what can be trained in `model.module` on `train`, and keeps what does best on `validation`."""

    def __init__(
        self,
        model: VqaModel,
        source: FeatureSource,
        train: Sequence[Sample],
        validation: Sequence[Sample],
        settings: Settings,
        work: Path,
        *,
        processes: Processes = ALONE,
        shards: bool = False,
    ) -> None:
        """Prepare to train.

        Args:
            model: with what is to be trained made trainable.
            source: features of the pictures of all samples.
            train: samples that can be learned.
            validation: what to evaluate on.
            settings: of the run.
            work: a folder that survives a kill, the same for all processes.
            processes: those that train together.
            shards: whether each process keeps a shard of the weights only, from `run` on.

        Raises:
            InputError: if no token of a sample's answer would enter the loss.

        """
        self.model = model
        self.source = source
        self.train_samples = train
        self.settings = settings
        self.work = work
        self.processes = processes
        if settings.gradient_checkpointing:
            recompute_activations(model.module, model.name)
        self.arithmetic = Arithmetic(settings.precision, model.module, model.device)
        self._kept_in_evaluation = self._parts_kept_in_evaluation()
        self.measures = measured(model, train, source)
        self._terms, self.lengths = self.measures.terms, self.measures.lengths
        unlearnable = [sample for sample, terms in zip(train, self._terms, strict=True) if terms < 1]
        if unlearnable:
            raise InputError(
                f"No token of the answers to {named(unlearnable)} would enter the loss: leave these rows out."
            )
        self._evaluator = Evaluator(
            model,
            source,
            validation,
            candidates=choices_among(train) if model.needs_candidates else (),
            batch_size=settings.batch_size,
            arithmetic=self.arithmetic,
            processes=ALONE if shards else processes,  # with shards all have to do the same at the same time
        )
        self._retention = (
            Retention(model, source, weight=settings.retain, seed=settings.seed) if settings.retain else None
        )
        self.batches = lru_cache(maxsize=2)(self._batches)
        self.total_steps = self._count_steps()
        self._run = RunState(work, processes, scales_loss=self.scales_loss)
        self._shards = shards
        self._take_weights(Sharded(model, shards=False))

    def _take_weights(self, sharded: Sharded) -> None:
        self._sharded = sharded
        self.weights: dict[str, Tensor] = {
            name: weight for name, weight in self.model.module.named_parameters() if weight.requires_grad
        }
        held = self._retention.hold_rows(self.weights) if self._retention is not None else ()
        self.optimizer = build_optimizer(self.weights, self.settings, held)
        self._run.holds(self.weights, self.optimizer)

    @property
    def state(self) -> dict[str, Any]:
        """How far the run has come."""
        return self._run.values

    @property
    def scales_loss(self) -> bool:
        """Whether the loss is multiplied so that small gradients do not vanish."""
        return self.arithmetic.precision == "fp16"

    def _batches(self, epoch: int) -> list[list[int]]:
        """Return the positions of the samples of each batch of an epoch."""
        settings = self.settings
        return epoch_batches(
            self.train_samples, settings.batch_size, seed=settings.seed, epoch=epoch, lengths=self.lengths
        )

    def padding_share(self) -> float | None:
        """Return which share of the first epoch's tokens is padding, None where the model does not write."""
        return self.lengths.padding_share(self.batches(0), self.train_samples) if self.lengths is not None else None

    def _count_steps(self) -> int:
        steps = sum(-(-len(self.batches(epoch)) // self.settings.accumulation) for epoch in range(self.settings.epochs))
        return min(steps, self.settings.max_steps or steps)

    def run(self, trackers: Trackers | None = None) -> Result:
        """Train from the last checkpoint, or from the start, to the end; `trackers` take the history as it grows.

        Raises:
            UserError: if training breaks down; the last checkpoint and the best weights stay.
            StorageError: if the disk is full.

        """
        self.processes.begin_alike(self.weights.values())
        if self._retention is not None:
            with self.arithmetic():
                self._retention.ask(sorted({sample.image for sample in self.train_samples}), self.processes)
        if self._shards:
            self._take_weights(Sharded(self.model, shards=True))
        self._run.begin(trackers)
        if not self._run.restore():
            evaluation = self.evaluate()
            self._run.watch.begins_at(evaluation.loss)
            self._record(evaluation)
            self._run.save()
        state = self.state
        row_every = max(1, self.total_steps // _HISTORY_ROWS)
        evaluate_every = self.settings.evaluate_every
        with self.processes.progress("train", self.total_steps, done=state["step"]) as tick:
            for batches, ends_epoch in self._remaining():
                loss = self._step(batches)
                self._run.count(loss, sum(map(len, batches)))
                last = state["step"] == self.total_steps
                if last or (state["step"] % evaluate_every == 0 if evaluate_every else ends_epoch):
                    self._record(self.evaluate())
                    state["stopped"] = state["since_best"] >= self.settings.patience
                    self._run.save()
                elif state["step"] % row_every == 0:
                    self._record(None)
                if state["step"] % self.settings.checkpoint_every == 0:
                    self._run.save()
                tick(state["step"], f"loss {loss:.3f}  best exact match {max(state['best'], 0):.3f}")
        self._run.load_best()
        self._sharded.make_whole()
        self.model.module.eval()
        return Result(
            state["history"],
            state["step"],
            state["best_step"],
            state["best"],
            state["history"][0]["validation_exact_match"],
            bool(state["stopped"]) and state["step"] < self.total_steps,
            Cost(
                round(state["seconds"], 2),
                round(state["evaluation_seconds"], 2),
                state["samples"],
                self._run.scale.skipped,
                state["peak_memory_bytes"],
            ),
        )

    def _remaining(self) -> Iterator[tuple[list[list[int]], bool]]:
        """Yield what is still to do, the batches of a step at once, and move the position on after each."""
        state = self.state
        while state["step"] < self.total_steps and not state["stopped"]:
            batches = self.batches(state["epoch"])
            end = state["position"] + self.settings.accumulation
            step = batches[state["position"] : end]
            ends = end >= len(batches)
            state["step"] += 1
            state["position"] = 0 if ends else end
            state["epoch"] += ends
            yield step, ends

    def _record(self, evaluation: Evaluation | None) -> None:
        state = self.state
        epoch = state["epoch"] + state["position"] / len(self.batches(state["epoch"]))
        self._run.record(epoch, self.optimizer.param_groups[0]["lr"], evaluation)

    def _step(self, batches: Sequence[Sequence[int]]) -> float:
        """Take a step on the answers of all batches, given by their positions; return the mean loss."""
        step, scale = self.state["step"], self._run.scale
        rows = [row for batch in batches for row in batch]
        samples = [self.train_samples[row] for row in rows]
        factor = rate_factor(
            step - 1, self.total_steps, warmup_ratio=self.settings.warmup_ratio, schedule=self.settings.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["top_rate"] * factor
        self.training_mode()
        self._seed_dropout()
        self.optimizer.zero_grad(set_to_none=True)
        with self.processes.together():
            mine = self._accumulate(batches, rows)
        loss = self.processes.sum([mine])[0]
        if not self._sharded.active:
            self.processes.add_gradients(self.weights.values())
        if self._retention is not None:
            self._retention.keep_rows()
        norm = clip(self.weights.values(), self.settings.max_grad_norm, scale.value)
        fault = self._run.watch.look(step, loss, samples)
        if step == 1 and norm == 0 and self.state["best"] < 1 and self.has_choice(samples):
            fault = nothing_learned(loss, self.groups())
        if math.isfinite(norm):
            self.optimizer.step()
            scale.held()
        elif self.scales_loss:
            scale.overflowed()
            fault = overflow("at every scale of the loss") if scale.exhausted else fault
        else:
            fault = Fault(f"the gradient's norm is {norm}", "Lower the rate")
        if fault is not None:
            with self.processes.together():
                raise self._broken(fault, samples)
        return loss

    def has_choice(self, samples: Sequence[Sample]) -> bool:
        """Say whether there is anything to tell the answers of a step from: of models of lists, another answer."""
        return not self.model.needs_candidates or len(choices_among(samples)) > 1

    def _accumulate(self, batches: Sequence[Sequence[int]], rows: Sequence[int]) -> float:
        """Add up the gradients of this process's share of a step; return its part in the step's mean loss.

        Args:
            batches: the batches of the step.
            rows: positions of all samples of the step.

        """
        rank, number = self.processes.rank, self.processes.number
        terms = sum(self._terms[row] for row in rows)
        choices = choices_among([self.train_samples[row] for row in rows])
        mine = share_of(self.train_samples, batches, rank=rank, number=number)
        loss = sum(self._backward(batch, terms, choices) for batch in mine)
        if self._sharded.active:  # a process with fewer batches takes part in the passes of the others, for nothing
            most = len(share_of(self.train_samples, batches, rank=0, number=number))
            for _ in range(most - len(mine)):
                self._backward(rows[:1], terms, choices, counts=False)
        return loss

    def _backward(self, rows: Sequence[int], terms: int, choices: tuple[str, ...], *, counts: bool = True) -> float:
        """Add the gradients of a batch to those of the step; return the batch's part in the step's mean loss.

        Args:
            rows: positions of the batch's samples.
            terms: how many terms the loss of the whole step is the mean of.
            choices: the distinct answers of the whole step.
            counts: whether the batch has a part in the step at all.

        """
        samples = [self.train_samples[row] for row in rows]
        with self.arithmetic():
            loss = self._sharded.inside(lambda: self.loss(samples, choices))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._broken(self.why_not_finite(value, samples, choices), samples)
        if not loss.requires_grad:
            raise self._broken(nothing_learned(value, self.groups()), samples)
        share = sum(self._terms[row] for row in rows) / terms if counts else 0.0
        averaged = self.processes.number if self._sharded.active else 1  # over the processes, with shards
        (loss * (share * self._run.scale.value * averaged)).backward()
        return value * share

    def loss(self, samples: Sequence[Sample], choices: tuple[str, ...] = ()) -> Tensor:
        """Return the mean loss over the answers, and with `retain` how far the model has moved from what it knew.

        `choices` are more answers that a model of lists tells the right ones from.
        """
        images = sorted({sample.image for sample in samples})
        place = {image: position for position, image in enumerate(images)}
        candidates = choices if self.model.needs_candidates else ()
        features = self.source.features(images)
        loss = self.model.loss(
            features,
            [Query(sample.question, (place[sample.image],), candidates=candidates) for sample in samples],
            [sample.answer for sample in samples],
        )
        return loss if self._retention is None else loss + self._retention.loss(features, images)

    def evaluate(self) -> Evaluation:
        """Answer the validation questions and compare; the loss is over the answers that can be learned."""
        self._run.measure()
        started = time.monotonic()
        evaluation = self._sharded.inside(self._evaluator.run)
        self._run.measure()
        self.state["evaluation_seconds"] += time.monotonic() - started
        return evaluation

    def _seed_dropout(self) -> None:
        """Let what a step drops depend on seed, step and process alone, whatever happened before."""
        seed = np.random.SeedSequence([self.settings.seed, self.state["step"], self.processes.rank])
        torch.manual_seed(int(seed.generate_state(1, np.uint64)[0]))

    def why_not_finite(self, value: float, samples: Sequence[Sample], choices: tuple[str, ...] = ()) -> Fault:
        """Return why the loss of some samples is no finite number; the model has its best weights then."""
        if self._sharded.active:  # a process alone cannot try anything
            return Fault(f"the loss is {value}", "Lower the rate, or train in one process to be told more")

        def in_fp32(some: Sequence[Sample]) -> float:
            with torch.no_grad():
                return float(self.loss(some, choices))

        def as_before(some: Sequence[Sample]) -> float:
            with self.arithmetic():
                return in_fp32(some)

        in_float32 = in_fp32 if self.scales_loss else None
        inquiry = Inquiry(self.model, self.source, as_before, in_float32, self._run.load_best)
        return why_not_finite(value, samples, inquiry)

    def _broken(self, fault: Fault, batch: Sequence[Sample]) -> UserError:
        last = max((row["step"] for row in self.state["history"]), default=0)
        return UserError(
            f"Training broke down at step {self.state['step']}: {fault.what}, on {named(batch)}. {fault.advice}; the "
            f"rate is {self.settings.learning_rate:g} (--learning-rate). The best weights so far (step "
            f"{self.state['best_step']} of {last} recorded) are kept in {str(self.work)!r}."
        )

    def groups(self) -> list[str]:
        """Return the names of the module groups that are trained."""
        return sorted({self.model.group_of(name) or "other" for name in self.weights})

    def training_mode(self) -> None:
        """Let dropout drop, but in what is not trained of the tower."""
        self.model.module.train()
        for part in self._kept_in_evaluation:
            part.training = False

    def _parts_kept_in_evaluation(self) -> list[torch.nn.Module]:
        """Return what keeps its statistics and drops nothing: batch norms, and a tower that is not trained."""
        named_weights = self.model.module.named_parameters()
        trains_vision = any(
            self.model.group_of(name) == "vision" for name, weight in named_weights if weight.requires_grad
        )
        return [
            part
            for name, part in self.model.module.named_modules()
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)
            or (self.model.group_of(name) == "vision" and not trains_vision)
        ]
