"""LoRA (Hu et al. 2021, arXiv 2106.09685) on any model of ours, through PEFT.

PEFT's layers are put inside `model.module`, and the adapters keep calling its parts directly. So PEFT's task wrappers,
which pass `inputs_embeds` to models such as BLIP that do not take them, never come into play (`task_type` is None).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import save as to_safetensors
from torch import nn

import shelfqa
from shelfqa.artifacts import storage_errors, write_atomically
from shelfqa.errors import ConfigError, InputError, did_you_mean
from shelfqa.models.base import VqaModel

GROUPS = ("vision", "connector", "language", "head")
STATE_FILE = "shelfqa.json"
_CONFIG_FILE = "adapter_config.json"
_WEIGHTS_FILE = "adapter_model.safetensors"


class LoraSettings(NamedTuple):
    """How large the adapter is and where it sits."""

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    """Module groups, or names of layers such as `query`, or of modules whose layers are meant, such as `fusion`."""
    full: tuple[str, ...] = ("head",)
    """Module groups that are trained whole; those a model lacks are passed over."""


def attach(model: VqaModel, settings: LoraSettings) -> PeftModel:
    """Put fresh LoRA layers into `model.module`; only they and the modules in `settings.full` can be trained then.

    Raises:
        ConfigError: if a target is no group and no module's name.

    """
    whole = [prefix for group in settings.full for prefix in model.module_groups().get(group, ())]
    names = target_modules(model, settings.targets, leave_out=whole)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=names,
        modules_to_save=whole or None,
        task_type=None,
    )
    with _peft_warnings():
        return get_peft_model(model.module, config)


@contextmanager
def _peft_warnings() -> Iterator[None]:
    """Silence what PEFT 0.21 causes in transformers 5.23: it asks for a property by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def target_modules(model: VqaModel, targets: tuple[str, ...], leave_out: list[str]) -> list[str]:
    """Return the full names of the layers that `targets` (groups or names) mean, sorted."""
    layers = [
        name
        for name in _layers(model.module)
        if not any(name == out or name.startswith(out + ".") for out in leave_out)
    ]
    found: set[str] = set()
    for target in targets:
        if target in GROUPS:
            found.update(name for name in layers if model.group_of(name) == target)
            continue
        named = {name for name in layers if f".{target}." in f".{name}."}
        if not named:
            known = {*GROUPS, *(part for name in layers for part in name.split(".") if not part.isdigit())}
            raise ConfigError(f"The model has no module group or layer {target!r}.{did_you_mean(target, known)}")
        found |= named
    if not found:
        raise ConfigError(
            f"No layer is left to put LoRA on for targets {', '.join(targets) or 'none'}: name some of "
            f"{', '.join(model.module_groups())}, or layers such as {', '.join(sorted(layers)[:2])}."
        )
    return sorted(found)


def _layers(module: nn.Module) -> list[str]:
    """Return the names of layers that can take LoRA: linear maps, and convolutions of stride 1 without groups.

    Left out are output layers tied to the embeddings, and what nn.MultiheadAttention calls without its forward.
    """
    embeddings = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    inside_attention = {
        id(child) for part in module.modules() if isinstance(part, nn.MultiheadAttention) for child in part.modules()
    }
    names = []
    for name, part in module.named_modules():
        plain_convolution = type(part) is nn.Conv2d and part.groups == 1 and set(part.stride) == {1}
        fits = isinstance(part, nn.Linear) or plain_convolution
        if fits and id(part.weight) not in embeddings and id(part) not in inside_attention:
            names.append(name)
    return names


def trainable_parameters(model: VqaModel) -> dict[str, int]:
    """Return how many numbers can be trained in each module group, and in `total`."""
    counts: dict[str, int] = {}
    for name, weight in model.module.named_parameters():
        if weight.requires_grad:
            group = model.group_of(name) or "other"
            counts[group] = counts.get(group, 0) + weight.numel()
    return {group: counts[group] for group in (*GROUPS, "other") if group in counts} | {"total": sum(counts.values())}


def save_adapter(model: VqaModel, peft_model: PeftModel, folder: Path, card: str) -> None:
    """Write the adapter in PEFT's format, the same bytes for the same weights, with `card` as its README."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: weight.detach().cpu().contiguous()
        for name, weight in sorted(get_peft_model_state_dict(peft_model, save_embedding_layers=False).items())
    }
    config = dict(peft_model.peft_config["default"].to_dict())
    config.update(base_model_name_or_path=model.name, inference_mode=True)
    config = {key: sorted(value) if isinstance(value, set | list) else value for key, value in config.items()}
    state = {
        "base_model": model.name,
        "base_fingerprint": model.fingerprint,
        "family": model.family,
        "shelfqa_version": shelfqa.__version__,
        "state": model.adapter_state(),
    }
    write_atomically(folder / _WEIGHTS_FILE, to_safetensors(weights, metadata={"format": "pt"}))
    write_atomically(folder / _CONFIG_FILE, _json(config))
    write_atomically(folder / STATE_FILE, _json(state))
    write_atomically(folder / "README.md", card.encode())


def _json(value: Any) -> bytes:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    return text.encode() + b"\n"


def load_adapter(model: VqaModel, folder: Path) -> PeftModel:
    """Put the adapter in `folder` on a freshly loaded model.

    Raises:
        InputError: if the folder holds no adapter, or one that was made for another model.

    """
    for name in (_CONFIG_FILE, _WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise InputError(f"{str(folder)!r} holds no {name}: give the folder adapter/ that `shelfqa train` wrote.")
    state = _read_state(folder)
    made_for = state.get("base_fingerprint")
    if made_for is not None and made_for != model.fingerprint:
        raise InputError(
            f"The adapter in {str(folder)!r} was trained on {state.get('base_model')!r}, not on {model.name!r}: "
            f"give --model {state.get('base_model')}, or train an adapter for this model."
        )
    model.restore_adapter_state(state.get("state", {}))
    try:
        with _peft_warnings():
            return PeftModel.from_pretrained(
                model.module, str(folder), autocast_adapter_dtype=False, torch_device=str(model.device)
            )
    except (ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"The adapter in {str(folder)!r} does not fit the model {model.name!r}: {reason}") from None


def _read_state(folder: Path) -> dict[str, Any]:
    """Return what `save_adapter` noted; adapters that other programs wrote have none."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {str(folder / STATE_FILE)!r}: {error}.") from None
    return state


def merge(model: VqaModel, peft_model: PeftModel) -> None:
    """Add the adapter into the weights, so that `model.save_pretrained` writes a full checkpoint."""
    model.module = peft_model.merge_and_unload()
