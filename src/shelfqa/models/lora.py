"""LoRA (Hu et al. 2021, arXiv 2106.09685) and its kin on any model of ours, through PEFT.

rsLoRA (arXiv 2312.03732) scales the update by alpha / sqrt(rank), not alpha / rank. DoRA (arXiv 2402.09353) also learns
the length of each weight's rows. PiSSA (`pissa.py`) begins with the weights' largest singular values. QLoRA (arXiv
2305.14314) is any of the first three on quantised weights (`quantization.py`).

PEFT's layers are put inside `model.module`, and the adapters keep calling its parts directly. So PEFT's task wrappers,
which pass `inputs_embeds` to models such as BLIP that do not take them, never come into play (`task_type` is None).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from safetensors import SafetensorError
from safetensors.torch import save as to_safetensors

import shelfqa
from shelfqa.artifacts import storage_errors, write_atomically
from shelfqa.errors import ConfigError, InputError, UserError
from shelfqa.models.adapter_folder import CONFIG_FILE, STATE_FILE, read_object
from shelfqa.models.base import VqaModel
from shelfqa.models.cards import README, hub_name
from shelfqa.models.lora_targets import target_modules
from shelfqa.models.quantization import Bits, quantization_of, quantized_layers, quiet_import
from shelfqa.models.settings import GROUPS

with quiet_import():
    from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict

    from shelfqa.models.pissa import begin_with_singular_values, for_untouched_base

_WEIGHTS_FILE = "adapter_model.safetensors"


class LoraSettings(NamedTuple):
    """How large the adapter is and where it sits."""

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    """Module groups, `all`, or names of layers such as `query`, or of modules whose layers are meant, as `fusion`."""
    full: tuple[str, ...] = ("head",)
    """Module groups that are trained whole; those a model lacks are passed over."""
    method: Literal["lora", "rslora", "dora"] = "lora"
    init: Literal["default", "pissa"] = "default"
    """What the matrices begin with: noise and zero, so that nothing changes at first, or singular values."""


def attach(model: VqaModel, settings: LoraSettings) -> PeftModel:
    """Put fresh LoRA layers into `model.module`; only they and the modules in `settings.full` can be trained then.

    Raises:
        ConfigError: if a target is no group and no module's name, or quantised weights are to be trained whole or to
            begin as PiSSA does.

    """
    whole = [prefix for group in settings.full for prefix in model.module_groups().get(group, ())]
    _check_quantised(model, settings, whole)
    names = target_modules(model, settings.targets, leave_out=whole)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=names,
        modules_to_save=whole or None,
        use_rslora=settings.method == "rslora",
        use_dora=settings.method == "dora",
        task_type=None,
    )
    with _peft_warnings():
        peft_model = get_peft_model(model.module, config)
    if settings.init == "pissa":
        begin_with_singular_values(peft_model)
    return peft_model


def _check_quantised(model: VqaModel, settings: LoraSettings, whole: list[str]) -> None:
    """Refuse what needs weights in floats."""
    bits = quantization_of(model.module)
    if bits is None:
        return
    if settings.init == "pissa":
        raise ConfigError(f"PiSSA changes the base weights, and these are of {bits}: leave out init or quantize.")
    names = quantized_layers(model.module)
    for prefix in whole:
        if any(name == prefix or name.startswith(prefix + ".") for name in names):
            raise ConfigError(
                f"{prefix!r} is to be trained whole, and its weights are of {bits}: name its group among targets and "
                "not in full, or leave out quantize."
            )


@contextmanager
def _peft_warnings() -> Iterator[None]:
    """Silence what PEFT 0.21 causes in transformers 5.23: it asks for a property by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def trainable_parameters(model: VqaModel) -> dict[str, int]:
    """Return how many numbers can be trained in each module group, and in `total`."""
    counts: dict[str, int] = {}
    for name, weight in model.module.named_parameters():
        if weight.requires_grad:
            group = model.group_of(name) or "other"
            counts[group] = counts.get(group, 0) + weight.numel()
    return {group: counts[group] for group in (*GROUPS, "other") if group in counts} | {"total": sum(counts.values())}


def save_adapter(model: VqaModel, peft_model: PeftModel, folder: Path, card: str) -> None:
    """Write the adapter in PEFT's format, the same bytes for the same weights, with `card` as its README.

    One that began as PiSSA does is written as plain LoRA of twice the rank, so that it fits the base as it was loaded.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: weight.detach().cpu().contiguous()
        for name, weight in sorted(get_peft_model_state_dict(peft_model, save_embedding_layers=False).items())
    }
    weights, config = for_untouched_base(peft_model, weights, peft_model.peft_config["default"].to_dict())
    config.update(base_model_name_or_path=hub_name(model.name) or model.name, inference_mode=True)
    config = {key: sorted(value) if isinstance(value, set | list) else value for key, value in config.items()}
    state = {
        "base_model": model.name,
        "base_fingerprint": model.fingerprint,
        "family": model.family,
        "quantize": quantization_of(model.module) or "none",
        "shelfqa_version": shelfqa.__version__,
        "state": model.adapter_state(),
    }
    write_atomically(folder / _WEIGHTS_FILE, to_safetensors(weights, metadata={"format": "pt"}))
    write_atomically(folder / CONFIG_FILE, _json(config))
    write_atomically(folder / STATE_FILE, _json(state))
    write_atomically(folder / README, card.encode())


def _json(value: Any) -> bytes:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    return text.encode() + b"\n"


def load_adapter(model: VqaModel, folder: Path) -> PeftModel:
    """Put the adapter in `folder` on a freshly loaded model.

    Raises:
        InputError: if the folder holds no adapter, or one that was made for another model.

    """
    for name in (CONFIG_FILE, _WEIGHTS_FILE):
        if not (folder / name).is_file():
            hint = " It holds a full checkpoint: give it as --model." if (folder / "config.json").is_file() else ""
            raise InputError(
                f"{str(folder)!r} holds no {name}: give the folder adapter/ that `shelfqa train` wrote.{hint}"
            )
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
    file = folder / STATE_FILE
    return read_object(file) if file.exists() else {}


def quantization_noted(folder: Path) -> Bits | None:
    """Return the format of the weights that the adapter in `folder` was trained on; None for floats, or if unknown.

    Raises:
        InputError: if the note cannot be read.

    """
    noted = _read_state(folder).get("quantize")
    return next((bits for bits in get_args(Bits) if bits == noted), None)


def merge(model: VqaModel, peft_model: PeftModel) -> None:
    """Add the adapter into the weights, so that `model.save_pretrained` writes a full checkpoint.

    Raises:
        UserError: if the weights are quantised: adding would round them once more.

    """
    bits = quantization_of(model.module)
    if bits is not None:
        raise UserError(f"The weights of {model.name!r} are of {bits}: load the model unquantised to merge into it.")
    model.module = peft_model.merge_and_unload()
