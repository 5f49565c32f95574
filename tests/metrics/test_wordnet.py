"""WordNet's files, Wu-Palmer and WUPS, beside nltk."""

from __future__ import annotations

import itertools
import random
import time
import zipfile
from pathlib import Path

import pytest
from nltk_wordnet import nltk_wordnet

from shelfqa.errors import ConfigError, InputError
from shelfqa.metrics.base import Answered
from shelfqa.metrics.spec import parse
from shelfqa.metrics.wordnet import VARIABLE, find_wordnet, wordnet
from shelfqa.metrics.wu_palmer import Wups, elements, sense_tree, wu_palmer_similarity, wups_score

needs_wordnet = pytest.mark.skipif(find_wordnet() is None, reason="needs WordNet (apt install wordnet-base)")
SHOP = [
    "dog",
    "cat",
    "table",
    "chair",
    "red",
    "blue",
    "black",
    "round",
    "oval",
    "square",
    "metal",
    "wood",
    "plastic",
    "hand",
    "strap",
    "floral",
    "cotton",
    "leather",
    "two",
    "three",
    "man",
    "woman",
    "cup",
    "mug",
    "sofa",
    "white",
    "silver",
    "gold",
    "grey",
    "gray",
    "beige",
    "yes",
    "no",
    "shoe",
    "heel",
    "ring",
    "glass",
]


def sample_of_nouns(number: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [rng.choice(lemmas) for lemmas in [sorted(nltk_wordnet().all_lemma_names("n"))] for _ in range(number)]


def test_senses_are_those_of_nltk() -> None:
    reader, ours, rng = nltk_wordnet(), wordnet(), random.Random(0)
    words = sample_of_nouns(400) + [noun + "s" for noun in sample_of_nouns(200, 1)]
    words += ["feet", "men", "boxes", "ran", "running", "better", "worst", "asleep", "quickly", "zzyzx", "knives"]
    for word in words:
        part = rng.choice("nvar")
        assert list(ours.senses(word, part)) == [sense.offset() for sense in reader.synsets(word, part)], word


def test_synonyms_are_those_of_nltk() -> None:
    reader, ours = nltk_wordnet(), wordnet()
    for word in [*SHOP, *sample_of_nouns(300), "ran", "asleep", "zzyzx"]:
        lemmas = {lemma.name() for sense in reader.synsets(word) for lemma in sense.lemmas()}
        assert ours.synonyms(word) == {name for name in lemmas if "_" not in name} | {word}


def test_similarity_of_nouns_is_that_of_nltk() -> None:
    reader, tree, rng = nltk_wordnet(), sense_tree(), random.Random(0)
    senses = [sense for word in SHOP + sample_of_nouns(300) for sense in reader.synsets(word, "n")]
    pairs = [(rng.choice(senses), rng.choice(senses)) for _ in range(3000)]
    pairs += [(sense, rng.choice(rng.choice(sense.hypernym_paths()))) for sense in rng.sample(senses, 300)]
    for first, second in pairs:
        ours = tree.similarity(("n", first.offset()), ("n", second.offset()))
        assert ours == pytest.approx(first.wup_similarity(second), abs=1e-9), (first, second)


def test_similarity_of_other_senses_is_that_of_nltk() -> None:
    reader, tree, rng = nltk_wordnet(), sense_tree(), random.Random(0)
    words = [
        "run",
        "walk",
        "hold",
        "wear",
        "red",
        "round",
        "square",
        "oval",
        "dark",
        "asleep",
        "quickly",
        "table",
        "red",
        "wash",
        "sit",
        "make",
    ]
    senses = [sense for word in words for sense in reader.synsets(word)]
    for first, second in [(rng.choice(senses), rng.choice(senses)) for _ in range(1500)]:
        keys = [("a" if sense.pos() == "s" else sense.pos(), sense.offset()) for sense in (first, second)]
        assert tree.similarity(*keys) == pytest.approx(first.wup_similarity(second) or 0, abs=1e-9), (first, second)


def test_similarity_of_words_is_the_most_over_senses() -> None:
    reader = nltk_wordnet()
    for one in SHOP[:8]:
        for other in SHOP[10:]:
            pairs = [(p, a) for p in reader.synsets(one, "n") for a in reader.synsets(other, "n")]
            most = max((p.wup_similarity(a) for p, a in pairs), default=0.0)
            assert wu_palmer_similarity(one, other) == pytest.approx(1.0 if one == other else most, abs=1e-9)


@needs_wordnet
def test_elements_are_one_noun_or_words() -> None:
    assert elements("Coffee tables.") == ("coffee tables",)
    assert elements("a red, red mug") == ("mug", "red")
    assert elements("The") == ("the",)


@needs_wordnet
def test_sets_are_compared_both_ways() -> None:
    near = wu_palmer_similarity("dog", "cat")
    assert wups_score("dog horse", "cat horse", threshold=0) == pytest.approx(near**2 / near)
    assert wups_score("dog cat", "dog", threshold=0) == pytest.approx(near)
    assert wups_score("dog zzyzx", "dog", threshold=0) == 0.0


@needs_wordnet
def test_wups_never_rises_with_the_threshold() -> None:
    rng = random.Random(0)
    pairs = [(" ".join(rng.sample(SHOP, 2)), rng.choice(SHOP)) for _ in range(200)]
    rows = Answered(predictions=[pair[0] for pair in pairs], answers=[pair[1] for pair in pairs])
    scores = [Wups(threshold=threshold).score(rows) for threshold in (0, 0.5, 0.9, 1)]
    assert all((low >= high).all() for low, high in itertools.pairwise(scores))


@needs_wordnet
def test_weight_is_an_option() -> None:
    rows = Answered(predictions=["dog"], answers=["cat"])
    metric = parse("wups_weighted:weight=0.25,threshold=0.9")
    assert metric.score(rows)[0] == pytest.approx(0.25 * 6 / 7)
    assert dict(metric.settings) == {"threshold": 0.9, "down_weight": 0.25}
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Wups(down_weight=2)


@needs_wordnet
def test_a_hundred_nouns_take_bounded_time() -> None:
    words = " ".join(sorted(name for name in SHOP * 2 + ["line", "head", "run", "cut", "point", "place", "base"]) * 200)
    start = time.perf_counter()
    wups_score(words, " ".join(sample_of_nouns(3000)))
    assert time.perf_counter() - start < 5


def test_missing_wordnet_is_one_line_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match="apt install wordnet-base") as caught:
        parse("wu_palmer").score(Answered(predictions=["red"], answers=["red"]))
    assert "\n" not in str(caught.value)
    assert "holds no WordNet" in str(caught.value)


@needs_wordnet
def test_zip_of_nltk_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = find_wordnet()
    assert found is not None
    if not found.is_dir():
        pytest.skip("WordNet is a zip file already")
    target = tmp_path / "corpora" / "wordnet.zip"
    target.parent.mkdir()
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(found.glob("*.*")):
            if file.name.split(".")[0] in ("index", "data") or file.suffix == ".exc":
                archive.write(file, f"wordnet/{file.name}")
    monkeypatch.setenv(VARIABLE, str(target))
    assert "couch" in wordnet().synonyms("sofa")
