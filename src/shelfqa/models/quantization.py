"""Base weights of 4 or 8 bits under an adapter, by bitsandbytes: QLoRA (arXiv 2305.14314), LLM.int8 (arXiv 2208.07339).

Only linear maps are quantised. Embeddings, norms, convolutions, biases, the answer head, output layers, and what the
model's authors keep in 32 bits stay as they are.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import nn

from shelfqa.errors import UserError
from shelfqa.models.base import VqaModel
from shelfqa.models.lora_targets import lora_layers

Bits = Literal["nf4", "int8"]

_PACKAGE = "bitsandbytes"
_DEVICES = frozenset({"cuda", "cpu", "xpu"})
_FLAGS: dict[Bits, str] = {"nf4": "is_loaded_in_4bit", "int8": "is_loaded_in_8bit"}
"""What transformers notes on a model of such weights; PEFT goes by it."""
_KEPT_FIELDS = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
"""Where transformers' models name the parts that stay in 32 bits."""
_OUTLIER = 6.0
"""Inputs beyond this are multiplied in full precision (arXiv 2208.07339, section 3.2)."""


def hindrance(device: torch.device) -> str | None:
    """Return why weights cannot be quantised here, with what to do, or None if they can."""
    if importlib.util.find_spec(_PACKAGE) is None:
        return f"quantised weights need the package {_PACKAGE!r}: pip install 'shelfqa[quantize]'."
    if device.type not in _DEVICES:
        return f"{_PACKAGE} has no arithmetic for {str(device)!r}: run with --device cpu or cuda, or unquantised."
    return None


def quantize(model: VqaModel, bits: Bits, dtype: torch.dtype, device: torch.device) -> None:
    """Put quantised layers in the place of the linear maps of `model.module`, on `device`, without gradients.

    Args:
        model: freshly loaded, in any float type.
        bits: the format: `nf4` with quantised constants, or `int8` with a scale a row.
        dtype: the type of what is not quantised; in float32 also on a GPU, where layers of 4 bits then compute in
            bfloat16 or float16.
        device: where the model is to run.

    Raises:
        UserError: if bitsandbytes is missing or does not know the device.

    """
    why = hindrance(device)
    if why is not None:
        raise UserError(f"The model {model.name!r} cannot be quantised: {why}")
    kept = _kept_whole(model)
    for name in lora_layers(model.module):
        layer = model.module.get_submodule(name)
        if type(layer) is nn.Linear and name not in kept:
            parent, _, own = name.rpartition(".")
            made = _layer(layer, bits, _compute_type(dtype, device)).to(device)
            setattr(model.module.get_submodule(parent), own, made)
    for values in (*model.module.parameters(), *model.module.buffers()):
        if values.dtype in (torch.float16, torch.bfloat16) and dtype == torch.float32:
            values.data = values.data.float()
    setattr(model.module, _FLAGS[bits], True)


def quantization_of(module: nn.Module) -> Bits | None:
    """Return the format that `quantize` has put a module's weights into, None if they are floats."""
    return next((bits for bits, flag in _FLAGS.items() if getattr(module, flag, False)), None)


def quantized_layers(module: nn.Module) -> list[str]:
    """Return the names of the quantised layers, among them those inside of an adapter's."""
    return [name for name, part in module.named_modules() if type(part).__module__.startswith(f"{_PACKAGE}.")]


@contextmanager
def quiet_import() -> Iterator[None]:
    """Keep off the terminal what bitsandbytes says while it is imported, as PEFT does wherever it is installed."""
    logger = logging.getLogger(_PACKAGE)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)


def _kept_whole(model: VqaModel) -> set[str]:
    """Return the names of linear maps that are not quantised."""
    kept = {name for name, _ in model.module.named_modules() if model.group_of(name) == "head"}
    for prefix, part in model.module.named_modules():
        output = part.get_output_embeddings() if hasattr(part, "get_output_embeddings") else None
        in_floats = {name for field in _KEPT_FIELDS for name in getattr(part, field, None) or ()}
        for name, inner in part.named_modules(prefix=prefix) if output is not None or in_floats else ():
            if inner is output or in_floats & set(name.split(".")):
                kept.add(name)
    return kept


def _compute_type(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the type in which weights of 4 bits are multiplied."""
    if device.type != "cuda" or dtype != torch.float32:
        return dtype
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _layer(layer: nn.Linear, bits: Bits, compute_type: torch.dtype) -> nn.Module:
    """Return a layer with the same weights, which are quantised as soon as it is moved to a device."""
    with quiet_import():
        import bitsandbytes

    parts: Any = bitsandbytes.nn
    sizes = {"bias": layer.bias is not None, "device": "meta"}
    if bits == "nf4":
        made = parts.Linear4bit(
            layer.in_features, layer.out_features, **sizes, compute_dtype=compute_type, quant_type=bits
        )
        made.weight = parts.Params4bit(layer.weight.data, requires_grad=False, quant_type=bits, module=made)
        # Where the processor has bfloat16, it would repack the weights in evaluation into a form without gradients.
        made.support_avx512bf16_for_cpu = False
    else:
        made = parts.Linear8bitLt(
            layer.in_features, layer.out_features, **sizes, has_fp16_weights=False, threshold=_OUTLIER
        )
        made.weight = parts.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    made.bias = layer.bias
    made.train(layer.training)
    return cast(nn.Module, made)
