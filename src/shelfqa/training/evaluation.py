"""How a model does on validation: exact match of real answers, and the loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from shelfqa.models.base import Decoding, Query, VqaModel
from shelfqa.models.batching import BatchSize, answer_in_batches
from shelfqa.records import Interval
from shelfqa.statistics import mean_interval
from shelfqa.text import normalize_answer
from shelfqa.training.data import Sample, loss_terms
from shelfqa.training.distributed import Processes
from shelfqa.training.features import FeatureSource
from shelfqa.training.optimisation import Arithmetic

_IMAGES_AT_ONCE = 32


class Evaluation(NamedTuple):
    """How the model does on the validation samples."""

    loss: float | None
    """Mean over the answers that can be learned; None if there are none."""
    exact_match: Interval
    """Share of answers, found by real decoding, that are right after normalisation; 0 to 1, with a 95% interval over
    pictures (of one picture, all from 0 to 1)."""


class Evaluator:
    """Answers the validation questions; processes take the pictures in turn."""

    def __init__(
        self,
        model: VqaModel,
        source: FeatureSource,
        samples: Sequence[Sample],
        *,
        candidates: tuple[str, ...],
        batch_size: int,
        arithmetic: Arithmetic,
        processes: Processes,
    ) -> None:
        """Evaluate on `samples`; `candidates` are what a model that needs them chooses from."""
        self._model = model
        self._source = source
        blocks = list(_by_images(samples, _IMAGES_AT_ONCE))
        self._images = [sample.image for block in blocks for sample in block]
        starts = [0, *itertools.accumulate(map(len, blocks))]
        own = range(processes.rank, len(blocks), processes.number)
        self._blocks = [(starts[number], blocks[number], loss_terms(model, blocks[number])) for number in own]
        self._candidates = candidates
        self._batch_size = batch_size
        self._answered_at_once = BatchSize(batch_size)
        self._arithmetic = arithmetic
        self._processes = processes

    def run(self) -> Evaluation:
        """Answer and compare."""
        self._model.module.eval()
        right = [0.0] * len(self._images)
        loss, terms = 0.0, 0
        with self._processes.together(), torch.no_grad(), self._arithmetic():
            for start, block, terms_of_block in self._blocks:
                right[start : start + len(block)], more = self._of_block(block, terms_of_block)
                loss, terms = loss + more, terms + sum(terms_of_block)
        loss, all_terms, *right = self._processes.sum([loss, terms, *right])
        mean, low, high = mean_interval(right, self._images)
        share = Interval(mean, 0.0, 1.0) if math.isnan(low) else Interval(mean, low, high)
        return Evaluation(loss / all_terms if all_terms else None, share)

    def _of_block(self, block: Sequence[Sample], terms: Sequence[int]) -> tuple[list[float], float]:
        """Return which answers are right, as 1 or 0, and the sum of the losses."""
        images = sorted({sample.image for sample in block})
        features = self._source.features(images)
        queries = [Query(sample.question, (images.index(sample.image),)) for sample in block]
        answers = [sample.answer for sample in block]
        asked = [query._replace(candidates=self._candidates) for query in queries]
        found = answer_in_batches(self._model, features, asked, Decoding(top_k=1), self._answered_at_once)
        right = [
            float(bool(best) and normalize_answer(best[0].text) == normalize_answer(answer))
            for best, answer in zip(found, answers, strict=True)
        ]
        rows = [row for row, count in enumerate(terms) if count]
        loss = 0.0
        for start in range(0, len(rows), self._batch_size):
            some = rows[start : start + self._batch_size]
            mean = self._model.loss(features, [queries[row] for row in some], [answers[row] for row in some])
            loss += float(mean) * sum(terms[row] for row in some)
        return right, loss


def _by_images(samples: Sequence[Sample], images: int) -> Iterator[list[Sample]]:
    """Yield runs of samples, sorted by picture, that are about at most `images` pictures."""
    block: list[Sample] = []
    seen: set[int] = set()
    for sample in samples:
        if sample.image not in seen and len(seen) == images:
            yield block
            block, seen = [], set()
        block.append(sample)
        seen.add(sample.image)
    if block:
        yield block
