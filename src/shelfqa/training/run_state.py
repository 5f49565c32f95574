"""How far a run has come: its place in the data, its history, the best weights; what it resumes from."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shelfqa.errors import UserError
from shelfqa.training.checkpoint import (
    forget_weights,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from shelfqa.training.distributed import Processes
from shelfqa.training.evaluation import Evaluation
from shelfqa.training.faults import DivergenceWatch
from shelfqa.training.optimisation import LossScale
from shelfqa.training.run_card import peak_memory_bytes
from shelfqa.training.sharding import like, whole
from shelfqa.training.trackers import Trackers


class RunState:
    """Counts, records and keeps; each process counts for itself, the first one writes."""

    def __init__(self, work: Path, processes: Processes, *, scales_loss: bool) -> None:
        """Begin at step 0, with what is kept in the folder `work`."""
        self.work = work
        self.scale = LossScale(enabled=scales_loss)
        self.watch = DivergenceWatch()
        self.values: dict[str, Any] = {
            "step": 0, "epoch": 0, "position": 0, "history": [], "best_step": 0, "best": -1.0, "best_loss": math.inf,
            "since_best": 0,
            "loss_sum": 0.0, "loss_count": 0, "stopped": False,
            "seconds": 0.0, "evaluation_seconds": 0.0, "samples": 0, "peak_memory_bytes": 0,
        }  # fmt: skip
        self._processes = processes
        self._trackers: Trackers | None = None
        self._weights: Mapping[str, Tensor] = {}
        self._optimizer: torch.optim.Optimizer | None = None
        self._started = time.monotonic()

    def begin(self, trackers: Trackers | None) -> None:
        """Let the time run from now on, and tell `trackers` what is recorded."""
        self._trackers = trackers
        self._started = time.monotonic()

    def holds(self, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Take what is to be kept of the model: the weights that are trained, whole or in shards."""
        self._weights = weights
        self._optimizer = optimizer

    def count(self, loss: float, samples: int) -> None:
        """Take note of a step."""
        values = self.values
        values["loss_sum"] += loss
        values["loss_count"] += 1
        values["samples"] += samples
        self.measure()

    def measure(self) -> None:
        """Take note of the time and of the peak of memory; who else measures a GPU's makes torch forget it."""
        values = self.values
        values["seconds"] = time.monotonic() - self._started
        values["peak_memory_bytes"] = max(values["peak_memory_bytes"], peak_memory_bytes())

    def record(self, epoch: float, rate: float, evaluation: Evaluation | None) -> None:
        """Add a row to the history; keep the weights if they are the best so far.

        Best is the highest exact match and, of equals, the lowest loss: a model that is far from its first right
        answer gets nearer to it all the same.
        """
        values = self.values
        match = evaluation.exact_match if evaluation else None
        row = {
            "step": values["step"],
            "epoch": epoch,
            "train_loss": values["loss_sum"] / values["loss_count"] if values["loss_count"] else None,
            "learning_rate": rate,
            "validation_loss": evaluation.loss if evaluation else None,
            "validation_exact_match": match.mean if match else None,
            "validation_exact_match_low": match.low if match else None,
            "validation_exact_match_high": match.high if match else None,
            "seconds": round(values["seconds"], 3),
        }
        values["history"].append(row)
        values["loss_sum"], values["loss_count"] = 0.0, 0
        if self._trackers is not None:
            self._trackers.log(row)
        if evaluation is None or match is None:
            return
        loss = evaluation.loss if evaluation.loss is not None and math.isfinite(evaluation.loss) else math.inf
        best = values["best"], -values["best_loss"]
        if (match.mean, -loss) > best:
            weights = self._whole_weights()
            with self._processes.together():
                if self._processes.leads:
                    save_weights(self.work, values["step"], weights)
            values.update(best=match.mean, best_loss=loss, best_step=values["step"], since_best=0)
        else:
            values["since_best"] += 1

    def _whole_weights(self) -> dict[str, Tensor]:
        return {name: whole(weight.detach()) for name, weight in self._weights.items()}

    def save(self) -> None:
        """Write all that the run needs to go on from here.

        Raises:
            StorageError: if the disk is full; what was written last is as it was.

        """
        assert self._optimizer is not None
        state = {
            "values": self.values,
            "weights": self._whole_weights(),
            "optimizer": whole(self._optimizer.state_dict()),
            "scale": self.scale.state(),
            "watch": self.watch.state,
        }
        with self._processes.together():
            if self._processes.leads:
                save_checkpoint(self.work, state)
                forget_weights(self.work, but=self.values["best_step"])

    def restore(self) -> bool:
        """Go on from what was saved last; return False if there is nothing.

        Raises:
            UserError: if not all processes find it.

        """
        with self._processes.together():
            found = load_checkpoint(self.work)
            fits = found is not None and found["weights"].keys() == self._weights.keys()
        steps = self._processes.gather(found["values"]["step"] if found is not None and fits else None)
        if len(set(steps)) > 1:
            raise UserError(
                f"The processes find different checkpoints in {str(self.work)!r}: --out has to be a folder that all "
                "machines share."
            )
        if found is None or not fits:
            return False
        self.values = found["values"]
        self.scale.restore(found["scale"])
        self.watch = DivergenceWatch(found["watch"])
        self._load(found["weights"])
        self._load_optimizer(found["optimizer"])
        self._started -= self.values["seconds"]
        if self._trackers is not None:
            for row in self.values["history"]:
                self._trackers.log(row)
        return True

    def load_best(self) -> None:
        """Give the model the best weights so far, if any have been kept."""
        if self.values["best"] >= 0:
            self._load(load_weights(self.work, self.values["best_step"]))

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(like(weights[name], weight))

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        assert self._optimizer is not None
        ordered = [weight for group in self._optimizer.param_groups for weight in group["params"]]
        for number, kept in state["state"].items():
            for name, value in kept.items():
                kept[name] = like(value, ordered[number])
        self._optimizer.load_state_dict(state)
