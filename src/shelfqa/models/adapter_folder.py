"""What an adapter's folder holds, and says of how it was made. Importing this module imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from shelfqa.artifacts import read_manifest
from shelfqa.errors import InputError

CONFIG_FILE, STATE_FILE = "adapter_config.json", "shelfqa.json"
ADAPTER_FOLDER, MODEL_FOLDER = "adapter", "model"
"""Where a run of `train` has its result: an adapter in PEFT's format or, after full fine-tuning, a checkpoint."""

_BASE_KEYS = {STATE_FILE: "base_model", CONFIG_FILE: "base_model_name_or_path"}


class TrainedBy(NamedTuple):
    """The run that made an adapter, as far as it noted something."""

    settings: Mapping[str, Any] = {}
    questions: Path | None = None
    images: Path | None = None


def adapter_folder(path: Path) -> Path:
    """Return the folder of the adapter: `path`, or `path/adapter` where `path` is a run of `train`.

    Raises:
        InputError: if neither holds one.

    """
    for folder in (path, path / ADAPTER_FOLDER):
        if (folder / CONFIG_FILE).is_file():
            return folder
    whole = any((path / inside / "config.json").is_file() for inside in ("", MODEL_FOLDER))
    hint = " It holds a full checkpoint, which needs no merging." if whole else ""
    raise InputError(
        f"{str(path)!r} holds no {CONFIG_FILE}: give the folder adapter/ that `shelfqa train` wrote.{hint}"
    )


def base_noted(adapter: Path) -> str:
    """Return what an adapter was made for: a preset, a hub name or a folder.

    Raises:
        InputError: if it does not say, or if that is a folder that is not here.

    """
    for file, key in _BASE_KEYS.items():
        noted = None
        with suppress(OSError, ValueError, AttributeError):  # adapters of other programs bring less
            noted = json.loads((adapter / file).read_text(encoding="utf-8")).get(key)
        if noted and Path(noted).is_absolute() and not Path(noted).exists():
            raise InputError(f"The adapter's base model {noted!r} is not here: say where it is with --model.")
        if noted:
            return str(noted)
    raise InputError(f"The adapter in {str(adapter)!r} does not name its base model: give it with --model.")


def read_object(file: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        InputError: if it cannot be read, or holds something else.

    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {str(file)!r}: {error}.") from None
    if not isinstance(values, dict):
        raise InputError(f"{str(file)!r} holds no JSON object.")
    return values


def trained_by(adapter: Path) -> TrainedBy:
    """Return what the manifest beside an adapter says, nothing where it is another stage's or gone."""
    manifest = read_manifest(adapter.resolve().parent, missing_ok=True)
    if manifest is None or manifest.stage != "train":
        return TrainedBy()
    questions = manifest.details.get("questions")
    images = Path(manifest.images) if manifest.images is not None else None
    return TrainedBy(manifest.config, Path(questions) if questions else None, images)
