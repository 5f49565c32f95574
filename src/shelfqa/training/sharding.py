"""Weights in shards, one a process, as PyTorch's FSDP keeps them (Zhao et al. 2023, arXiv 2304.11277).

Layers of the part that writes are gathered one after another while they compute; all other weights are gathered for the
length of a pass. Both happen only inside `Sharded.inside`. Gradients come back summed and in shards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from shelfqa.errors import ConfigError
from shelfqa.models.base import VqaModel
from shelfqa.training.data import writes

T = TypeVar("T")


class _Inside(nn.Module):  # type: ignore[misc]
    """Computes whatever it is given, with the weights of `module` at hand."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, work: Callable[[], T]) -> T:
        """Do the work."""
        return work()


class Sharded:
    """The weights of a model, whole or in shards."""

    def __init__(self, model: VqaModel, *, shards: bool) -> None:
        """Cut the weights of `model` into shards, if `shards`; each process has to do so.

        Raises:
            ConfigError: if there are weights that are no plain numbers.

        """
        self.active = shards
        self._module = model.module
        if not shards:
            return
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        odd = next((name for name, one in model.module.named_parameters() if not one.is_floating_point()), None)
        if odd is not None:
            raise ConfigError(f"FSDP takes no quantized weights such as {odd}: leave out --quantize, or use ddp.")
        mesh = init_device_mesh(model.device.type, (torch.distributed.get_world_size(),))
        for layer in _layers(model):
            fully_shard(layer, mesh=mesh)
        self._inside = fully_shard(_Inside(model.module), mesh=mesh, reshard_after_forward=True)

    def inside(self, work: Callable[[], T]) -> T:
        """Return what `work` does with the model; all processes have to do the same at the same time."""
        if not self.active:
            return work()
        found: T = self._inside(work)
        return found

    def make_whole(self) -> None:
        """Put whole weights back into the model, for good."""
        if not self.active:
            return
        for part in self._module.modules():
            for name, weight in list(part._parameters.items()):
                if weight is not None:
                    part._parameters[name] = nn.Parameter(whole(weight.detach()), weight.requires_grad)
        self.active = False


def _layers(model: VqaModel) -> list[nn.Module]:
    """Return the repeated layers of the language model, each of which is gathered by itself.

    The tower may be called a different number of times in each process, by what pictures it has, and the encoder of a
    model that chooses, too: such parts cannot wait for each other layer by layer.
    """
    if not writes(model):
        return []
    lists = [
        part
        for name, part in model.module.named_modules()
        if isinstance(part, nn.ModuleList) and model.group_of(name) == "language"
    ]
    inner = {id(child) for one in lists for child in one.modules() if child is not one}
    return [layer for one in lists if id(one) not in inner for layer in one]


def whole(value: Any) -> Any:
    """Return a tensor, or whatever holds tensors, with all shards put together; all processes have to ask."""
    if isinstance(value, Tensor):
        return value.full_tensor() if hasattr(value, "full_tensor") else value
    if isinstance(value, Mapping):
        return {key: whole(one) for key, one in value.items()}
    return [whole(one) for one in value] if isinstance(value, list) else value


def like(value: Tensor, weight: Tensor) -> Tensor:
    """Return a whole tensor in shards as those of `weight`, or as it is if that is whole or of another shape."""
    if not hasattr(weight, "device_mesh") or value.shape != weight.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh: Any = weight.device_mesh
    spread: Tensor = distribute_tensor(value.to(weight.device), mesh, weight.placements)
    return spread
