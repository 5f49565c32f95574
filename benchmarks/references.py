"""The reference libraries that people call row by row: what `score.py` times and compares shelfqa's scores with.

Each reference is made once, as a careful script would (one RougeScorer, one loaded model), and then called a row at a
time: a prediction and an answer in, one number a metric out.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from shelfqa.errors import InputError
from shelfqa.metrics.exact import comparable
from shelfqa.metrics.pretrained import MINILM, source_of
from shelfqa.metrics.wordnet import find_wordnet
from shelfqa.metrics.words import words_of

Call = Callable[[str, str], tuple[float, ...]]
"""Prediction and answer to one score a metric."""

_FLOAT64, _FLOAT32 = 1e-6, 1e-4
_PARTS = ("noun", "verb", "adj", "adv")
_KEPT = tempfile.TemporaryDirectory(prefix="shelfqa-nltk-")


class Reference(NamedTuple):
    """A library, the metrics that one call of it gives, and how it is made ready."""

    library: str
    metrics: tuple[str, ...]
    make: Callable[[], tuple[Call, Call | None]]
    """Returns what scores a row, and what scores it in a batch with a longer one, where that may differ."""
    tolerance: float = _FLOAT64
    slow: bool = False
    """Whether it is timed on a sample of the rows."""


@cache
def nltk_wordnet() -> Any:
    """Return nltk's own reader on a copy of the WordNet that shelfqa finds.

    nltk reads only below its data path and wants a file `lexnames`, which Debian's package lacks.
    """
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    found = find_wordnet()
    if found is None:
        raise InputError(
            "nltk and shelfqa need WordNet 3.0: apt install wordnet-base, or python -m nltk.downloader wordnet."
        )
    corpus = Path(_KEPT.name) / "corpora" / "wordnet"
    corpus.mkdir(parents=True)
    if found.is_dir():
        for part in _PARTS:
            for name in (f"index.{part}", f"data.{part}", f"{part}.exc"):
                shutil.copy(found / name, corpus / name)
    else:
        with zipfile.ZipFile(found) as archive:
            archive.extractall(corpus.parent)
    (corpus / "lexnames").write_text("".join(f"{place:02d}\tfile{place}\t1\n" for place in range(45)), "utf-8")
    (corpus / "index.sense").touch()  # it serves other languages alone
    nltk.data.path.insert(0, _KEPT.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that other languages are missing
        reader = WordNetCorpusReader(nltk.data.find("corpora/wordnet"), None)
    reader.synsets("chair")  # it reads its index when first asked
    return reader


def edit_distance() -> tuple[Call, Call | None]:
    """Levenshtein similarity by nltk's edit_distance."""
    from nltk import edit_distance as distance

    def call(prediction: str, answer: str) -> tuple[float, ...]:
        one, two = (" ".join(text.lower().split()) for text in (prediction, answer))
        longer = max(len(one), len(two))
        return (1 - distance(one, two) / longer if longer else 1.0,)

    return call, None


def sacrebleu_sentence() -> tuple[Call, Call | None]:
    """Sentence BLEU of sacrebleu, by one BLEU object."""
    from sacrebleu.metrics import BLEU

    bleu = BLEU(lowercase=True, effective_order=True)
    return lambda prediction, answer: (bleu.sentence_score(prediction, [answer]).score / 100,), None


def rouge_score() -> tuple[Call, Call | None]:
    """ROUGE-1 and ROUGE-L F1 of rouge-score, by one RougeScorer."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rougeL"])

    def call(prediction: str, answer: str) -> tuple[float, ...]:
        found = scorer.score(answer, prediction)
        return found["rouge1"].fmeasure, found["rougeL"].fmeasure

    return call, None


def nltk_meteor() -> tuple[Call, Call | None]:
    """METEOR of nltk on the words that shelfqa takes."""
    from nltk.translate.meteor_score import single_meteor_score

    reader = nltk_wordnet()

    def call(prediction: str, answer: str) -> tuple[float, ...]:
        return (single_meteor_score(words_of(answer), words_of(prediction), wordnet=reader),)

    return call, None


def nltk_wup() -> tuple[Call, Call | None]:
    """Wu-Palmer over sets of words, and WUPS at 0.9, by nltk's wup_similarity of all pairs of noun senses."""
    reader = nltk_wordnet()

    def nouns(word: str) -> list[Any]:
        return list(reader.synsets(word.replace(" ", "_"), "n"))

    def elements(text: str) -> list[str]:
        words = [word for word in words_of(text) if word not in ("a", "an", "the")] or list(words_of(text))
        whole = " ".join(words)
        return [whole] if len(words) > 1 and nouns(whole) else list(dict.fromkeys(words))

    def nearness(one: str, two: str) -> float:
        if one == two:
            return 1.0
        pairs = ((first, second) for first in nouns(one) for second in nouns(two))
        return max((first.wup_similarity(second) or 0.0 for first, second in pairs), default=0.0)

    def wups(table: list[list[float]], threshold: float) -> float:
        weighed = [[each if each >= threshold else each * 0.1 for each in row] for row in table]
        forth = back = 1.0
        for row in weighed:
            forth *= max(row)
        for column in zip(*weighed, strict=True):
            back *= max(column)
        return min(forth, back)

    def call(prediction: str, answer: str) -> tuple[float, ...]:
        if comparable(prediction) == comparable(answer):
            return 1.0, 1.0
        predicted, true = elements(prediction), elements(answer)
        if not predicted or not true:
            return 0.0, 0.0
        table = [[nearness(one, two) for two in true] for one in predicted]
        return wups(table, 0.0), wups(table, 0.9)

    return call, None


def bert_score() -> tuple[Call, Call | None]:
    """BERTScore of the package bert-score with the weights that shelfqa takes, by one BERTScorer.

    Where a token is unlike all tokens of the other text, its best cosine is below 0; in a batch with a longer pair the
    package takes 0 for it, the cosine with the padding, and so does shelfqa always.
    """
    scorer = import_module("bert_score").BERTScorer(model_type=source_of(MINILM), num_layers=6, device="cpu")
    long = "one two three four five six seven eight " * 4

    def alone(prediction: str, answer: str) -> tuple[float, ...]:
        return tuple(float(column[0]) for column in scorer.score([prediction], [answer]))

    def in_batch(prediction: str, answer: str) -> tuple[float, ...]:
        return tuple(float(column[0]) for column in scorer.score([prediction, long], [answer, long]))

    return alone, in_batch


def sentence_transformers() -> tuple[Call, Call | None]:
    """Cosine of sentence-transformers with the weights that shelfqa takes, both texts of a row in one call."""
    model = import_module("sentence_transformers").SentenceTransformer(source_of(MINILM), device="cpu")

    def call(prediction: str, answer: str) -> tuple[float, ...]:
        vectors = model.encode([prediction, answer])
        return (float(model.similarity(vectors[0], vectors[1])),)

    return call, None


REFERENCES = (
    Reference("nltk edit_distance", ("levenshtein",), edit_distance),
    Reference("sacrebleu", ("bleu",), sacrebleu_sentence),
    Reference("rouge-score", ("rouge_1", "rouge_l"), rouge_score),
    Reference("nltk meteor", ("meteor",), nltk_meteor),
    Reference("nltk wup_similarity", ("wu_palmer", "wups_09"), nltk_wup),
    Reference(
        "bert-score", ("bertscore_precision", "bertscore_recall", "bertscore_f1"), bert_score, _FLOAT32, slow=True
    ),
    Reference("sentence-transformers", ("sbert_cosine",), sentence_transformers, _FLOAT32, slow=True),
)
