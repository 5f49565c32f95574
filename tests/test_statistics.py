"""Intervals and paired tests."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shelfqa.statistics import compare_paired, mcnemar_exact, mean_interval, mean_intervals

TRUE_MEAN = 2 / 3.5


def clustered(generator: np.random.Generator, clusters: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Right and wrong answers whose share varies between clusters of one to five; the mean is TRUE_MEAN."""
    shares = generator.beta(2, 1.5, clusters)
    labels = np.repeat(np.arange(clusters), generator.integers(1, 6, clusters))
    return generator.random(len(labels)) < shares[labels], labels


def coverage(simulations: int, clusters: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    hits = 0
    for number in range(simulations):
        values, labels = clustered(generator, clusters)
        interval = mean_interval(values, labels, resamples=1000, seed=number)
        hits += interval.low <= TRUE_MEAN <= interval.high
    return hits / simulations


def test_interval_covers_the_truth_quick() -> None:
    assert 0.90 <= coverage(200, 40, seed=1) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [30, 150])
def test_interval_covers_the_truth(clusters: int) -> None:
    assert 0.93 <= coverage(1000, clusters, seed=2) <= 0.97


def test_clusters_of_one_agree_with_the_plain_bootstrap() -> None:
    generator = np.random.default_rng(0)
    values = generator.random(400)
    found = mean_interval(values, np.arange(400), resamples=4000)
    plain = values[generator.integers(0, 400, (4000, 400))].mean(axis=1)
    assert found.mean == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.004)


def test_dependent_items_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(0).random(60) < 0.5, 10)
    clusters = np.repeat(np.arange(60), 10)
    together, apart = mean_interval(values, clusters), mean_interval(values, np.arange(600))
    assert together.high - together.low > 2.5 * (apart.high - apart.low)


def test_labels_and_order_do_not_matter() -> None:
    values, labels = clustered(np.random.default_rng(3), 30)
    named = np.array([f"product {label:03}" for label in labels])
    assert mean_interval(values, labels) == mean_interval(values, named)
    assert mean_interval(values[::-1], labels[::-1]) == pytest.approx(mean_interval(values, labels))


def test_same_seed_same_interval() -> None:
    values, labels = clustered(np.random.default_rng(3), 30)
    assert mean_interval(values, labels, seed=5) == mean_interval(values, labels, seed=5)
    assert mean_interval(values, labels, seed=5) != mean_interval(values, labels, seed=6)


def test_columns_share_resamples() -> None:
    values, labels = clustered(np.random.default_rng(3), 30)
    both = mean_intervals(np.stack([values, 1.0 - values], axis=1), labels)
    assert both[0] == mean_interval(values, labels)
    assert both[0].low == pytest.approx(1 - both[1].high, abs=1e-9)


def test_all_right_still_leaves_room() -> None:
    interval = mean_interval(np.ones(20), np.arange(20))
    assert interval.mean == interval.high == 1.0
    assert interval.low == pytest.approx(1 - 3.8415 / 23.8415, abs=1e-3)  # Wilson's bound for 20 of 20
    assert mean_interval(np.zeros(20), np.arange(20)).high == pytest.approx(1 - interval.low)


def test_one_cluster_has_no_interval() -> None:
    interval = mean_interval([1, 0, 1], ["p", "p", "p"])
    assert interval.mean == pytest.approx(2 / 3)
    assert np.isnan([interval.low, interval.high]).all()


def test_nothing_has_no_mean() -> None:
    assert np.isnan(mean_interval([], [])).all()


def test_paired_comparison() -> None:
    generator = np.random.default_rng(0)
    before, labels = clustered(generator, 100)
    after = before | (generator.random(len(before)) < 0.3)
    found = compare_paired(before, after, labels)
    assert found.difference.mean == pytest.approx(after.mean() - before.mean())
    assert 0 < found.difference.low < found.difference.mean < found.difference.high
    assert found.p_value == pytest.approx(2 / 2001)
    assert (found.items, found.clusters) == (len(before), 100)
    turned = compare_paired(after, before, labels)
    assert turned.difference.mean == -found.difference.mean
    assert turned.difference.low == pytest.approx(-found.difference.high)


def test_no_difference_is_not_significant() -> None:
    generator = np.random.default_rng(1)
    first, labels = clustered(generator, 80)
    second = first[generator.permutation(len(first))]
    found = compare_paired(first, second, labels)
    assert found.difference.low < 0 < found.difference.high
    assert found.p_value > 0.05
    assert compare_paired(first, first, labels).p_value == 1.0


def test_paired_tests_want_the_same_items() -> None:
    with pytest.raises(ValueError, match="shape"):
        compare_paired([1, 0], [1], [0, 1])
    assert compare_paired([], [], []).items == 0


@pytest.mark.parametrize(
    ("first_only", "second_only", "p_value"),
    [(0, 0, 1.0), (0, 5, 0.0625), (1, 4, 0.375), (3, 3, 1.0), (0, 1, 1.0), (10, 25, 0.016678)],
)
def test_mcnemar_by_hand(first_only: int, second_only: int, p_value: float) -> None:
    first = [1] * first_only + [0] * second_only + [1, 0]
    second = [0] * first_only + [1] * second_only + [1, 0]
    found = mcnemar_exact(first, second)
    assert (found.first_only, found.second_only) == (first_only, second_only)
    assert found.p_value == pytest.approx(p_value, abs=1e-4)
