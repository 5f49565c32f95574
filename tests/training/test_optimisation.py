from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shelfqa.errors import ConfigError
from shelfqa.training.optimisation import LossScale, clip, rate_factor, recompute_activations
from training_runs import adapted


def test_the_rate_rises_and_falls() -> None:
    rates = [rate_factor(step, 6, warmup_ratio=0.5, schedule="cosine") for step in range(7)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[6] == pytest.approx(0)
    assert rate_factor(5, 6, warmup_ratio=0.0, schedule="constant") == 1.0


def test_gradients_are_unscaled_and_clipped() -> None:
    weights = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True), torch.zeros(1)]
    weights[0].grad, weights[1].grad = torch.tensor([0.0, 30.0]), torch.tensor([40.0])
    assert clip(weights, 1.0, 10.0) == pytest.approx(5.0)
    assert weights[0].grad.tolist() == pytest.approx([0, 0.6])
    assert weights[1].grad.tolist() == pytest.approx([0.8])
    assert clip(weights, 10.0, 1.0) == pytest.approx(1.0)
    assert weights[1].grad.tolist() == pytest.approx([0.8])


def test_the_scale_falls_with_each_overflow_and_grows_back() -> None:
    scale = LossScale(enabled=True)
    scale.overflowed()
    assert (scale.value, scale.skipped) == (2.0**15, 1)
    for _ in range(2000):
        scale.held()
    assert scale.value == 2.0**16
    again = LossScale(enabled=True)
    again.restore(scale.state())
    assert again.state() == scale.state()
    for _ in range(17):
        scale.overflowed()
    assert scale.exhausted
    plain = LossScale(enabled=False)
    for _ in range(2000):
        plain.held()
    assert plain.value == 1.0


def test_a_model_without_such_layers_is_told(checkpoint_folder: Path) -> None:
    with pytest.raises(ConfigError, match="leave out --gradient-checkpointing"):
        recompute_activations(adapted(checkpoint_folder).module, "mini")
