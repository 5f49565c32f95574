"""The state of an unfinished run, written so that a kill at any moment leaves a whole one."""

from __future__ import annotations

import io
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shelfqa.artifacts import write_atomically
from shelfqa.errors import InputError
from shelfqa.progress import say

_LAST = "last.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` over the last checkpoint.

    Raises:
        StorageError: if the disk is full; the last checkpoint is as it was.

    """
    write_atomically(folder / _LAST, _to_bytes(state))


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the state that was saved last, None if there is none or it is broken, which is said."""
    path = folder / _LAST
    if not path.is_file():
        return None
    try:
        return _read(path)
    except InputError as error:
        say(f"{error} Training starts over.")
        return None


def save_weights(folder: Path, step: int, weights: dict[str, Tensor]) -> None:
    """Write the weights after `step` beside the checkpoint."""
    write_atomically(_weights_file(folder, step), _to_bytes(weights))


def load_weights(folder: Path, step: int) -> dict[str, Tensor]:
    """Return the weights that were saved after `step`.

    Raises:
        InputError: if they are gone or broken.

    """
    try:
        return _read(_weights_file(folder, step))
    except InputError as error:
        raise InputError(f"{error} Remove {str(folder)!r} and run again: training then starts over.") from None


def forget_weights(folder: Path, *, but: int) -> None:
    """Remove all weights but those of one step."""
    for path in folder.glob("best-*.pt"):
        if path != _weights_file(folder, but):
            path.unlink()


def _weights_file(folder: Path, step: int) -> Path:
    return folder / f"best-{step:07d}.pt"


def _to_bytes(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _read(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        why = " ".join(str(error).split())[:80] or type(error).__name__
        raise InputError(f"The checkpoint {str(path)!r} cannot be read ({why}).") from None
    return value


def random_state() -> dict[str, Any]:
    """Return the state of all random numbers."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(name), [int(key) for key in keys], int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put random numbers back to where `random_state` found them."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
