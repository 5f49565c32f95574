"""Where several runs keep the vision features that are the same for all of them, so that pictures are encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from shelfqa.digests import digest_of
from shelfqa.models.base import VqaModel
from shelfqa.training.settings import Settings


def shared_folder(cache: Path, model: VqaModel, paths: Sequence[Path], settings: Settings) -> Path:
    """Return the folder in `cache` for the features of the pictures at `paths`.

    It is the same folder for runs of the same model as long as the pictures' names, sizes and times are the same. What
    is trained does not matter: features are kept on disk only where the tower is not.
    """
    return cache / digest_of(_told(model, paths, settings))[:16]


def _told(model: VqaModel, paths: Sequence[Path], settings: Settings) -> Iterator[str]:
    yield from (model.name, model.family, model.fingerprint, model.device.type)
    yield from (settings.quantize, str(settings.regions))
    for path in paths:
        try:
            stat = path.stat()
        except OSError:  # counted as unreadable where features are made
            yield str(path)
        else:
            yield f"{path} {stat.st_size} {stat.st_mtime_ns}"
