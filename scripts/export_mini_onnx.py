"""Write the ONNX graphs of a `mini` checkpoint beside its weights, and hold them against torch.

    python scripts/export_mini_onnx.py
    python scripts/export_mini_onnx.py runs/mini/checkpoint

By default of the bundled checkpoint. The graphs hold no weights: they point into model.safetensors, so training the
same architecture again with the same number of answers leaves them right; anything else needs them anew, and
`MiniRuntime.load` says so. Ends with 1 where probabilities differ from torch's by more than 1e-4.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from shelfqa.models.mini import checkpoint_dir
from shelfqa.models.mini.graphs import export_graphs
from shelfqa.models.mini.modeling import MiniForQuestionAnswering
from shelfqa.models.mini.processing import MiniProcessor
from shelfqa.models.mini.runtime import MiniRuntime

QUESTIONS = ("What color is it?", "What material is the body of this product made of?", "Is it round?", "How many?")
_MOST = 1e-4


def largest_difference(folder: Path, pictures: int = 4) -> float:
    """Return the largest difference of a probability between the graphs and torch, on pictures of noise and blocks."""
    runtime = MiniRuntime.load(folder)
    model = MiniForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()
    processor = MiniProcessor.from_pretrained(folder)
    generator = np.random.default_rng(0)
    most = 0.0
    for number in range(pictures):
        small = generator.integers(0, 256, (2 ** (2 + number), 2 ** (3 + number), 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((320, 200))
        [seen] = runtime.encode([picture])
        with torch.inference_mode():
            features = model.encode_images(processor.images([picture]))
            index = torch.zeros(len(QUESTIONS), dtype=torch.long)
            shares = model(features, index, **processor.questions(QUESTIONS)).logits.softmax(-1).numpy()
        place = model.config.label2id
        for row, answer in zip(shares, runtime.answer(seen, QUESTIONS, top_k=len(place)), strict=True):
            most = max(most, *(abs(row[place[guess.text]] - guess.probability) for guess in answer.guesses))
    return most


def main() -> int:
    """Read the command line, write, compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=checkpoint_dir(), help="a checkpoint of mini")
    folder = parser.parse_args().folder
    for file in export_graphs(folder):
        sys.stdout.write(f"{file}: {file.stat().st_size:,} bytes\n")
    most = largest_difference(folder)
    sys.stdout.write(f"largest difference of a probability from torch's: {most:.1e}\n")
    return 0 if most <= _MOST else 1


if __name__ == "__main__":
    sys.exit(main())
