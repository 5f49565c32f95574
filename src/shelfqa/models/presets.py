"""Models that shelfqa knows by name; any other hub name or folder of these families works too.

Importing this module imports no torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class ModelPreset(NamedTuple):
    """A name, what it stands for, and what to know before use."""

    source: str
    """A hub name, or `bundled` for the checkpoint inside the package."""
    family: str
    training_preset: str
    parameters: str
    licence: str
    note: str


PRESETS: dict[str, ModelPreset] = {
    "mini": ModelPreset(
        "bundled",
        "classifier",
        "mini-lora",
        "19 M",
        "Apache-2.0",
        "ships with shelfqa, needs no network: short answers about product photographs",
    ),
    "blip-vqa-base": ModelPreset(
        "Salesforce/blip-vqa-base",
        "seq2seq",
        "blip-lora-r16",
        "385 M",
        "BSD-3-Clause",
        "BLIP with ViT-B, fine-tuned on VQA v2; about 2 GB of memory",
    ),
    "blip-vqa-capfilt-large": ModelPreset(
        "Salesforce/blip-vqa-capfilt-large",
        "seq2seq",
        "blip-lora-r16",
        "385 M",
        "BSD-3-Clause",
        "the same architecture, pretrained on more and cleaner captions",
    ),
}

_TRAINING_PRESETS = {"shelfqa-mini": "mini-lora", "blip": "blip-lora-r16"}


def source_of(name: str) -> str:
    """Return the folder or hub name that `name` stands for."""
    if name == "mini":
        from shelfqa.models.mini import checkpoint_dir

        return str(checkpoint_dir())
    preset = PRESETS.get(name)
    return preset.source if preset is not None else name


def training_preset_of(name: str) -> str | None:
    """Return the name of the training preset that suits a model, by its preset or its folder's config.json."""
    for preset in PRESETS.values():
        if preset.source == name:
            return preset.training_preset
    if name in PRESETS:
        return PRESETS[name].training_preset
    try:
        model_type = json.loads((Path(name) / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return _TRAINING_PRESETS.get(model_type)
