"""Raters' agreement and rank correlation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from shelfqa.statistics import krippendorff_alpha, rank_correlation, weighted_kappa

NAN = np.nan
KRIPPENDORFF = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]
"""Four observers and twelve units, from Krippendorff 2011, section C and following."""


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level: str, alpha: float) -> None:
    assert krippendorff_alpha(KRIPPENDORFF, level) == pytest.approx(alpha, abs=5e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_agrees_with_the_krippendorff_package(level: str) -> None:
    oracle = pytest.importorskip("krippendorff")
    ratings = np.random.default_rng(0).integers(1, 6, (4, 60)).astype(float)
    ratings[np.random.default_rng(1).random(ratings.shape) < 0.2] = NAN
    expected = oracle.alpha(reliability_data=ratings, level_of_measurement=level)
    assert krippendorff_alpha(ratings, level) == pytest.approx(expected, abs=1e-9)  # type: ignore[arg-type]


def test_alpha_at_the_edges() -> None:
    assert krippendorff_alpha([[1, 2, 3], [1, 2, 3]]) == 1.0
    assert np.isnan(krippendorff_alpha([[3, 3], [3, 3]]))
    assert np.isnan(krippendorff_alpha([[1, NAN], [NAN, 2]]))
    assert np.isnan(krippendorff_alpha([[1, 2, 3]]))


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_agrees_with_sklearn(weights: str) -> None:
    generator = np.random.default_rng(0)
    first = generator.integers(1, 6, 200)
    second = np.clip(first + generator.integers(-1, 2, 200), 1, 5)
    expected = cohen_kappa_score(first, second, weights=None if weights == "none" else weights)
    assert weighted_kappa(first, second, weights) == pytest.approx(expected)  # type: ignore[arg-type]


def test_kappa_at_the_edges() -> None:
    assert np.isnan(weighted_kappa([1, 1], [1, 1]))
    assert weighted_kappa([1, 2, NAN], [1, 2, 3]) == 1.0
    with pytest.raises(ValueError, match="shape"):
        weighted_kappa([1], [1, 2])


def test_rank_correlation() -> None:
    found = rank_correlation([0.1, 0.4, 0.5, NAN], [1, 2, 5, 3])
    assert (found.spearman, found.kendall, found.items) == pytest.approx((1, 1, 3))
    assert rank_correlation([1, 2, 3], [3, 2, 1]).kendall == pytest.approx(-1)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]).spearman)
    assert rank_correlation([], []).items == 0
