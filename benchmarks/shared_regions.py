"""What LXMERT gains from a picture's questions sharing its vision encoder, and what the cache of regions gains.

Random weights of the published sizes, one thread; the run fails where the sides differ.

- LXMERT answers five questions about one picture of 36 regions: one question at a time and five at a time through
  transformers' `forward`, beside `LxmertVqa`.
- The grid of a ResNet-50 for pictures of 800 x 800 pixels: through the tower, beside from the cache; reading, scaling
  and telling pictures apart is counted on both sides.

    python benchmarks/shared_regions.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

os.environ |= {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}

import numpy as np
import torch
from PIL import Image

from shelfqa.models.adapters.lxmert import LxmertVqa
from shelfqa.models.adapters.regions import GridRegions, PaddedRegions
from shelfqa.models.grid_features import GridFeatures, cell_boxes
from shelfqa.models.region_cache import RegionCache

QUESTIONS = 5
PICTURES = 4
_TOLERANCE = 1e-4
_RUNS = 3

Side = Callable[[], torch.Tensor]


def lxmert_sides() -> dict[str, Side]:
    """Return how questions of one picture are answered by transformers, and by us."""
    from transformers import LxmertConfig, LxmertForQuestionAnswering

    module = LxmertForQuestionAnswering(LxmertConfig(num_qa_labels=3129)).eval()
    features, boxes = torch.randn(1, 36, 2048), cell_boxes(6)[None]
    ids = torch.randint(1000, 30000, (QUESTIONS, 12))
    seen = torch.ones_like(ids)
    model = cast(LxmertVqa, SimpleNamespace(module=module))

    def stock(rows: slice) -> torch.Tensor:
        some = ids[rows]
        shared = {"visual_feats": features.expand(len(some), -1, -1), "visual_pos": boxes.expand(len(some), -1, -1)}
        found: torch.Tensor = module(
            input_ids=some, attention_mask=seen[rows], token_type_ids=torch.zeros_like(some), **shared
        ).question_answering_score
        return found

    def ours() -> torch.Tensor:
        there = torch.ones(1, 36, dtype=torch.bool)
        states = LxmertVqa.embed(model, PaddedRegions(features, boxes, there))
        return LxmertVqa.score(model, ids, seen, states.expand(QUESTIONS, -1, -1), there.expand(QUESTIONS, -1))

    return {
        "one at a time": lambda: torch.cat([stock(slice(row, row + 1)) for row in range(QUESTIONS)]),
        "one batch": lambda: stock(slice(None)),
        "ours": ours,
    }


def grid_sides(folder: Path) -> dict[str, Side]:
    """Return how the regions of pictures are computed, and read again."""
    from transformers import ResNetConfig, ResNetModel

    grid = GridFeatures(ResNetModel(ResNetConfig()))
    pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, 800, 800, 3), dtype=np.uint8)
    paths = [folder / f"{number}.jpg" for number in range(PICTURES)]
    for path, values in zip(paths, pixels, strict=True):
        Image.fromarray(values).resize((100, 100)).resize((800, 800)).save(path)

    def side(source: GridRegions) -> Side:
        return lambda: source.regions([source.inputs_of(path) for path in paths], torch.device("cpu")).features

    return {"tower": side(GridRegions(grid, None)), "cache": side(GridRegions(grid, RegionCache(folder / "cache")))}


def seconds(work: Callable[[], Any]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(title: str, sides: dict[str, Side]) -> bool:
    """Print the times of all sides; return whether they agree. The last one is ours, and runs once unmeasured."""
    with torch.no_grad():
        results = [side() for side in sides.values()]
        times = {name: min(seconds(side) for _ in range(_RUNS)) for name, side in sides.items()}
    difference = max(float((result - results[-1]).abs().max()) for result in results)
    ours = list(times.values())[-1]
    told = ", ".join(f"{name} {time:.2f} s (x{time / ours:.2f})" for name, time in times.items())
    print(f"{title}: {told}; differ by {difference:.1e}")
    return difference <= _TOLERANCE


def main() -> int:
    """Return 1 where sides differ."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        agree = [
            compare(f"LXMERT, {QUESTIONS} questions", lxmert_sides()),
            compare(f"ResNet-50 grid, {PICTURES} pictures", grid_sides(Path(folder))),
        ]
    return int(not all(agree))


if __name__ == "__main__":
    sys.exit(main())
