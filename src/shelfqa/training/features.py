"""Where training takes vision features from: computed once and kept on disk, or computed in every step."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shelfqa.artifacts import storage_errors, write_atomically
from shelfqa.errors import InputError
from shelfqa.models.base import Features, VqaModel
from shelfqa.models.batching import BatchSize, decode_ahead, encode_in_batches
from shelfqa.progress import progress

MAX_CACHE_BYTES = 16 << 30
"""Features that would take more than this on disk are computed in every step instead."""

_IMAGES_AT_ONCE = 16
_BATCHES_A_NOTE = 8


class FeatureSource(ABC):
    """Gives the vision features of pictures by their position in the list of pictures."""

    errors: dict[int, str]
    """Pictures that cannot be read, with the reason."""

    @abstractmethod
    def features(self, images: Sequence[int]) -> Features:
        """Return the features of the pictures at these positions, one entry each."""


class CachedFeatures(FeatureSource):
    """Features of a tower that is not trained, in a file of float32 numbers."""

    def __init__(self, file: Path, shape: tuple[int, ...], errors: dict[int, str]) -> None:
        self._values = np.memmap(file, dtype=np.float32, mode="r", shape=shape)
        self.errors = errors

    def features(self, images: Sequence[int]) -> Tensor:
        """Read them, [len(images), p, d]."""
        return torch.from_numpy(np.array(self._values[list(images)]))


class LiveFeatures(FeatureSource):
    """Features computed anew each time, with gradients where they are enabled."""

    def __init__(self, model: VqaModel, paths: Sequence[Path], errors: dict[int, str]) -> None:
        self._model = model
        self._paths = paths
        self.errors = errors

    def features(self, images: Sequence[int]) -> Features:
        """Decode and encode them."""
        pictures = []
        for image, decoded in zip(
            images, decode_ahead(self._model, [self._paths[image] for image in images]), strict=True
        ):
            if decoded.inputs is None:
                raise InputError(f"{str(self._paths[image])!r} could be read before and cannot now: {decoded.error}.")
            pictures.append(decoded.inputs)
        return self._model.encode(pictures)


def feature_source(model: VqaModel, paths: Sequence[Path], work: Path, *, trains_vision: bool) -> FeatureSource:
    """Return the features of the pictures at `paths`, from the disk unless the tower is trained or they are too many.

    Args:
        model: encodes; in evaluation mode.
        paths: the pictures.
        work: a folder that survives a kill; finished features are found there again.
        trains_vision: whether features change from step to step.

    Raises:
        StorageError: if the disk is full.

    """
    if not trains_vision:
        cached = _encode_to_disk(model, paths, work)
        if cached is not None:
            return cached
    errors = {}
    with progress("check pictures", len(paths)) as tick:
        for image, decoded in enumerate(decode_ahead(model, paths)):
            if decoded.error is not None:
                errors[image] = decoded.error
            tick(image + 1)
    return LiveFeatures(model, paths, errors)


def _encode_to_disk(model: VqaModel, paths: Sequence[Path], work: Path) -> CachedFeatures | None:
    """Write the features batch by batch; return None if they would be too large or have no one shape."""
    file, note_file = work / "features.bin", work / "features.json"
    note = _read_note(note_file)
    if note.get("images") != len(paths):
        note = {"images": len(paths), "done": 0, "shape": None, "errors": {}}
    if note["done"] < len(paths):
        with storage_errors(file):
            file.touch()
            with file.open("r+b") as stream:
                stream.truncate(note["done"] * 4 * int(np.prod(note["shape"] or [0])))
                stream.seek(0, 2)
                if not _append_features(model, paths, stream, note, note_file):
                    file.unlink()
                    return None
    if note["shape"] is None:
        raise InputError(f"None of the {len(paths)} pictures can be read: {next(iter(note['errors'].values()))}.")
    shape = (len(paths), *note["shape"])
    return CachedFeatures(file, shape, {int(image): error for image, error in note["errors"].items()})


def _append_features(
    model: VqaModel, paths: Sequence[Path], stream: Any, note: dict[str, Any], note_file: Path
) -> bool:
    decoded = decode_ahead(model, paths[note["done"] :])
    with progress("encode pictures", len(paths)) as tick:
        while batch := list(islice(decoded, _IMAGES_AT_ONCE)):
            pictures = [one.inputs for one in batch if one.inputs is not None]
            if pictures:
                found = encode_in_batches(model, pictures, BatchSize(_IMAGES_AT_ONCE))
                shape = tuple(note["shape"]) if note["shape"] else getattr(found[0], "shape", None)
                if not all(isinstance(one, Tensor) and one.shape == shape for one in found):
                    return False  # what is kept of a picture has no one shape
                encoded = torch.stack(found).float().cpu()
                if note["shape"] is None:
                    note["shape"] = list(encoded.shape[1:])
                    if 4 * encoded[0].numel() * len(paths) > MAX_CACHE_BYTES:
                        return False
                    stream.write(bytes(4 * encoded[0].numel() * note["done"]))  # the unreadable ones before it
                rows = iter(encoded)
                empty = torch.zeros(note["shape"])
                for one in batch:
                    stream.write((next(rows) if one.inputs is not None else empty).contiguous().numpy().tobytes())
            elif note["shape"] is not None:
                stream.write(bytes(4 * int(np.prod(note["shape"])) * len(batch)))
            for offset, one in enumerate(batch):
                if one.error is not None:
                    note["errors"][str(note["done"] + offset)] = one.error
            note["done"] += len(batch)
            if note["done"] == len(paths) or note["done"] // _IMAGES_AT_ONCE % _BATCHES_A_NOTE == 0:
                stream.flush()
                write_atomically(note_file, json.dumps(note).encode())
            tick(note["done"])
    return True


def _read_note(file: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note
