from __future__ import annotations

import numpy as np
import pytest

from shelfqa.training.data import Lengths, Sample, epoch_batches, validation_subset

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


def uneven(shared: bool) -> tuple[list[Sample], Lengths]:
    """Five hundred pictures with one to five questions, of 8 to 60 tokens; tiles make pictures differ, too."""
    generator = np.random.default_rng(0)
    samples = [
        Sample(f"{image}-{n}", "what?", "red", image) for image in range(500) for n in range(generator.integers(1, 6))
    ]
    words = [int(8 + generator.exponential(12)) for _ in samples]
    tiles = [64 * int(number) for number in generator.integers(1, 6, 500)]
    return samples, Lengths(words, [tiles[sample.image] for sample in samples], shared)


@pytest.mark.parametrize("shared", [False, True])
def test_batches_of_equal_length_have_little_padding(shared: bool) -> None:
    samples, lengths = uneven(shared)
    plain = epoch_batches(samples, 16, seed=0, epoch=0)
    batches = epoch_batches(samples, 16, seed=0, epoch=0, lengths=lengths)
    assert sorted(row for batch in batches for row in batch) == list(range(len(samples)))
    assert max(map(len, batches)) <= 16
    assert lengths.padding_share(plain, samples) > 0.3
    assert lengths.padding_share(batches, samples) < 0.08


def test_batches_of_equal_length_are_random_otherwise() -> None:
    samples, lengths = uneven(shared=False)

    def drawn(seed: int, epoch: int) -> list[list[int]]:
        return epoch_batches(samples, 16, seed=seed, epoch=epoch, lengths=lengths)

    assert drawn(0, 0) == drawn(0, 0)
    together = [{frozenset(batch) for batch in drawn(seed, epoch)} for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for other in together[1:]:
        assert len(together[0] & other) < len(together[0]) / 4
    longest = [max(lengths.words[row] for row in batch) for batch in drawn(0, 0)]
    assert longest != sorted(longest)
    images = [sample.image for sample in samples]
    for image in range(20):
        assert sum(any(images[row] == image for row in batch) for batch in drawn(0, 0)) == 1


def test_a_row_holds_a_picture_once() -> None:
    lengths = Lengths([3, 4, 5], [10, 10, 20], shared=True)
    assert lengths.rows([0, 1]) == [17]
    assert lengths._replace(shared=False).rows([0, 1]) == [13, 14]
    samples = [Sample("a", "", "", 0), Sample("b", "", "", 0), Sample("c", "", "", 1)]
    assert lengths.padding_share([[0, 1, 2]], samples) == pytest.approx((25 - 17) / 50)
