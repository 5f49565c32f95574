"""The training loop: AdamW, warm-up and decay, evaluation by real answers, early stopping, exact resumption."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from shelfqa.errors import UserError
from shelfqa.models.base import Decoding, Query, VqaModel
from shelfqa.models.batching import BatchSize, answer_in_batches
from shelfqa.progress import progress
from shelfqa.text import normalize_answer
from shelfqa.training.checkpoint import (
    forget_weights,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from shelfqa.training.data import Sample, epoch_batches
from shelfqa.training.features import FeatureSource
from shelfqa.training.settings import Settings

_HISTORY_ROWS = 100
"""About how many rows the history has between evaluations, over the whole run."""
_IMAGES_AN_EVALUATION = 32
_ADAM_EPSILON = 1e-8


class Evaluation(NamedTuple):
    """How the model does on the validation samples."""

    loss: float | None
    exact_match: float


class Result(NamedTuple):
    """What a finished run leaves; the model holds the weights of `best_step`."""

    history: list[dict[str, Any]]
    steps: int
    best_step: int
    best_exact_match: float
    first_exact_match: float
    stopped_early: bool


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
    ) -> None:
        self.model = model
        self.source = source
        self.train_samples = train
        self.validation = validation
        self.settings = settings
        self.work = work
        self.weights: dict[str, Tensor] = {
            name: weight for name, weight in model.module.named_parameters() if weight.requires_grad
        }
        self._kept_in_evaluation = self._parts_kept_in_evaluation()
        self.optimizer = self._optimizer()
        kind = _arithmetic(settings.precision, model.device)
        self._autocast_type = kind
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=kind is torch.float16)
        answers = (normalize_answer(sample.answer) for sample in train) if model.needs_candidates else ()
        self._candidates = tuple(dict.fromkeys(answers))
        self._answered_at_once = BatchSize(settings.batch_size)
        self._batches = lru_cache(maxsize=2)(self._epoch)
        self.total_steps = self._count_steps()
        self.state: dict[str, Any] = {
            "step": 0, "epoch": 0, "position": 0, "history": [], "best_step": 0, "best": -1.0, "since_best": 0,
            "loss_sum": 0.0, "loss_count": 0, "seconds": 0.0, "stopped": False,
        }  # fmt: skip

    def _optimizer(self) -> torch.optim.AdamW:
        groups: dict[tuple[bool, bool], list[Tensor]] = {}
        for name, weight in self.weights.items():
            groups.setdefault((".modules_to_save." in name, weight.ndim > 1), []).append(weight)
        return torch.optim.AdamW(
            [
                {
                    "params": weights,
                    "lr": 0.0,
                    "top_rate": self.settings.full_learning_rate if whole else self.settings.learning_rate,
                    "weight_decay": self.settings.weight_decay if matrix else 0.0,
                }
                for (whole, matrix), weights in groups.items()
            ],
            eps=_ADAM_EPSILON,
        )

    def _epoch(self, epoch: int) -> list[list[int]]:
        return epoch_batches(self.train_samples, self.settings.batch_size, seed=self.settings.seed, epoch=epoch)

    def _count_steps(self) -> int:
        steps = sum(len(self._batches(epoch)) for epoch in range(self.settings.epochs))
        return min(steps, self.settings.max_steps or steps)

    def rate_factor(self, step: int) -> float:
        """Return the share of the highest learning rate at `step`, counted from 0."""
        warmup = max(1, round(self.settings.warmup_ratio * self.total_steps))
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup) / max(1, self.total_steps - warmup)
        if self.settings.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return 1 - done if self.settings.schedule == "linear" else 1.0

    def run(self) -> Result:
        """Train from the last checkpoint, or from the start, to the end.

        Raises:
            UserError: if the loss is not a number any more.
            StorageError: if the disk is full.

        """
        if not self._restore():
            self._record(self.evaluate())
            self._checkpoint()
        started = time.monotonic() - self.state["seconds"]
        row_every = max(1, self.total_steps // _HISTORY_ROWS)
        evaluate_every = self.settings.evaluate_every
        with progress("train", self.total_steps) as tick:
            for batch, ends_epoch in self._remaining():
                loss = self._step(batch)
                state = self.state
                state["loss_sum"] += loss
                state["loss_count"] += 1
                state["seconds"] = time.monotonic() - started
                last = state["step"] == self.total_steps
                if last or (state["step"] % evaluate_every == 0 if evaluate_every else ends_epoch):
                    self._record(self.evaluate())
                    state["stopped"] = state["since_best"] >= self.settings.patience
                    self._checkpoint()
                elif state["step"] % row_every == 0:
                    self._record(None)
                if state["step"] % self.settings.checkpoint_every == 0:
                    self._checkpoint()
                tick(state["step"], f"loss {loss:.3f}  best exact match {max(state['best'], 0):.3f}")
        self._load(load_weights(self.work, self.state["best_step"]))
        self.model.module.eval()
        return Result(
            self.state["history"],
            self.state["step"],
            self.state["best_step"],
            self.state["best"],
            self.state["history"][0]["validation_exact_match"],
            bool(self.state["stopped"]) and self.state["step"] < self.total_steps,
        )

    def _remaining(self) -> Iterator[tuple[list[Sample], bool]]:
        """Yield the batches that are still to do, and move the position on after each."""
        state = self.state
        while state["step"] < self.total_steps and not state["stopped"]:
            batches = self._batches(state["epoch"])
            rows = batches[state["position"]]
            ends = state["position"] + 1 == len(batches)
            state["step"] += 1
            state["position"] = 0 if ends else state["position"] + 1
            state["epoch"] += ends
            yield [self.train_samples[row] for row in rows], ends

    def _step(self, batch: list[Sample]) -> float:
        step = self.state["step"]
        self._training_mode()
        factor = self.rate_factor(step - 1)
        for group in self.optimizer.param_groups:
            group["lr"] = group["top_rate"] * factor
        with self._autocast():
            loss = self._loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}", batch)
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights.values(), self.settings.max_grad_norm))
        if not math.isfinite(norm) and not self._scaler.is_enabled():
            raise self._diverged(f"the gradient's norm is {norm}", batch)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self._scaler.is_enabled() and self._scaler.get_scale() < 1:
            raise self._diverged("fp16 overflows at every loss scale (try --precision bf16 or fp32)", batch)
        return value

    def _diverged(self, what: str, batch: Sequence[Sample]) -> UserError:
        ids = ", ".join(sample.question_id for sample in batch[:8])
        more = f" and {len(batch) - 8} more" if len(batch) > 8 else ""
        last = max((row["step"] for row in self.state["history"]), default=0)
        return UserError(
            f"Training broke down at step {self.state['step']}: {what}, on questions {ids}{more}. The best weights so "
            f"far (step {self.state['best_step']} of {last} recorded) are kept in {str(self.work)!r}. Look at these "
            f"questions' pictures, or lower the rate, now {self.settings.learning_rate:g} (--learning-rate)."
        )

    def _training_mode(self) -> None:
        self.model.module.train()
        for part in self._kept_in_evaluation:
            part.training = False

    def _parts_kept_in_evaluation(self) -> list[torch.nn.Module]:
        """Return what keeps its statistics and drops nothing: batch norms, and a tower that is not trained."""
        trains_vision = any(self.model.group_of(name) == "vision" for name in self.weights)
        return [
            part
            for name, part in self.model.module.named_modules()
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)
            or (self.model.group_of(name) == "vision" and not trains_vision)
        ]

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._autocast_type is None:
            return nullcontext()
        context: AbstractContextManager[Any] = torch.autocast(self.model.device.type, self._autocast_type)
        return context

    def _loss(self, batch: Sequence[Sample]) -> Tensor:
        images = sorted({sample.image for sample in batch})
        place = {image: position for position, image in enumerate(images)}
        return self.model.loss(
            self.source.features(images),
            [Query(sample.question, (place[sample.image],)) for sample in batch],
            [sample.answer for sample in batch],
        )

    def evaluate(self) -> Evaluation:
        """Answer the validation questions and compare; the loss is over the answers that can be learned."""
        self.model.module.eval()
        right, loss_sum, measured = 0, 0.0, 0
        with torch.no_grad(), self._autocast():
            for block in _by_images(self.validation, _IMAGES_AN_EVALUATION):
                images = sorted({sample.image for sample in block})
                place = {image: position for position, image in enumerate(images)}
                features = self.source.features(images)
                queries = [
                    Query(sample.question, (place[sample.image],), candidates=self._candidates) for sample in block
                ]
                answers = [sample.answer for sample in block]
                found = answer_in_batches(self.model, features, queries, Decoding(top_k=1), self._answered_at_once)
                right += sum(
                    bool(best) and normalize_answer(best[0].text) == normalize_answer(answer)
                    for best, answer in zip(found, answers, strict=True)
                )
                rows = [row for row, yes in enumerate(self.model.learnable(answers)) if yes]
                for start in range(0, len(rows), self.settings.batch_size):
                    some = rows[start : start + self.settings.batch_size]
                    asked = [queries[row]._replace(candidates=()) for row in some]
                    loss = self.model.loss(features, asked, [answers[row] for row in some])
                    loss_sum += float(loss) * len(some)
                    measured += len(some)
        return Evaluation(loss_sum / measured if measured else None, right / len(self.validation))

    def _record(self, evaluation: Evaluation | None) -> None:
        """Add a row to the history; keep the weights if they are the best so far (of equals, the earlier)."""
        state = self.state
        state["history"].append(
            {
                "step": state["step"],
                "epoch": state["epoch"] + state["position"] / len(self._batches(state["epoch"])),
                "train_loss": state["loss_sum"] / state["loss_count"] if state["loss_count"] else None,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "validation_loss": evaluation.loss if evaluation else None,
                "validation_exact_match": evaluation.exact_match if evaluation else None,
                "seconds": round(state["seconds"], 3),
            }
        )
        state["loss_sum"], state["loss_count"] = 0.0, 0
        if evaluation is None:
            return
        if evaluation.exact_match > state["best"]:
            save_weights(self.work, state["step"], {name: weight.detach() for name, weight in self.weights.items()})
            state.update(best=evaluation.exact_match, best_step=state["step"], since_best=0)
        else:
            state["since_best"] += 1

    def _checkpoint(self) -> None:
        save_checkpoint(
            self.work,
            {
                "state": self.state,
                "weights": {name: weight.detach() for name, weight in self.weights.items()},
                "optimizer": self.optimizer.state_dict(),
                "scaler": self._scaler.state_dict(),
            },
        )
        forget_weights(self.work, but=self.state["best_step"])

    def _restore(self) -> bool:
        found = load_checkpoint(self.work)
        if found is None or found["weights"].keys() != self.weights.keys():
            return False
        self.state = found["state"]
        self._load(found["weights"])
        self.optimizer.load_state_dict(found["optimizer"])
        self._scaler.load_state_dict(found["scaler"])
        return True

    def _load(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(weights[name])


def _by_images(samples: Sequence[Sample], images: int) -> Iterator[list[Sample]]:
    """Yield runs of samples, sorted by picture, that are about at most `images` pictures."""
    block: list[Sample] = []
    seen: set[int] = set()
    for sample in samples:
        if sample.image not in seen and len(seen) == images:
            yield block
            block, seen = [], set()
        block.append(sample)
        seen.add(sample.image)
    if block:
        yield block


def _arithmetic(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the type to compute in under autocast; None is plain float32."""
    if precision == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
