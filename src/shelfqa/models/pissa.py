"""PiSSA (Meng et al. 2024, arXiv 2404.02948): LoRA that begins with the largest singular values of each weight.

    W [out, in] = U S V      A = sqrt(S_r) V_r [r, in]      B = U_r sqrt(S_r) [out, r]      W is replaced by W - B A

PEFT has it for linear maps alone, and what it saves for the untouched base leaves out modules that were trained whole,
such as an answer head. Here convolutions begin so, too (a kernel is read as [out, in * rows * columns]), and the
adapter is saved as plain LoRA of twice the rank on the untouched base, as the paper's appendix converts it:
B A - B0 A0 = [B, -B0] [A; A0].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

_ADAPTER = "default"
_FIRST_A, _FIRST_B = "first_lora_a", "first_lora_b"
"""Buffers of a layer: its matrices as training begins, not saved with the model."""


@torch.no_grad()  # type: ignore[untyped-decorator]
def begin_with_singular_values(peft_model: PeftModel) -> None:
    """Set the fresh matrices of every layer, and take what they say out of its weight: outputs stay as they are.

    Embeddings begin as in plain LoRA, and so does the matrices' surplus where the rank is larger than the weight's.
    """
    for _, layer in _layers(peft_model):
        if _ADAPTER not in layer.lora_A:
            continue
        base = layer.get_base_layer().weight
        first, second = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
        scale = float(layer.scaling[_ADAPTER])
        u, s, v = torch.linalg.svd(base.float().flatten(1), full_matrices=False)
        kept = min(first.shape[0], len(s))
        root = (s[:kept] / scale).sqrt()
        first.flatten(1)[:kept] = (root[:, None] * v[:kept]).to(first)
        second.flatten(1)[:, :kept] = (u[:, :kept] * root).to(second)
        base -= (scale * second.flatten(1) @ first.flatten(1)).view_as(base).to(base)
        layer.register_buffer(_FIRST_A, first.clone(), persistent=False)
        layer.register_buffer(_FIRST_B, second.clone(), persistent=False)


def for_untouched_base(
    peft_model: PeftModel, weights: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an adapter's weights and configuration as plain LoRA on the base that PiSSA has not changed.

    Args:
        peft_model: the adapter; it may have begun in any way.
        weights: as PEFT names them for saving.
        config: as PEFT saves it.

    """
    layers = dict(_layers(peft_model))
    if not any(hasattr(layer, _FIRST_A) for layer in layers.values()):
        return dict(weights), dict(config)
    converted = dict(weights)
    for name, layer in layers.items():
        kind = "lora_{}.weight" if _ADAPTER in layer.lora_A else "lora_embedding_{}"
        first, second = (weights[f"{name}.{kind.format(side)}"] for side in "AB")
        before = getattr(layer, _FIRST_A, torch.zeros_like(first)).to(first)
        after = getattr(layer, _FIRST_B, torch.zeros_like(second)).to(second)
        converted[f"{name}.{kind.format('A')}"] = torch.cat([first, before], dim=0)
        converted[f"{name}.{kind.format('B')}"] = torch.cat([second, -after], dim=1)
    scale = math.sqrt(2) if config["use_rslora"] else 2  # so that alpha / rank, or alpha / sqrt(rank), stays
    return converted, {**config, "r": 2 * config["r"], "lora_alpha": scale * config["lora_alpha"]}


def _layers(peft_model: PeftModel) -> Iterator[tuple[str, Any]]:
    for name, module in peft_model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module
