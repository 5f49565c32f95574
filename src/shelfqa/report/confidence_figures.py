"""What a model's probabilities are worth, drawn: accuracy against coverage, and a reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shelfqa.report.figures import ACCENT, FONT_PT, INK, LINE, MUTED, QUIET, Chart, draw_chart
from shelfqa.report.material import Material, ScoredModel
from shelfqa.report.tables import number_text

BLIND = "question-only"
"""The blind baseline whose curve stands beside the model's: of those, the one that knows when it guesses."""
_FEWEST_POINTS = 2
_HALF = 0.5
_TOLD = 5
"""Points of the curve that are told to those who cannot see it, about."""
_TICKS = (0, 0.25, 0.5, 0.75, 1)


class Point(NamedTuple):
    """One threshold of `calibration.coverage` in a summary."""

    threshold: float
    coverage: float
    accuracy: float
    low: float | None
    high: float | None


class Confidence(NamedTuple):
    """The chart of the section, and a sentence with its numbers."""

    chart: Chart
    sentence: str


def confidence(material: Material) -> Confidence | None:
    """Return chart and sentence of the model that the report is about; None where it states no probabilities."""
    model = material.after
    section = model.summary.get("calibration") if model is not None else None
    if model is None or not section:
        return None
    points = _points(section)
    if len(points) < _FEWEST_POINTS:
        return None
    blind = next((one for one in material.models if one.name == BLIND and one is not model), None)
    blind_points = _points(blind.summary.get("calibration") or {}) if blind is not None else []
    return Confidence(_chart(model, section, points, blind, blind_points), _sentence(model, section, points))


def _points(section: Mapping[str, Any]) -> list[Point]:
    return [Point(*point) for point in section.get("coverage") or () if point[2] is not None]


def _sentence(model: ScoredModel, section: Mapping[str, Any], points: Sequence[Point]) -> str:
    """Return the numbers in words, the share answered nearest to a half among them."""
    half = min(points, key=lambda point: abs(point.coverage - _HALF))
    chance = section.get("chance_calibration_error")
    by_chance = f" ({number_text(chance)} is to be expected by chance)" if chance is not None else ""
    return (
        f"{model.label}: exact match is {number_text(half.accuracy)} on the {half.coverage:.0%} of questions that it "
        f"is surest of and {number_text(points[-1].accuracy)} on all. Expected calibration error "
        f"{number_text(section['expected_calibration_error'])}{by_chance}, Brier score {number_text(section['brier'])}."
    )


def _chart(
    model: ScoredModel,
    section: Mapping[str, Any],
    points: Sequence[Point],
    blind: ScoredModel | None,
    blind_points: Sequence[Point],
) -> Chart:
    bins = section["bins"]

    def draw(axes: Any, narrow: bool) -> None:
        left, right = axes
        if blind_points:
            _curve(left, blind_points, QUIET)
        _curve(left, points, ACCENT)
        _square(left, "Accuracy against coverage", "Share of questions answered")
        right.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (3, 4)), zorder=1)
        for one in bins:
            if one["low"] is not None:
                right.plot([one["confidence"]] * 2, [one["low"], one["high"]], color=ACCENT, lw=1.6, zorder=2)
            right.plot(one["confidence"], one["accuracy"], "o", ms=5, color=ACCENT, zorder=3)
        above = "\n" if narrow else ""  # the panels stand one above the other
        _square(right, f"{above}Accuracy by probability", "Probability of the best answer")

    beside = f"; grey: {blind.label.lower()}" if blind is not None and blind_points else ""
    least = min(one["n"] for one in bins)
    most = max(one["n"] for one in bins)
    held = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    caption = (
        f"Exact match where only the surest answers are given, with its 95% interval{beside}. Exact match by "
        f"probability, in bins of {held} answers: on the dashed line probabilities are true, below it too high."
    )
    some = points[:: -max(1, len(points) // _TOLD)][::-1]
    told = "; ".join(f"{point.coverage:.0%} answered {number_text(point.accuracy)}" for point in some)
    told_bins = "; ".join(f"{number_text(one['confidence'])} right to {number_text(one['accuracy'])}" for one in bins)
    alt = f"Accuracy against coverage, {model.label.lower()}: {told}. Accuracy by probability: {told_bins}."
    return draw_chart(draw, caption, alt, height_in=3.9, narrow_height_in=7.1, panels=2, columns=(2, 1))


def _curve(axes: Any, points: Sequence[Point], hue: str) -> None:
    shares = [point.coverage for point in points]
    bounded = [point for point in points if point.low is not None and point.high is not None]
    if hue == ACCENT and len(bounded) > 1:
        lows, highs = zip(*((point.low, point.high) for point in bounded), strict=True)
        axes.fill_between([point.coverage for point in bounded], lows, highs, color=hue, alpha=0.14, lw=0, zorder=1)
    axes.plot(shares, [point.accuracy for point in points], color=hue, lw=1.8, zorder=3)
    axes.plot(shares[-1], points[-1].accuracy, "o", ms=5, color=hue, zorder=4, clip_on=False)


def _square(axes: Any, title: str, across: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=FONT_PT, pad=8)
    axes.set_xlabel(across, color=MUTED)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.grid(color=LINE, lw=0.8)
    axes.tick_params(length=0, labelcolor=MUTED, labelbottom=True)
