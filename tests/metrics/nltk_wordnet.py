"""nltk's own WordNet reader on the files that shelfqa finds, to compare with."""

from __future__ import annotations

import importlib
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shelfqa.metrics.wordnet import find_wordnet

_LEXNAMES = [
    "adj.all",
    "adj.pert",
    "adv.all",
    "noun.Tops",
    "noun.act",
    "noun.animal",
    "noun.artifact",
    "noun.attribute",
    "noun.body",
    "noun.cognition",
    "noun.communication",
    "noun.event",
    "noun.feeling",
    "noun.food",
    "noun.group",
    "noun.location",
    "noun.motive",
    "noun.object",
    "noun.person",
    "noun.phenomenon",
    "noun.plant",
    "noun.possession",
    "noun.process",
    "noun.quantity",
    "noun.relation",
    "noun.shape",
    "noun.state",
    "noun.substance",
    "noun.time",
    "verb.body",
    "verb.change",
    "verb.cognition",
    "verb.communication",
    "verb.competition",
    "verb.consumption",
    "verb.contact",
    "verb.creation",
    "verb.emotion",
    "verb.motion",
    "verb.perception",
    "verb.possession",
    "verb.social",
    "verb.stative",
    "verb.weather",
    "adj.ppl",
]


_KEPT = tempfile.TemporaryDirectory(prefix="shelfqa-nltk-")


@cache
def nltk_wordnet() -> Any:
    """Return nltk's reader on a copy of the files (Debian's lack lexnames, nltk reads only its own path), or skip."""
    nltk = pytest.importorskip("nltk")
    found = find_wordnet()
    if found is None or not found.is_dir():
        pytest.skip("needs WordNet's files (apt install wordnet-base)")
    corpus = Path(_KEPT.name) / "corpora" / "wordnet"
    corpus.mkdir(parents=True)
    for part in ("noun", "verb", "adj", "adv"):
        for name in (f"index.{part}", f"data.{part}", f"{part}.exc"):
            shutil.copy(found / name, corpus / name)
    numbers = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
    lines = [f"{place:02d}\t{name}\t{numbers[name.split('.')[0]]}\n" for place, name in enumerate(_LEXNAMES)]
    (corpus / "lexnames").write_text("".join(lines), encoding="utf-8")
    (corpus / "index.sense").touch()  # it serves other languages alone
    nltk.data.path.insert(0, _KEPT.name)
    reader = importlib.import_module("nltk.corpus.reader.wordnet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that other languages are missing
        return reader.WordNetCorpusReader(nltk.data.find("corpora/wordnet"), None)
