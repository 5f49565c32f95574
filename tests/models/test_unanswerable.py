"""Saying `unanswerable` where the best answer is improbable, and what scores make of it."""

from __future__ import annotations

from shelfqa.metrics.scoring import score
from shelfqa.models.answering import Found, alternatives
from shelfqa.models.unanswerable import or_unanswerable
from shelfqa.records import Answer


def test_what_is_left_alone_and_where_the_word_comes_from() -> None:
    red, word = Answer("red", 0.3), Answer("Unanswerable", 0.2)
    for answers in ([], [Answer("red", None)], [Answer("red", 0.5)], [word, red]):
        found = Found(answers, None, 1.0, "It is red.")
        assert or_unanswerable(found, 0.5) is found
    changed = or_unanswerable(Found([red, word], None, 1.0, "It is red."), 0.5)
    assert changed == Found([Answer("unanswerable", 0.2), red], None, 1.0, "It is red.")


def test_scores_of_predictions_that_may_be_unanswerable() -> None:
    asked = [("red", 0.3, "red"), ("unanswerable", 0.2, "blue"), ("green", 0.9, "green")]
    rows = []
    for answer, probability, said in asked:
        one = or_unanswerable(Found([Answer(said, probability)], None, 0.0), 0.5)
        rows.append(
            {
                "question": "what color is it?",
                "answer": answer,
                "prediction": one.answers[0].text,
                "alternatives": alternatives(one),
            }
        )
    found = score(rows, metrics=["exact_match", "top_1"], resamples=200)
    assert found.table["exact_match"].to_pylist() == found.table["top_1"].to_pylist() == [0, 1, 1]
    assert found.summary["calibration"]["n"] == 1
    assert found.summary["calibration"]["without_probability"] == 2


def test_declining_often_is_no_collapse() -> None:
    def findings(below: float) -> set[str]:
        said = [Found([Answer(f"a{n}", 0.3), Answer("b", 0.2)], None, 0.0) for n in range(40)]
        rows = [
            {
                "question": f"what is {n}?",
                "answer": f"a{n}",
                "prediction": one.answers[0].text,
                "alternatives": alternatives(one),
            }
            for n, one in enumerate(or_unanswerable(found, below if n % 2 else 0) for n, found in enumerate(said))
        ]
        return {finding["id"] for finding in score(rows, resamples=200).summary["findings"]}

    assert findings(0.2) == findings(0.5) == set()
