"""What is trained on, and in which order: batches of whole pictures, decided by seed and epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Sample(NamedTuple):
    """One question with its answer; `image` is a position in the list of pictures."""

    question_id: str
    question: str
    answer: str
    image: int


def epoch_batches(samples: Sequence[Sample], batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Return the positions of the samples of each batch of an epoch.

    The questions of a picture stay together, so that its features are computed once a step; only those of a picture
    with more than `batch_size` questions are spread over several batches.

    Args:
        samples: the training samples.
        batch_size: questions a batch, at most.
        seed: together with `epoch` it decides the order.
        epoch: counted from 0.

    """
    generator = np.random.default_rng([seed, epoch])
    by_image: dict[int, list[int]] = {}
    for position, sample in enumerate(samples):
        by_image.setdefault(sample.image, []).append(position)
    groups = list(by_image.values())
    batches: list[list[int]] = [[]]
    for chosen in generator.permutation(len(groups)):
        group = [groups[chosen][index] for index in generator.permutation(len(groups[chosen]))]
        for start in range(0, len(group), batch_size):
            piece = group[start : start + batch_size]
            if len(batches[-1]) + len(piece) > batch_size:
                batches.append([])
            batches[-1].extend(piece)
    return [batch for batch in batches if batch]


def validation_subset(samples: Sequence[Sample], limit: int, *, seed: int) -> list[Sample]:
    """Return at most `limit` samples, whole pictures first drawn by `seed`, in order of their pictures."""
    if len(samples) <= limit:
        chosen = list(samples)
    else:
        batches = epoch_batches(samples, limit, seed=seed, epoch=0)
        chosen = [samples[position] for position in batches[0]]
    return sorted(chosen, key=lambda sample: (sample.image, sample.question_id))
