"""ROUGE and BLEU beside rouge-score and sacrebleu."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfqa.errors import ConfigError
from shelfqa.metrics.bleu import Bleu, bleu_score, tokens_13a
from shelfqa.metrics.rouge import rouge_1_score, rouge_l_score

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
sacrebleu = pytest.importorskip("sacrebleu")
WORDS = [
    "red",
    "Red.",
    "dark-blue",
    "2.5",
    "1,000",
    "the",
    "a",
    "mug",
    "mugs",
    "&",
    "&amp;",
    "(navy)",
    "it's",
    "青い",
    "🙂",
    '5"',
    "T-shirt",
    "3-",
    "-x",
    "blue,",
    "café",
]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join) | st.text(max_size=20)
ROUGE = rouge_scorer.RougeScorer(["rouge1", "rougeL"])
STEMMED = rouge_scorer.RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
BLEU = {order: sacrebleu.BLEU(lowercase=True, effective_order=True, max_ngram_order=order) for order in (1, 2, 4)}


@settings(max_examples=400, deadline=None)
@given(prediction=TEXTS, answer=TEXTS)
def test_same_as_the_libraries(prediction: str, answer: str) -> None:
    theirs = ROUGE.score(answer, prediction)
    assert rouge_1_score(prediction, answer) == pytest.approx(theirs["rouge1"].fmeasure, abs=1e-9)
    assert rouge_l_score(prediction, answer) == pytest.approx(theirs["rougeL"].fmeasure, abs=1e-9)
    stemmed = STEMMED.score(answer, prediction)
    assert rouge_1_score(prediction, answer, stem=True) == pytest.approx(stemmed["rouge1"].fmeasure, abs=1e-9)
    assert rouge_l_score(prediction, answer, stem=True) == pytest.approx(stemmed["rougeL"].fmeasure, abs=1e-9)
    for order, metric in BLEU.items():
        expected = metric.sentence_score(prediction, [answer]).score / 100
        assert bleu_score(prediction, answer, order) == pytest.approx(expected, abs=1e-9)


def test_longer_texts() -> None:
    rng = random.Random(0)
    for _ in range(200):
        one, other = (" ".join(rng.choices(WORDS[:8], k=rng.randint(5, 60))) for _ in range(2))
        assert rouge_l_score(one, other) == pytest.approx(ROUGE.score(other, one)["rougeL"].fmeasure, abs=1e-9)
        assert bleu_score(one, other) == pytest.approx(BLEU[4].sentence_score(one, [other]).score / 100, abs=1e-9)


def test_tokens() -> None:
    assert tokens_13a("T-Shirt, 1,000 (red)\n") == ("t-shirt", ",", "1,000", "(", "red", ")")


def test_order_is_an_option() -> None:
    assert Bleu(2).name == "bleu_2"
    with pytest.raises(ConfigError, match="at least 1"):
        Bleu(0)
