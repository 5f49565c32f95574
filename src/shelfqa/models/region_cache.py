"""Region features of pictures on disk, so that a tower sees a picture once, whatever run asks for it.

They lie in `shelfqa/regions` of the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`): a folder for each tower,
in it a `.npy` file of float32 numbers for each picture, about 300 kB with 36 regions of 2,048 channels. Files appear
whole or not at all, so any number of processes may share them and be killed. What was not used for longest is removed
once all files pass `MAX_CACHE_BYTES`. `SHELFQA_CACHE=off` keeps nothing; what cannot be written is not kept either, and
the run goes on.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_CACHE_BYTES = 8 << 30
"""About 28,000 pictures with 36 regions of 2,048 channels."""

_KEPT_SHARE = 0.9
"""How much of `MAX_CACHE_BYTES` is left when files are removed."""
_WRITES_A_SWEEP = 1000
_STALE_S = 3600.0
"""An unfinished file of this age is a killed process's."""


class RegionCache:
    """Arrays by tower and picture; several threads and processes may use one folder."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_CACHE_BYTES) -> None:
        """Keep at most about `max_bytes` in `folder`, which is made when something is kept."""
        self.folder = folder
        self.max_bytes = max_bytes
        self._writes = 0
        self._lock = Lock()

    def get(self, tower: str, picture: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
        """Return what was kept for a picture, None if nothing of this shape was."""
        file = self._file(tower, picture)
        try:
            found: NDArray[Any] = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != np.float32:
            return None
        with suppress(OSError):
            os.utime(file)  # the time of use, by which files are removed
        return found

    def keep(self, tower: str, picture: str, array: NDArray[np.float32]) -> None:
        """Write a picture's array."""
        file = self._file(tower, picture)
        partial = file.with_name(f"{file.name}.{os.getpid()}-{get_ident()}.partial")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                np.save(stream, array, allow_pickle=False)
            partial.replace(file)
        except OSError:  # a full disk or a folder that is not ours: the features are in memory all the same
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            return
        with self._lock:
            self._writes += 1
            sweeps = self._writes % _WRITES_A_SWEEP == 1
        if sweeps:
            self.sweep()

    def sweep(self) -> None:
        """Remove what was not used for longest if there is too much, and what killed processes left unfinished."""
        files: list[tuple[float, int, Path]] = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                file = Path(folder, name)
                try:
                    status = file.stat()
                    if name.endswith(".npy"):
                        files.append((status.st_mtime, status.st_size, file))
                    elif name.endswith(".partial") and time.time() - status.st_mtime > _STALE_S:
                        file.unlink()
                except OSError:  # another process was faster
                    continue
        total = sum(size for _, size, _ in files)
        if total <= self.max_bytes:
            return
        for _, size, file in sorted(files):
            if total <= _KEPT_SHARE * self.max_bytes:
                return
            try:
                file.unlink(missing_ok=True)
            except OSError:
                continue
            total -= size

    def _file(self, tower: str, picture: str) -> Path:
        return self.folder / tower / picture[:2] / f"{picture}.npy"
