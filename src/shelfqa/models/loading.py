"""From a name to a model that answers: presets, hub names, folders, and adapters on top."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfqa.errors import InputError, UserError
from shelfqa.hub import load_error
from shelfqa.models.presets import PRESETS, source_of
from shelfqa.registry import Registry

if TYPE_CHECKING:
    import torch

    from shelfqa.models.base import VqaModel

FAMILIES = Registry(
    "model family",
    {"blip": "shelfqa.models.seq2seq:BlipVqa", "shelfqa-mini": "shelfqa.models.classifier:MiniVqa"},
)
"""The adapter of each `model_type` in a checkpoint's config.json."""

_ARCHITECTURES = {"blip": "BlipForQuestionAnswering"}
"""Where one `model_type` covers several tasks: the architecture that answers questions."""

_INSTEAD = "use `mini`, which needs neither."


def load_model(
    name_or_path: str, *, adapter: Path | None = None, device: str = "auto", dtype: torch.dtype | None = None
) -> VqaModel:
    """Return a model that is ready to answer.

    Args:
        name_or_path: a preset of `shelfqa models`, a hub name, or a folder with a checkpoint.
        adapter: a folder in PEFT format, as `shelfqa train` writes it.
        device: `auto`, or what torch calls it.
        dtype: the type of the weights; by default float32 on a CPU and bfloat16 on a GPU that has it.

    Raises:
        UserError: if the extras are missing, the model cannot be had or is no VQA model, or the adapter was made
            for another.

    """
    require_extras()
    import torch

    place = resolve_device(device)
    if dtype is None:
        bf16 = place.type == "cuda" and torch.cuda.is_bf16_supported()
        dtype = torch.bfloat16 if bf16 else torch.float32
    source = source_of(name_or_path)
    family = FAMILIES.load(_model_type(source, name_or_path))
    with _quiet_transformers():
        try:
            model: VqaModel = family.from_pretrained(source, name_or_path, dtype=dtype)
        except (OSError, ValueError, RuntimeError) as error:
            raise load_error(name_or_path, error, instead=_INSTEAD, known=PRESETS) from None
    model.fingerprint = weights_fingerprint(model.module)
    model.module.to(place)
    model.module.eval()
    if adapter is not None:
        from shelfqa.models.lora import load_adapter

        load_adapter(model, adapter)
        model.module.eval()
    return model


def require_extras() -> None:
    """Raise one line if the packages that run models are not installed."""
    for package in ("torch", "transformers", "peft"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"Running models needs the package {package!r}: pip install 'shelfqa[models]'.")


def resolve_device(device: str) -> torch.device:
    """Return the torch device for `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        UserError: if torch does not know it or this machine lacks it.

    """
    import torch

    if device == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(found)
    try:
        place = torch.device(device)
    except RuntimeError:
        raise UserError(f"Unknown device {device!r}: give auto, cpu, cuda, cuda:1 or mps.") from None
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(place.type, True):
        raise UserError(f"This machine has no usable {device!r} device: run with --device cpu, or auto.")
    return place


def weights_fingerprint(module: Any) -> str:
    """Return a digest of names, shapes and a sample of values of the weights, the same for every float type."""
    import torch

    digest = hashlib.sha256()
    for name, weight in sorted(module.named_parameters()):
        sample = weight.detach().flatten()[:16].to("cpu", torch.bfloat16).view(torch.int16)
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def _model_type(source: str, name: str) -> str:
    """Read the checkpoint's config.json and return its `model_type`, if a family of ours runs it."""
    from transformers import PretrainedConfig

    folder = Path(source)
    if folder.is_dir() and not (folder / "config.json").is_file():
        hint = " It is an adapter: give its base model, and this folder as --adapter." if _is_adapter(folder) else ""
        raise InputError(f"The folder {name!r} holds no config.json, so no model.{hint or _KNOWN}")
    try:
        with _quiet_transformers():
            config, _ = PretrainedConfig.get_config_dict(source)
    except (OSError, ValueError) as error:
        raise load_error(name, error, instead=_INSTEAD, known=PRESETS) from None
    model_type = str(config.get("model_type"))
    wanted = _ARCHITECTURES.get(model_type)
    architectures = config.get("architectures") or []
    if model_type not in FAMILIES or (wanted is not None and architectures and wanted not in architectures):
        what = architectures[0] if architectures else f"model type {model_type!r}"
        raise InputError(f"{name!r} ({what}) is no visual question answering model that shelfqa runs.{_KNOWN}")
    return model_type


_KNOWN = f" Try one of: {', '.join(PRESETS)}; `shelfqa models` says more."


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


class _quiet_transformers:  # noqa: N801 - used like a function
    """Keeps transformers' own progress bars and reports off the terminal for a while."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._verbosity = logging.get_verbosity()
        self._bars = logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self._verbosity)
        if self._bars:
            logging.enable_progress_bar()
