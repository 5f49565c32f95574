from __future__ import annotations

import pytest

from shelfqa.training.data import Sample, epoch_batches, validation_subset

SAMPLES = [Sample(f"{image}-{n}", "what?", "red", image) for image in range(20) for n in range(1 + image % 5)]


@pytest.mark.parametrize("batch_size", [1, 3, 8, 1000])
def test_every_sample_comes_once_and_batches_are_not_too_large(batch_size: int) -> None:
    batches = epoch_batches(SAMPLES, batch_size, seed=3, epoch=1)
    assert sorted(row for batch in batches for row in batch) == list(range(len(SAMPLES)))
    assert max(map(len, batches)) <= batch_size


def test_the_questions_of_a_picture_stay_together() -> None:
    batches = epoch_batches(SAMPLES, 8, seed=0, epoch=0)
    for image in range(20):
        assert sum(any(SAMPLES[row].image == image for row in batch) for batch in batches) == 1


def test_seed_and_epoch_decide_the_order() -> None:
    first = epoch_batches(SAMPLES, 8, seed=0, epoch=0)
    assert first == epoch_batches(SAMPLES, 8, seed=0, epoch=0)
    assert first != epoch_batches(SAMPLES, 8, seed=0, epoch=1)
    assert first != epoch_batches(SAMPLES, 8, seed=1, epoch=0)


def test_the_validation_subset_is_bounded_and_stable() -> None:
    chosen = validation_subset(SAMPLES, 10, seed=0)
    assert 5 <= len(chosen) <= 10
    assert chosen == validation_subset(SAMPLES, 10, seed=0)
    assert chosen == sorted(chosen, key=lambda sample: (sample.image, sample.question_id))
    assert len(validation_subset(SAMPLES, 1000, seed=0)) == len(SAMPLES)
