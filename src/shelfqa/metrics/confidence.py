"""Whether the probabilities of predictions are true, and how accurate the surest are: `calibration` of a summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shelfqa.metrics.evidence import Evidence, Finding, Floats
from shelfqa.metrics.exact import comparable
from shelfqa.metrics.suite import finite
from shelfqa.statistics import (
    brier_loss,
    chance_calibration_error,
    coverage_curve,
    expected_calibration_error,
    fit_temperature,
    reliability_table,
    risk_coverage_loss,
)

MISCALIBRATED = 0.15
"""The calibration error above which probabilities are not to be taken at their word."""
FEWEST_ROWS = 200
"""With fewer, so large an error may be chance."""
DECLINED = "unanswerable"
"""What `predict --unanswerable-below` says in place of an improbable answer."""
_ROUNDING = 1e-6
"""How far above 1 a product of rounded probabilities may lie."""


def stated_confidences(table: pa.Table, predictions: Sequence[str | None]) -> Floats:
    """Return the probability of each prediction, shape [rows]; NaN where it failed or none is stated.

    It is that of the first alternative which is the prediction once both are normalised. What is no probability (below
    0, above 1) is none.
    """
    found = np.full(len(predictions), np.nan)
    for row, (prediction, considered) in enumerate(zip(predictions, table["alternatives"].to_pylist(), strict=True)):
        if prediction is not None:
            found[row] = _stated(prediction, considered or ())
    found[(found < 0) | (found > 1 + _ROUNDING)] = np.nan
    return np.asarray(np.minimum(found, 1.0), dtype=np.float64)


def _stated(prediction: str, considered: Sequence[dict[str, Any] | None]) -> float:
    for one in considered:
        text = one["answer"] if one is not None else None
        if one is not None and text is not None and (text == prediction or comparable(text) == comparable(prediction)):
            return float("nan") if one["probability"] is None else float(one["probability"])
    return float("nan")


def declined_rows(table: pa.Table, predictions: Sequence[str | None]) -> NDArray[np.bool_]:
    """Return which rows were declined by a threshold, shape [rows]: the word stands before a likelier answer."""

    def declined(prediction: str | None, considered: Sequence[dict[str, Any] | None] | None) -> bool:
        if prediction is None or len(considered or ()) < 2 or comparable(prediction) != DECLINED:
            return False
        first, second = (one["probability"] if one is not None else None for one in (considered or ())[:2])
        return second is not None and (first is None or first < second)

    rows = zip(predictions, table["alternatives"].to_pylist(), strict=True)
    return np.array([declined(*row) for row in rows], dtype=bool)


def calibration(evidence: Evidence) -> dict[str, Any] | None:
    """Return the section `calibration` of a summary, by exact match; None where no prediction has a probability.

    Errors and bins are of the `n` rows with a probability: a row without one states nothing that could be wrong, and
    counted as certain of its failure it would make the error smaller. The curve and its area are of all rows: those
    without a probability, failures among them, are the last to be answered, at the threshold 0, where accuracy is
    exact match of the whole.
    """
    stated = stated_confidences(evidence.table, evidence.rows.predictions)
    told = ~np.isnan(stated)
    if not told.any():
        return None
    failed = sum(prediction is None for prediction in evidence.rows.predictions)
    known, right = stated[told], evidence.exact[told]
    resamples, seed = evidence.resamples, evidence.seed
    all_rows = np.nan_to_num(stated)
    return {
        "n": int(told.sum()),
        "failures": failed,
        "without_probability": int((~told).sum()) - failed,
        "confidence": finite(known.mean()),
        "accuracy": finite(right.mean()),
        "expected_calibration_error": finite(expected_calibration_error(known, right)),
        "chance_calibration_error": finite(chance_calibration_error(known)),
        "brier": finite(brier_loss(known, right)),
        "risk_coverage_loss": finite(risk_coverage_loss(all_rows, evidence.exact)),
        "bins": [
            {
                "lower": finite(one.lower),
                "upper": finite(one.upper),
                "confidence": finite(one.confidence),
                "accuracy": finite(one.accuracy.mean),
                "low": finite(one.accuracy.low),
                "high": finite(one.accuracy.high),
                "n": one.n,
            }
            for one in reliability_table(known, right, evidence.clusters[told], resamples=resamples, seed=seed)
        ],
        "coverage": [
            [one.threshold, finite(one.coverage), *map(finite, one.accuracy)]
            for one in coverage_curve(all_rows, evidence.exact, evidence.clusters, resamples=resamples, seed=seed)
        ],
    }


def miscalibrated(evidence: Evidence) -> Finding | None:
    """Probabilities far above, or below, how often they are right."""
    stated = stated_confidences(evidence.table, evidence.rows.predictions)
    told = np.flatnonzero(~np.isnan(stated))
    if len(told) < FEWEST_ROWS:
        return None
    known, right = stated[told], evidence.exact[told]
    error = expected_calibration_error(known, right)
    if error <= MISCALIBRATED:
        return None
    over = known.mean() > right.mean()
    which = told[right == (0 if over else 1)]
    order = np.argsort(-stated[which] if over else stated[which], kind="stable")
    temperature = fit_temperature(known, right)
    return Finding(
        id="overconfident" if over else "underconfident",
        severity="warning" if over else "note",
        message=f"The model gives its answers a probability of {known.mean():.3f} on average and {right.mean():.3f} of "
        f"them are right; expected calibration error {error:.3f}. Its probabilities can rank answers, as accuracy "
        f"against coverage shows, but not be taken at their word. Log-odds divided by {temperature:.2f} fit these rows "
        "best.",
        examples=evidence.examples(which[order], probability=stated),
    )
