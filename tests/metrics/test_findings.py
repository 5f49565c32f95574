"""Each finding, where it is due and where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shelfqa
from shelfqa.metrics.answer_variants import variant_kind
from shelfqa.metrics.base import Answered, PairMetric, Scores
from shelfqa.metrics.evidence import Evidence, Finding
from shelfqa.metrics.findings import CHECKS, find, saturated_bertscore
from shelfqa.metrics.judge import Judge
from shelfqa.metrics.predictions import predictions_from
from shelfqa.metrics.suite import Chosen, answered, with_scores
from shelfqa.providers.scripted import Scripted

COLOURS = ("red", "blue", "green", "black", "white", "brown", "pink", "grey")


def healthy(number: int = 40, **columns: Any) -> dict[str, list[Any]]:
    """Eight answers in equal shares, three of four right, a picture a row."""
    answers = [COLOURS[row % 8] for row in range(number)]
    return {
        "image": [f"{row}.jpg" for row in range(number)],
        "question": ["What color is it?"] * number,
        "answer": answers,
        "prediction": [COLOURS[(row + 3) % 8] if row % 4 == 3 else answers[row] for row in range(number)],
        **columns,
    }


def found(table: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    findings = shelfqa.score(table, resamples=200).summary["findings"]
    return {finding["id"]: finding for finding in findings}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found(healthy()) == {}


def test_every_check_is_told_apart() -> None:
    assert len({check.__name__ for check in CHECKS}) == len(CHECKS)
    assert all(check.__doc__ for check in CHECKS)


def test_missing_predictions() -> None:
    table = healthy()
    table["prediction"][0], table["prediction"][1] = None, "  "
    finding = found(table)["missing-predictions"]
    assert finding["severity"] == "warning"
    assert "2 of 40 predictions are missing (1 null or failed, 1 empty)" in finding["message"]
    assert [example["prediction"] for example in finding["examples"]] == [None, "  "]


def test_duplicated_rows() -> None:
    table = healthy()
    for column in table.values():
        column.append(column[5])
    table["prediction"][-1] = "other"
    finding = found(table)["duplicated-rows"]
    assert finding["message"].startswith("1 of 41 rows repeat")
    assert "in 1 cases the predictions differ" in finding["message"]
    assert finding["examples"][0]["rows"] == 2


def test_rows_without_picture_or_product_are_no_duplicates() -> None:
    table = healthy()
    del table["image"]
    assert "duplicated-rows" not in found(table)
    table["product_id"] = [str(row // 2) for row in range(40)]
    table["answer"] = table["prediction"] = ["red"] * 40
    assert "duplicated-rows" in found(table)


def test_no_better_than_the_majority() -> None:
    table = healthy(answer=["yes"] * 24 + ["no"] * 16, prediction=["no"] * 24 + ["yes"] * 8 + ["no"] * 8)
    message = found(table)["no-better-than-majority"]["message"]
    assert "worse than giving the commonest answer 'yes'" in message
    assert "0.200 against 0.600" in message


def test_majority_answer() -> None:
    table = healthy(answer=["yes"] * 24 + list(COLOURS) * 2, prediction=["yes"] * 40)
    finding = found(table)["majority-answer"]
    assert "'yes' is the answer to 60% of the questions" in finding["message"]
    assert "on the other rows exact match is 0.000" in finding["message"]


def test_dominating_prediction() -> None:
    table = healthy()
    table["prediction"][:10] = ["phone"] * 10
    finding = found(table)["dominating-prediction"]
    assert "'phone' to 25% of the questions" in finding["message"]


@pytest.mark.parametrize(("stated", "id_"), [(0.95, "overconfident"), (0.55, "underconfident")])
def test_probabilities_far_from_the_truth(stated: float, id_: str) -> None:
    table = healthy(240)
    table["alternatives"] = [[{"answer": text, "probability": stated}] for text in table["prediction"]]
    finding = found(table)[id_]
    assert finding["severity"] == ("warning" if id_ == "overconfident" else "note")
    assert f"a probability of {stated:.3f} on average and 0.750 of them are right" in finding["message"]
    assert f"expected calibration error {abs(stated - 0.75):.3f}" in finding["message"]
    example = finding["examples"][0]
    assert (example["answer"] == example["prediction"]) == (id_ == "underconfident")
    assert example["probability"] == stated


def test_probabilities_of_few_rows_or_near_the_truth_are_no_finding() -> None:
    for number, stated in ((196, 0.95), (240, 0.8)):
        table = healthy(number)
        table["alternatives"] = [[{"answer": text, "probability": stated}] for text in table["prediction"]]
        assert found(table) == {}


def test_near_misses() -> None:
    table = healthy()
    table["answer"][:4] = ["twelve", "flower", "grey", "t-shirt"]
    table["prediction"][:4] = ["12", "flowers", "gray", "tshirt"]
    finding = found(table)["near-miss-answers"]
    assert {(pair["answer"], pair["kind"]) for pair in finding["examples"]} == {
        ("twelve", "number word"),
        ("flower", "plural"),
        ("grey", "spelling"),
        ("t-shirt", "spacing"),
    }
    right = np.mean([a == p for a, p in zip(table["answer"], table["prediction"], strict=True)])
    assert f"exact match would be {right + 0.1:.3f} in place of {right:.3f}" in finding["message"]


@pytest.mark.parametrize(
    ("prediction", "answer", "kind"),
    [
        ("butterflies", "butterfly", "plural"),
        ("boxes", "box", "plural"),
        ("knife", "knives", "plural"),
        ("brass", "bras", None),
        ("rectangel", "rectangle", "spelling"),
        ("rectagle", "rectangle", "spelling"),
        ("aluminium", "aluminum", "spelling"),
        ("jewellery box", "jewelry box", "spelling"),
        ("striped", "stripes", None),
        ("leathery", "leather", None),
        ("skirt", "shirt", None),
        ("13", "twelve", None),
        ("twenty", "20", "number word"),
        ("", "red", None),
        ("???", "!", None),
        ("椅子", "椅", None),
    ],
)
def test_kinds_of_variants(prediction: str, answer: str, kind: str | None) -> None:
    assert variant_kind(prediction, answer) == kind
    assert variant_kind(answer, prediction) == kind


def test_saturated_bertscore_of_the_file() -> None:
    scores = [0.99 if row % 4 == 3 else 1.0 for row in range(40)]
    finding = found(healthy(bertscore_f1=scores))["bertscore-saturated"]
    assert "wrong predictions that share no word with the answer score 0.990 on average" in finding["message"]
    assert finding["examples"][0]["bertscore_f1"] == 0.99
    spread = [0.2 if row % 4 == 3 else 1.0 for row in range(40)]
    assert "bertscore-saturated" not in found(healthy(bertscore_f1=spread))
    assert "bertscore-saturated" not in found(healthy(bertscore_f1=["high"] * 40))


class Constant(PairMetric):
    """A BERTScore that gives every wrong pair the same."""

    name = "bertscore_f1"

    def __init__(self, wrong: float) -> None:
        self.wrong = wrong

    def score_pairs(self, predictions: Any, answers: Any) -> Scores:
        return np.array([1.0 if a == b else self.wrong for a, b in zip(predictions, answers, strict=True)])


def of_metric(wrong: float) -> Finding | None:
    table = predictions_from(healthy()).table
    rows: Answered = answered(table)
    metric = Constant(wrong)
    table = table.append_column("bertscore_f1", [metric.score(rows)])
    return saturated_bertscore(Evidence(table=table, rows=rows, metrics=[metric], clusters=np.arange(40)))


def test_computed_bertscore_is_held_against_chance_pairs() -> None:
    finding = of_metric(0.95)
    assert finding is not None
    assert "predictions beside the answers of other rows score 0.950" in finding.message
    assert of_metric(0.5) is None


def test_meteor_on_single_words() -> None:
    scores = [0.0 if row % 4 == 3 else 0.5 for row in range(40)]
    finding = found(healthy(meteor_score=scores))["meteor-single-words"]
    assert "a perfect answer scores 0.5 (30 rows)" in finding["message"]
    long = healthy(meteor=scores)
    long["answer"] = [f"a dark {answer} thing" for answer in long["answer"]]
    assert "meteor-single-words" not in found(long)
    assert "meteor-single-words" not in found(healthy(meteor=[2 * score for score in scores]))


def test_bleu_on_single_words() -> None:
    scores = [0.0 if row % 4 == 3 else 1.0 for row in range(40)]
    assert "a perfect single word scores 1.000" in found(healthy(bleu=scores))["bleu-single-words"]["message"]
    long = healthy(bleu=scores)
    long["answer"] = [f"a dark {answer} thing" for answer in long["answer"]]
    assert "bleu-single-words" not in found(long)


def test_collapsed_exact_match() -> None:
    table = healthy()
    table["prediction"] = [f"the answer is {answer}. Question:" for answer in table["answer"]]
    finding = found(table)["exact-match-collapsed"]
    assert "100% of the predictions hold every word of the answer" in finding["message"]
    assert finding["examples"][0]["prediction"] == "the answer is red. Question:"
    by_bertscore = healthy(prediction=["purple"] * 40, bertscore_f1=[0.97] * 40)
    assert "bertscore_f1 is 0.970" in found(by_bertscore)["exact-match-collapsed"]["message"]
    assert "exact-match-collapsed" not in found(healthy(prediction=["purple"] * 40, bertscore_f1=[0.2] * 40))


def judged(replies: dict[bool, str], cache: Path) -> tuple[Any, list[Finding]]:
    table = predictions_from(healthy(4)).table
    rows = answered(table)
    judge = Judge.by(Scripted(lambda prompt: replies["red" in prompt.split("Answer to grade:")[1]]), cache=str(cache))
    scored, _ = with_scores(table, Chosen([judge], {}, frozenset({"judge"})), rows)
    evidence = Evidence(table=scored, rows=rows, metrics=[judge], clusters=np.arange(4), resamples=100)
    return scored, [finding for finding in find(evidence) if finding.id == "unparseable-verdicts"]


def test_unparseable_verdicts(tmp_path: Path) -> None:
    replies = {True: "hm", False: "VERDICT: correct\nREASON: same"}
    table, findings = judged(replies, tmp_path / "a.sqlite")
    assert table["judge"].to_pylist() == [0, 1, 1, 1]
    assert table["judge_verdict"].to_pylist() == ["unparseable", "correct", "correct", "correct"]
    assert table["judge_reason"].to_pylist() == ["hm", "same", "same", "same"]
    assert "1 of 4 replies of the judge hold no verdict" in findings[0].message
    assert judged({True: "incorrect", False: "correct"}, tmp_path / "b.sqlite")[1] == []


FOUND = {
    "blip2_opt_2.7b": ["missing-predictions", "bertscore-saturated", "meteor-single-words", "duplicated-rows",
                       "near-miss-answers"],
    "blip_vqa_base_lora_r16": ["bertscore-saturated", "meteor-single-words", "duplicated-rows", "near-miss-answers"],
    "clip_vit_b32_fixed_answers": ["no-better-than-majority", "dominating-prediction", "bertscore-saturated",
                                   "meteor-single-words"],
    "second_study_blip": ["missing-predictions", "near-miss-answers"],
    "second_study_vilt": ["near-miss-answers"],
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_findings_on_published_predictions(abo_slice: Path, name: str) -> None:
    scored = shelfqa.score(abo_slice / "predictions" / f"{name}.csv", resamples=200, slices=())
    assert [finding["id"] for finding in scored.summary["findings"]] == FOUND[name]
