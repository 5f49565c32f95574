"""Steps that are tried before a run and leave no trace in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from shelfqa.models.base import Decoding, Query, VqaModel
from shelfqa.models.batching import BatchSize, answer_in_batches
from shelfqa.training.checkpoint import random_state, set_random_state
from shelfqa.training.data import Sample, choices_among
from shelfqa.training.optimisation import LossScale, clip
from shelfqa.training.trainer import Trainer


class Step(NamedTuple):
    """What a step found: the mean loss over its questions, and the norm of the gradient."""

    loss: float
    gradient: float


@contextmanager
def preserved(model: VqaModel) -> Iterator[None]:
    """Put weights that are trained, buffers, modes and random numbers back to what they were, bit for bit."""
    module = model.module
    weights = kept_weights(module)
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    modes = [(part, part.training) for part in module.modules()]
    random = random_state()
    try:
        yield
    finally:
        put_back(weights)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        for part, training in modes:
            part.training = training
        for weight, _ in weights:
            weight.grad = None
        set_random_state(random)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def kept_weights(module: torch.nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return the weights that are trained, each with a copy; copies of a GPU's lie in the machine's memory."""
    return [(weight, weight.detach().to("cpu", copy=True)) for weight in module.parameters() if weight.requires_grad]


def put_back(weights: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Give weights the values that were kept of them."""
    with torch.no_grad():
        for weight, before in weights:
            weight.copy_(before)


class Practice:
    """Takes steps as the run would take them, by the run's own loss and arithmetic, with an optimiser of its own."""

    def __init__(self, trainer: Trainer, *, rate: float, at_once: int) -> None:
        """Practise with `trainer`'s model at a constant learning rate, `at_once` questions at most in a forward."""
        self.trainer = trainer
        self.at_once = at_once
        self.weights = list(trainer.weights.values())
        self.optimizer = torch.optim.AdamW(self.weights, lr=rate, weight_decay=0.0)
        self.scale = LossScale(enabled=trainer.scales_loss)
        self._overflowed = False

    def step(self, batch: Sequence[Sample]) -> Step:
        """Take a step, with dropout as in training, and return its loss, as it was before it."""
        self.trainer.training_mode()
        taken = self.gradients(batch)
        self.update()
        return taken

    def gradients(self, batch: Sequence[Sample]) -> Step:
        """Compute loss and gradients; more questions than `at_once` are taken in turn."""
        trainer, choices, total = self.trainer, choices_among(batch), 0.0
        self.optimizer.zero_grad(set_to_none=True)
        for some in self._chunks(batch):
            with trainer.arithmetic():
                loss = trainer.loss(some, choices)
            share = len(some) / len(batch)
            total += float(loss.detach()) * share
            if loss.requires_grad:
                (loss * (share * self.scale.value)).backward()
        norm = 0.0
        if any(weight.grad is not None for weight in self.weights):
            norm = clip(self.weights, trainer.settings.max_grad_norm, self.scale.value)
        self._overflowed = not math.isfinite(norm)
        return Step(total, norm)

    def update(self) -> None:
        """Change the weights by their gradients, unless these are no finite numbers."""
        if self._overflowed:
            self.scale.overflowed()
            return
        self.optimizer.step()
        self.scale.held()

    def set_rate(self, rate: float) -> float:
        """Go on at another learning rate, which is returned."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def loss(self, batch: Sequence[Sample]) -> float:
        """Return the mean loss over the questions, computed without dropout and without gradients."""
        trainer, choices = self.trainer, choices_among(batch)
        trainer.model.module.eval()
        with torch.no_grad(), trainer.arithmetic():
            return sum(float(trainer.loss(some, choices)) * len(some) for some in self._chunks(batch)) / len(batch)

    def answers(self, batch: Sequence[Sample], candidates: tuple[str, ...] | None = None) -> list[str]:
        """Return what the model answers, found as evaluation finds it.

        Args:
            batch: the questions.
            candidates: what a model that needs a list chooses from; by default the right answers to the questions.

        """
        trainer = self.trainer
        trainer.model.module.eval()
        images = sorted({sample.image for sample in batch})
        if not trainer.model.needs_candidates:
            candidates = ()
        elif candidates is None:
            candidates = choices_among(batch)
        queries = [Query(sample.question, (images.index(sample.image),), candidates=candidates) for sample in batch]
        with torch.no_grad(), trainer.arithmetic():
            features = trainer.source.features(images)
            size = BatchSize(self.at_once)
            found = answer_in_batches(trainer.model, features, queries, Decoding(top_k=1), size)
        return [best[0].text if best else "" for best in found]

    def _chunks(self, batch: Sequence[Sample]) -> list[Sequence[Sample]]:
        return [batch[start : start + self.at_once] for start in range(0, len(batch), self.at_once)]
