"""What this machine has: processors, memory and disk, as far as the system tells. MB are 10^6 bytes."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from pathlib import Path
from typing import NamedTuple

from shelfqa.errors import UserError

_SYSTEM = Path("/")
_NO_LIMIT_BYTES = 1 << 60
"""Version 1 of control groups says "no limit" with a number near 2^63."""

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""The numbers of glibc's `mallopt`."""


def processors() -> int:
    """Return how many processors this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_mb() -> int | None:
    """Return the machine's memory in megabytes of 10^6 bytes, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000
    except (AttributeError, ValueError, OSError):
        return None


def memory_limit_mb(system: Path = _SYSTEM) -> int | None:
    """Return the least memory that a container or control group allows this process, or None where none does.

    Args:
        system: the root of the file system, for tests.

    """
    limits = [limit for limit, _ in _control_groups(system)]
    return min(limits) // 1_000_000 if limits else None


def available_memory_mb(system: Path = _SYSTEM) -> int | None:
    """Return the memory that can be taken now: what the system has left, and what a container's limit leaves.

    Args:
        system: the root of the file system, for tests.

    """
    left = [limit - used for limit, used in _control_groups(system)]
    try:
        for line in (system / "proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                left.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError, IndexError):
        pass
    return max(min(left), 0) // 1_000_000 if left else None


def keep_freed_memory() -> bool:
    """Let C's allocator keep up to 1 GB that was freed, for a model that runs on a CPU; return whether it does.

    glibc gives each large block back at once, and the next operation on tensors has the system clear the same pages
    again, which took up to half the time of encoding pictures. Only glibc is told; who has set an allocator or its
    options by the environment is left alone.
    """
    set_by_user = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ)
    if set_by_user or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    if mallopt(_MMAP_THRESHOLD, 1 << 30) != 1:
        mallopt(_MMAP_THRESHOLD, 32 << 20)  # as much as older versions allow
    return all(mallopt(option, value) == 1 for option, value in ((_TRIM_THRESHOLD, 1 << 30), (_TOP_PAD, 64 << 20)))


def disk_free_mb(folder: Path) -> int | None:
    """Return the free space where `folder` is or would be made, or None where the system does not tell."""
    for place in (folder, *folder.resolve().parents):
        try:
            return shutil.disk_usage(place).free // 1_000_000
        except OSError:
            continue
    return None


def _control_groups(system: Path) -> list[tuple[int, int]]:
    """Return limit and use, in bytes, of each control group of memory that holds this process and sets a limit."""
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        number, controllers, name = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            root, limit, used = system / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            root, limit, used = system / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        inside = Path(name.strip("/"))
        for group in (root / inside, *(root / parent for parent in inside.parents)):
            at_most = _number(group / limit)
            if at_most is not None and at_most < _NO_LIMIT_BYTES:
                found.append((at_most, _number(group / used) or 0))
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def cache_folder() -> Path | None:
    """Return where what is costly to compute is kept between runs, None where `SHELFQA_CACHE` is off."""
    if os.environ.get("SHELFQA_CACHE", "").strip().lower() in ("off", "0", "no", "false"):
        return None
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shelfqa"


class Share(NamedTuple):
    """Which of several processes this one is."""

    rank: int = 0
    processes: int = 1
    rank_on_machine: int = 0


def process_share() -> Share:
    """Return what `accelerate launch` or `torchrun` says of this process; one process where they say nothing.

    Raises:
        UserError: if what they say is no share.

    """
    try:
        share = Share(*(int(os.environ.get(name, default)) for name, default in _LAUNCHER_VARIABLES.items()))
    except ValueError:
        share = Share(-1)
    if not 0 <= share.rank < share.processes:
        raise UserError(
            "The environment variables RANK and WORLD_SIZE tell no share of work: start with `accelerate launch`, or "
            "unset them."
        )
    return share


_LAUNCHER_VARIABLES = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
