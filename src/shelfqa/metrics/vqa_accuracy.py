"""VQA accuracy: how many of several people gave the predicted answer?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shelfqa.metrics.base import Answered, Metric, Scores
from shelfqa.metrics.exact import comparable


def vqa_accuracy_score(prediction: str, references: Sequence[str]) -> float:
    """Return the accuracy of a prediction against the answers of several people.

    Formula: mean over the references r of min(1, number of the other references that equal the prediction / 3), in
    [0, 1], once all are normalised. Source: VQA (arXiv 1505.00468) as evaluated for VQA v2 (arXiv 1612.00837, and the
    code published with it), which has ten people a question. With n references no answer scores more than (n - 1) / 3,
    so there should be at least four.

    >>> vqa_accuracy_score("red", ["red"] * 3 + ["pink"] * 7), vqa_accuracy_score("red", ["red"] * 10)
    (0.9, 1.0)
    """
    if not references:
        return 0.0
    said = comparable(prediction)
    same = sum(comparable(reference) == said for reference in references)
    others = len(references) - same
    return (same * min(1.0, (same - 1) / 3) + others * min(1.0, same / 3)) / len(references)


class VqaAccuracy(Metric):
    """VQA v2 accuracy against several people's answers: right in full where at least four of them said so."""

    name = "vqa_accuracy"

    def lacking(self, rows: Answered) -> str | None:
        """Return what the rows lack: at least one of them must have several references."""
        if any(given is not None and len(given) > 1 for given in rows.references or ()):
            return None
        return "the answers of several people (a column answers with a list a row)"

    def score(self, rows: Answered) -> Scores:
        """Return `vqa_accuracy_score` per row; a row of fewer than two references is judged by exact match."""
        references = rows.references if rows.references is not None else [None] * len(rows)
        known: dict[tuple[str, str, tuple[str, ...]], float] = {}
        scores = np.zeros(len(rows))
        for row, (prediction, answer, given) in enumerate(zip(rows.predictions, rows.answers, references, strict=True)):
            if prediction is None:
                continue
            key = (prediction, answer, tuple(given or ()))
            if key not in known:
                several = len(key[2]) > 1
                known[key] = (
                    vqa_accuracy_score(prediction, key[2])
                    if several
                    else float(comparable(prediction) in map(comparable, key[2] or (answer,)))
                )
            scores[row] = known[key]
        return scores
