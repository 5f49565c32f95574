"""The answers that a classifier chooses from: what its head's rows mean, and how it gets more of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

_SPREAD = 0.1
"""How far the weights of new rows lie from the mean row, in standard deviations of all weights."""


def new_answers(config: Any, answers: Sequence[str]) -> list[str]:
    """Return those of `answers` that the table in `config` (a transformers configuration) lacks, each once."""
    return [answer for answer in dict.fromkeys(answers) if answer not in config.label2id]


def set_labels(config: Any, answers: Sequence[str]) -> None:
    """Make `answers` the table in `config`; of equal answers the last one's output is found by name."""
    config.id2label = dict(enumerate(answers))
    config.label2id = {answer: index for index, answer in enumerate(answers)}


def add_labels(config: Any, added: Sequence[str]) -> None:
    """Append answers to the table in `config`."""
    set_labels(config, [config.id2label[index] for index in range(len(config.id2label))] + list(added))


def extend_output_layer(module: nn.Module, name: str, added: Sequence[str]) -> None:
    """Give the output layer called `name` in a transformers model a row for each added answer, and it its label."""
    parent, _, own_name = name.rpartition(".")
    larger = with_more_rows(cast(nn.Linear, module.get_submodule(name)), len(added))
    setattr(module.get_submodule(parent), own_name, larger)
    add_labels(module.config, added)


@torch.no_grad()  # type: ignore[untyped-decorator]
def with_more_rows(head: nn.Linear, rows: int) -> nn.Linear:
    """Return an output layer with `rows` more outputs; the outputs that were there stay as they are.

    A new row starts near the mean of the others with the lowest of their biases: unlikely until trained.
    """
    mean = head.weight.mean(0, keepdim=True)
    generator = torch.Generator().manual_seed(head.out_features)
    noise = torch.randn(rows, head.in_features, generator=generator) * float(head.weight.float().std())
    larger = nn.Linear(head.in_features, head.out_features + rows, device=head.weight.device, dtype=head.weight.dtype)
    larger.weight.copy_(torch.cat([head.weight, mean + _SPREAD * noise.to(mean)]))
    larger.bias.copy_(torch.cat([head.bias, head.bias.min().expand(rows)]))
    larger.requires_grad_(head.weight.requires_grad)
    return larger
