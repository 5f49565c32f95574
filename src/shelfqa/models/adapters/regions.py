"""Where a model of regions takes those of a picture from: a ResNet's grid, kept on disk, or files made elsewhere.

The ResNet is no part of the model: it is neither trained nor in the model's fingerprint.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shelfqa.errors import ImageError, InputError
from shelfqa.images import load_image
from shelfqa.machine import cache_folder
from shelfqa.models.base import Loading, PictureInputs
from shelfqa.models.grid_features import GridFeatures, cell_boxes
from shelfqa.models.region_cache import RegionCache
from shelfqa.models.region_features import RegionFeatures, Regions, read_region_features

DEFAULT_TOWER = "microsoft/resnet-50"
TOWER_FOLDER = "regions"
"""Where a saved checkpoint has its own tower."""

_FEATURES, _BOXES, _PIXELS, _DIGEST = "region_features", "region_boxes", "pixel_values", "pixel_digest"
_PRECOMPUTED = frozenset({".parquet", ".npz"})


class PaddedRegions(NamedTuple):
    """Regions of n pictures, as many as the picture with most has; what is not there is zeros."""

    features: Tensor
    """[n, r, d]"""
    boxes: Tensor
    """[n, r, 4], corners x1, y1, x2, y2 as shares of width and height, in 0..1"""
    mask: Tensor
    """[n, r], true where there is a region"""


class RegionSource(ABC):
    """Gives the regions of pictures."""

    @abstractmethod
    def inputs(self, image: Image.Image) -> PictureInputs:
        """Return what `regions` needs of an RGB picture, on the CPU; threads may call it."""

    @abstractmethod
    def inputs_of(self, path: Path) -> PictureInputs:
        """Return what `regions` needs of the picture at `path`, on the CPU; threads may call it.

        Raises:
            ImageError: if it cannot be read.

        """

    @abstractmethod
    def regions(self, pictures: Sequence[PictureInputs], device: torch.device) -> PaddedRegions:
        """Return the regions of pictures, float32 on `device`; they carry no gradients."""

    def save_pretrained(self, folder: Path) -> None:
        """Write into a checkpoint's folder what it takes to give the same regions; nothing, where files hold them."""
        return


class PrecomputedRegions(RegionSource):
    """Regions from files."""

    def __init__(self, found: RegionFeatures) -> None:
        self._found = found

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Refuse: without its path, a picture's regions cannot be found."""
        raise InputError(
            f"The regions in {str(self._found.source)!r} are found by a picture's path: give its file, not the picture."
        )

    def inputs_of(self, path: Path) -> PictureInputs:
        """Read the picture's regions; the picture itself is not looked at."""
        try:
            regions = self._found.read(str(path))
        except InputError as error:
            raise ImageError("no-regions", str(error)) from None
        return {_FEATURES: regions.features[0], _BOXES: regions.boxes[0]}

    def regions(self, pictures: Sequence[PictureInputs], device: torch.device) -> PaddedRegions:
        """Pad them to one number."""
        features = [picture[_FEATURES] for picture in pictures]
        padded = pad_sequence(features, batch_first=True).to(device)
        boxes = pad_sequence([picture[_BOXES] for picture in pictures], batch_first=True).to(device)
        return PaddedRegions(padded, boxes, presence([len(each) for each in features], device))


class GridRegions(RegionSource):
    """The grid of a ResNet, computed in float32 and, with a cache, once a picture."""

    def __init__(self, grid: GridFeatures, cache: RegionCache | None) -> None:
        self.grid = grid
        self.cache = cache
        self._tower_key = f"{_digest_of(grid.tower)}-{grid.cells}x{grid.cells}-{grid.side_px}px"

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Scale to a square, and tell it from all others by a digest [32 bytes]."""
        pixels = self.grid.pixels([image])
        digest = hashlib.sha256(pixels.numpy().tobytes()).digest()
        return {_PIXELS: pixels, _DIGEST: torch.frombuffer(bytearray(digest), dtype=torch.uint8)}

    def inputs_of(self, path: Path) -> PictureInputs:
        """Read and scale."""
        return self.inputs(load_image(path))

    def regions(self, pictures: Sequence[PictureInputs], device: torch.device) -> PaddedRegions:
        """Take what the cache has, and let the tower see the rest in one batch."""
        tower = f"{self._tower_key}-{device.type}"  # a GPU's convolutions round otherwise
        names = [picture[_DIGEST].numpy().tobytes().hex() for picture in pictures]
        shape = (self.grid.cells**2, self.grid.channels)
        found = {name: known for name in names if (known := self._kept(tower, name, shape)) is not None}
        missing = {name: picture for name, picture in zip(names, pictures, strict=True) if name not in found}
        if missing:
            features = self._see(torch.cat([picture[_PIXELS] for picture in missing.values()]), device).features.cpu()
            for name, each in zip(missing, features, strict=True):
                found[name] = each
                if self.cache is not None:
                    self.cache.keep(tower, name, each.contiguous().numpy())
        stacked = torch.stack([found[name] for name in names]).to(device)
        boxes = cell_boxes(self.grid.cells).to(device).expand(len(names), -1, -1)
        return PaddedRegions(stacked, boxes, torch.ones(stacked.shape[:2], dtype=torch.bool, device=device))

    def _kept(self, tower: str, name: str, shape: tuple[int, ...]) -> Tensor | None:
        known = self.cache.get(tower, name, shape) if self.cache is not None else None
        return None if known is None else torch.from_numpy(known)

    def _see(self, pixels: Tensor, device: torch.device) -> Regions:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            regions: Regions = self.grid.to(device)(pixels.to(device))
            return regions

    def save_pretrained(self, folder: Path) -> None:
        """Write the tower and its grid into the folder `regions`."""
        self.grid.save_pretrained(folder / TOWER_FOLDER)


def region_source(checkpoint: str, loading: Loading, feature_size: int) -> RegionSource:
    """Return where the regions come from that `loading.regions` asks for.

    Args:
        checkpoint: the model's folder or hub name; its own tower, if it has one, is the default before
            `DEFAULT_TOWER`.
        loading: `regions`, and `image_side_px` for a tower.
        feature_size: channels of a region that the model reads.

    Raises:
        UserError: if there is no such source, or its regions have other channels.

    """
    own = Path(checkpoint) / TOWER_FOLDER
    wanted = loading.regions or (str(own) if own.is_dir() else DEFAULT_TOWER)
    path = Path(wanted)
    if path.suffix in _PRECOMPUTED or (path.is_dir() and not (path / "config.json").is_file()):
        return PrecomputedRegions(read_region_features(path, feature_size=feature_size))
    grid = GridFeatures.from_pretrained(wanted, side_px=loading.image_side_px)
    if grid.channels != feature_size:
        raise InputError(
            f"The regions of {wanted!r} have {grid.channels} channels, but {checkpoint!r} reads {feature_size}: give a "
            "ResNet that fits, such as microsoft/resnet-50 for 2048, or precomputed regions (--regions)."
        )
    folder = cache_folder()
    return GridRegions(grid, RegionCache(folder / "regions") if folder is not None else None)


def presence(counts: Sequence[int], device: torch.device) -> Tensor:
    """Return a mask [n, most] that is true at the first `counts` places of each row.

    >>> presence([1, 2], torch.device("cpu")).tolist()
    [[True, False], [True, True]]
    """
    return torch.arange(max(counts), device=device) < torch.tensor(counts, device=device)[:, None]


def _digest_of(tower: Any) -> str:
    """Return a digest of all weights and statistics of a network."""
    digest = hashlib.sha256()
    for name, values in tower.state_dict().items():
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(np.ascontiguousarray(values.cpu().numpy()).tobytes())
    return digest.hexdigest()[:16]
