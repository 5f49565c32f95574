"""Which parts of a model a target means: a module group, everything, or whatever bears a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import nn

from shelfqa.errors import ConfigError, did_you_mean
from shelfqa.models.base import VqaModel
from shelfqa.models.settings import GROUPS

ALL = "all"
"""The target that means every layer, or every weight, of the model."""


def target_modules(model: VqaModel, targets: Sequence[str], leave_out: Sequence[str]) -> list[str]:
    """Return the full names of the layers that can take LoRA and that `targets` mean, sorted.

    Where a module group has nothing else, as ViLT's vision and its language, they are embeddings of patches and words.

    Args:
        model: where to look.
        targets: module groups, `all`, or names of layers such as `query`, or of modules whose layers are meant, such as
            `fusion` or `attention.output`.
        leave_out: names of modules whose layers are not meant, whatever `targets` say.

    Raises:
        ConfigError: if a target is no group and no module's name, or no layer is left.

    """
    layers = lora_layers(model.module)
    there = {model.group_of(name) for name in layers}
    layers += [name for name in _embeddings(model.module) if model.group_of(name) not in there]
    layers = [name for name in layers if not any(_is_in(name, out) for out in leave_out)]
    return _chosen(layers, targets, model.group_of, model, "layer", "to put LoRA on")


def target_weights(model: VqaModel, targets: Sequence[str]) -> list[str]:
    """Return the full names of the weights that `targets` mean, sorted; `targets` as in `target_modules`.

    Raises:
        ConfigError: if a target is no group and the name of nothing, or no weight is left.

    """
    weights = [name for name, weight in model.module.named_parameters() if weight.is_floating_point()]
    return _chosen(weights, targets, model.group_of, model, "module", "to train")


def lora_layers(module: nn.Module) -> list[str]:
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


def _embeddings(module: nn.Module) -> list[str]:
    """Return the names of tables of embeddings, and of convolutions over patches that do not overlap."""
    names = []
    for name, part in module.named_modules():
        of_patches = type(part) is nn.Conv2d and part.groups == 1 and part.kernel_size == part.stride
        if type(part) is nn.Embedding or (of_patches and max(part.stride) > 1):
            names.append(name)
    return names


def _chosen(
    names: Sequence[str],
    targets: Iterable[str],
    group_of: Callable[[str], str | None],
    model: VqaModel,
    what: str,
    purpose: str,
) -> list[str]:
    """Return those of `names` that a target means, sorted; `what` and `purpose` are for messages."""
    found: set[str] = set()
    for target in targets:
        if target == ALL:
            found.update(names)
        elif target in GROUPS:
            found.update(name for name in names if group_of(name) == target)
        else:
            named = {name for name in names if f".{target}." in f".{name}."}
            if not named:
                known = {ALL, *GROUPS, *(part for name in names for part in name.split(".") if not part.isdigit())}
                raise ConfigError(f"The model has no module group or {what} {target!r}.{did_you_mean(target, known)}")
            found |= named
    if not found:
        raise ConfigError(
            f"No {what} is left {purpose} for targets {', '.join(targets) or 'none'}: name some of {ALL}, "
            f"{', '.join(model.module_groups())}, or {what}s such as {', '.join(sorted(names)[:2])}."
        )
    return sorted(found)


def _is_in(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")
