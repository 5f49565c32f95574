"""Regions as ViLBERT reads them: the whole picture first, then its parts.

Region 0 has the mean of all other regions' features and the box of the whole picture; the pooler of the vision stream
reads it alone, so a model that was trained with it does not work without. The other regions follow in any order (the
authors': falling confidence of the detector). A position is five numbers: the box's corners x1, y1, x2, y2 as shares of
the picture's width and height, and the share of its area that the box covers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MAX_REGIONS = 101
"""How many regions the authors' models have seen at most: region 0 and a detector's 100."""


class VisualInputs(NamedTuple):
    """What `ViLbertForQuestionAnswering.forward` takes of the pictures, region 0 included."""

    visual_features: Tensor
    """[b, regions + 1, features]"""
    visual_positions: Tensor
    """[b, regions + 1, 5]"""
    visual_attention_mask: Tensor
    """[b, regions + 1], true where there is a region"""


def with_global_region(features: Tensor, boxes: Tensor, mask: Tensor | None = None) -> VisualInputs:
    """Put region 0 before the regions of each picture and turn boxes into positions.

    Args:
        features: [b, regions, features].
        boxes: [b, regions, 4], corners x1, y1, x2, y2 as shares of width and height, in 0..1.
        mask: [b, regions], true where there is a region; all are there if absent. What is not there becomes zeros.

    """
    if mask is None:
        mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
    mask = mask.bool()
    here = mask[:, :, None]
    features = features.masked_fill(~here, 0)
    mean = features.sum(1, keepdim=True) / here.sum(1, keepdim=True).clamp(min=1)
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    positions = torch.cat([boxes, (width * height)[..., None]], dim=-1).masked_fill(~here, 0)
    whole = boxes.new_tensor([0, 0, 1, 1, 1]).expand(len(boxes), 1, 5)
    return VisualInputs(
        torch.cat([mean.to(features.dtype), features], dim=1),
        torch.cat([whole, positions], dim=1),
        torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1),
    )
