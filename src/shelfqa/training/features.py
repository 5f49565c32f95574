"""Where training takes vision features from: computed once and kept on disk, or computed in every step."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from shelfqa.artifacts import storage_errors, write_atomically
from shelfqa.errors import InputError
from shelfqa.models.base import Features, VqaModel
from shelfqa.models.batching import BatchSize, decode_ahead, encode_in_batches
from shelfqa.progress import say
from shelfqa.training.distributed import ALONE, Processes

MAX_CACHE_BYTES = 16 << 30
"""Features that would take more than this on disk are computed in every step instead."""
NOT_FINITE = "not-finite: what the model's tower makes of it are no finite numbers"
"""Why a picture is left out whose features hold NaN or infinity."""

_IMAGES_AT_ONCE = 16
_IMAGES_A_PART = 256
_NAMED = 5


class FeatureSource(ABC):
    """Gives the vision features of pictures by their position in the list of pictures."""

    paths: Sequence[Path]
    """The pictures."""
    errors: dict[int, str]
    """Pictures that cannot be used, with the reason."""

    @abstractmethod
    def features(self, images: Sequence[int]) -> Features:
        """Return the features of the pictures at these positions, one entry each."""

    def not_finite(self, images: Sequence[int]) -> list[Path]:
        """Return which of the pictures have features that are not all finite numbers."""
        with torch.no_grad():
            return [self.paths[image] for image in images if not _finite(self.features([image])[0])]


class CachedFeatures(FeatureSource):
    """Features of a tower that is not trained, in files of 256 pictures; numbers are kept in float32."""

    def __init__(self, folder: Path, paths: Sequence[Path], form: Any) -> None:
        """Read what `_Encoder` wrote; `form` is the entry of any picture, to tell what entries are made of."""
        self.paths = paths
        self._folder = folder
        self._form = form
        notes = [_read_note(folder, part) or {} for part in range(_parts(len(paths)))]
        self._entries: list[Any] = [entry for note in notes for entry in note["entries"]]
        self.errors = {int(image): why for note in notes for image, why in note["errors"].items()}

    def features(self, images: Sequence[int]) -> Features:
        """Read them; a tensor [len(images), p, d] where all have one shape."""
        return stacked([self._entry(image) for image in images])

    def _entry(self, image: int) -> Any:
        place, kept = self._entries[image]
        with _file(self._folder, image // _IMAGES_A_PART).open("rb") as stream:
            stream.seek(place)
            return _assembled(self._form, iter([_read_tensor(stream, *one) for one in kept]))


class LiveFeatures(FeatureSource):
    """Features computed anew each time, with gradients where they are enabled."""

    def __init__(self, model: VqaModel, paths: Sequence[Path], errors: dict[int, str]) -> None:
        self._model = model
        self.paths = paths
        self.errors = errors

    def features(self, images: Sequence[int]) -> Features:
        """Decode and encode them."""
        pictures = []
        for image, decoded in zip(
            images, decode_ahead(self._model, [self.paths[image] for image in images]), strict=True
        ):
            if decoded.inputs is None:
                raise InputError(f"{str(self.paths[image])!r} could be read before and cannot now: {decoded.error}.")
            pictures.append(decoded.inputs)
        return self._model.encode(pictures)


def changes_with_training(model: VqaModel, paths: Sequence[Path]) -> bool:
    """Say whether the features depend on what is trained: on the tower, or on a connector that belongs to them.

    Asked of the first picture that can be read; False if there is none.
    """
    for decoded in decode_ahead(model, paths):
        if decoded.inputs is not None:
            with torch.enable_grad():
                (entry,) = model.encode([decoded.inputs])
            return any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves_of(entry))
    return False


def feature_source(
    model: VqaModel, paths: Sequence[Path], work: Path, *, trains_vision: bool, processes: Processes = ALONE
) -> FeatureSource:
    """Return the features of the pictures at `paths`, from the disk unless the tower is trained or they are too many.

    Args:
        model: encodes; in evaluation mode.
        paths: the pictures.
        work: a folder that survives a kill; finished features are found there again.
        trains_vision: whether features change from step to step, as `changes_with_training` says.
        processes: share the work; `work` is a folder of all of them.

    Raises:
        StorageError: if the disk is full.
        InputError: if no picture can be used.

    """
    if not trains_vision:
        with processes.together():
            encoder = _Encoder(model, paths, work / "features", processes)
            fits = encoder.run()
        if processes.all(fits):
            return _told(CachedFeatures(work / "features", paths, encoder.form), processes)
        if processes.leads:
            shutil.rmtree(work / "features", ignore_errors=True)
    with processes.together():
        errors = _check(model, paths, processes)
    found = LiveFeatures(model, paths, {image: why for some in processes.gather(errors) for image, why in some.items()})
    return _told(found, processes)


def _check(model: VqaModel, paths: Sequence[Path], processes: Processes) -> dict[int, str]:
    """Return which pictures of this process's share cannot be read, and why."""
    mine = range(processes.rank, len(paths), processes.number)
    errors = {}
    with processes.progress("check pictures", len(mine)) as tick:
        for done, decoded in enumerate(decode_ahead(model, [paths[image] for image in mine])):
            if decoded.error is not None:
                errors[mine[done]] = decoded.error
            tick(done + 1)
    return errors


def _told(source: FeatureSource, processes: Processes) -> FeatureSource:
    if len(source.errors) == len(source.paths):
        raise InputError(f"None of the {len(source.paths)} pictures can be used: {next(iter(source.errors.values()))}.")
    bad = [source.paths[image].name for image, why in sorted(source.errors.items()) if why == NOT_FINITE]
    if bad and processes.leads:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        say(f"Left out, since their features are no finite numbers: {', '.join(bad[:_NAMED])}{more}.")
    return source


class _Encoder:
    """Writes features in parts of 256 pictures, each whole or absent; processes take the parts in turn."""

    def __init__(self, model: VqaModel, paths: Sequence[Path], folder: Path, processes: Processes) -> None:
        self._model = model
        self._paths = paths
        self._folder = folder
        self._processes = processes
        self._bytes, self._pictures = 0, 0
        self.form: Any = None
        """The entry of one picture."""

    def run(self) -> bool:
        """Encode what is not yet there; return False if it would be too large or cannot be kept."""
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self.form = self._first()
        if not all(isinstance(leaf, Tensor | int) for leaf in leaves_of(self.form)):
            return False
        mine = range(self._processes.rank, _parts(len(self._paths)), self._processes.number)
        there = {part for part in mine if _read_note(self._folder, part) is not None}
        done = len(there) * _IMAGES_A_PART
        with self._processes.progress("encode pictures", len(mine) * _IMAGES_A_PART, done=done) as tick:
            for part in mine:
                if part in there:
                    continue
                for encoded in self._write(part):
                    done += encoded
                    tick(done)
                    if self._bytes * len(self._paths) > MAX_CACHE_BYTES * max(1, self._pictures):
                        return False
        return True

    def _first(self) -> Any:
        """Return the entry of the first picture that can be read."""
        for decoded in decode_ahead(self._model, self._paths):
            if decoded.inputs is not None:
                return encode_in_batches(self._model, [decoded.inputs], BatchSize(1))[0]
            first = decoded.error
        raise InputError(f"None of the {len(self._paths)} pictures can be used: {first}.")

    def _write(self, part: int) -> Iterator[int]:
        """Write a part; yield after each batch how many pictures it had."""
        start = part * _IMAGES_A_PART
        some = self._paths[start : start + _IMAGES_A_PART]
        entries: list[Any] = []
        errors: dict[int, str] = {}
        file, decoded = _file(self._folder, part), decode_ahead(self._model, some)
        with storage_errors(file), file.open("wb") as stream:
            while batch := list(islice(decoded, _IMAGES_AT_ONCE)):
                pictures = [one.inputs for one in batch if one.inputs is not None]
                found = iter(encode_in_batches(self._model, pictures, BatchSize(_IMAGES_AT_ONCE)) if pictures else ())
                for one in batch:
                    entry = next(found) if one.inputs is not None else None
                    why = one.error if one.error is not None else None if _finite(entry) else NOT_FINITE
                    if why is not None:
                        errors[start + len(entries)] = why
                    entries.append(None if why is not None else self._append(stream, entry))
                yield len(batch)
        note = {"entries": entries, "errors": errors}
        write_atomically(file.with_suffix(".json"), json.dumps(note).encode())

    def _append(self, stream: BinaryIO, entry: Any) -> tuple[int, list[tuple[str, list[int]]]]:
        """Write an entry; return where it begins, and type and shape of each of its tensors."""
        place, kept = stream.tell(), []
        for leaf in leaves_of(entry):
            tensor = torch.as_tensor(leaf).detach().cpu().contiguous()
            tensor = tensor.float() if tensor.is_floating_point() else tensor
            stream.write(tensor.numpy().tobytes())
            kept.append((str(tensor.numpy().dtype), list(tensor.shape)))
        self._bytes += stream.tell() - place
        self._pictures += 1
        return place, kept


def _parts(images: int) -> int:
    return -(-images // _IMAGES_A_PART)


def _file(folder: Path, part: int) -> Path:
    return folder / f"part-{part:05d}.bin"


def _read_note(folder: Path, part: int) -> Mapping[str, Any] | None:
    try:
        note: dict[str, Any] = json.loads(_file(folder, part).with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note


def leaves_of(entry: Any) -> list[Any]:
    """Return what an entry is made of, one after another: tensors, numbers, and what else stands in its tuples."""
    return list(chain.from_iterable(map(leaves_of, entry))) if isinstance(entry, tuple) else [entry]


def stacked(entries: list[Any]) -> Features:
    """Return entries as a tensor [n, p, d] where all are tensors of one shape, else as they are."""
    if all(isinstance(entry, Tensor) and entry.shape == entries[0].shape for entry in entries):
        found: Features = torch.stack(entries)
        return found
    return entries


def _assembled(form: Any, leaves: Iterator[Tensor]) -> Any:
    """Return an entry of the form of another, made of these leaves."""
    if isinstance(form, tuple):
        parts = [_assembled(one, leaves) for one in form]
        return form._make(parts) if hasattr(form, "_make") else tuple(parts)
    leaf = next(leaves)
    return leaf if isinstance(form, Tensor) else int(leaf)


def _read_tensor(stream: BinaryIO, kind: str, shape: Sequence[int]) -> Tensor:
    count = int(np.prod(shape))
    values = np.frombuffer(bytearray(stream.read(count * np.dtype(kind).itemsize)), dtype=kind)
    return torch.from_numpy(values.reshape(shape))


def _finite(entry: Any) -> bool:
    return all(bool(torch.isfinite(leaf).all()) for leaf in leaves_of(entry) if isinstance(leaf, Tensor))
