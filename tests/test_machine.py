"""What the machine and a container's limits say, read from files that a test writes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from shelfqa.installation import extras, version_of
from shelfqa.machine import available_memory_mb, disk_free_mb, memory_limit_mb, memory_mb, processors


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable:    8000000 kB\n"}


def test_this_machine_tells() -> None:
    assert processors() >= 1
    total, free = memory_mb(), available_memory_mb()
    assert total is None or free is None or 0 < free <= total
    assert (disk_free_mb(Path.cwd() / "not" / "made" / "yet") or 1) > 0


def test_without_limits_the_system_counts(tmp_path: Path) -> None:
    root = system(tmp_path, MEMINFO | {"proc/self/cgroup": "0::/\n"})
    assert memory_limit_mb(root) is None
    assert available_memory_mb(root) == 8192


def test_the_least_limit_of_version_2_counts(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/pods/one"
    root = system(
        tmp_path,
        MEMINFO
        | {
            "proc/self/cgroup": "0::/pods/one\n",
            f"{group}/memory.max": "max\n",
            "sys/fs/cgroup/pods/memory.max": "4000000000\n",
            "sys/fs/cgroup/pods/memory.current": "1000000000\n",
        },
    )
    assert memory_limit_mb(root) == 4000
    assert available_memory_mb(root) == 3000


def test_version_1_and_its_number_for_no_limit(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory"
    files = MEMINFO | {
        "proc/self/cgroup": "5:cpu:/\n4:memory:/box\nbroken\n",
        f"{folder}/box/memory.limit_in_bytes": "2000000000",
        f"{folder}/box/memory.usage_in_bytes": "2500000000",
        f"{folder}/memory.limit_in_bytes": "9223372036854771712",
    }
    root = system(tmp_path, files)
    assert memory_limit_mb(root) == 2000
    assert available_memory_mb(root) == 0


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert memory_limit_mb(tmp_path) is None
    assert available_memory_mb(tmp_path) is None


def test_extras_are_read_from_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    declared = ["click>=8", "here>=2; extra == 'one'", "here<2; extra == 'old'", "absent; extra == 'one'",
                "shelfqa[one]; extra == 'all'", "elsewhere; sys_platform == 'none' and extra == 'one'"]  # fmt: skip
    versions = {"here": "2.5"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    class Metadata:
        def get_all(self, key: str) -> list[str]:
            return ["one", "old", "all"]

    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared)
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: Metadata())
    monkeypatch.setattr(importlib.metadata, "version", version)
    found = extras()
    assert found["one"].missing == ("absent",)
    assert found["old"].missing == ("here<2 (has 2.5)",)
    assert found["all"].missing == ()
    assert found["one"].install == "pip install 'shelfqa[one]'"
    assert version_of("absent") is None


FAULTS = """
import resource
import sys
import numpy as np
from shelfqa.machine import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work(): [np.ones(3_000_000) for _ in range(6)]
work()
before = faults()
for _ in range(5):
    work()
print(kept, faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_kept_unless_the_user_has_a_say() -> None:
    def told(way: str, **more: str) -> list[str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "LD_PRELOAD"))}
        done = subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, env=plain | more)
        return done.stdout.split()

    kept, few = told("keep")
    _, many = told("plain")
    assert kept == "True"
    assert int(few) < int(many) / 4
    assert told("keep", MALLOC_ARENA_MAX="2")[0] == "False"
