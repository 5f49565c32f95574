"""METEOR and Porter's stems beside nltk."""

from __future__ import annotations

import importlib
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk_wordnet import nltk_wordnet

from shelfqa.metrics.base import Answered
from shelfqa.metrics.meteor import meteor_score
from shelfqa.metrics.porter import porter_stem
from shelfqa.metrics.spec import parse

WORDS = [
    "red",
    "reds",
    "dark",
    "darker",
    "blue",
    "sofa",
    "couch",
    "couches",
    "sofas",
    "mug",
    "mugs",
    "cup",
    "two",
    "2",
    "table",
    "tables",
    "wooden",
    "wood",
    "metal",
    "metallic",
    "the",
    "a",
    "strip",
    "striped",
    "stripes",
    "running",
    "run",
    "shoe",
    "shoes",
    "big",
    "large",
    "grey",
    "gray",
    "floral",
    "flower",
    "flowers",
    "on",
    "of",
    "zzyzx",
]
SUFFIXES = [
    "s",
    "ed",
    "ing",
    "es",
    "ly",
    "ness",
    "ational",
    "fully",
    "ies",
    "ied",
    "ization",
    "ement",
    "logi",
    "logy",
    "ally",
    "ll",
    "eed",
    "y",
    "yy",
    "ion",
]


def nltk_meteor(prediction: str, answer: str) -> float:
    module = importlib.import_module("nltk.translate.meteor_score")
    reference, hypothesis = answer.split(), prediction.split()
    return float(module.meteor_score([reference], hypothesis, wordnet=nltk_wordnet()))


def test_same_as_nltk() -> None:
    nltk_wordnet()
    rng = random.Random(0)
    for _ in range(1500):
        one, other = (" ".join(rng.choices(WORDS, k=rng.randint(0, 7))) for _ in range(2))
        assert meteor_score(one, other) == pytest.approx(nltk_meteor(one, other), abs=1e-9), (one, other)


def test_same_as_nltk_on_real_sentences() -> None:
    nltk_wordnet()
    one = "It is a guide to action which ensures that the military always obeys the commands of the party"
    other = "It is a guide to action that ensures that the military will forever heed Party commands"
    assert meteor_score(one, other) == pytest.approx(0.6944, abs=5e-5)
    assert meteor_score(one, other) == pytest.approx(nltk_meteor(one, other), abs=1e-9)


def test_stems_are_those_of_nltk() -> None:
    stem = pytest.importorskip("nltk.stem.porter").PorterStemmer().stem
    rng = random.Random(0)
    words = sorted({word for name in nltk_wordnet().all_lemma_names() for word in name.split("_")})
    chosen = rng.sample(words, 3000)
    for word in chosen + [word + rng.choice(SUFFIXES) for word in chosen] + WORDS:
        assert porter_stem(word) == stem(word), word


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="aeiouylstdngbcz", max_size=12))
def test_stems_of_made_up_words_are_those_of_nltk(word: str) -> None:
    assert porter_stem(word) == pytest.importorskip("nltk.stem.porter").PorterStemmer().stem(word)


def test_punctuation_is_an_option() -> None:
    nltk_wordnet()
    assert meteor_score("Yes!", "yes") == 0.0
    rows = Answered(predictions=["Yes!"], answers=["yes"])
    assert parse("meteor:strip_punctuation=true").score(rows)[0] == 0.5


def test_long_answers() -> None:
    nltk_wordnet()
    start = time.perf_counter()
    assert meteor_score("y" * 10_000, "z" * 10_000) == 0.0
    assert meteor_score("sofa " * 2_000, "couch " * 2_000) == pytest.approx(1.0, abs=1e-6)
    assert time.perf_counter() - start < 2
