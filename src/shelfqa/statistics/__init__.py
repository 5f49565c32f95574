"""Intervals, paired tests, agreement and calibration for scores whose rows come in clusters."""

from shelfqa.statistics.agreement import RankCorrelation, krippendorff_alpha, rank_correlation, weighted_kappa
from shelfqa.statistics.bootstrap import (
    FEW_CLUSTERS,
    cluster_codes,
    mean_interval,
    mean_intervals,
    statistic_interval,
)
from shelfqa.statistics.calibration import (
    Bin,
    Binning,
    brier_loss,
    chance_calibration_error,
    expected_calibration_error,
    fit_temperature,
    reliability_table,
    tempered,
)
from shelfqa.statistics.comparison import (
    Correction,
    McNemar,
    PairedComparison,
    PairTests,
    adjusted_p_values,
    clustered_standard_error,
    compare_all,
    compare_paired,
    mcnemar_exact,
    minimum_detectable_difference,
)
from shelfqa.statistics.pairing import cluster_labels, common_rows, item_keys
from shelfqa.statistics.proportions import CONFIDENCE, wilson_interval
from shelfqa.statistics.selection import Covered, coverage_at, coverage_curve, risk_coverage_loss, threshold_for

__all__ = [
    "CONFIDENCE",
    "FEW_CLUSTERS",
    "Bin",
    "Binning",
    "Correction",
    "Covered",
    "McNemar",
    "PairTests",
    "PairedComparison",
    "RankCorrelation",
    "adjusted_p_values",
    "brier_loss",
    "chance_calibration_error",
    "cluster_codes",
    "cluster_labels",
    "clustered_standard_error",
    "common_rows",
    "compare_all",
    "compare_paired",
    "coverage_at",
    "coverage_curve",
    "expected_calibration_error",
    "fit_temperature",
    "item_keys",
    "krippendorff_alpha",
    "mcnemar_exact",
    "mean_interval",
    "mean_intervals",
    "minimum_detectable_difference",
    "rank_correlation",
    "reliability_table",
    "risk_coverage_loss",
    "statistic_interval",
    "tempered",
    "threshold_for",
    "weighted_kappa",
    "wilson_interval",
]
