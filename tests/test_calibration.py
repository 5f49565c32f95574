"""Calibration and accuracy against coverage, beside closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from shelfqa.statistics import (
    Binning,
    brier_loss,
    chance_calibration_error,
    coverage_at,
    coverage_curve,
    expected_calibration_error,
    fit_temperature,
    mean_interval,
    reliability_table,
    risk_coverage_loss,
    tempered,
    threshold_for,
    wilson_interval,
)

Rows = tuple[NDArray[np.float64], NDArray[np.float64]]


def rows(number: int, seed: int = 0, sharpened: float = 1.0) -> Rows:
    """Confidences and outcomes; true probabilities where `sharpened` is 1, overconfident above."""
    generator = np.random.default_rng(seed)
    true = generator.beta(2, 1, number)
    correct = (generator.random(number) < true).astype(np.float64)
    return tempered(true, 1 / sharpened), correct


def test_errors_of_known_size() -> None:
    stated, correct = [0.8] * 10, [1] * 5 + [0] * 5
    assert expected_calibration_error(stated, correct) == pytest.approx(0.3)
    assert brier_loss(stated, correct) == pytest.approx(0.5 * 0.2**2 + 0.5 * 0.8**2)
    halves = [0.9] * 10 + [0.1] * 10, [1] * 9 + [0] + [1] + [0] * 9
    assert expected_calibration_error(*halves) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(*halves, bins=1) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("binning", "strategy"), [("equal_mass", "quantile"), ("equal_width", "uniform")])
@pytest.mark.parametrize("seed", [0, 1])
def test_bins_are_those_of_scikit_learn(binning: Binning, strategy: str, seed: int) -> None:
    stated, correct = rows(600, seed, sharpened=2)
    accuracies, confidences = calibration_curve(correct, stated, n_bins=12, strategy=strategy)
    found = reliability_table(stated, correct, bins=12, binning=binning)
    assert [one.confidence for one in found] == pytest.approx(confidences)
    assert [one.accuracy.mean for one in found] == pytest.approx(accuracies)
    gaps = [one.n / 600 * abs(one.confidence - one.accuracy.mean) for one in found]
    assert expected_calibration_error(stated, correct, bins=12, binning=binning) == pytest.approx(sum(gaps))
    assert brier_loss(stated, correct) == pytest.approx(brier_score_loss(correct, stated))


def test_bins_of_equal_width_are_closed_above_as_in_guo() -> None:
    found = reliability_table([0.0, 0.5, 0.51, 1.0], [0, 0, 1, 1], bins=2, binning="equal_width")
    assert [(one.lower, one.upper, one.n) for one in found] == [(0.0, 0.5, 2), (0.51, 1.0, 2)]


def test_bins_of_equal_mass_hold_equals_together() -> None:
    stated = [0.2] * 3 + [0.7] * 50 + [0.9] * 3
    found = reliability_table(stated, [1.0] * 56, bins=10)
    assert [(one.lower, one.upper, one.n) for one in found] == [(0.2, 0.2, 3), (0.7, 0.7, 50), (0.9, 0.9, 3)]


def test_true_probabilities_err_by_chance_alone() -> None:
    errors = [expected_calibration_error(*rows(500, seed)) for seed in range(200)]
    by_chance = [chance_calibration_error(rows(500, seed)[0]) for seed in range(200)]
    assert np.mean(errors) == pytest.approx(np.mean(by_chance), rel=0.05)
    assert expected_calibration_error(*rows(500, sharpened=3)) > 2 * by_chance[0]


def test_coverage_of_known_accuracy() -> None:
    stated, correct = np.linspace(1, 0.01, 100), np.array([1.0] * 50 + [0.0] * 50)
    found = coverage_curve(stated, correct, points=4)
    assert [one.coverage for one in found] == [0.25, 0.5, 0.75, 1.0]
    assert [one.accuracy.mean for one in found] == pytest.approx([1, 1, 2 / 3, 0.5])
    assert [one.threshold for one in found] == pytest.approx([0.76, 0.51, 0.26, 0.01], abs=1e-6)
    assert found[0].accuracy == pytest.approx(wilson_interval(25, 25))


def test_thresholds_give_the_coverage_that_stands_beside_them() -> None:
    stated, correct = rows(333)
    for one in coverage_curve(stated, correct):
        kept = stated >= one.threshold
        assert one.coverage == pytest.approx(kept.mean())
        assert one.accuracy.mean == pytest.approx(correct[kept].mean())
        assert one.threshold == round(one.threshold, 6)


def test_intervals_are_those_of_the_clusters() -> None:
    stated, correct = rows(300)
    clusters = np.repeat(np.arange(60), 5)
    *_, whole = coverage_curve(stated, correct, clusters)
    assert whole.coverage == 1
    assert whole.accuracy == pytest.approx(mean_interval(correct, clusters))
    together = np.repeat(correct[::5], 5)  # five equal rows a cluster say no more than one
    *_, wide = coverage_curve(stated, together, clusters)
    *_, narrow = coverage_curve(stated, together)
    assert wide.accuracy.high - wide.accuracy.low > 1.8 * (narrow.accuracy.high - narrow.accuracy.low)
    (one,) = reliability_table(stated, correct, clusters, bins=1)
    assert one.accuracy == pytest.approx(whole.accuracy)


def test_few_thresholds_where_confidences_are_equal() -> None:
    found = coverage_curve([0.5] * 8 + [0.0] * 2, [1] * 4 + [0] * 6)
    assert [(one.threshold, one.coverage, one.accuracy.mean) for one in found] == [(0.5, 0.8, 0.5), (0.0, 1.0, 0.4)]


def test_area_lies_between_the_best_order_and_none() -> None:
    stated, correct = rows(400)
    risk = 1 - correct.mean()
    assert risk_coverage_loss(np.full(400, 0.3), correct) == pytest.approx(risk)
    assert risk_coverage_loss(correct, correct) < risk_coverage_loss(stated, correct) < risk
    order = np.argsort(-stated)
    plain = np.mean(np.cumsum(1 - correct[order]) / np.arange(1, 401))
    assert risk_coverage_loss(stated, correct) == pytest.approx(plain)
    assert risk_coverage_loss(tempered(stated, 3), correct) == pytest.approx(plain)


def test_area_of_ties_is_the_mean_over_orders() -> None:
    generator = np.random.default_rng(0)
    stated, correct = generator.integers(0, 4, 40) / 4, generator.integers(0, 2, 40).astype(np.float64)

    def shuffled() -> float:
        order = np.lexsort((generator.random(40), -stated))
        return float(np.mean(np.cumsum(1 - correct[order]) / np.arange(1, 41)))

    assert risk_coverage_loss(stated, correct) == pytest.approx(np.mean([shuffled() for _ in range(4000)]), abs=0.002)


@pytest.mark.parametrize("accuracy", [0.7, 0.8, 0.9])
def test_threshold_is_the_least_that_reaches_the_accuracy(accuracy: float) -> None:
    stated, correct = rows(500)
    threshold = threshold_for(stated, correct, accuracy)
    assert threshold is not None
    assert correct[stated >= threshold].mean() >= accuracy
    assert coverage_at(stated, correct, accuracy) == (stated >= threshold).mean()
    assert all(correct[stated >= lower].mean() < accuracy for lower in stated[stated < threshold])


def test_an_accuracy_out_of_reach() -> None:
    assert threshold_for([0.9, 0.8], [0, 1], 0.9) is None
    assert coverage_at([0.9, 0.8], [0, 1], 0.9) == 0
    assert coverage_at([0.9, 0.8], [0, 1], 0.5) == 1


def test_temperature_is_logistic_regression_on_log_odds() -> None:
    stated, correct = rows(3000, sharpened=2)
    odds = np.log(stated / (1 - stated)).reshape(-1, 1)
    regression = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-8).fit(odds, correct)
    temperature = fit_temperature(stated, correct)
    assert temperature == pytest.approx(1 / regression.coef_[0, 0], rel=1e-3)
    assert temperature == pytest.approx(2, rel=0.1)
    assert expected_calibration_error(tempered(stated, temperature), correct) < 0.05
    assert expected_calibration_error(stated, correct) > 0.08
    assert coverage_at(tempered(stated, temperature), correct, 0.8) == coverage_at(stated, correct, 0.8)


def test_temperature_stays_in_its_range() -> None:
    assert 1 / 64 <= fit_temperature([0.9, 0.8], [1, 1]) < 0.05
    assert fit_temperature([1.0, 0.0], [1, 0]) < 1
    assert fit_temperature([0.99, 0.99], [1, 0]) == pytest.approx(64, rel=1e-3)


def test_no_order_matters() -> None:
    stated, correct = rows(200)
    stated = stated.round(1)
    order = np.random.default_rng(1).permutation(200)
    for measure in (expected_calibration_error, brier_loss, risk_coverage_loss):
        assert measure(stated[order], correct[order]) == pytest.approx(measure(stated, correct))
    assert [one.n for one in reliability_table(stated[order], correct[order])] == [
        one.n for one in reliability_table(stated, correct)
    ]


def test_of_no_rows() -> None:
    for measure in (expected_calibration_error, brier_loss, risk_coverage_loss, fit_temperature):
        assert np.isnan(measure([], []))
    assert np.isnan(chance_calibration_error([]))
    assert reliability_table([], []) == []
    assert coverage_curve([], []) == []
    assert threshold_for([], [], 0.5) is None
    assert coverage_at([], [], 0.5) == 0


@pytest.mark.parametrize("stated", [[1.2, 0.5], [float("nan"), 0.5], [-0.1, 0.5]])
def test_what_is_no_probability_is_refused(stated: list[float]) -> None:
    with pytest.raises(ValueError, match="expected probabilities"):
        expected_calibration_error(stated, [0, 1])
    with pytest.raises(ValueError, match=r"expected \[rows\]"):
        brier_loss([0.5], [0, 1])
