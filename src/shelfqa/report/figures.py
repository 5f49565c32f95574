"""Charts as inline SVG that takes its colours from the page, so that they follow light and dark.

Each chart is drawn twice, wide and narrow: the page shows the one that fits, and no text shrinks on a phone.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from shelfqa.report.material import Material
from shelfqa.report.tables import SliceRow, interval_text, metric_label, number_text

if TYPE_CHECKING:
    import pyarrow as pa

INK, MUTED, LINE, ACCENT, QUIET, WARN = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
"""Stand-ins that become the page's CSS variables."""

_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", QUIET: "--quiet", WARN: "--warn"}
_WIDE_IN, _NARROW_IN = 9.8, 3.7
_DPI = 100
FONT_PT = 9.5


class Chart(NamedTuple):
    """A chart in two widths, with a caption, and a text for those who cannot see it."""

    wide: str
    narrow: str
    caption: str
    alt: str


def models_chart(material: Material) -> Chart | None:
    """Return dots with their 95% intervals, one row a model, best on top."""
    rows = [model for model in material.models if material.metric in model.metrics]
    if len(rows) < 2:
        return None

    def draw(axes: Any, narrow: bool) -> None:
        for place, model in enumerate(reversed(rows)):
            interval = model.metrics[material.metric]
            hue = ACCENT if model is material.after else (QUIET if model.kind != "model" else INK)
            interval_dot(axes, place, interval, hue)
        category_axis(axes, [_wrapped(model.label) if narrow else model.label for model in reversed(rows)], narrow)
        highest = max((model.metrics[material.metric]["high"] or model.mean(material.metric)) for model in rows)
        axes.set_xlim(0, min(1.0, highest * 1.12 + 0.02))

    name = metric_label(material.metric)
    told = "; ".join(f"{model.label} {interval_text(model.metrics[material.metric])}" for model in rows)
    blind = " Grey: models that saw no picture, or a wrong one." if any(row.kind != "model" for row in rows) else ""
    caption = f"{name} with 95% intervals.{blind}"
    return draw_chart(draw, caption, f"{name} by model: {told}.", height_in=0.55 + 0.36 * len(rows))


def slices_chart(material: Material, rows: Sequence[SliceRow], what: str) -> Chart | None:
    """Return before and after by slice: two dots joined by a line, and the interval of the second."""
    if material.after is None or len(rows) < 2:
        return None
    joined = any(row.before is not None for row in rows)

    def draw(axes: Any, narrow: bool) -> None:
        for place, row in enumerate(reversed(rows)):
            interval_dot(axes, place, row.after, ACCENT)
            if row.before is not None and row.before["mean"] is not None and row.after["mean"] is not None:
                axes.plot([row.before["mean"], row.after["mean"]], [place, place], color=LINE, lw=3.2, zorder=1)
                axes.plot(row.before["mean"], place, "o", ms=6.5, mfc="none", mec=INK, mew=1.4, zorder=3)
        category_axis(axes, [f"{row.value}  ({row.n:,})" for row in reversed(rows)], narrow)
        axes.set_xlim(-0.02, 1.02)

    name = metric_label(material.metric)
    marks = f"ring: {material.before.label.lower()}, " if joined and material.before is not None else ""
    caption = (
        f"{name} by {what} ({marks}dot: {material.after.label.lower()} with its 95% interval). In brackets, questions."
    )
    told = "; ".join(
        f"{row.value} {number_text(row.before['mean']) + ' to ' if row.before else ''}{number_text(row.after['mean'])}"
        for row in rows
    )
    return draw_chart(draw, caption, f"{name} by {what}: {told}.", height_in=0.55 + 0.32 * len(rows))


def learning_chart(history: pa.Table) -> Chart | None:
    """Return training loss and validation exact match by step, one above the other."""
    series = {name: _points(history, name) for name in ("train_loss", "validation_loss", "validation_exact_match")}
    losses = {name: points for name, points in series.items() if name != "validation_exact_match" and points}
    matches = series["validation_exact_match"]
    bounds = [_points(history, f"validation_exact_match_{bound}") for bound in ("low", "high")]
    if not any(len(points) > 1 for points in series.values()):
        return None

    def draw(axes: Any, narrow: bool) -> None:
        upper, lower = axes
        for name, hue in (("train_loss", QUIET), ("validation_loss", INK)):
            if name in losses:
                label = name.split("_")[0] if name != "train_loss" else "training"
                _line(upper, losses[name], hue, dots=name != "train_loss", label=label)
        _value_axis(upper, "Loss")
        upper.legend(frameon=False, loc="upper right", labelcolor=MUTED, handlelength=1.4, borderpad=0.1)
        if matches:
            _line(lower, matches, ACCENT, dots=True)
            if all(bounds):
                low, high = ([value for _, value in points] for points in bounds)
                lower.fill_between([step for step, _ in matches], low, high, color=ACCENT, alpha=0.12, lw=0)
            best = max(matches, key=lambda point: point[1])
            lower.plot(*best, "o", ms=9, mfc="none", mec=ACCENT, mew=1.4)
            right = best[0] > 0.8 * matches[-1][0]
            lower.annotate(
                number_text(best[1]), best, xytext=(-8 if right else 8, -15), textcoords="offset points",
                color=INK, ha="right" if right else "left",
            )  # fmt: skip
        _value_axis(lower, "Validation exact match")
        lower.set_xlabel("Step", color=MUTED)

    told = f" Validation exact match goes from {matches[0][1]:.2f} to {matches[-1][1]:.2f}." if matches else ""
    shade = "; shade: 95% intervals" if all(bounds) else ""
    caption = f"Loss and validation exact match by training step. Ring: the best on the validation split{shade}."
    if not matches:
        caption = "Loss by training step."
    last = int(max(points[-1][0] for points in series.values() if points))
    return draw_chart(draw, caption, f"Learning curve over {last:,} steps.{told}", height_in=4.4, panels=2)


def bars_chart(counts: Sequence[tuple[str, int]], caption: str) -> Chart | None:
    """Return horizontal bars with their numbers beside them."""
    if len(counts) < 2:
        return None

    def draw(axes: Any, narrow: bool) -> None:
        numbers = [number for _, number in reversed(counts)]
        axes.barh(range(len(counts)), numbers, height=0.62, color=QUIET)
        for place, number in enumerate(numbers):
            axes.annotate(
                f"{number:,}", (number, place), xytext=(5, 0), textcoords="offset points", va="center", color=INK
            )
        category_axis(axes, [name for name, _ in reversed(counts)], narrow)
        axes.set_xlim(0, max(numbers) * 1.16)
        axes.xaxis.set_visible(False)
        axes.grid(visible=False)

    told = ", ".join(f"{name} {number:,}" for name, number in counts)
    return draw_chart(draw, caption, f"{caption} {told}.", height_in=0.3 + 0.28 * len(counts))


def interval_dot(axes: Any, place: int, interval: Mapping[str, float | None], hue: str) -> None:
    """Draw a mean as a dot and its 95% interval as a line, on the row `place`."""
    if interval["low"] is not None and interval["high"] is not None:
        axes.plot(
            [interval["low"], interval["high"]], [place, place], color=hue, lw=1.6, zorder=2, solid_capstyle="round"
        )
    if interval["mean"] is not None:
        axes.plot(interval["mean"], place, "o", ms=6.5, color=hue, zorder=4)


def _points(history: pa.Table, name: str) -> list[tuple[float, float]]:
    if name not in history.column_names or "step" not in history.column_names:
        return []
    pairs = zip(history["step"].to_pylist(), history[name].to_pylist(), strict=True)
    return [(step, value) for step, value in pairs if step is not None and value is not None]


def _line(axes: Any, points: Sequence[tuple[float, float]], hue: str, *, dots: bool, label: str = "") -> None:
    steps, values = zip(*points, strict=True)
    axes.plot(steps, values, color=hue, lw=1.6, marker="o" if dots else None, ms=4, label=label)


def category_axis(axes: Any, labels: Sequence[str], narrow: bool) -> None:
    """Name the rows of a chart, from the bottom up."""
    most = 24 if narrow else 44
    axes.set_yticks(range(len(labels)), [label if "\n" in label else shortened(label, most) for label in labels])
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(axis="x", color=LINE, lw=0.8)
    axes.tick_params(axis="y", length=0, labelcolor=INK, pad=8)
    axes.tick_params(axis="x", length=0, labelcolor=MUTED)
    axes.locator_params(axis="x", nbins=4 if narrow else 8)


def _wrapped(label: str) -> str:
    return "\n".join(textwrap.wrap(label, 22, max_lines=2, placeholder="…"))


def shortened(label: str, most: int) -> str:
    """Return the label in one line, cut to `most` characters."""
    label = "".join(character if character.isprintable() else " " for character in label)
    return label if len(label) <= most else label[: most - 1] + "…"


def _value_axis(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=FONT_PT, pad=8)
    axes.grid(axis="y", color=LINE, lw=0.8)
    axes.tick_params(length=0, labelcolor=MUTED)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="y", nbins=5)


def draw_chart(
    draw: Callable[[Any, bool], None],
    caption: str,
    alt: str,
    *,
    height_in: float,
    narrow_height_in: float | None = None,
    panels: int = 1,
    columns: tuple[int, int] = (1, 1),
) -> Chart:
    """Return a chart that `draw` draws twice, on its axes (a flat sequence of them where there are several panels).

    `columns` is in how many columns the panels stand, in the wide and in the narrow chart; where that is one, they
    share their horizontal axis.
    """
    return Chart(
        _svg(draw, _WIDE_IN, height_in, panels, columns[0], narrow=False),
        _svg(draw, _NARROW_IN, narrow_height_in or height_in, panels, columns[1], narrow=True),
        caption,
        alt,
    )


def _svg(
    draw: Callable[[Any, bool], None], width_in: float, height_in: float, panels: int, columns: int, *, narrow: bool
) -> str:
    """Return one chart as an `<svg>` element whose colours are CSS variables."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08) if columns > 1 else ConstrainedLayoutEngine()
    with _style():
        figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout=layout)
        FigureCanvasSVG(figure)
        axes = figure.subplots(-(-panels // columns), columns, sharex=panels > 1 and columns == 1, squeeze=False).flat
        draw(axes[0] if panels == 1 else list(axes[:panels]), narrow)
        for one in axes[panels:]:
            one.set_visible(False)
        for one in figure.axes:
            one.spines[:].set_visible(False)
            one.set_axisbelow(True)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _themed(buffer.getvalue())


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    settings = {"svg.fonttype": "none", "svg.hashsalt": "shelfqa", "font.size": FONT_PT, "text.color": INK}
    with (
        mpl.rc_context({**settings, "font.family": "DejaVu Sans", "text.parse_math": False}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # the browser has fonts of its own
        yield


def _themed(document: str) -> str:
    """Return the `<svg>` element without what a page has no use for, and with variables for colours."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<(g|path) id="(?:[a-z]+_)+\d+"', r"<\1", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*pt"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*pt"', r"\1", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r' xmlns(?::\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, f"var({variable})")
    return svg.strip()
