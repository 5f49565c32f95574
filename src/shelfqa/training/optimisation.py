"""From gradients to a step: groups of weights, the rate's rise and fall, arithmetic, loss scaling, clipping."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from shelfqa.errors import ConfigError
from shelfqa.training.settings import Schedule, Settings

_ADAM_EPSILON = 1e-8
_FIRST_SCALE = 2.0**16
_STEPS_TO_GROW = 2000


def build_optimizer(
    weights: Mapping[str, Tensor], settings: Settings, undecayed: Collection[str] = ()
) -> torch.optim.AdamW:
    """Return AdamW over `weights`: what is trained whole has a rate of its own.

    Norms, biases and what `undecayed` names do not decay.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, weight in weights.items():
        groups.setdefault((".modules_to_save." in name, weight.ndim > 1 and name not in undecayed), []).append(weight)
    return torch.optim.AdamW(
        [
            {
                "params": some,
                "lr": 0.0,
                "top_rate": settings.full_learning_rate if whole else settings.learning_rate,
                "weight_decay": settings.weight_decay if decays else 0.0,
            }
            for (whole, decays), some in groups.items()
        ],
        eps=_ADAM_EPSILON,
    )


def rate_factor(step: int, total_steps: int, *, warmup_ratio: float, schedule: Schedule) -> float:
    """Return the share of the highest learning rate, 0 to 1, at `step` of `total_steps`, counted from 0.

    >>> [rate_factor(step, 4, warmup_ratio=0.5, schedule="linear") for step in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warmup = max(1, round(warmup_ratio * total_steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if schedule == "linear" else 1.0


class Arithmetic:
    """What numbers the model computes in; weights, norms, the loss and the optimizer are in float32 throughout."""

    def __init__(self, precision: str, module: nn.Module, device: torch.device) -> None:
        """Take the settings' precision for a model; `auto` is bf16 (else fp16) on a GPU and fp32 elsewhere."""
        if precision == "auto":
            bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
            precision = "bf16" if bf16 else "fp16" if device.type == "cuda" else "fp32"
        self.precision = precision
        self._device = device.type
        self._type = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        for part in module.modules() if self._type is not None else ():
            name = type(part).__name__
            if name.endswith("Norm") and "Batch" not in name:
                part.register_forward_pre_hook(_in_float32)  # autocast does so on a GPU alone, and to some norms alone

    def __call__(self) -> AbstractContextManager[Any]:
        """Return the context to compute in."""
        if self._type is None:
            return nullcontext()
        context: AbstractContextManager[Any] = torch.autocast(self._device, self._type)
        return context


def _in_float32(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one.float() if isinstance(one, Tensor) and one.is_floating_point() else one for one in arguments)


class LossScale:
    """Keeps the small gradients of fp16 from becoming 0: the loss is multiplied, the gradients divided.

    As in Micikevicius et al. 2018 (arXiv 1710.03740, section 3.2), with the constants of torch's GradScaler. That one
    looks for overflow in each process by itself; here the norm tells, which clipping needs and all processes share.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self.value = _FIRST_SCALE if enabled else 1.0
        self._since = 0
        self.skipped = 0
        """Steps that were not taken because gradients overflowed."""

    def overflowed(self) -> None:
        """Take note that a step's gradients overflowed."""
        self.value /= 2
        self._since = 0
        self.skipped += 1

    def held(self) -> None:
        """Take note that a step's gradients are finite."""
        self._since += 1
        if self.enabled and self._since % _STEPS_TO_GROW == 0:
            self.value *= 2

    @property
    def exhausted(self) -> bool:
        """Whether gradients overflow although the loss is not even multiplied."""
        return self.value < 1

    def state(self) -> dict[str, float]:
        """Return what `restore` takes."""
        return {"value": self.value, "since": self._since, "skipped": self.skipped}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from where `state` was taken."""
        self.value, self._since, self.skipped = state["value"], int(state["since"]), int(state["skipped"])


def clip(weights: Iterable[Tensor], most: float, scale: float) -> float:
    """Divide the gradients by `scale`, then scale them down to the norm `most`; return the norm that they had before.

    Where that is not finite, the gradients are left as they are.
    """
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    total: Any = nn.utils.get_total_norm(gradients)
    norm = float(total.full_tensor() if hasattr(total, "full_tensor") else total) / scale
    if math.isfinite(norm):
        factor = min(1.0, most / (norm + 1e-6)) / scale
        if factor != 1.0:
            torch._foreach_mul_(gradients, factor)
    return norm


def recompute_activations(module: nn.Module, name: str) -> None:
    """Let layers compute their activations again for the gradients (Chen et al. 2016, arXiv 1604.06174).

    Raises:
        ConfigError: if no layer of the model can.

    """
    layers = [part for part in module.modules() if hasattr(part, "gradient_checkpointing")]
    if not layers:
        raise ConfigError(
            f"{name!r} has no layers that compute activations again: leave out --gradient-checkpointing; a smaller "
            "--batch-size with more --accumulation saves memory, too."
        )
    for layer in layers:
        vars(layer).update(
            gradient_checkpointing=True, _gradient_checkpointing_func=partial(checkpoint, use_reentrant=False)
        )
