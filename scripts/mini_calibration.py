"""Fit what a `mini` checkpoint says of its own probabilities, on validation questions, and note it in its config.json.

    python scripts/mini_calibration.py --checkpoint DIR --split DIR --images DIR

Logits are divided by the temperature under which the best answers' probabilities are likeliest, given which of them are
right (Guo et al. 2017, arXiv 1706.04599, section 4.2; words outside the table count as wrong). Under the threshold the
model says that it does not know: answers up to it are right at most one time in five.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from mini_data import read_questions
from mini_features import log
from mini_score import Answers, calibration_error
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from shelfqa.models.mini.calibration import Calibration

SELDOM = 0.2
"""The share of right answers among those that the threshold takes for not known, at most."""
FEWEST = 50
"""Answers that a share is read off, at least."""


def fit(logits: torch.Tensor, labels: torch.Tensor) -> Calibration:
    """Return what suits logits [rows, answers] with labels [rows], -100 for a word outside the table."""
    right = (logits.argmax(-1) == labels).numpy()

    def sure(temperature: float) -> NDArray[np.float64]:
        best: NDArray[np.float64] = (logits / temperature).softmax(-1).amax(-1).double().numpy()
        return best.clip(1e-6, 1 - 1e-6)

    def loss(log_temperature: float) -> float:
        told = sure(float(np.exp(log_temperature)))
        return -float(np.mean(np.where(right, np.log(told), np.log1p(-told))))

    temperature = float(np.exp(minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded").x))
    return Calibration(round(temperature, 3), threshold(sure(round(temperature, 3)), right))


def threshold(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the greatest probability, to two places, up to which answers are right at most one time in five."""
    for candidate in np.arange(0.5, 0.0, -0.01):
        below = sure < candidate
        if below.sum() >= FEWEST and right[below].mean() <= SELDOM:
            return round(float(candidate), 2)
    return 0.0


def calibrate(folder: Path, split: Path, images_root: Path) -> None:
    """Fit on the validation rows of `split`, and write `temperature` and `unanswerable_below` into config.json."""
    questions, paths = read_questions(split / "questions.parquet")
    answers = Answers(folder, questions, paths, images_root)
    rows = np.flatnonzero(questions.split == "validation")
    images = np.unique(questions.image[rows])
    found = list(answers.logits(rows, images, answers.features(images), "own"))
    logits = torch.cat([part for _, part in found]) * answers.model.config.answer_temperature
    labels = torch.cat([chunk.labels for chunk, _ in found])
    calibration = fit(logits, labels)
    best = (logits / calibration.temperature).softmax(-1).max(-1)
    right, sure = (best.indices == labels).numpy(), best.values.double().numpy()
    known = sure >= calibration.unanswerable_below
    log(
        f"{calibration}: calibration error {calibration_error(right, sure)} on the rows that it was fitted on; "
        f"answers {known.mean():.3f} of them, {right[known].mean():.3f} right"
    )
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | calibration._asdict()
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line and calibrate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True, help="folder with questions.parquet")
    parser.add_argument("--images", type=Path, required=True, help="folder that image paths are relative to")
    options = parser.parse_args()
    calibrate(options.checkpoint, options.split, options.images)


if __name__ == "__main__":
    main()
