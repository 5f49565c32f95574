"""Runs `train` in children that kill themselves at the steps given, until one finishes. Not a test itself.

python killed_run.py QUESTIONS OUT MODEL STEP…      a step below 0: while the checkpoint of that step is written
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from shelfqa import artifacts
from shelfqa.models.loading import load_model
from shelfqa.stages.train import TrainConfig, train
from shelfqa.training import checkpoint
from shelfqa.training.trainer import Trainer


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(step: int) -> None:
    """Arrange for this process to be killed within `step`, or in the middle of writing the checkpoint of `-step`."""
    plain_backward: Any = Trainer._backward
    seen = [0, 0]

    def counted(self: Trainer, *arguments: Any) -> float:
        seen[1] = seen[1] + 1 if seen[0] == self.state["step"] else 1
        seen[0] = self.state["step"]
        if seen == [step, 2]:  # between the batches of a step
            die()
        loss: float = plain_backward(self, *arguments)
        return loss

    def half_written(path: Path, data: bytes) -> None:
        if step < 0 and seen[0] >= -step:
            path.with_name(path.name + ".partial").write_bytes(data[: len(data) // 2])
            die()
        artifacts.write_atomically(path, data)

    Trainer._backward = counted  # type: ignore[assignment, method-assign]
    vars(checkpoint)["write_atomically"] = half_written


def main() -> None:
    torch.set_num_threads(1)
    questions, out, model, *steps = sys.argv[1:]
    config = TrainConfig(
        model=model,
        preset="lora",
        learning_rate=0.01,
        dropout=0.1,
        batch_size=4,
        accumulation=2,
        epochs=6,
        checkpoint_every=2,
        patience=9,
    )
    load_model(model, device="cpu")
    for name in ("shelfqa.models.lora", "shelfqa.training.preflight", "pyarrow.parquet"):
        importlib.import_module(name)  # what the children need
    for step in [int(text) for text in steps] or [0]:
        child = os.fork()
        if child == 0:
            if step:
                die_at(step)
            train(Path(questions), Path(out), config, device="cpu")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(step, "killed" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}")


if __name__ == "__main__":
    main()
