"""Adapters as they may be shown to others: without the names of folders on the machine that they were made on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from shelfqa.artifacts import storage_errors
from shelfqa.models.adapter_folder import CONFIG_FILE, STATE_FILE, read_object
from shelfqa.models.cards import README, hub_name, public_name

_BASE = "base_model_name_or_path"
_ABSOLUTE = re.compile(r'"(?:/|[A-Za-z]:\\\\)(?:[^"\n]*[/\\])?([^"/\\\n]+)/?"')
"""A path in a JSON string, as cards list the settings of training."""


def copy_for_hub(adapter: Path, target: Path) -> None:
    """Copy an adapter to the folder `target`; its base then has a hub name or none, paths only last names.

    Raises:
        InputError: if one of the adapter's JSON files cannot be read.
        StorageError: if the disk is full.

    """
    with storage_errors(target):
        shutil.copytree(adapter, target, ignore=shutil.ignore_patterns(".*", "*.partial"))
        config = read_object(target / CONFIG_FILE)
        config[_BASE] = hub_name(str(config[_BASE])) if config.get(_BASE) else None
        _write(target / CONFIG_FILE, config)
        if (target / STATE_FILE).is_file():
            state = read_object(target / STATE_FILE)
            _write(target / STATE_FILE, state | {"base_model": public_name(str(state.get("base_model", "")))})
        if (target / README).is_file():
            text = (target / README).read_text(encoding="utf-8")
            (target / README).write_text(_ABSOLUTE.sub(r'"\1"', text), encoding="utf-8")


def _write(file: Path, values: dict[str, object]) -> None:
    file.write_text(json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
