"""What is trained on, and in which order: batches of whole pictures, decided by seed and epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from shelfqa.text import normalize_answer

if TYPE_CHECKING:
    from shelfqa.models.base import VqaModel

_WRITING = ("seq2seq", "chat")
"""Families that write their answers token by token; the others choose them whole."""
_WINDOW_BATCHES = 32


class Sample(NamedTuple):
    """One question with its answer; `image` is a position in the list of pictures."""

    question_id: str
    question: str
    answer: str
    image: int


def choices_among(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return the normalised answers to the samples, each once: what a model of lists tells them from."""
    return tuple(dict.fromkeys(normalize_answer(sample.answer) for sample in samples))


def writes(model: VqaModel) -> bool:
    """Say whether the model writes its answers, so that the loss is a mean over tokens and long texts cost more."""
    return model.family in _WRITING


def loss_terms(model: VqaModel, samples: Sequence[Sample]) -> list[int]:
    """Return over how many terms each sample's loss is: the tokens of its answer, or the answer as a whole.

    The losses of several batches are averaged by them, so that batches, accumulated or shared among processes, give
    the loss of one large batch and not a mean of means.
    """
    if not writes(model):
        return [int(yes) for yes in model.learnable([sample.answer for sample in samples])]
    distinct = list(dict.fromkeys((sample.question, sample.answer) for sample in samples))
    questions, answers = ([pair[place] for pair in distinct] for place in (0, 1))
    counts = model.token_counts(questions, answers, [0] * len(distinct)) if distinct else []
    terms = {pair: count.answer - count.answer_cut for pair, count in zip(distinct, counts, strict=True)}
    return [terms[sample.question, sample.answer] for sample in samples]


class Lengths(NamedTuple):
    """How long the samples are, in tokens, for models whose batches are padded to the longest."""

    words: Sequence[int]
    """Of each sample's question and answer."""
    pictures: Sequence[int]
    """Of each sample's picture, where it stands among the words."""
    shared: bool
    """Whether the questions of a picture stand one behind another in a row, the picture once."""

    def rows(self, samples: Sequence[int]) -> list[int]:
        """Return the lengths of the rows that the questions of one picture, given by their positions, fill."""
        if self.shared:
            return [self.pictures[samples[0]] + sum(self.words[row] for row in samples)]
        return [self.pictures[row] + self.words[row] for row in samples]

    def padding_share(self, batches: Sequence[Sequence[int]], samples: Sequence[Sample]) -> float:
        """Return which share of the tokens of batches is padding, 0 to 1."""
        rows = [[row for group in _by_picture(batch, samples) for row in self.rows(group)] for batch in batches]
        return 1 - sum(map(sum, rows)) / sum(len(some) * max(some) for some in rows)


def epoch_batches(
    samples: Sequence[Sample], batch_size: int, *, seed: int, epoch: int, lengths: Lengths | None = None
) -> list[list[int]]:
    """Return the positions of the samples of each batch of an epoch.

    The questions of a picture stay together, so that its features are computed once a step; only those of a picture
    with more than `batch_size` questions are spread over several batches. With `lengths`, pictures whose questions are
    about equally long come together, among 32 batches' worth that are drawn at random.

    Args:
        samples: the training samples.
        batch_size: questions a batch, at most.
        seed: together with `epoch` it decides the order.
        epoch: counted from 0.
        lengths: of the samples, where it matters.

    """
    generator = np.random.default_rng([seed, epoch])
    groups = _by_picture(range(len(samples)), samples)
    drawn = [
        [groups[chosen][index] for index in generator.permutation(len(groups[chosen]))]
        for chosen in generator.permutation(len(groups))
    ]
    if lengths is not None:
        drawn = _by_length(drawn, lengths, _WINDOW_BATCHES * batch_size)
    batches: list[list[int]] = [[]]
    for group in drawn:
        for start in range(0, len(group), batch_size):
            piece = group[start : start + batch_size]
            if len(batches[-1]) + len(piece) > batch_size:
                batches.append([])
            batches[-1].extend(piece)
    batches = [batch for batch in batches if batch]
    return batches if lengths is None else [batches[place] for place in generator.permutation(len(batches))]


def _by_picture(rows: Sequence[int], samples: Sequence[Sample]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(samples[row].image, []).append(row)
    return list(groups.values())


def _by_length(groups: Sequence[list[int]], lengths: Lengths, window: int) -> list[list[int]]:
    """Return the groups sorted by length within runs of `window` samples, up and down in turn, so that runs join."""
    found: list[list[int]] = []
    some: list[list[int]] = []
    down = False
    for place, group in enumerate(groups):
        some.append(group)
        if sum(map(len, some)) >= window or place + 1 == len(groups):
            found += sorted(some, key=lambda one: max(lengths.rows(one)), reverse=down)
            some, down = [], not down
    return found


def share_of(samples: Sequence[Sample], batches: Sequence[Sequence[int]], *, rank: int, number: int) -> list[list[int]]:
    """Return the part of a step's batches that is one process's share.

    Whole batches are dealt out; where there are fewer than processes, each is cut into pieces, if possible between two
    pictures.

    Args:
        samples: the training samples.
        batches: positions of the samples of each batch.
        rank: which process, from 0.
        number: how many there are.

    """
    pieces = -(-number // len(batches))
    parts = [piece for batch in batches for piece in _cut(samples, batch, pieces)]
    return [list(part) for part in parts[rank::number]]


def _cut(samples: Sequence[Sample], batch: Sequence[int], pieces: int) -> list[Sequence[int]]:
    """Return at most so many pieces of a batch, about equally long, none of them empty."""
    between = [
        place for place in range(1, len(batch)) if samples[batch[place]].image != samples[batch[place - 1]].image
    ]
    cuts = [0]
    for piece in range(1, min(pieces, len(batch))):
        ideal = len(batch) * piece / min(pieces, len(batch))
        near = min(between, key=lambda place: abs(place - ideal), default=0)
        cuts.append(near if abs(near - ideal) < len(batch) / pieces / 2 and near > cuts[-1] else round(ideal))
    return [batch[start:end] for start, end in pairwise([*cuts, len(batch)]) if end > start]


def validation_subset(samples: Sequence[Sample], limit: int, *, seed: int) -> list[Sample]:
    """Return at most `limit` samples, whole pictures first drawn by `seed`, in order of their pictures."""
    if len(samples) <= limit:
        chosen = list(samples)
    else:
        batches = epoch_batches(samples, limit, seed=seed, epoch=0)
        chosen = [samples[position] for position in batches[0]]
    return sorted(chosen, key=lambda sample: (sample.image, sample.question_id))
