"""Quantised base weights back to floats, so that an adapter trained on them can be merged.

What QLoRA's matrices have learned to correct is the rounded weights, not those that were rounded. So the floats are
what 4 or 8 bits stand for; adding the adapter to them gives the function that was trained; nothing is rounded again.
"""

from __future__ import annotations

from torch import nn

from shelfqa.errors import InputError
from shelfqa.models.base import VqaModel
from shelfqa.models.quantization import Bits, quantization_of, quantized_layers, quiet_import

_NOTE = "quantization_config"
"""Where transformers says in a configuration how a checkpoint's weights are stored."""


def is_quantized(model: VqaModel) -> bool:
    """Say whether a model's weights are other than floats, by us or as they are stored."""
    return quantization_of(model.module) is not None or getattr(model.module.config, _NOTE, None) is not None


def dequantize(model: VqaModel) -> Bits | None:
    """Put plain linear maps in the place of the quantised layers of `model.module`; return what they were, or None.

    The layers compute in the type of the model's other weights. 8-bit layers also round what they read
    (arXiv 2208.07339), which plain maps do not, so answers may differ a little.

    Raises:
        InputError: if the checkpoint is stored in a format whose floats cannot be had.

    """
    if not is_quantized(model):
        return None
    bits = quantization_of(model.module)
    if bits is None:
        raise InputError(
            f"The weights of {model.name!r} are stored quantised, in a form that cannot be merged into: give the "
            "unquantised checkpoint that they were made from as --model."
        )
    with quiet_import():
        from peft.utils.integrations import dequantize_module_weight
    dtype = next(weight.dtype for weight in model.module.parameters() if weight.dtype.is_floating_point)
    for name in quantized_layers(model.module):
        layer = model.module.get_submodule(name)
        values = dequantize_module_weight(layer).detach().to(dtype)
        plain = nn.Linear(values.shape[1], values.shape[0], bias=layer.bias is not None, device="meta", dtype=dtype)
        plain.weight = nn.Parameter(values, requires_grad=False)
        if layer.bias is not None:
            plain.bias = nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
        parent, _, own = name.rpartition(".")
        setattr(model.module.get_submodule(parent), own, plain)
    for flag in ("is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized"):
        if getattr(model.module, flag, False):
            setattr(model.module, flag, False)
    if getattr(model.module.config, _NOTE, None) is not None:
        delattr(model.module.config, _NOTE)
    return bits
