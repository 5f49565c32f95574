"""The vision tower of `mini`: EfficientNet-Lite2, seen at several depths, plus plain colour statistics.

EfficientNet-Lite (Tan and Le, arXiv 1905.11946; the Lite variants: no squeeze-and-excitation, ReLU6, stem and head
not widened) was trained in TensorFlow, hence 'SAME' padding, which pads right and bottom only where the stride is 2
and the side is even, and a batch-norm epsilon of 1e-3.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Stage(NamedTuple):
    """One run of inverted residual blocks; the first of them changes width and applies the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


LITE2_STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(3, 3, 2, 6, 24),
    Stage(3, 5, 2, 6, 48),
    Stage(4, 3, 2, 6, 88),
    Stage(4, 5, 1, 6, 120),
    Stage(5, 5, 2, 6, 208),
    Stage(1, 3, 1, 6, 352),
)
STEM_WIDTH = 32
HEAD_WIDTH = 1280
DETAIL_STAGE = 2
"""The stage at 1/8 of the side whose mean and deviation per cell are kept: edges, texture, print."""
MIDDLE_STAGE = 4
"""The stage at 1/16 of the side that is kept whole (four positions a cell), and after which the late part begins."""
COLOUR_LEVELS = 4
_BN_EPSILON = 1e-3
_PIXEL_MEAN, _PIXEL_SCALE = 127.0, 128.0


class StridedConv2d(nn.Conv2d):  # type: ignore[misc]
    """A convolution that skips positions, with TensorFlow's 'SAME' padding: what is odd goes right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, in, h, w] to [n, out, ceil(h / stride), ceil(w / stride)]."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        pads: list[int] = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return cast(Tensor, super().forward(F.pad(x, pads)))


class ConvNorm(nn.Module):  # type: ignore[misc]
    """Convolution, batch norm and, if `activate`, ReLU6."""

    def __init__(
        self, wide_in: int, wide_out: int, kernel: int, *, stride: int = 1, groups: int = 1, activate: bool = True
    ) -> None:
        super().__init__()
        if stride == 1:  # plain, so that LoRA can be put on it
            self.conv = nn.Conv2d(wide_in, wide_out, kernel, padding=kernel // 2, groups=groups, bias=False)
        else:
            self.conv = StridedConv2d(wide_in, wide_out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(wide_out, eps=_BN_EPSILON, momentum=0.01)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, in, h, w] to [n, out, h', w']."""
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.activate else x


class InvertedResidual(nn.Module):  # type: ignore[misc]
    """Widen, filter each channel, narrow; add the input where shapes allow."""

    def __init__(self, wide_in: int, wide_out: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        wide = wide_in * expansion
        self.expand = ConvNorm(wide_in, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel, stride=stride, groups=wide)
        self.project = ConvNorm(wide, wide_out, 1, activate=False)
        self.residual = stride == 1 and wide_in == wide_out

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, in, h, w] to [n, out, h', w']."""
        y = cast(Tensor, self.project(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class EarlyFeatures(NamedTuple):
    """What the first part of the tower yields: the late part's input, and what is kept of it as it is."""

    middle: Tensor
    """[n, middle width, side / 16, side / 16]"""
    shallow: Tensor
    """[n, positions, detail and colour channels]"""


class VisionTower(nn.Module):  # type: ignore[misc]
    """Turns pictures into a grid of feature vectors, one for each 32 x 32 pixel cell.

    A cell's channels, in this order: the head (1280), the stage at 1/16 (4 positions x 120), mean and deviation of
    the stage at 1/8 (2 x 48), a soft histogram over a 4 x 4 x 4 lattice of RGB (64), mean and deviation of RGB (6).
    """

    def __init__(
        self, stages: tuple[Stage, ...] = LITE2_STAGES, stem: int = STEM_WIDTH, head: int = HEAD_WIDTH
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, stem, 3, stride=2)
        self.stages = nn.ModuleList()
        width = stem
        for stage in stages:
            blocks = []
            for index in range(stage.repeats):
                stride = stage.stride if index == 0 else 1
                blocks.append(
                    InvertedResidual(width, stage.width, stage.kernel, stride=stride, expansion=stage.expansion)
                )
                width = stage.width
            self.stages.append(nn.Sequential(*blocks))
        self.head = ConvNorm(width, head, 1)
        shallow = 2 * stages[DETAIL_STAGE].width + COLOUR_LEVELS**3 + 6
        self.channels = head + 4 * stages[MIDDLE_STAGE].width + shallow

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [n, 3, side, side], scaled as (value - 127) / 128, to [n, (side / 32) ** 2, channels]."""
        return self.late(self.early(pixel_values))

    def early(self, pixel_values: Tensor) -> EarlyFeatures:
        """Run the stages up to 1/16 of the side, and gather detail and colour per cell."""
        x = self.stem(pixel_values.contiguous(memory_format=torch.channels_last))
        detail = x
        for index, stage in enumerate(self.stages[: MIDDLE_STAGE + 1]):
            x = stage(x)
            if index == DETAIL_STAGE:
                detail = x
        shallow = [*_mean_and_deviation(detail, 4), *_colour(pixel_values)]
        return EarlyFeatures(x, torch.cat([_positions(part) for part in shallow], dim=-1).to(x.dtype))

    def late(self, early: EarlyFeatures) -> Tensor:
        """Run the last stages and the head on what `early` gave; return the grid [n, positions, channels]."""
        return self.grid(self.top(early), early)

    def top(self, early: EarlyFeatures) -> Tensor:
        """Run the last stages and the head; return [n, positions, head channels]."""
        x = early.middle
        for stage in self.stages[MIDDLE_STAGE + 1 :]:
            x = stage(x)
        return _positions(self.head(x))

    @staticmethod
    def grid(top: Tensor, early: EarlyFeatures) -> Tensor:
        """Put the channels of all depths side by side."""
        return torch.cat([top, _positions(F.pixel_unshuffle(early.middle, 2)), early.shallow], dim=-1)


def _positions(grid: Tensor) -> Tensor:
    """[n, channels, h, w] -> [n, h * w, channels]."""
    return grid.flatten(2).transpose(1, 2)


def _mean_and_deviation(grid: Tensor, cell: int) -> tuple[Tensor, Tensor]:
    grid = grid.float()
    mean = F.avg_pool2d(grid, cell)
    variance = F.avg_pool2d(grid * grid, cell) - mean * mean
    return mean, variance.clamp(min=0).add(1e-6).sqrt()


def _colour(pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Soft RGB histogram (square-rooted), mean and deviation of each 32 x 32 pixel cell."""
    rgb = (pixel_values.float() * _PIXEL_SCALE + _PIXEL_MEAN) / 255.0
    small = F.avg_pool2d(rgb, 2).clamp(0, 1) * (COLOUR_LEVELS - 1)
    levels = torch.arange(COLOUR_LEVELS, device=rgb.device, dtype=small.dtype).view(1, 1, -1, 1, 1)
    near = (1 - (small.unsqueeze(2) - levels).abs()).clamp(min=0)  # [n, 3, levels, h, w]
    red, green, blue = near.unbind(1)
    green_blue = (green.unsqueeze(2) * blue.unsqueeze(1)).flatten(1, 2)
    lattice = (red.unsqueeze(2) * green_blue.unsqueeze(1)).flatten(1, 2)
    return F.avg_pool2d(lattice, 16).sqrt(), *_mean_and_deviation(rgb, 32)
