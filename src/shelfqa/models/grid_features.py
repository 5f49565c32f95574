"""Grid features as regions: a convolutional network's last map, cut into cells (arXiv 2001.03615).

A model of regions can so see any picture without a detector. Jiang et al. show that the grid of a network trained on
Visual Genome's objects and attributes serves visual question answering as well as a detector's regions. A ResNet
trained on ImageNet saw no such objects, and features of neither are those that a published LXMERT or ViLBERT has
learned to read: such a model has to be tuned on them. Where we depart from the paper: pictures are scaled to a square
(theirs keep their shape, the shorter side at 600 pixels), and the map is averaged to a fixed number of cells (theirs
has as many as it has).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ResNetConfig, ResNetModel

from shelfqa.errors import InputError
from shelfqa.hub import load_error
from shelfqa.models.region_features import Regions

GRID_CELLS = 6
"""Cells a side: 36 regions, as many as LXMERT was trained with."""

GRID_SIDE_PX = 384
"""Side of the square picture; a multiple of 32 times `GRID_CELLS` lets each cell average the same number of places."""

_STRIDE_PX = 32
_CELLS_FIELD, _SIDE_FIELD = "grid_cells", "grid_side_px"
"""What the grid's sizes are called in the network's configuration."""
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class GridFeatures(nn.Module):  # type: ignore[misc]
    """A ResNet whose last map becomes a grid of regions; always in eval mode, so that batch norms stay as they are."""

    def __init__(self, tower: Any, *, cells: int = GRID_CELLS, side_px: int = GRID_SIDE_PX) -> None:
        """Wrap a network.

        Args:
            tower: a transformers `ResNetModel`.
            cells: cells a side of the grid; there are `cells` ** 2 regions.
            side_px: side of the square that pictures are scaled to, a multiple of 32.

        """
        super().__init__()
        if side_px % _STRIDE_PX or not 1 <= cells <= side_px // _STRIDE_PX:
            raise InputError(
                f"A grid of {cells} cells a side does not fit pictures of {side_px} pixels: the side must be a "
                f"multiple of {_STRIDE_PX} and have at least {_STRIDE_PX} pixels a cell."
            )
        self.cells = cells
        self.side_px = side_px
        self.tower = tower.to(memory_format=torch.channels_last)
        self.channels: int = tower.config.hidden_sizes[-1]
        self.eval()

    @classmethod
    def from_pretrained(
        cls,
        source: str,
        *,
        cells: int | None = None,
        side_px: int | None = None,
        dtype: torch.dtype = torch.float32,
        local_files_only: bool = False,
    ) -> Self:
        """Read a ResNet's safetensors weights, e.g. `microsoft/resnet-50` or `-101`, or a folder.

        Args:
            source: a folder or a hub name; a classifier's head is left out.
            cells: cells a side of the grid; by default what `save_pretrained` noted, else `GRID_CELLS`.
            side_px: side of the square that pictures are scaled to; by default so too, else `GRID_SIDE_PX`.
            dtype: the type of the weights.
            local_files_only: never ask the hub.

        Raises:
            UserError: if it cannot be had or is no ResNet.

        """
        try:
            config, _ = ResNetConfig.get_config_dict(source, local_files_only=local_files_only)
            if config.get("model_type") != "resnet":
                raise InputError(f"{source!r} is a model of type {config.get('model_type')!r}, expected a resnet.")
            tower = ResNetModel.from_pretrained(
                source, dtype=dtype, use_safetensors=True, local_files_only=local_files_only
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise load_error(source, error, instead="give the folder of a ResNet, or precomputed regions.") from None
        return cls(
            tower,
            cells=cells or config.get(_CELLS_FIELD, GRID_CELLS),
            side_px=side_px or config.get(_SIDE_FIELD, GRID_SIDE_PX),
        )

    def save_pretrained(self, folder: Path) -> None:
        """Write the network, and in its configuration the grid, so that `from_pretrained` gives the same regions."""
        setattr(self.tower.config, _CELLS_FIELD, self.cells)
        setattr(self.tower.config, _SIDE_FIELD, self.side_px)
        self.tower.save_pretrained(folder)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever is asked."""
        return cast(Self, super().train(False))

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Scale RGB pictures to squares and standardise their colours as ImageNet's: [n, 3, side_px, side_px].

        The whole picture is kept and its shape is not, unlike in the processors that come with ResNets, which crop:
        a box in shares of width and height is the same before and after.
        """
        size = (self.side_px, self.side_px)
        arrays = [np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)) for image in images]
        pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255  # channels stay last in memory
        return (pixels - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_DEVIATION).view(3, 1, 1)

    def forward(self, pixels: Tensor) -> Regions:
        """Map pixels [n, 3, H, W] to the regions of n pictures, r = `cells` ** 2, row by row from the top left."""
        grid = self.tower(pixels.contiguous(memory_format=torch.channels_last)).last_hidden_state
        grid = F.adaptive_avg_pool2d(grid, self.cells)  # [n, d, cells, cells]
        boxes = cell_boxes(self.cells).to(grid.device)
        return Regions(grid.flatten(2).transpose(1, 2), boxes.expand(len(grid), -1, -1))


def cell_boxes(cells: int) -> Tensor:
    """Return the boxes of a grid's cells [cells ** 2, 4], row by row: x1, y1, x2, y2 as shares of width and height.

    >>> cell_boxes(2).tolist()[1]
    [0.5, 0.0, 1.0, 0.5]
    """
    edges = torch.arange(cells + 1) / cells
    top, left = torch.meshgrid(edges[:-1], edges[:-1], indexing="ij")
    bottom, right = torch.meshgrid(edges[1:], edges[1:], indexing="ij")
    return torch.stack([left, top, right, bottom], dim=-1).flatten(0, 1)
