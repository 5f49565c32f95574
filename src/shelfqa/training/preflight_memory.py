"""How much memory some work takes, and how much is there; GB are 10^9 bytes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from shelfqa.machine import available_memory_mb
from shelfqa.training.run_card import peak_resident_bytes

_PROCESS = Path("/proc/self")
_FORGET_PEAK = "5"
_ADAMW_BYTES = 8
"""Two float32 numbers a weight."""


class MemoryWatch:
    """Tells what is taken at most from its making on: of a GPU by torch in all, else beside what was taken before."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.available_gb = available_gb(device)
        """What was there to take at the beginning; None where the system does not tell."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            return
        with suppress(OSError):  # else the peak counts from the process's start, and the rise is at most what is told
            (_PROCESS / "clear_refs").write_text(_FORGET_PEAK)
        self._before = _resident_bytes("VmRSS")

    def peak_gb(self) -> float | None:
        """Return the most that was taken; None where the system does not tell."""
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device) / 1e9)
        peak = _resident_bytes("VmHWM")
        if peak is None or self._before is None:
            return None
        return max(0, peak - self._before) / 1e9


def available_gb(device: torch.device) -> float | None:
    """Return the memory that a step can have; None where the system does not tell."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return (free + int(torch.cuda.memory_reserved(device))) / 1e9
    left = available_memory_mb() if device.type == "cpu" else None
    return None if left is None else left / 1e3


def optimizer_gb(weights: Iterable[Tensor]) -> float:
    """Return what AdamW keeps of the weights that it trains."""
    return float(sum(weight.numel() for weight in weights) * _ADAMW_BYTES / 1e9)


def _resident_bytes(field: str) -> int | None:
    """Return a field of the process's memory; where there is no /proc, the peak for both, so that a rise shows."""
    try:
        for line in (_PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return peak_resident_bytes()
