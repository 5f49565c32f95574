"""A sweep as a picture: exact match with its interval by what varies, or by size where no number does."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from shelfqa.report.figures import FONT_PT, shortened
from shelfqa.report.sweep_table import TrialRow, best_first

PAPER, INK, MUTED, LINE, ACCENT, QUIET = "#ffffff", "#1d2326", "#5f6a6d", "#e3e0d8", "#0b6e69", "#9aa5a6"
"""The report's colours on a light screen (templates/page.css): a PNG has no second set."""
_HUES = (ACCENT, "#a8431e", "#3f66a0", "#a67c00", "#7d4f93", INK)
_MARKERS = ("o", "s", "^", "D", "v", "P")
_SIZE_IN = (8.6, 4.6)
_DPI = 150
_LOG_FROM = 4.0
"""An axis is logarithmic where the largest value is this many times the smallest."""
_DECADES_FROM = 30.0
"""From here on a logarithmic axis has marks at powers of ten alone."""
_TICKS, _PANEL_TICKS = 8, 4
"""Up to so many values that are not close together are marked, on an axis of its own and on one of several."""
_MOST_NAMED = 12
_MOST_PANELS = 4
_FEW_LETTERS, _MOST_LETTERS = 5, 18
_DODGE = 0.012
"""How far lines stand apart where they share a value, as a share of the axis."""
_DOT_PX = 7
_LABEL_OFFSETS_PT = ((8, 0), (8, 11), (8, -11), (-8, 0), (-8, 11), (-8, -11), (0, 22), (0, -22))


class Lines(NamedTuple):
    """What is drawn by a setting: which one, which others tell lines apart, and the trials of each line in order."""

    field: str
    others: tuple[str, ...]
    lines: dict[str, list[TrialRow]]


def trials_png(rows: Sequence[TrialRow]) -> bytes | None:
    """Return a picture of the trials that came to an end, the same bytes for the same rows; None for less than two.

    A number that varies (the rank before others) is the horizontal axis where what else varies makes a few lines. Where
    it makes many, as in a search, each setting has a panel. Where no number varies, trials stand by their trainable
    parameters.
    """
    done = [row for row in rows if row.exact_match is not None]
    if len(done) < 2:
        return None
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {"font.size": FONT_PT, "font.family": "DejaVu Sans", "text.color": INK, "text.parse_math": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained", facecolor=PAPER)
        FigureCanvasAgg(figure)
        lines = lines_of(done)
        varied = _varied(done)
        if lines is not None:
            axes = figure.subplots()
            _draw_lines(axes, lines)
            _finish(axes, done)
        elif any(_is_number(done[0].settings[field]) for field in varied):
            _draw_panels(figure, best_first(done), varied[:_MOST_PANELS])
        else:
            axes = figure.subplots()
            _draw_sizes(axes, best_first(done))
            _finish(axes, done)
            _name_points(figure, axes, best_first(done))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def lines_of(rows: Sequence[TrialRow]) -> Lines | None:
    """Return the trials by a setting that is a number, the rank before others; None where that makes no few lines."""
    varied = _varied(rows)
    numeric = [field for field in varied if all(_is_number(row.settings[field]) for row in rows)]
    for field in sorted(numeric, key=lambda name: name != "rank"):
        others = tuple(name for name in varied if name != field)
        lines: dict[str, list[TrialRow]] = {}
        for row in rows:
            lines.setdefault(", ".join(row.labels[name] for name in others), []).append(row)
        if len(lines) <= len(_HUES) and all(len(some) > 1 for some in lines.values()):
            return Lines(field, others, {name: sorted(some, key=_by(field)) for name, some in lines.items()})
    return None


def _draw_lines(axes: Any, lines: Lines) -> None:
    values = sorted({row.settings[lines.field] for some in lines.lines.values() for row in some})
    log = _scale(axes, values, marked=_TICKS)
    span = values[-1] - values[0]
    for number, (name, rows) in enumerate(lines.lines.items()):
        shift = (number - (len(lines.lines) - 1) / 2) * _DODGE
        places = []
        for row in rows:
            value = row.settings[lines.field]
            apart = (values[-1] / values[0]) ** shift * value if log else value + shift * span
            places.append(apart)
            _interval(axes, apart, row, _HUES[number])
        matches = [row.exact_match.mean for row in rows if row.exact_match is not None]
        axes.plot(places, matches, color=_HUES[number], lw=1.6, marker=_MARKERS[number], ms=6, zorder=3, label=name)
    axes.set_xlabel(_words(lines.field), color=MUTED)
    if lines.others:
        axes.legend(
            title=_words(", ".join(lines.others)), frameon=False, labelcolor=INK, loc="upper left", alignment="left",
            bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2,
        )  # fmt: skip


def _draw_panels(figure: Any, ordered: Sequence[TrialRow], fields: Sequence[str]) -> None:
    """Draw the trials by each setting beside each other, the best one in colour."""
    panels = figure.subplots(1, len(fields), sharey=True, squeeze=False)[0]
    for number, (axes, field) in enumerate(zip(panels, fields, strict=True)):
        values = [row.settings[field] for row in ordered]
        if all(map(_is_number, values)):
            _scale(axes, values, marked=_PANEL_TICKS)
        else:
            names = sorted({row.labels[field] for row in ordered})
            values = [names.index(row.labels[field]) for row in ordered]
            axes.set_xticks(range(len(names)), [shortened(name, _MOST_LETTERS) for name in names])
            if max(map(len, names)) > _FEW_LETTERS:
                axes.tick_params(axis="x", labelrotation=20)
            axes.set_xlim(-0.5, len(names) - 0.5)
        for place, (value, row) in enumerate(zip(values, ordered, strict=True)):
            _dot(axes, value, row, QUIET if place else ACCENT)
        _finish(axes, ordered if number == 0 else ())
        axes.set_xlabel(_words(field), color=MUTED)


def _draw_sizes(axes: Any, ordered: Sequence[TrialRow]) -> None:
    """Draw the trials by their trainable parameters, the best first and in colour."""
    _scale(axes, [row.trainable_parameters or 0 for row in ordered], marked=0)
    for place, row in enumerate(ordered):
        _dot(axes, row.trainable_parameters or 0, row, QUIET if place else ACCENT)
    axes.set_xlabel("Trainable parameters", color=MUTED)
    axes.xaxis.set_major_formatter(_count_text)


def _name_points(figure: Any, axes: Any, ordered: Sequence[TrialRow]) -> None:
    """Write each trial's name beside its point where it covers least; of many trials the best one's alone."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    ends = [
        axes.transData.transform([(row.trainable_parameters or 0, height) for height in row.exact_match])
        for row in ordered
        if row.exact_match is not None
    ]
    points = [Bbox.from_extents(*(mean - _DOT_PX), *(mean + _DOT_PX)) for mean, _, _ in ends]
    lines = [Bbox([low, high]) for _, low, high in ends]
    written: list[Any] = []
    for place, row in enumerate(ordered if len(ordered) <= _MOST_NAMED else ordered[:1]):
        tried: list[tuple[int, int, Any, Any]] = []
        for offset in _LABEL_OFFSETS_PT:
            text = _name(axes, row, offset, MUTED if place else INK)
            box = text.get_window_extent(figure.canvas.get_renderer())
            covered = 4 * box.count_overlaps([*written, *points]) + box.count_overlaps(lines)
            outside = box.x0 < axes.bbox.x0 or box.x1 > axes.bbox.x1
            tried.append((covered + 8 * outside, len(tried), text, box))
        _, _, kept, box = min(tried, key=lambda one: one[:2])
        written.append(box)
        for _, _, text, _ in tried:
            if text is not kept:
                text.remove()


def _name(axes: Any, row: TrialRow, offset_pt: tuple[int, int], hue: str) -> Any:
    side = "left" if offset_pt[0] > 0 else "right" if offset_pt[0] < 0 else "center"
    return axes.annotate(
        row.trial,
        (row.trainable_parameters or 0, row.exact_match.mean if row.exact_match is not None else 0),
        xytext=offset_pt,
        textcoords="offset points",
        ha=side,
        va="center",
        color=hue,
        zorder=5,
        bbox={"facecolor": PAPER, "alpha": 0.8, "edgecolor": "none", "pad": 0.6},
    )


def _interval(axes: Any, place: float, row: TrialRow, hue: str) -> None:
    if row.exact_match is not None:
        axes.plot(
            [place, place], [row.exact_match.low, row.exact_match.high], color=hue, lw=1.4, alpha=0.55, zorder=2,
            solid_capstyle="round",
        )  # fmt: skip


def _dot(axes: Any, place: float, row: TrialRow, hue: str) -> None:
    _interval(axes, place, row, hue)
    if row.exact_match is not None:
        axes.plot(place, row.exact_match.mean, "o", ms=6.5, color=hue, zorder=4 if hue == ACCENT else 3)


def _finish(axes: Any, rows: Sequence[TrialRow]) -> None:
    """Give the axes the report's look, and a title where there are rows to speak of."""
    asked = {row.questions for row in rows}
    number = f", {asked.pop():,} questions" if len(asked) == 1 else ""
    if rows:
        axes.set_title(f"Exact match on validation with 95% intervals{number}", loc="left", color=INK, pad=10)
    axes.grid(axis="y", color=LINE, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, which="both", labelcolor=MUTED)
    axes.margins(x=0.08)
    axes.locator_params(axis="y", nbins=7)


def _scale(axes: Any, values: Sequence[float], *, marked: int) -> bool:
    """Make the horizontal axis logarithmic where the values span enough, and mark up to `marked`; say whether it is."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    distinct = sorted(set(values))
    log = distinct[0] > 0 and distinct[-1] >= _LOG_FROM * distinct[0]
    if log:
        axes.set_xscale("log")
        decades = distinct[-1] >= _DECADES_FROM * distinct[0]
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
    places = np.log(distinct) if log else np.array(distinct, dtype=np.float64)
    if len(distinct) <= marked and np.diff(places).min(initial=np.inf) * 1.5 * marked >= np.ptp(places):
        axes.xaxis.set_major_locator(FixedLocator(distinct))
    axes.xaxis.set_major_formatter("{x:g}")
    return log


def _count_text(number: float, _: Any = None) -> str:
    """Return a number of parameters as it is read: 12 M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g} {letter}"
    return f"{number:g}"


def _varied(rows: Sequence[TrialRow]) -> list[str]:
    """Return the settings that differ among the rows."""
    return [field for field in rows[0].labels if len({row.labels[field] for row in rows}) > 1]


def _words(field: str) -> str:
    return field.replace("_", " ").capitalize()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _by(field: str) -> Any:
    return lambda row: row.settings[field]
