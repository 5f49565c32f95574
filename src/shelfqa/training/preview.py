"""Vision features of the few pictures that a dry run looks at: in memory, so that nothing is written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from shelfqa.models.base import Features, VqaModel
from shelfqa.models.batching import BatchSize, decode_ahead, encode_in_batches
from shelfqa.training.features import MAX_CACHE_BYTES, FeatureSource, LiveFeatures, leaves_of, stacked

_IMAGES_AT_ONCE = 16


class PreviewFeatures(FeatureSource):
    """Gives features as the run will have them: kept where it would keep them, else computed anew each time."""

    def __init__(self, model: VqaModel, paths: Sequence[Path], *, trains_vision: bool) -> None:
        """Give features of the pictures at `paths`; those of a tower that is trained are never kept."""
        self.errors: dict[int, str] = {}
        self.paths = paths
        self._model = model
        self._live = LiveFeatures(model, paths, self.errors)
        self._kept: dict[int, Any] = {}
        self._keeps = not trains_vision
        self._seconds = 0.0

    def prepare(self, images: Iterable[int]) -> None:
        """Read the pictures, note in `errors` which cannot be read, and encode the others where features are kept."""
        todo = [image for image in dict.fromkeys(images) if image not in self._kept and image not in self.errors]
        for start in range(0, len(todo), _IMAGES_AT_ONCE):
            started = time.monotonic()
            some = todo[start : start + _IMAGES_AT_ONCE]
            decoded = dict(zip(some, decode_ahead(self._model, [self.paths[image] for image in some]), strict=True))
            self.errors.update({image: one.error for image, one in decoded.items() if one.error is not None})
            pictures = {image: one.inputs for image, one in decoded.items() if one.inputs is not None}
            if self._keeps and pictures:
                found = encode_in_batches(self._model, list(pictures.values()), BatchSize(_IMAGES_AT_ONCE))
                self._keeps = all(map(self._can_be_kept, found))
                self._kept.update(zip(pictures, found, strict=True))
            self._seconds += time.monotonic() - started

    def _can_be_kept(self, entry: Any) -> bool:
        """Say whether the run would keep such entries on the disk."""
        parts = leaves_of(entry)
        size = sum(4 * leaf.numel() for leaf in parts if isinstance(leaf, Tensor))
        whole = all(isinstance(leaf, Tensor | int) for leaf in parts)
        return whole and size * len(self.paths) <= MAX_CACHE_BYTES

    @property
    def seconds_for_all(self) -> float:
        """How long reading and encoding all pictures once will take; 0 where every step does it."""
        return self._seconds / len(self._kept) * len(self.paths) if self._keeps and self._kept else 0.0

    def features(self, images: Sequence[int]) -> Features:
        """Return the features of pictures that can be read, as the run will have them."""
        if self._keeps:
            self.prepare(images)
        if not self._keeps:
            return self._live.features(images)
        return stacked([self._kept[image] for image in images])
