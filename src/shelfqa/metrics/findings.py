"""What should make a reader doubt scores, found in the rows: each check returns a finding or None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from shelfqa.metrics.answer_variants import variant_kind
from shelfqa.metrics.base import Answered
from shelfqa.metrics.confidence import declined_rows, miscalibrated
from shelfqa.metrics.evidence import MOST_EXAMPLES, Evidence, Finding, Floats, commonest, counted, shortened
from shelfqa.metrics.exact import comparable
from shelfqa.metrics.judge import UNPARSEABLE
from shelfqa.metrics.overlap import TokenRecall
from shelfqa.statistics import compare_paired, item_keys

SATURATED_CHANCE = 0.85
"""BERTScore is saturated where chance pairs reach this much on average."""
CHANCE_PAIRS = 500
SINGLE_WORDS = 0.5
"""BLEU and METEOR say little where so many answers or more are single words."""
COLLAPSED = 0.1
"""Exact match below this is a collapse, if another sign says that the model knew better."""
HIGH_BERTSCORE = 0.85
DOMINATING = 0.5
"""The share of rows from which one answer dominates."""
PREDICTED_SHARE, PREDICTED_TIMES = 0.1, 3.0
"""One prediction dominates where it makes up this share, and so many times its share among the answers."""
NEAR_MISSES = 0.005
"""Share of rows from which answers that differ by spelling alone are told."""
LONGEST_PAIR = 400
"""Characters of answer and prediction together up to which they are compared for it."""


def find(evidence: Evidence) -> list[Finding]:
    """Return the findings of all checks, warnings first."""
    found = [finding for check in CHECKS if (finding := check(evidence)) is not None]
    return sorted(found, key=lambda finding: finding.severity != "warning")


def missing_predictions(evidence: Evidence) -> Finding | None:
    """Nulls and empty texts, which count as wrong."""
    failed = sum(prediction is None for prediction in evidence.rows.predictions)
    empty = int((~evidence.said).sum()) - failed
    total = len(evidence.rows)
    if not failed + empty:
        return None
    share = (failed + empty) / total
    without = float(evidence.exact[evidence.said].mean()) if evidence.said.any() else 0.0
    return Finding(
        id="missing-predictions",
        severity="warning" if share >= 0.01 else "note",
        message=f"{failed + empty:,} of {total:,} predictions are missing ({failed:,} null or failed, {empty:,} empty) "
        f"and count as wrong. Exact match is {evidence.exact.mean():.3f} with them, {without:.3f} without.",
        examples=evidence.examples(np.flatnonzero(~evidence.said)),
    )


def duplicated_rows(evidence: Evidence) -> Finding | None:
    """The same picture, question and answer more than once."""
    table = evidence.table
    places: dict[Any, list[int]] = {}
    unplaced = pc.all(pc.is_null(table["image_paths"])).as_py()
    for row, key in enumerate(item_keys(table)):
        product = table["product_id"][row].as_py() if unplaced else None
        told = key[0] if unplaced and product is None else product
        if not unplaced or told is not None:
            places.setdefault((told, *key[1:-1]), []).append(row)
    again = {key: rows for key, rows in places.items() if len(rows) > 1}
    if not again:
        return None
    extra = sum(len(rows) - 1 for rows in again.values())
    differing = sum(len({evidence.rows.predictions[row] for row in rows}) > 1 for rows in again.values())
    told = f"; in {differing:,} cases the predictions differ" if differing else ""
    return Finding(
        id="duplicated-rows",
        severity="warning" if extra >= 0.01 * len(table) else "note",
        message=f"{extra:,} of {len(table):,} rows repeat the picture, question and answer of another row{told}. "
        "They count twice; the intervals allow for it only if they share a cluster.",
        examples=[
            {**evidence.examples([rows[0]])[0], "rows": len(rows)}
            for rows in sorted(again.values(), key=lambda rows: -len(rows))[:MOST_EXAMPLES]
        ],
    )


def blind_baseline(evidence: Evidence) -> Finding | None:
    """Exact match no better than always giving the commonest answer."""
    if len(evidence.rows) < 2:
        return None
    answer, number = commonest(evidence.rows.answers)
    majority = np.array([comparable(one) == answer for one in evidence.rows.answers], dtype=np.float64)
    test = compare_paired(majority, evidence.exact, evidence.clusters, resamples=evidence.resamples, seed=evidence.seed)
    if not test.difference.low <= 0:
        return None
    worse = "worse" if test.difference.high < 0 else "no better"
    return Finding(
        id="no-better-than-majority",
        severity="warning",
        message=f"The model is {worse} than giving the commonest answer {shortened(answer)!r} to every question: exact "
        f"match {evidence.exact.mean():.3f} against {number / len(evidence.rows):.3f}, difference "
        f"{test.difference.mean:+.3f} [{test.difference.low:+.3f}, {test.difference.high:+.3f}].",
        examples=[{"answer": shortened(answer), "rows": number}],
    )


def majority_dominates(evidence: Evidence) -> Finding | None:
    """One answer makes up most of the file."""
    answer, number = commonest(evidence.rows.answers)
    share = number / len(evidence.rows)
    if share < DOMINATING or len(evidence.rows) < 2:
        return None
    others = np.array([comparable(one) != answer for one in evidence.rows.answers])
    rest = f"; on the other rows exact match is {evidence.exact[others].mean():.3f}" if others.any() else ""
    return Finding(
        id="majority-answer",
        severity="warning",
        message=f"{shortened(answer)!r} is the answer to {share:.0%} of the questions, so a mean says little{rest}.",
        examples=[
            {"answer": shortened(one), "rows": rows} for one, rows in counted(evidence.rows.answers).most_common(3)
        ],
    )


def prediction_dominates(evidence: Evidence) -> Finding | None:
    """One prediction comes far more often than it is the answer; what was declined by a threshold is none."""
    declined = declined_rows(evidence.table, evidence.rows.predictions)
    said = [one for one, left in zip(evidence.rows.predictions, declined, strict=True) if one and not left]
    if len(said) < 20:
        return None
    prediction, number = commonest(said)
    answers = [answer for answer, left in zip(evidence.rows.answers, declined, strict=True) if not left]
    share, due = number / len(said), counted(answers)[prediction] / len(answers)
    if share < PREDICTED_SHARE or share < PREDICTED_TIMES * due:
        return None
    rows = [row for row, one in enumerate(evidence.rows.predictions) if one and comparable(one) == prediction]
    return Finding(
        id="dominating-prediction",
        severity="warning",
        message=f"The model says {shortened(prediction)!r} to {share:.0%} of the questions, and it is the answer to "
        f"{due:.1%} of them: it has collapsed onto one answer, or answers are chosen from a list that misses most.",
        examples=evidence.examples(rows),
    )


def near_misses(evidence: Evidence) -> Finding | None:
    """Answers that differ by number word, plural, spacing or spelling alone."""
    pairs = Counter(
        (answer.casefold().strip(), prediction.casefold().strip())
        for answer, prediction, exact in zip(
            evidence.rows.answers, evidence.rows.predictions, evidence.exact, strict=True
        )
        if prediction and exact == 0 and len(answer) + len(prediction) <= LONGEST_PAIR
    )
    found: list[dict[str, Any]] = []
    kinds: Counter[str] = Counter()
    for (answer, prediction), number in sorted(pairs.items(), key=lambda item: (-item[1], item[0])):
        kind = variant_kind(prediction, answer)
        if kind is not None:
            kinds[kind] += number
            pair = {"answer": shortened(answer), "prediction": shortened(prediction), "rows": number, "kind": kind}
            found.append(pair)
    rows = kinds.total()
    if rows < NEAR_MISSES * len(evidence.rows) or not rows:
        return None
    now = float(evidence.exact.mean())
    return Finding(
        id="near-miss-answers",
        severity="note",
        message=f"{rows:,} predictions differ from the answer by "
        f"{', '.join(f'{kind} ({number:,})' for kind, number in kinds.most_common())} alone; were they right, exact "
        f"match would be {now + rows / len(evidence.rows):.3f} in place of {now:.3f}.",
        examples=found[:50],
    )


def saturated_bertscore(evidence: Evidence) -> Finding | None:
    """BERTScore that gives chance pairs nearly as much as right answers."""
    named = evidence.bertscore()
    if named is None:
        return None
    name, scores = named
    known = evidence.said & ~np.isnan(scores)
    chance, what = _chance_scores(evidence, name, scores, known)
    if len(chance) < 5 or chance.mean() < SATURATED_CHANCE:
        return None
    right = scores[known & (evidence.exact == 1)]
    best = float(right.mean()) if len(right) else 1.0
    low, high = np.quantile(chance, [0.05, 0.95])
    wrong = np.flatnonzero(known & (evidence.overlap == 0))
    ordered = wrong[np.argsort(-scores[wrong], kind="stable")]
    return Finding(
        id="bertscore-saturated",
        severity="warning",
        message=f"{name} is saturated: {what} score {chance.mean():.3f} on average (90% of them {low:.3f} to "
        f"{high:.3f}), right answers {best:.3f}. All that a model can gain lies in the last "
        f"{best - chance.mean():.3f}; rescale with a baseline, or read exact match.",
        examples=evidence.examples(ordered, **{name: scores}),
    )


def _chance_scores(evidence: Evidence, name: str, scores: Floats, known: NDArray[np.bool_]) -> tuple[Floats, str]:
    """Return BERTScore of pairs that have nothing to do with each other, and what they are."""
    metric = next((metric for metric in evidence.metrics if metric.name == name), None)
    rows = np.flatnonzero(known)
    if metric is not None and len(rows) > 1:
        generator = np.random.default_rng(evidence.seed)
        drawn = rows[generator.permutation(len(rows))[:CHANCE_PAIRS]]
        answers = [evidence.rows.answers[row] for row in np.roll(drawn, 1)]
        predictions = [evidence.rows.predictions[row] or "" for row in drawn]
        apart = [
            (prediction, answer)
            for prediction, answer in zip(predictions, answers, strict=True)
            if comparable(prediction) != comparable(answer)
        ]
        if apart:
            shuffled = Answered(predictions=[pair[0] for pair in apart], answers=[pair[1] for pair in apart])
            return metric.score(shuffled), "predictions beside the answers of other rows"
    return scores[known & (evidence.overlap == 0)], "wrong predictions that share no word with the answer"


def meteor_on_single_words(evidence: Evidence) -> Finding | None:
    """METEOR, whose penalty halves a perfect single word."""
    named = evidence.column("meteor", "meteor_score")
    share = float(evidence.single.mean())
    if named is None or share < SINGLE_WORDS:
        return None
    name, scores = named
    perfect = evidence.single & (evidence.exact == 1) & ~np.isnan(scores)
    if not perfect.any() or not 0.4 <= float(np.median(scores[perfect])) <= 0.6:
        return None
    halved = np.flatnonzero(perfect & (np.abs(scores - 0.5) < 0.01))
    return Finding(
        id="meteor-single-words",
        severity="warning",
        message=f"{share:.0%} of the answers are single words, on which {name} can only be 0 or 0.5: one matched word "
        f"is one chunk, so the penalty 0.5 x (chunks / matches)^3 is 0.5 and a perfect answer scores 0.5 "
        f"({len(halved):,} rows). Its mean is about half of exact match and says nothing more.",
        examples=evidence.examples(halved, **{name: scores}),
    )


def bleu_on_single_words(evidence: Evidence) -> Finding | None:
    """BLEU, which counts runs of up to four words."""
    names = [name for name in evidence.table.column_names if name.lower().startswith("bleu")]
    named = evidence.column(*names)
    share = float(evidence.single.mean())
    if named is None or share < SINGLE_WORDS:
        return None
    name, scores = named
    rows = np.flatnonzero(evidence.single & (evidence.exact == 1) & ~np.isnan(scores))
    told = f" Here a perfect single word scores {scores[rows].mean():.3f} on average." if len(rows) else ""
    return Finding(
        id="bleu-single-words",
        severity="warning",
        message=f"{share:.0%} of the answers are single words, on which {name} is uninformative: it counts runs of two "
        f"to four words, of which a single word has none, so it is 0, or exact match if smoothed or cut short.{told}",
        examples=evidence.examples(rows, **{name: scores}),
    )


def collapsed_exact_match(evidence: Evidence) -> Finding | None:
    """Exact match near zero while BERTScore is high, or while predictions hold the answer and more."""
    exact = float(evidence.exact.mean())
    if exact >= COLLAPSED or evidence.said.sum() < 5:
        return None
    named = evidence.bertscore()
    held = evidence.said & (evidence.exact == 0) & (TokenRecall().score(evidence.rows) == 1)
    signs = []
    if held.sum() >= 0.2 * evidence.said.sum():
        signs.append(f"{held.sum() / evidence.said.sum():.0%} of the predictions hold every word of the answer")
    if named is not None and np.nanmean(named[1][evidence.said]) >= HIGH_BERTSCORE:
        signs.append(f"{named[0]} is {np.nanmean(named[1][evidence.said]):.3f}")
    if not signs:
        return None
    wrong = np.flatnonzero(held if held.any() else evidence.said & (evidence.exact == 0))
    return Finding(
        id="exact-match-collapsed",
        severity="warning",
        message=f"Exact match is {exact:.3f} while {' and '.join(signs)}. Look at the examples for a decoding fault "
        "(the prompt repeated, text that runs on, special tokens, letters cut off) before blaming the model.",
        examples=evidence.examples(wrong),
    )


def unparseable_verdicts(evidence: Evidence) -> Finding | None:
    """Replies of a judge that hold no verdict, which count as wrong."""
    for name in evidence.table.column_names:
        if name.endswith("_verdict"):
            rows = np.flatnonzero([word == UNPARSEABLE for word in evidence.table[name].to_pylist()])
            if len(rows):
                return Finding(
                    id="unparseable-verdicts",
                    severity="warning" if len(rows) >= 0.01 * len(evidence.rows) else "note",
                    message=f"{len(rows):,} of {len(evidence.rows):,} replies of the judge hold no verdict and count "
                    f"as wrong; the replies are in the column {name.removesuffix('_verdict')}_reason.",
                    examples=evidence.examples(rows),
                )
    return None


CHECKS: tuple[Callable[[Evidence], Finding | None], ...] = (
    missing_predictions,
    unparseable_verdicts,
    duplicated_rows,
    blind_baseline,
    collapsed_exact_match,
    prediction_dominates,
    majority_dominates,
    saturated_bertscore,
    meteor_on_single_words,
    bleu_on_single_words,
    miscalibrated,
    near_misses,
)
