"""The report as one HTML page that needs nothing from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import shelfqa
from shelfqa.report import confidence_figures, figures, gallery, score_figures, tables
from shelfqa.report.material import Material, ScoredModel
from shelfqa.report.tables import Paired, interval_text, metric_label, number_text, p_text
from shelfqa.report.templating import render_template, style
from shelfqa.statistics import FEW_CLUSTERS

if TYPE_CHECKING:
    import pyarrow as pa

_FINDING_EXAMPLES = 3
_RIGHT_ANSWERS = 4
"""A row of cards."""


class Limits(NamedTuple):
    """How much of everything the page shows."""

    examples: int = 12
    errors: int = 12
    slices: int = 15
    picture_side_px: int = 260
    seed: int = 0


class Tile(NamedTuple):
    """A big number, what it is, and its interval or a remark."""

    number: str
    label: str
    note: str
    strong: bool = False


class StageRow(NamedTuple):
    """What one stage did."""

    name: str
    read: int
    kept: int
    dropped: int
    reasons: list[tuple[str, int]]
    seconds: float
    seed: int | None
    version: str
    config: str


def render(material: Material, tests: Sequence[Paired], limits: Limits) -> str:
    """Return the page's HTML."""
    filters = {
        "number": number_text,
        "signed": lambda value: number_text(value, signed=True),
        "interval": interval_text,
        "seconds": duration_text,
    }
    sheets = ("page.css", "card.css") if material.card is not None else ("page.css",)
    context = _context(material, tests, limits)
    return render_template("page.html.j2", filters=filters, style=style(*sheets), **context)


def headline(material: Material, tests: Sequence[Paired]) -> str:
    """Return the result in a sentence; it claims a change only where the interval excludes zero."""
    after, before = material.after, material.before
    name = metric_label(material.metric).lower()
    if after is None:
        return material.card.headline if material.card is not None else material.title
    mean = number_text(after.mean(material.metric))
    if before is None:
        return f"{after.label} reaches {mean} {name}"
    test = next((test for test in tests if test.first is before), None)
    earlier = number_text(before.mean(material.metric))
    if test is None or not test.apart:
        return f"Fine-tuning made no difference to {name} that can be told from chance: {earlier} before, {mean} after"
    verb = "raised" if test.difference.mean > 0 else "lowered"
    return f"Fine-tuning {verb} {name} from {earlier} to {mean}"


def lede(material: Material, tests: Sequence[Paired]) -> list[str]:
    """Return the sentences under the headline: how sure, on what, and against what."""
    after = material.after
    if after is None:
        return [material.card.sentence] if material.card is not None else []
    drawn = after.summary.get("cluster_by", "row")
    units = {"product_id": "products", "image_paths": "pictures"}.get(drawn, "rows")
    held_out = "held-out questions" if "split" in material.manifests else "questions"
    clusters = after.summary.get("clusters")
    about = f" about {clusters:,} {units}" if clusters and units != "rows" else ""
    found = [f"Measured on {after.summary['n']:,} {held_out}{about}."]
    for test in tests:
        if test.first is material.before:
            by = interval_text(test.difference, signed=True)
            found.append(f"The difference on the same questions is {by}, {p_text(test.p_value)}.")
    blind = material.best_blind
    if blind is not None and blind is not after:
        reached = number_text(blind.mean(material.metric))
        found.append(f"The best that can be had without seeing a picture is {reached} ({blind.label.lower()}).")
    return found


def tiles(material: Material) -> list[Tile]:
    """Return the big numbers."""
    after, before, blind = material.after, material.before, material.best_blind
    if after is None:
        return []
    name = metric_label(material.metric).lower()
    found = []
    if before is not None:
        found.append(_tile(before, material.metric, f"before, {name}"))
    found.append(_tile(after, material.metric, f"after, {name}" if before is not None else name, strong=True))
    if blind is not None and blind is not after:
        found.append(_tile(blind, material.metric, f"best without pictures, {name}"))
    for extra in ("top_5", "token_f1"):
        if extra in after.metrics and extra != material.metric and len(found) < 4:
            found.append(_tile(after, extra, f"{'after, ' if before is not None else ''}{metric_label(extra).lower()}"))
    return found


def _tile(model: ScoredModel, metric: str, label: str, *, strong: bool = False) -> Tile:
    interval = model.metrics[metric]
    bounds = (
        ""
        if interval["low"] is None
        else f"95% interval {number_text(interval['low'])} to {number_text(interval['high'])}"
    )
    return Tile(number_text(interval["mean"]), label, bounds, strong)


def _context(material: Material, tests: Sequence[Paired], limits: Limits) -> dict[str, Any]:
    after = material.after
    by_question = tables.slice_rows(material, "question_type", most=limits.slices)
    slice_tables = [
        (what, tables.slice_rows(material, column, most=limits.slices))
        for column, what in (("product_type", "product type"), ("difficulty", "difficulty"), ("source", "source"))
    ]
    for what, rows in slice_tables:
        if what == "difficulty":
            rows.sort(key=score_figures.level)
    errors, right = _answers(material, limits)
    stages = [_stage_row(name, manifest) for name, manifest in material.manifests.items()]
    return {
        "material": material,
        "version": shelfqa.__version__,
        "headline": headline(material, tests),
        "lede": lede(material, tests),
        "tiles": tiles(material),
        "metric": material.metric,
        "few_clusters": FEW_CLUSTERS,
        "metric_names": [(name, metric_label(name)) for name in _telling_metrics(material)],
        "models_chart": figures.models_chart(material),
        "tests": [_test_row(test) for test in tests],
        "failures": tables.failure_counts(material.models),
        "by_question": by_question,
        "by_question_chart": figures.slices_chart(material, by_question, "question type"),
        "slice_tables": [(what, rows) for what, rows in slice_tables if len(rows) > 1],
        "errors": errors,
        "right": right,
        "grid": _grid(material.attention) if any(one.picture.heat for one in (*errors, *right)) else None,
        "confident": any(error.confidence is not None for error in errors),
        "confusions": tables.confusions(after, material.metric, most=10) if after is not None else [],
        "charts": score_figures.score_charts(material),
        "confidence": confidence_figures.confidence(material),
        "findings": findings(after.summary) if after is not None else [],
        "learning": figures.learning_chart(material.history) if material.history is not None else None,
        "stages": stages,
        "flow": [row for row in stages if _in_flow(row, material)],
        "kinds": _kinds_chart(material),
        "examples": _examples(material, limits),
        "splits": tables.value_counts(material.questions, "split", most=5) if material.questions is not None else [],
        "leakage": _leakage(material),
    }


class Remark(NamedTuple):
    """A finding of `score`: what should make a reader doubt the numbers, with examples in words."""

    severity: str
    message: str
    examples: list[str]


def findings(summary: Mapping[str, Any]) -> list[Remark]:
    """Return the findings of a summary, warnings first, each with at most `_FINDING_EXAMPLES` examples."""
    found = [
        Remark(
            str(one.get("severity", "note")),
            str(one.get("message", "")),
            [text for example in one.get("examples") or () if (text := _example_text(example))][:_FINDING_EXAMPLES],
        )
        for one in summary.get("findings") or ()
    ]
    return sorted((one for one in found if one.message), key=lambda one: one.severity != "warning")


def _example_text(example: object) -> str:
    if not isinstance(example, Mapping):
        return str(example)
    answer, prediction = example.get("answer"), example.get("prediction")
    if answer is None:
        return ", ".join(f"{key} {value}" for key, value in example.items() if value is not None)
    said = f"“{answer}” answered “{prediction}”" if prediction else f"“{answer}” not answered"
    question = f"{example['question']} " if example.get("question") else ""
    rows = example.get("rows")
    return f"{question}{said}" + (f", {rows:,} times" if isinstance(rows, int) and rows > 1 else "")


def _telling_metrics(material: Material) -> list[str]:
    """Return the metrics of any model, without those that say the same as the lead metric (as top 1 does)."""
    names = dict.fromkeys([material.metric, *(name for model in material.models for name in model.metrics)])

    def told(name: str) -> bool:
        return all(model.mean(name) == model.mean(material.metric) for model in material.models)

    return [name for name in names if name == material.metric or not told(name)]


def _test_row(test: Paired) -> dict[str, Any]:
    return {
        "second": test.second.label,
        "first": test.first.label,
        "difference": interval_text(test.difference, signed=True),
        "p": p_text(test.p_value),
        "items": test.items,
        "mcnemar": test.mcnemar,
        "mcnemar_p": p_text(test.mcnemar.p_value) if test.mcnemar is not None else "",
        "apart": test.apart,
    }


def _stage_row(name: str, manifest: Any) -> StageRow:
    dropped = manifest.counts.dropped
    reasons = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    config = json.dumps(manifest.config, indent=2, ensure_ascii=False)
    counts = manifest.counts
    return StageRow(
        name, counts.read, counts.kept, sum(dropped.values()), reasons, manifest.seconds, manifest.seed,
        manifest.version, config,
    )  # fmt: skip


def _in_flow(row: StageRow, material: Material) -> bool:
    """Say whether the table of stages shows it: what curation did, the data card tells."""
    told = row.name == "curate" and material.card is not None
    return bool(row.read) and not told and ("/" not in row.name or row.dropped > 0)


def _kinds_chart(material: Material) -> figures.Chart | None:
    if material.questions is None:
        return None
    counts = tables.value_counts(material.questions, "task", most=14)
    return figures.bars_chart(counts, "Questions by what they ask about.")


def _answers(material: Material, limits: Limits) -> tuple[list[gallery.Answered], list[gallery.Answered]]:
    """Return the worst errors, and right answers beside them where the model tells where it looked."""
    after, seen = material.after, material.attention
    if after is None:
        return [], []
    images, side_px = material.images or after.images, limits.picture_side_px
    errors = gallery.worst_errors(after, material.metric, images, number=limits.errors, side_px=side_px, attention=seen)
    if seen is None or not any(one.picture.heat for one in errors):
        return errors, []
    number = min(_RIGHT_ANSWERS, limits.errors)
    return errors, gallery.surest_right(after, material.metric, images, seen, number=number, side_px=side_px)


def _grid(attention: pa.Table | None) -> str | None:
    """Return into how many cells a heat map parts the square, in words."""
    if attention is None:
        return None
    return f"{attention['rows'][0].as_py()} by {attention['columns'][0].as_py()}"


def _examples(material: Material, limits: Limits) -> list[gallery.Example]:
    if material.questions is None:
        return []
    return gallery.examples(
        material.questions,
        material.images,
        number=limits.examples,
        side_px=limits.picture_side_px,
        seed=limits.seed,
    )


class Audit(NamedTuple):
    """What each pair of splits shares: names of the columns, then rows of the pair and its numbers."""

    columns: list[str]
    rows: list[tuple[str, list[str]]]


def _leakage(material: Material) -> Audit | None:
    manifest = material.manifests.get("split")
    found = manifest.details.get("leakage") if manifest is not None else None
    if not isinstance(found, Mapping) or not all(isinstance(shared, Mapping) for shared in found.values()):
        return None
    columns = list(dict.fromkeys(name for shared in found.values() for name in shared))
    rows = [
        (pair.replace("/", " and "), [_count_text(shared.get(name)) for name in columns])
        for pair, shared in found.items()
    ]
    return Audit([name.replace("_", " ") for name in columns], rows)


def _count_text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–" if value is None else str(value)


def duration_text(seconds: float) -> str:
    """Return a duration as people say it.

    >>> duration_text(0.42), duration_text(75.2), duration_text(3 * 3600 + 5 * 60)
    ('0.4 s', '1 min 15 s', '3 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
