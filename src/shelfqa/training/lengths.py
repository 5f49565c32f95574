"""How long training samples are, and how many terms their losses have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shelfqa.models.base import TokenCount, VqaModel
from shelfqa.training.data import Lengths, Sample, loss_terms, writes
from shelfqa.training.features import FeatureSource
from shelfqa.training.preflight_tokens import count_pictures, count_samples


class Measures(NamedTuple):
    """What is known of each sample before it is read."""

    terms: list[int]
    """Over how many terms its loss is."""
    lengths: Lengths | None
    """None where the model does not write its answers."""
    counts: list[TokenCount]
    unopened: frozenset[int]
    """Pictures that cannot be opened; they count as nothing."""


def measured(model: VqaModel, samples: Sequence[Sample], source: FeatureSource) -> Measures:
    """Return the lengths of samples; pictures are measured by their size, undecoded."""
    images = dict.fromkeys(sample.image for sample in samples)
    found = count_pictures(model, {image: source.paths[image] for image in images})
    unopened = frozenset(images.keys() - found.keys())
    counts = count_samples(model, samples, dict.fromkeys(images, 0) | found)
    if not writes(model):
        return Measures(loss_terms(model, samples), None, counts, unopened)
    words = [count.read - count.picture for count in counts]
    terms = [count.answer - count.answer_cut for count in counts]
    lengths = Lengths(words, [count.picture for count in counts], model.shares_prompts)
    return Measures(terms, lengths, counts, unopened)
