"""How long a command runs and how much memory it and its children take."""

from __future__ import annotations

import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil

_SAMPLE_EVERY_S = 0.05


class Measured(NamedTuple):
    """One run of a command and its children.

    `seconds` is wall time, `cpu_seconds` what all its processes spent computing, `peak_mb` in megabytes of 10^6 bytes.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    messages: str


class CommandFailedError(Exception):
    """A measured command did not end with 0; the text holds what it said last."""


def measure(command: Sequence[str]) -> Measured:
    """Run a command to its end and return its wall time and the peak memory of its process tree.

    Memory is the sum of the proportional set sizes (pages shared by processes count once) where the system tells
    them, else of the resident set sizes, sampled every 50 ms.

    Raises:
        CommandFailedError: if the command fails.

    """
    with tempfile.TemporaryFile() as messages:
        cpu_before = _children_cpu_seconds()
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=messages, stderr=subprocess.STDOUT)
        watch = _Watch(process.pid)
        watch.start()
        code = process.wait()
        seconds = time.perf_counter() - start
        watch.stop()
        cpu_seconds = _children_cpu_seconds() - cpu_before
        messages.seek(0)
        said = messages.read().decode("utf-8", "replace")
    if code:
        raise CommandFailedError(f"{' '.join(command)}\nended with {code}:\n{said[-2000:]}")
    return Measured(seconds, cpu_seconds, watch.peak_bytes / 1e6, said)


def _children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Watch(threading.Thread):
    """Samples the memory of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._root = pid
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample until told to stop."""
        while not self._ended.wait(_SAMPLE_EVERY_S):
            self.peak_bytes = max(self.peak_bytes, _tree_bytes(self._root))

    def stop(self) -> None:
        """End the sampling."""
        self._ended.set()
        self.join()


def _tree_bytes(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_process_bytes(process) for process in tree)


def _process_bytes(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.rss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except (psutil.Error, OSError):
        return 0
