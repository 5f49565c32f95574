"""Intervals, paired tests and agreement for scores whose rows come in clusters."""

from shelfqa.statistics.agreement import RankCorrelation, krippendorff_alpha, rank_correlation, weighted_kappa
from shelfqa.statistics.bootstrap import (
    FEW_CLUSTERS,
    cluster_codes,
    mean_interval,
    mean_intervals,
    statistic_interval,
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

__all__ = [
    "CONFIDENCE",
    "FEW_CLUSTERS",
    "Correction",
    "McNemar",
    "PairTests",
    "PairedComparison",
    "RankCorrelation",
    "adjusted_p_values",
    "cluster_codes",
    "cluster_labels",
    "clustered_standard_error",
    "common_rows",
    "compare_all",
    "compare_paired",
    "item_keys",
    "krippendorff_alpha",
    "mcnemar_exact",
    "mean_interval",
    "mean_intervals",
    "minimum_detectable_difference",
    "rank_correlation",
    "statistic_interval",
    "weighted_kappa",
    "wilson_interval",
]
