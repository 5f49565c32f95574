"""Where each weight lies in a checkpoint's `model.safetensors`, and what tells whether a graph was made for it.

The file begins with 8 bytes for the length of a JSON header, which names each tensor's type, shape and place; the
numbers follow. So graphs can point at the weights, and nothing needs to be stored twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from shelfqa.errors import InputError

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
_NOT_IN_SHAPES = ("num_attention_heads", "layer_norm_eps", "image_side_px", "vision_stages")
"""What of the configuration a graph depends on and the shapes of the weights do not show."""


class Place(NamedTuple):
    """One tensor of the file."""

    dtype: str
    """As safetensors calls it: F16, F32, BF16, I64."""
    shape: tuple[int, ...]
    offset: int
    """Bytes from the beginning of the file."""
    length: int
    """Bytes."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return what the checkpoint's configuration says.

    Raises:
        InputError: if it is missing, broken, or another model's.

    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"no {CONFIG_FILE} in {str(folder)!r}: give a folder with a checkpoint of mini.") from None
    except ValueError as error:
        raise InputError(f"{CONFIG_FILE} in {str(folder)!r} is broken ({error}): write the checkpoint again.") from None
    if not isinstance(config, dict) or config.get("model_type") != "shelfqa-mini":
        raise InputError(f"{str(folder)!r} holds no checkpoint of mini: its model_type is another.")
    return config


def read_places(folder: Path) -> dict[str, Place]:
    """Return where each tensor of the checkpoint's weights lies.

    Raises:
        InputError: if the file is missing or broken.

    """
    header = _header(folder)
    start = _LENGTH_BYTES + len(header)
    return {
        name: Place(
            entry["dtype"],
            tuple(entry["shape"]),
            start + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in json.loads(header).items()
        if name != "__metadata__"
    }


def fingerprint(folder: Path, config: Mapping[str, Any]) -> str:
    """Return a digest of all that a graph takes for granted: names, types, shapes and places of weights, and sizes.

    Other weights in the same places leave it as it is, and a graph that points at them stays right.

    Raises:
        InputError: if the weights are missing or broken.

    """
    digest = hashlib.sha256(_header(folder))
    digest.update(json.dumps([config.get(name) for name in _NOT_IN_SHAPES]).encode())
    return digest.hexdigest()[:16]


def _header(folder: Path) -> bytes:
    try:
        with (folder / WEIGHTS_FILE).open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = file.read(length) if length <= _MAX_HEADER_BYTES else b""
    except OSError:
        raise InputError(f"no {WEIGHTS_FILE} in {str(folder)!r}: give a folder with a checkpoint of mini.") from None
    if len(header) != length or not header.startswith(b"{"):
        raise InputError(f"{WEIGHTS_FILE} in {str(folder)!r} is broken: write the checkpoint again.")
    return header
