"""The vision tower of OFA: a ResNet (He et al. 2015, arXiv 1512.03385) without its last stage and head.

Shapes: n pictures, c channels, h rows and w columns of patches of 16 x 16 pixels.
Strides sit in the 3 x 3 convolutions ("v1.5").
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shelfqa.models.ofa.regularization import DropPath, drop_path_rates

RESNET_CHANNELS = 1024
"""Channels that the last stage yields."""
_EXPANSION = 4
_WIDTHS = (64, 128, 256)


class Bottleneck(nn.Module):  # type: ignore[misc]
    """Narrow, filter, widen; add the input."""

    def __init__(self, channels: int, width: int, *, stride: int = 1, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        wide = width * _EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != wide:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, wide, 1, stride=stride, bias=False), nn.BatchNorm2d(wide)
            )
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, c, h, w] to [n, 4 width, h / stride, w / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(shortcut + self.drop_path(y))


class ResNet(nn.Module):  # type: ignore[misc]
    """Turns pictures into a grid of patch vectors.

    Its batch norms use their running statistics in training too, as with the authors' `--freeze-resnet`: a picture's
    features then depend on no other picture, so that they can be computed once and kept.
    """

    def __init__(self, blocks: tuple[int, int, int], drop_path_rate: float = 0.0) -> None:
        """`blocks` is how many blocks each stage has."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        channels = _WIDTHS[0]
        for number, (count, width) in enumerate(zip(blocks, _WIDTHS, strict=True), start=1):
            stage = []
            for index, rate in enumerate(drop_path_rates(drop_path_rate, count)):
                stride = 2 if number > 1 and index == 0 else 1
                stage.append(Bottleneck(channels, width, stride=stride, drop_path_rate=rate))
                channels = width * _EXPANSION
            self.add_module(f"layer{number}", nn.Sequential(*stage))

    def train(self, mode: bool = True) -> ResNet:
        """Set the mode of everything but the batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [n, 3, 16 h, 16 w] to [n, 1024, h, w]; sides that 16 does not divide are rounded up."""
        x = pixel_values.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        return cast(Tensor, self.layer3(self.layer2(self.layer1(x))))
