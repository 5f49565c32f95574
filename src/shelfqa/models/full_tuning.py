"""Full fine-tuning: weights themselves are trained, and what is saved is a checkpoint of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError

from shelfqa.artifacts import storage_errors, write_atomically
from shelfqa.errors import StorageError
from shelfqa.models.base import VqaModel
from shelfqa.models.cards import README
from shelfqa.models.loading import quiet_transformers
from shelfqa.models.lora_targets import target_weights


def free(model: VqaModel, targets: Sequence[str]) -> None:
    """Let only those weights of `model.module` be trained that `targets` mean.

    Args:
        model: unquantised.
        targets: module groups, `all`, or names of modules.

    Raises:
        ConfigError: if a target is no group and the name of nothing, or no weight is left.

    """
    chosen = set(target_weights(model, targets))
    for name, weight in model.module.named_parameters():
        weight.requires_grad_(name in chosen)


def save_model(model: VqaModel, folder: Path, card: str) -> None:
    """Write a full checkpoint that `load_model` reads, with `card` as its README.

    Raises:
        StorageError: if the disk is full.

    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with quiet_transformers():
                model.save_pretrained(folder)
        except SafetensorError as error:
            raise StorageError(f"Cannot write the weights to {str(folder)!r}: {error}. Free some space.") from None
    write_atomically(folder / README, card.encode())
