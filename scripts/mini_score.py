"""Score a `mini` checkpoint as it is shipped, from photograph files to answers in fp32, with no training cache.

    python scripts/mini_score.py --checkpoint DIR --split DIR --images DIR [--published CSV] --out report.json

Exact match after `normalize_answer`, with 95 % intervals from a bootstrap over photographs, by file and by question
type; beside it the same questions with another question's photograph (`shuffled`) and with no photograph (`none`:
the average of training features), and the expected calibration error (15 equal bins).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mini_data import PUBLISHED, Batches, Chunk, Questions, published_test_paths, read_questions
from mini_features import log
from numpy.typing import NDArray

from shelfqa.images import load_image
from shelfqa.models.mini.modeling import MiniForQuestionAnswering
from shelfqa.models.mini.processing import MiniProcessor
from shelfqa.question_types import question_type
from shelfqa.statistics import mean_interval

PICTURES = ("own", "shuffled", "none")
_RANK = {"published": 0, "all": 1, "file": 2, "type": 3}
"""In which order the table shows slices."""


def interval(right: NDArray[np.bool_], clusters: NDArray[np.int64]) -> dict[str, float | int]:
    """Return the share of `right` with its 95 % interval by cluster bootstrap."""
    found = mean_interval(right, clusters)
    return {"em": round(found.mean, 4), "low": round(found.low, 4), "high": round(found.high, 4), "n": len(right)}


def calibration_error(right: NDArray[np.bool_], sure: NDArray[np.float64], bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017, arXiv 1706.04599)."""
    place = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=right - sure, minlength=bins)
    return round(float(np.abs(gaps).sum() / len(right)), 4)


class Answers:
    """What a checkpoint says to chosen rows, with its own, another or no photograph."""

    def __init__(self, folder: Path, questions: Questions, paths: list[str], root: Path) -> None:
        """Load the checkpoint."""
        self.model = MiniForQuestionAnswering.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.model.vision_tower.to(memory_format=torch.channels_last)
        self.processor = MiniProcessor.from_pretrained(folder)
        self.questions, self.paths, self.root = questions, paths, root
        labels = self.model.config.id2label
        self.answers = [labels[index] for index in range(len(labels))]
        self.batches = Batches(questions, self.processor, self.answers)
        self.speed: dict[str, float] = {}

    def features(self, images: NDArray[np.int64]) -> torch.Tensor:
        """Encode photographs from their files; fp16 [n, positions, channels]."""
        parts = []
        seconds = 0.0
        with ThreadPoolExecutor(2) as pool, torch.inference_mode():
            for start in range(0, len(images), 32):
                names = [self.root / self.paths[image] for image in images[start : start + 32]]
                pixels = self.processor.images(list(pool.map(load_image, names)))
                started = time.perf_counter()
                parts.append(self.model.encode_images(pixels).half())
                seconds += time.perf_counter() - started
        self.speed["photographs_a_second"] = round(len(images) / seconds, 1)
        return torch.cat(parts)

    def logits(
        self, rows: NDArray[np.int64], images: NDArray[np.int64], features: torch.Tensor, picture: str
    ) -> Iterator[tuple[Chunk, torch.Tensor]]:
        """Yield some rows and the logits of all answers, [q, answers], until all `rows` are through."""
        place = np.zeros(len(self.paths), dtype=np.int64)
        place[images] = np.arange(len(images))
        if picture == "shuffled":
            place[images] = np.random.default_rng(0).permutation(len(images))
        with torch.inference_mode():
            for batch in self.batches.deal(rows, 32, chunks=3, shuffle=None):
                shown = features[torch.from_numpy(place[batch.images])].float()
                if picture == "none":
                    shown = self.model.connector.feature_mean.expand_as(shown)
                for chunk in batch.chunks:
                    yield chunk, self.model(shown, chunk.image_index, chunk.input_ids, chunk.attention_mask).logits

    def answer(self, rows: NDArray[np.int64], images: NDArray[np.int64], features: torch.Tensor, picture: str) -> Any:
        """Return per row of `rows` whether the answer is right and how sure the model is of it."""
        right = np.zeros(len(self.questions), dtype=bool)
        sure = np.zeros(len(self.questions))
        started = time.perf_counter()
        for chunk, logits in self.logits(rows, images, features, picture):
            best = logits.softmax(-1).max(-1)
            right[chunk.rows] = (best.indices == chunk.labels).numpy()
            sure[chunk.rows] = best.values.numpy()
        self.speed["questions_a_second"] = round(len(rows) / (time.perf_counter() - started), 1)
        return right[rows], sure[rows]


def score(folder: Path, split: Path, images_root: Path, published: Path | None) -> dict[str, Any]:
    """Return the report on the validation and test rows of `split`."""
    questions, paths = read_questions(split / "questions.parquet")
    answers = Answers(folder, questions, paths, images_root)
    kinds = np.array([question_type(question) for question in questions.question])
    report: dict[str, Any] = {}
    for name in ("validation", "test"):
        rows = np.flatnonzero(questions.split == name)
        images = np.unique(questions.image[rows])
        features = answers.features(images)
        slices = {f"file {source}": questions.source[rows] == source for source in np.unique(questions.source[rows])}
        slices |= {f"type {kind}": kinds[rows] == kind for kind in np.unique(kinds[rows])}
        if published and name == "test":
            chosen = published_test_paths(published)
            shown = np.array([paths[image] in chosen for image in questions.image[rows]])
            slices["published test rows"] = shown & (questions.source[rows] == PUBLISHED)
        for picture in PICTURES:
            right, sure = answers.answer(rows, images, features, picture)
            clusters = questions.image[rows]
            found: dict[str, Any] = {"all": interval(right, clusters)}
            found |= {key: interval(right[mask], clusters[mask]) for key, mask in slices.items() if mask.any()}
            report[f"{name}, {picture} picture"] = found | {"calibration_error": calibration_error(right, sure)}
            log(f"{name}, {picture} picture: {found['all']} {found.get('published test rows', '')}")
    return report | {"speed": answers.speed, "threads": torch.get_num_threads()}


def table(report: dict[str, Any]) -> str:
    """Return the Markdown table of the model's card: own photograph, another one, none."""
    lines = ["| rows | n | own photograph | shuffled | none |", "| --- | --- | --- | --- | --- |"]
    for split in ("test", "validation"):
        found = {picture: report[f"{split}, {picture} picture"] for picture in PICTURES}
        own = {name: cell for name, cell in found["own"].items() if isinstance(cell, dict)}
        for name in sorted(own, key=lambda name: (_RANK.get(name.split()[0], len(_RANK)), -own[name]["n"])):
            cell = own[name]
            blind = " | ".join(_short(found[picture][name]["em"]) for picture in PICTURES[1:])
            interval = f"{_short(cell['em'])} ({_short(cell['low'])} to {_short(cell['high'])})"
            lines.append(f"| {name}, {split} | {cell['n']:,} | {interval} | {blind} |")
    return "\n".join(lines) + "\n"


def _short(share: float) -> str:
    return f"{share:.3f}".removeprefix("0")


def main() -> None:
    """Read the command line, score, write, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True, help="folder with questions.parquet")
    parser.add_argument("--images", type=Path, required=True, help="folder that image paths are relative to")
    parser.add_argument("--published", type=Path, help="CSV with the published split, to report its test rows")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    report = score(options.checkpoint, options.split, options.images, options.published)
    options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(report))


if __name__ == "__main__":
    main()
