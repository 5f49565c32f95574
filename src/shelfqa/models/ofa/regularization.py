"""Stochastic depth (Huang et al. 2016, arXiv 1603.09382)."""

from __future__ import annotations

from torch import Tensor, nn


class DropPath(nn.Module):  # type: ignore[misc]
    """Drops a residual branch for some rows of the batch in training, and scales it up for the others."""

    def __init__(self, rate: float) -> None:
        """`rate` is the share of rows dropped."""
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Map [rows, ...] to the same shape."""
        if not self.training or self.rate == 0.0:
            return branch
        kept = branch.new_empty((len(branch),) + (1,) * (branch.dim() - 1)).bernoulli_(1.0 - self.rate)
        return branch * kept / (1.0 - self.rate)


def drop_path_rates(last: float, layers: int) -> list[float]:
    """Return rates that grow evenly from 0 to `last`; a single layer has 0.

    >>> drop_path_rates(0.2, 3)
    [0.0, 0.1, 0.2]
    """
    return [last * layer / max(layers - 1, 1) for layer in range(layers)]
