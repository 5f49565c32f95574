"""Trains in one process, in two, and in two that fail, one after another. Not a test itself.

python paired_run.py QUESTIONS FOLDER MODEL     writes FOLDER/NAME for each run, and what each process says
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from shelfqa.errors import UserError
from shelfqa.models.loading import load_model
from shelfqa.stages import train as stage
from shelfqa.training import features
from shelfqa.training.trainer import Trainer

IMPORTED = ("shelfqa.models.lora", "shelfqa.training.preflight", "pyarrow.parquet", "torch.distributed.fsdp")
"""What the children need, read once."""
Plant = Callable[[int, int], None]
"""Called with rank and step before each batch."""


def killed(rank: int, step: int) -> None:
    """Kill one of them in a step."""
    if rank == 1 and step == 5:
        os.kill(os.getpid(), signal.SIGKILL)


def at_fault(rank: int, step: int) -> None:
    """Let one of them meet a fault of ours."""
    if rank == 1 and step == 3:
        raise RuntimeError("a fault of ours")


def mistaken(rank: int, step: int) -> None:
    """Let one of them meet what the user can mend."""
    if rank == 1 and step == 3:
        raise UserError("picture 7 is gone.")


def run(questions: Path, out: Path, model: str, processes: int, plant: Plant | None = None, **way: Any) -> str:
    """Train in forks of this process; return their exit codes, and how many seconds passed between the two ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
            with Path(f"{out}-{rank}.txt").open("w") as told:
                os.dup2(told.fileno(), 2)
                os._exit(train(questions, out, model, rank, plant, **way))
        children.append(child)
    codes, ends = {}, []
    for _ in children:
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
        ends.append(time.monotonic())
    return f"{out.name} {' '.join(str(codes[child]) for child in children)} {ends[-1] - ends[0]:.0f}"


def train(questions: Path, out: Path, model: str, rank: int, plant: Plant | None, **way: Any) -> int:
    """Train as the command line does; return its exit code."""
    if plant is not None:
        plain: Any = Trainer._backward

        def planted(self: Trainer, *arguments: Any, **more: Any) -> float:
            plant(rank, self.state["step"])
            loss: float = plain(self, *arguments, **more)
            return loss

        Trainer._backward = planted  # type: ignore[method-assign]
    if way.pop("unlike", False) and rank == 1:
        plain_run: Any = Trainer.run

        def run_otherwise(self: Trainer, *arguments: Any) -> Any:
            with torch.no_grad():
                for weight in self.weights.values():
                    weight.mul_(1.5)
            return plain_run(self, *arguments)

        Trainer.run = run_otherwise  # type: ignore[method-assign, assignment]
    few = way.pop("few", False)
    config = stage.TrainConfig(
        model=model,
        preset="lora",
        learning_rate=0.01,
        dropout=0.0,
        batch_size=1 if few else 8,
        epochs=2,
        max_steps=4 if few else None,
        checkpoint_every=2,
    )
    wanted = stage.Way(device="cpu", trial_steps=False, **way)
    try:
        if rank:
            stage.train_share(questions, out, config, wanted)
        else:
            stage.train(questions, out, config, **wanted._asdict())
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    except SystemExit as error:
        return int(str(error.code))
    return 0


def main() -> None:
    torch.set_num_threads(1)
    vars(features)["_IMAGES_A_PART"] = 4
    questions, folder, model = (Path(argument) for argument in sys.argv[1:])
    load_model(str(model), device="cpu")
    for name in IMPORTED:
        importlib.import_module(name)
    for name, processes, plant, way in (
        ("one", 1, None, {}),
        ("ddp", 2, None, {}),
        ("unlike", 2, None, {"unlike": True}),
        ("fsdp", 2, None, {"parallel": "fsdp"}),
        ("broken", 2, killed, {}),
        ("broken", 2, None, {}),
        ("shards", 2, killed, {"parallel": "fsdp"}),
        ("shards", 1, None, {}),
        ("few", 1, None, {"few": True}),
        ("few-ddp", 2, None, {"few": True}),
        ("few-fsdp", 2, None, {"few": True, "parallel": "fsdp"}),
        ("at-fault", 2, at_fault, {}),
        ("mistaken", 2, mistaken, {}),
    ):
        print(run(questions, folder / name, str(model), processes, plant, **way), flush=True)


if __name__ == "__main__":
    main()
