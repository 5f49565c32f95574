"""Scores of short answers: a table of names, each loaded when asked for.

An entry is something that, called without arguments, returns a `shelfqa.metrics.base.Metric`; the first line of its
docstring says what it measures.
"""

from __future__ import annotations

from shelfqa.registry import Registry

METRICS = Registry(
    "metric",
    {
        "exact_match": "shelfqa.metrics.exact:ExactMatch",
        "token_precision": "shelfqa.metrics.overlap:TokenPrecision",
        "token_recall": "shelfqa.metrics.overlap:TokenRecall",
        "token_f1": "shelfqa.metrics.overlap:TokenF1",
        "top_1": "shelfqa.metrics.top_k:top_1",
        "top_3": "shelfqa.metrics.top_k:top_3",
        "top_5": "shelfqa.metrics.top_k:top_5",
    },
)

DEFAULT_METRICS = ("exact_match", "token_f1", "top_3", "top_5")
"""What `score` computes unless told otherwise; those that the table has no columns for are left out."""
