"""Charts of scores row by row: how metrics agree, how they spread, where they fall, and what is taken for what.

The numbers behind each chart are a record of their own; charts are drawn from them. Every chart has a bounded number of
marks, however many rows there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shelfqa.report.figures import (
    ACCENT,
    FONT_PT,
    INK,
    LINE,
    MUTED,
    QUIET,
    WARN,
    Chart,
    draw_chart,
    shortened,
    slices_chart,
)
from shelfqa.report.material import Material, ScoredModel
from shelfqa.report.tables import SliceRow, metric_label, number_text, slice_rows
from shelfqa.text import normalize_answer

MOST_METRICS = 14
"""Metrics in a chart, the lead metric first and then in the order of the file."""
MOST_ANSWERS = 12
BINS = 20
NOTHING = "(nothing)"
_STRONGEST = 0.62
"""Opacity of the fullest cell, so that ink stays readable on it."""
_NARROW_ANSWERS = 6
_FEWEST_ANSWERS = 3


class Correlations(NamedTuple):
    """Spearman's rank correlation of each two metrics over the rows, [metrics, metrics]."""

    names: list[str]
    matrix: NDArray[np.float64]
    rows: int


class Distribution(NamedTuple):
    """How many rows have a score in each of the bins between `edges`, and the mean of all."""

    name: str
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    mean: float


class Confusions(NamedTuple):
    """How often the answers (rows) were taken for the predictions (columns), [answers, predictions]."""

    answers: list[str]
    predictions: list[str]
    counts: NDArray[np.int64]
    wrong: int
    """Wrong predictions in all."""


def correlations(model: ScoredModel, metrics: Sequence[str]) -> Correlations | None:
    """Return how the metrics order the same rows, without those that are the same everywhere; None for less than two.

    Failed predictions are left out: every metric gives them its lowest score.
    """
    from scipy.stats import rankdata

    scores = _scores(model, metrics)
    varied = {name: values for name, values in scores.items() if len(values) and values.min() < values.max()}
    if len(varied) < 2:
        return None
    ranks = np.stack([rankdata(values) for values in varied.values()])
    matrix: NDArray[np.float64] = np.clip(np.corrcoef(ranks), -1.0, 1.0)
    return Correlations(list(varied), matrix, ranks.shape[1])


def distributions(model: ScoredModel, metrics: Sequence[str], *, bins: int = BINS) -> list[Distribution]:
    """Return a histogram of each metric, from 0 to 1 or, where scores leave that range, from the least to the most."""
    found = []
    for name, values in _scores(model, metrics).items():
        if not len(values):
            continue
        low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
        if low < -1.0:
            high = float(values.max()) if values.max() > low else low + 1.0
        counts, edges = np.histogram(values, bins=bins, range=(low, high))
        found.append(Distribution(name, edges, counts, float(values.mean())))
    return found


def confusion_counts(model: ScoredModel, metric: str, *, most: int = MOST_ANSWERS) -> Confusions | None:
    """Return the commonest confusions with the answers and predictions that they are of.

    None where no confusion came twice. Answers and predictions are normalised as for exact match; wrong is what scores
    0 by `metric`. Failed predictions are no confusions.
    """
    columns = (model.table[name].to_pylist() for name in ("answer", "prediction", metric))
    pairs = Counter(
        (normalize_answer(answer), normalize_answer(prediction) or NOTHING)
        for answer, prediction, score in zip(*columns, strict=True)
        if prediction is not None and score == 0
    )
    if not pairs or max(pairs.values()) < 2:
        return None
    rows, columns_kept = dict[str, None](), dict[str, None]()
    for (answer, prediction), _ in sorted(pairs.items(), key=lambda item: (-item[1], item[0])):
        if (answer in rows or len(rows) < most) and (prediction in columns_kept or len(columns_kept) < most):
            rows[answer] = columns_kept[prediction] = None
    return _aligned(pairs, list(rows), list(columns_kept))


def _aligned(pairs: Counter[tuple[str, str]], answers: list[str], predictions: list[str]) -> Confusions:
    """Return the counts with what is answer and prediction first on both sides, so that it meets on the diagonal."""
    both = [name for name in answers if name in predictions]
    rows = both + [name for name in answers if name not in both]
    columns = both + [name for name in predictions if name not in both]
    counts = np.array([[pairs[row, column] for column in columns] for row in rows], dtype=np.int64)
    return Confusions(rows, columns, counts, pairs.total())


def telling(model: ScoredModel, lead: str) -> list[str]:
    """Return the metrics to chart: the lead metric and the others of the file, without copies of an earlier one."""
    names = [lead, *(name for name in model.metrics if name != lead)]
    found: dict[str, NDArray[Any]] = {}
    for name in names:
        if name in model.table.column_names and pa.types.is_floating(model.table[name].type):
            values = model.table[name].to_numpy()
            if not any(np.array_equal(values, other, equal_nan=True) for other in found.values()):
                found[name] = values
    return list(found)[:MOST_METRICS]


def _scores(model: ScoredModel, metrics: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return the scores of the rows that were answered and have all of the metrics."""
    answered = model.table["prediction"].is_valid().to_numpy()
    found = {name: model.table[name].to_numpy().astype(np.float64) for name in metrics}
    for values in found.values():
        answered = answered & np.isfinite(values)
    return {name: values[answered] for name, values in found.items()}


def correlations_chart(found: Correlations | None) -> Chart | None:
    """Return the correlations as a triangle of cells with their numbers."""
    if found is None or len(found.names) < 3:
        return None
    total = len(found.names)
    labels = [metric_label(name) for name in found.names]

    def draw(axes: Any, narrow: bool) -> None:
        for row in range(1, total):
            for column in range(row):
                value = float(found.matrix[row, column])
                _cell(axes, column, row - 1, abs(value), ACCENT if value >= 0 else WARN, "")
                if not narrow or total <= 8:
                    axes.text(column, row - 1, number_text(value), ha="center", va="center", color=INK, fontsize=8.5)
        _matrix_axes(axes, labels[1:], labels[:-1], narrow)

    pairs = [(float(found.matrix[row, column]), row, column) for row in range(1, total) for column in range(row)]
    most, least = max(pairs), min(pairs)
    told = "; ".join(
        f"{which} {labels[column]} with {labels[row]}, {number_text(value)}"
        for which, (value, row, column) in (("highest", most), ("lowest", least))
    )
    caption = (
        f"Rank correlation (Spearman) of the metrics over {found.rows:,} answers: 1 means that two metrics put the "
        "answers in the same order, so that one of them says nothing new."
    )
    height_in = 1.2 + 0.36 * total
    return draw_chart(draw, caption, f"Correlation of {total} metrics: {told}.", height_in=height_in)


def distributions_chart(found: Sequence[Distribution]) -> Chart | None:
    """Return one small histogram a metric."""
    if len(found) < 2:
        return None

    def draw(axes: Any, narrow: bool) -> None:
        for one, of_metric in zip(axes, found, strict=True):
            shares = of_metric.counts / max(1, of_metric.counts.sum())
            widths = np.diff(of_metric.edges)
            one.bar(of_metric.edges[:-1], shares, width=widths * 0.86, align="edge", color=QUIET, lw=0)
            top = max(float(shares.max()), 1e-9) * 1.1
            one.plot([of_metric.mean] * 2, [0, top], color=ACCENT, lw=1.6)
            one.set_title(
                shortened(metric_label(of_metric.name), 20 if narrow else 26), loc="left", color=INK, fontsize=FONT_PT
            )
            one.set_ylim(0, top)
            low, high = float(of_metric.edges[0]), float(of_metric.edges[-1])
            one.set_xticks([low, high], [f"{low:.3g}".replace("-", "−"), f"{high:.3g}".replace("-", "−")])
            one.set_xlim(low - (high - low) * 0.03, high + (high - low) * 0.03)
            one.set_yticks([])
            one.tick_params(length=0, labelcolor=MUTED)
            one.axhline(0, color=LINE, lw=1)

    told = "; ".join(f"{metric_label(one.name)} mean {number_text(one.mean)}" for one in found)
    caption = (
        "How each metric spreads over the answers; the line is the mean. Two bars at the ends: right or wrong and "
        "nothing between. One heap: the metric hardly tells answers apart."
    )
    columns = (min(4, len(found)), 2)
    heights = [0.25 + 1.25 * -(-len(found) // number) for number in columns]
    return draw_chart(
        draw,
        caption,
        f"Distributions of {len(found)} metrics: {told}.",
        height_in=heights[0],
        narrow_height_in=heights[1],
        panels=len(found),
        columns=columns,
    )


def lengths_chart(rows: Sequence[SliceRow], metric: str) -> Chart | None:
    """Return the mean of a metric with its interval against the number of words of the answer."""
    if len(rows) < 2:
        return None
    ordered = sorted(rows, key=lambda row: int(row.value.split()[0]))

    def draw(axes: Any, narrow: bool) -> None:
        for place, row in enumerate(ordered):
            low, high, mean = (row.after[part] for part in ("low", "high", "mean"))
            if low is not None and high is not None:
                axes.plot([place, place], [low, high], color=ACCENT, lw=1.6, solid_capstyle="round")
            if mean is not None:
                axes.plot(place, mean, "o", ms=6.5, color=ACCENT)
        labels = [f"{row.value.replace(' or more', '+') if narrow else row.value}\n({row.n:,})" for row in ordered]
        axes.set_xticks(range(len(ordered)), labels)
        axes.set_xlim(-0.5, len(ordered) - 0.5)
        axes.set_ylim(-0.02, 1.02)
        axes.grid(axis="y", color=LINE, lw=0.8)
        axes.tick_params(length=0, labelcolor=MUTED)
        axes.set_xlabel("Words in the answer", color=MUTED)

    told = "; ".join(f"{row.value} words {number_text(row.after['mean'])}" for row in ordered)
    caption = f"{metric_label(metric)} with 95% intervals against the length of the answer. In brackets, questions."
    return draw_chart(draw, caption, f"{metric_label(metric)} by answer length: {told}.", height_in=2.9)


def level(row: SliceRow) -> tuple[int, str]:
    """Return what sorts slices by their level of difficulty."""
    return len(row.value), row.value


def difficulty_chart(material: Material) -> Chart | None:
    """Return the lead metric by level of difficulty, the lowest on top."""
    rows = slice_rows(material, "difficulty", most=MOST_ANSWERS)
    return slices_chart(material, sorted(rows, key=level), "difficulty")


def confusions_chart(found: Confusions | None) -> Chart | None:
    """Return the commonest confusions as a table of cells, answers down and predictions across.

    None for a handful, which a list shows better.
    """
    if found is None or min(found.counts.shape) < _FEWEST_ANSWERS:
        return None

    def draw(axes: Any, narrow: bool) -> None:
        most = _NARROW_ANSWERS if narrow else MOST_ANSWERS
        counts = found.counts[:most, :most]
        fullest = max(1, int(counts.max()))
        for row, column in np.ndindex(*counts.shape):
            number = int(counts[row, column])
            same = found.answers[row] == found.predictions[column]
            _cell(axes, column, row, number / fullest, WARN, f"{number:,}" if number else "·" if same else "")
        _matrix_axes(axes, found.answers[:most], found.predictions[:most], narrow)
        axes.set_ylabel("Label", color=MUTED)
        axes.set_title("Said", loc="left", color=MUTED, fontsize=FONT_PT, pad=8)

    shown = int(found.counts.sum())
    caption = (
        f"What was said in place of which label: {shown:,} of the {found.wrong:,} wrong answers, the commonest "
        "confusions. A dot: label and answer are the same."
    )
    order = sorted(np.ndindex(*found.counts.shape), key=lambda place: (-int(found.counts[place]), place))[:5]
    pairs = [(shortened(found.answers[row], 40), shortened(found.predictions[column], 40)) for row, column in order]
    told = "; ".join(
        f"{answer} as {said}, {found.counts[place]:,}" for (answer, said), place in zip(pairs, order, strict=True)
    )
    height_in = 1.5 + 0.36 * len(found.answers)
    narrow_height_in = 1.5 + 0.42 * min(_NARROW_ANSWERS, len(found.answers))
    return draw_chart(
        draw, caption, f"Commonest confusions: {told}.", height_in=height_in, narrow_height_in=narrow_height_in
    )


def _cell(axes: Any, column: int, row: int, share: float, hue: str, text: str) -> None:
    from matplotlib.patches import Rectangle

    fill, opacity = (hue, 0.06 + share * _STRONGEST) if share > 0 else (LINE, 0.35)
    axes.add_patch(Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, facecolor=fill, alpha=opacity, lw=0))
    if text:
        axes.text(column, row, text, ha="center", va="center", color=INK, fontsize=8.5)


def _matrix_axes(axes: Any, rows: Sequence[str], columns: Sequence[str], narrow: bool) -> None:
    most = 13 if narrow else 22
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [shortened(name, most) for name in rows])
    axes.set_xticks(
        range(len(columns)), [shortened(name, most) for name in columns], rotation=90 if narrow else 35,
        ha="center" if narrow else "right", rotation_mode="default" if narrow else "anchor",
    )  # fmt: skip
    axes.tick_params(length=0, labelcolor=INK)


class ScoreCharts(NamedTuple):
    """The charts of the model that a report is about; None where the data is not there."""

    correlations: Chart | None = None
    distributions: Chart | None = None
    lengths: Chart | None = None
    difficulty: Chart | None = None
    confusions: Chart | None = None


def score_charts(material: Material) -> ScoreCharts:
    """Return the charts of the model that the report is about."""
    model = material.after
    if model is None:
        return ScoreCharts()
    names = telling(model, material.metric)
    partial = "token_f1" if "token_f1" in model.metrics else material.metric
    by_length = slice_rows(replace(material, metric=partial, before=None), "answer_length", most=MOST_ANSWERS)
    confused = confusion_counts(model, material.metric) if material.metric in model.table.column_names else None
    return ScoreCharts(
        correlations_chart(correlations(model, names)),
        distributions_chart(distributions(model, names)),
        lengths_chart(by_length, partial),
        difficulty_chart(material),
        confusions_chart(confused),
    )
