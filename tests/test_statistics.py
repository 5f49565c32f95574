"""Intervals and paired tests."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shelfqa.statistics import (
    adjusted_p_values,
    clustered_standard_error,
    compare_all,
    compare_paired,
    mcnemar_exact,
    mean_interval,
    mean_intervals,
    minimum_detectable_difference,
    statistic_interval,
    wilson_interval,
)

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


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (20, 20), (638, 1000)])
def test_wilson_agrees_with_scipy(successes: int, trials: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    found = wilson_interval(successes, trials)
    assert found.mean == successes / trials
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_of_nothing() -> None:
    assert np.isnan(wilson_interval(0, 0)).all()
    with pytest.raises(ValueError, match="expected 0 to 3"):
        wilson_interval(4, 3)


def test_weighted_mean() -> None:
    values = np.array([[1.0], [0.0], [1.0], [0.0]])
    weights = np.array([[1.0], [2.0], [8.0], [1.0]])
    found = mean_intervals(values, [0, 1, 2, 3], weights=weights)[0]
    assert found.mean == pytest.approx(9 / 12)
    assert 0 <= found.low < found.mean < found.high <= 1
    same = mean_intervals(values, [0, 1, 2, 3], weights=np.full((4, 1), 5.0))[0]
    assert same == pytest.approx(mean_intervals(values, [0, 1, 2, 3])[0])


def test_weights_of_zero() -> None:
    values, weights = np.array([[1.0], [0.0], [1.0]]), np.array([[1.0], [0.0], [0.0]])
    some = mean_intervals(values, [0, 1, 2], weights=weights)[0]
    assert (some.mean, some.high) == (1.0, 1.0)
    assert np.isnan(mean_intervals(values, [0, 1, 2], weights=np.zeros((3, 1)))[0]).all()


def test_holm_by_hand_and_false_discovery_rate_as_scipy() -> None:
    from scipy.stats import false_discovery_control

    p_values = [0.01, 0.04, 0.03, 0.005, 0.5]
    assert adjusted_p_values(p_values, "holm").tolist() == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])
    assert adjusted_p_values(p_values, "benjamini-hochberg") == pytest.approx(false_discovery_control(p_values))
    assert adjusted_p_values(p_values, "none").tolist() == p_values
    assert adjusted_p_values([0.9, 0.8], "holm").tolist() == [1.0, 1.0]
    assert adjusted_p_values([], "holm").tolist() == []


def test_unknown_p_values_do_not_count() -> None:
    found = adjusted_p_values([np.nan, 0.02, 0.03], "holm")
    assert np.isnan(found[0])
    assert found[1:].tolist() == pytest.approx([0.04, 0.04])


def test_corrections_agree_with_statsmodels() -> None:
    oracle = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.random.default_rng(0).random(30) ** 3
    for ours, theirs in (("holm", "holm"), ("benjamini-hochberg", "fdr_bh")):
        expected = oracle.multipletests(p_values, method=theirs)[1]
        assert adjusted_p_values(p_values, ours) == pytest.approx(expected)  # type: ignore[arg-type]


def test_mcnemar_agrees_with_statsmodels() -> None:
    oracle = pytest.importorskip("statsmodels.stats.contingency_tables")
    generator = np.random.default_rng(0)
    first, second = generator.random(300) < 0.5, generator.random(300) < 0.6
    table = [[np.sum(first & second), np.sum(first & ~second)], [np.sum(~first & second), np.sum(~first & ~second)]]
    assert mcnemar_exact(first, second).p_value == pytest.approx(oracle.mcnemar(table, exact=True).pvalue)


def test_all_pairs_of_three_systems() -> None:
    generator = np.random.default_rng(0)
    first, labels = clustered(generator, 80)
    better = first | (generator.random(len(first)) < 0.4)
    graded = generator.random(len(first))
    found = compare_all(np.stack([first, better, graded], axis=1), labels)
    assert [(test.first, test.second) for test in found] == [(0, 1), (0, 2), (1, 2)]
    assert found[0].comparison == compare_paired(first, better, labels)
    assert found[0].mcnemar == mcnemar_exact(first, better)
    assert [test.mcnemar is None for test in found] == [False, True, True]
    assert found[0].mcnemar_p_adjusted == found[0].mcnemar.p_value
    assert [test.p_adjusted for test in found] == pytest.approx(
        adjusted_p_values([test.comparison.p_value for test in found]).tolist()
    )
    assert compare_all(np.ones((4, 1)), range(4)) == []


def test_standard_error_knows_clusters() -> None:
    values = np.random.default_rng(0).random(50)
    alone = clustered_standard_error(values, np.arange(50))
    assert alone == pytest.approx(values.std(ddof=1) / np.sqrt(50))
    assert clustered_standard_error(np.repeat(values, 10), np.repeat(np.arange(50), 10)) == pytest.approx(alone)
    assert np.isnan(clustered_standard_error([1, 2], ["a", "a"]))
    assert np.isnan(clustered_standard_error([], []))


def test_smallest_detectable_difference_by_hand() -> None:
    from scipy.stats import t

    first, second = np.zeros(40), np.tile([1.0, 0.0], 20)
    error = second.std(ddof=1) / np.sqrt(40)
    expected = (t.ppf(0.975, 39) + t.ppf(0.8, 39)) * error
    assert minimum_detectable_difference(first, second, np.arange(40)) == pytest.approx(expected)
    assert minimum_detectable_difference(first, first, np.arange(40)) == 0
    assert np.isnan(minimum_detectable_difference(first, second, np.zeros(40)))


def shown(generator: np.random.Generator, gain: float) -> tuple[bool, float]:
    """Whether two systems that lie `gain` apart on 100 clusters are told apart, and what the sample could show."""
    labels = np.repeat(np.arange(100), 3)
    of_cluster = generator.normal(gain, 0.2, 100)
    second = of_cluster[labels] + generator.normal(0, 0.3, 300)
    found = compare_paired(np.zeros(300), second, labels, resamples=1000)
    return found.p_value < 0.05, minimum_detectable_difference(np.zeros(300), second, labels)


@pytest.mark.slow
def test_the_smallest_detectable_difference_is_found_four_times_in_five() -> None:
    generator = np.random.default_rng(0)
    gain = float(np.mean([shown(generator, 0.0)[1] for _ in range(100)]))
    found = [shown(generator, gain)[0] for _ in range(500)]
    assert 0.75 <= np.mean(found) <= 0.86


def test_interval_of_a_statistic_of_sums() -> None:
    values, labels = clustered(np.random.default_rng(3), 30)
    tallies = np.stack([values, np.ones(len(values))], axis=1)

    def share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(sums[..., 0] / sums[..., 1])

    assert statistic_interval(tallies, share, labels) == pytest.approx(mean_interval(values, labels))
    assert np.isnan(statistic_interval(tallies[:0], share, labels[:0])).all()
    assert np.isnan(statistic_interval(tallies, share, np.zeros(len(values))).low)


@pytest.mark.slow
def test_paired_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(4)
    hits = 0
    for number in range(1000):
        first, labels = clustered(generator, 80)
        second = np.where(generator.random(len(first)) < 0.2, True, first)
        found = compare_paired(first, second, labels, resamples=1000, seed=number).difference
        hits += found.low <= 0.2 * (1 - TRUE_MEAN) <= found.high
    assert 0.93 <= hits / 1000 <= 0.97
