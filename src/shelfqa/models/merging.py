"""A base model and its adapter as one: put together, merged, and read back from disk."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from shelfqa.artifacts import storage_errors
from shelfqa.errors import InputError, UserError
from shelfqa.models.base import Loading, VqaModel
from shelfqa.models.cards import Base, base_of
from shelfqa.models.dequantization import dequantize, is_quantized
from shelfqa.models.full_tuning import save_model
from shelfqa.models.loading import load_model
from shelfqa.models.lora import load_adapter, merge, quantization_noted
from shelfqa.models.presets import source_of
from shelfqa.models.quantization import Bits, hindrance

_LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Types that weights are written in; what is stored in any other becomes float32."""
_TOWER_FOLDER = "regions"
"""Where a checkpoint that reads regions has its own ResNet (`adapters.regions`)."""


class Types(NamedTuple):
    """The types of floats of a merge."""

    computed: torch.dtype
    """In which the adapter is added and questions are answered."""
    stored: torch.dtype
    """Of the weights that are written."""


class Written(NamedTuple):
    """A checkpoint that was written."""

    base: Base
    parameters: int


def types_for(base: str, wanted: str, device: torch.device) -> Types:
    """Return the types for a merge: float32 on a CPU, else that of the result.

    Args:
        base: a preset, a hub name or a folder.
        wanted: `float32`, `bfloat16`, `float16`, or `auto` for the type that the base is stored in.
        device: where the merge runs.

    """
    from transformers import PretrainedConfig

    name = wanted
    if wanted == "auto":
        with suppress(OSError, ValueError):  # what is wrong is told when the model is loaded
            config, _ = PretrainedConfig.get_config_dict(source_of(base))
            parts = [config, config.get("text_config") or {}]
            name = next((str(part[key]) for part in parts for key in ("dtype", "torch_dtype") if part.get(key)), name)
    stored = _TYPES.get(name.rpartition(".")[2], torch.float32)
    return Types(torch.float32 if device.type == "cpu" else stored, stored)


class Merger:
    """Makes the forms of a model one after the other; what a form no longer needs is freed."""

    def __init__(self, base: str, adapter: Path, device: torch.device, types: Types, loading: Loading) -> None:
        """Prepare to merge the adapter in a folder into `base`; `loading` says how that is read.

        Raises:
            UserError: if the adapter was trained on quantised weights, which cannot be had here.

        """
        self.base = base
        self.adapter = adapter
        self.types = types
        self.bits: Bits | None = quantization_noted(adapter)
        """What the base's weights were rounded to in training."""
        self.dequantized: Bits | None = None
        """What the merged weights were before they were floats again."""
        self._device = device
        self._loading = loading._replace(dtype=types.computed)
        self._model: VqaModel | None = None
        self._peft_model: Any = None
        why = hindrance(device) if self.bits is not None else None
        if why is not None:
            raise UserError(
                f"The adapter in {str(adapter)!r} was trained on weights of {self.bits} and fits no others: {why}"
            )

    def with_adapter(self) -> VqaModel:
        """Return the base, as it was in training, with the adapter on it."""
        return self._load(as_floats=False)

    def merged(self) -> VqaModel:
        """Return the base with the adapter added into its weights.

        Raises:
            InputError: if a weight then is no number.

        """
        model = self._model
        if model is None or is_quantized(model):
            model = self._load(as_floats=True)
        merge(model, self._peft_model)
        self._peft_model = None
        for name, weight in model.module.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise InputError(
                    f"Merged, the weight {name!r} is not finite: the adapter in {str(self.adapter)!r} is broken; train "
                    "it again at a lower rate."
                )
        return model

    def write(self, folder: Path) -> Written:
        """Write the merged model as a checkpoint, with the base's licence files and an empty card; forget it."""
        model = self._model
        if model is None or self._peft_model is not None:
            model = self.merged()
        model.module.to(self.types.stored)
        save_model(model, folder, "")
        source = Path(source_of(self.base))
        with storage_errors(folder):
            for file in (file for pattern in _LICENCE_FILES for file in source.glob(pattern) if file.is_file()):
                shutil.copy(file, folder / file.name)
        self._model = None
        return Written(base_of(model), sum(weight.numel() for weight in model.module.parameters()))

    def reloaded(self, folder: Path) -> VqaModel:
        """Return the model of the checkpoint that was written."""
        loading = self._loading._replace(answers=(), pickled_weights=False, quantize="none")
        if (folder / _TOWER_FOLDER).is_dir():
            loading = loading._replace(regions=None)
        return load_model(str(folder), device=str(self._device), loading=loading)

    def _load(self, *, as_floats: bool) -> VqaModel:
        self._model = self._peft_model = None
        loading = self._loading._replace(quantize=self.bits or "none")
        model = load_model(self.base, device=str(self._device), loading=loading)
        if as_floats:
            self.dequantized = dequantize(model)
        self._peft_model = load_adapter(model, self.adapter)
        model.module.eval()
        self._model = model
        return model
