"""Several processes that train together, as `accelerate launch` or `torchrun` start them.

Each takes its share of every batch; gradients are summed once a step, after the accumulation, which is what DDP does
(Li et al. 2020, arXiv 2006.15704) but for its overlap with the backward pass. In return nothing is exchanged while a
process computes: before each exchange all say whether they got that far, so that one that fails stops all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from shelfqa.errors import ShelfqaError, UserError
from shelfqa.machine import Share, process_share
from shelfqa.progress import Tick, progress

T = TypeVar("T")

_TO_MEET = timedelta(minutes=10)
_TO_WAIT = timedelta(days=2)
"""How long a process waits for the others, for example while they encode or evaluate more than it does."""
_NUMBERS_AT_ONCE = 1 << 24
"""Of the gradients that are exchanged in one tensor."""


class Processes:
    """The processes that train together; one alone exchanges nothing."""

    def __init__(self, share: Share, control: Any = None) -> None:
        """Take this process's share of the work, and the group in which all exchange numbers on the CPU."""
        self.rank = share.rank
        self.number = share.processes
        self._control = control

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files, shows progress and tells what went wrong."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.number == 1

    def progress(self, label: str, total: int, *, done: int = 0) -> AbstractContextManager[Tick]:
        """Show progress as `shelfqa.progress` does, in the first process."""
        return progress(label, total, done=done) if self.leads else nullcontext(_no_tick)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait at the end until all have got there; if one fails, all stop, and the first tells why.

        What is exchanged inside has to be inside of another `together`.
        """
        if self.alone:
            yield
            return
        problem: Exception | None = None
        try:
            yield
        except Exception as error:
            problem = error
        self._stop_if_any(problem)

    def _stop_if_any(self, problem: Exception | None) -> None:
        if self.sum([float(problem is not None)]) == [0.0]:
            return
        told = str(problem) if isinstance(problem, ShelfqaError) else f"{type(problem).__name__}: {problem}"
        problems = self.gather(told if problem is not None else None)
        if problem is not None and (self.leads or not isinstance(problem, ShelfqaError)):
            raise problem
        if not self.leads:
            raise SystemExit(UserError.exit_code)
        rank, first = next((rank, text) for rank, text in enumerate(problems) if text is not None)
        raise UserError(f"Process {rank} of {self.number} stopped. {first}")

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of the numbers of all processes, the same in each."""
        if self.alone:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        with _others_may_be_gone():
            dist.all_reduce(total, group=self._control)
        summed: list[float] = total.tolist()
        return summed

    def all(self, yes: bool) -> bool:
        """Return whether all processes say yes."""
        return self.sum([float(yes)]) == [float(self.number)]

    def gather(self, value: T) -> list[T]:
        """Return what each process has, in their order."""
        found: list[T] = [value] * self.number
        if not self.alone:
            with _others_may_be_gone():
                dist.all_gather_object(found, value, group=self._control)
        return found

    def begin_alike(self, weights: Iterable[Tensor]) -> None:
        """Give all processes the weights of the first, whatever made theirs a little different."""
        for weight in weights if not self.alone else ():
            with torch.no_grad(), _others_may_be_gone():
                dist.broadcast(weight.detach(), 0)

    def add_gradients(self, weights: Iterable[Tensor]) -> None:
        """Replace each weight's gradient by the sum of those of all processes; where none has one, none gets one."""
        some: list[Tensor] = []
        for weight in weights if not self.alone else ():
            some.append(weight)
            if sum(one.numel() for one in some) >= _NUMBERS_AT_ONCE:
                _add_gradients(some)
                some = []
        if some:
            _add_gradients(some)


def _add_gradients(weights: Sequence[Tensor]) -> None:
    there = weights[0].new_tensor([weight.grad is not None for weight in weights], dtype=torch.float32)
    parts = [
        (weight.grad if weight.grad is not None else torch.zeros_like(weight)).flatten().float() for weight in weights
    ]
    flat = torch.cat([*parts, there])
    with _others_may_be_gone():
        dist.all_reduce(flat)
    *summed, there = flat.split([*(weight.numel() for weight in weights), len(weights)])
    for weight, gradient, present in zip(weights, summed, there.tolist(), strict=True):
        weight.grad = gradient.view_as(weight).to(weight.dtype) if present else None


def _no_tick(done: int, note: str = "") -> None:
    """Show nothing."""


ALONE = Processes(Share())


def launched_for_fsdp() -> bool:
    """Say whether `accelerate launch` was told to use FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true", "yes")


@contextmanager
def meet(device: torch.device) -> Iterator[Processes]:
    """Give the processes that the launcher started; they part when all is done.

    Raises:
        UserError: if the others do not come, or the environment does not say where to meet.

    """
    share = process_share()
    if share.processes == 1:
        yield ALONE
        return
    if not dist.is_initialized():
        lacking = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if lacking:
            raise UserError(f"{lacking[0]} is not set: start several processes with `accelerate launch` or `torchrun`.")
        try:
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_TO_MEET)
        except RuntimeError as error:
            raise UserError(
                f"{share.processes} processes were to meet and did not in {_TO_MEET.seconds // 60} minutes: "
                f"{' '.join(str(error).split())[:200]}"
            ) from None
    with _others_may_be_gone():
        control = dist.new_group(backend="gloo", timeout=_TO_WAIT)
    yield Processes(share, control)
    dist.destroy_process_group()


@contextmanager
def _others_may_be_gone() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"Another process is gone ({' '.join(str(error).split())[:120]}): look for what it said, then run the same "
            "command again; it goes on from the last checkpoint."
        ) from None
