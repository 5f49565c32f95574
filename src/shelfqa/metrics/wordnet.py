"""WordNet 3.0 read from its own files: synonyms, base forms, and the tree of nouns.

Miller 1995, Communications of the ACM 38(11); the files are described in WordNet's manual page wndb(5). Only what the
metrics ask for is read, an entry at a time; nothing of nltk is imported, but results are the same as nltk's.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from shelfqa.errors import InputError

VARIABLE = "SHELFQA_WORDNET"
"""The environment variable that names the folder (or zip file) with WordNet's files."""

_PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_SUFFIXES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "n": (
        ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"),
        ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
    ),
    "v": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}  # fmt: skip
_NEEDED = tuple(name for part in _PARTS.values() for name in (f"index.{part}", f"data.{part}", f"{part}.exc"))


class Synset(NamedTuple):
    """A sense that several words share: its words, and the senses right above it (for nouns)."""

    words: tuple[str, ...]
    above: tuple[int, ...]


class WordNet:
    """The four parts of speech of one folder of WordNet, each read when first asked for.

    Part of speech is one of `n`, `v`, `a` and `r`; a sense is the offset of its entry in that part's file.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._index = cache(self._read_index)
        self._exceptions = cache(self._read_exceptions)
        self._synset = lru_cache(maxsize=1 << 16)(self._read_synset)

    def senses(self, word: str, part: str) -> tuple[int, ...]:
        """Return the senses of a word in lower case, spaces as `_`, and of its base forms, commonest first."""
        return tuple(sense for form in self.base_forms(word, part) for sense in self._offsets(part, form))

    def synset(self, part: str, sense: int) -> Synset:
        """Return the words of a sense and the senses above it."""
        return self._synset(part, sense)

    def base_forms(self, word: str, part: str) -> list[str]:
        """Return the word and its base forms, as far as WordNet has them: WordNet's own rules, morphy(7WN)."""
        index = self._index(part)
        irregular = self._exceptions(part).get(word)
        if irregular is None:
            irregular = [word.removesuffix(old) + new for old, new in _SUFFIXES[part] if word.endswith(old)]
        return [form for form in dict.fromkeys([word, *irregular]) if form in index]

    def synonyms(self, word: str) -> frozenset[str]:
        """Return the single words that share a sense with `word` in any part of speech, itself included."""
        words = (self.synset(part, sense).words for part in _PARTS for sense in self.senses(word, part))
        return frozenset(each for group in words for each in group if "_" not in each) | {word}

    def label(self, part: str, sense: int) -> str:
        """Return nltk's name of a sense, such as `dog.n.01`: its order settles ties."""
        word = self.synset(part, sense).words[0].lower()
        return f"{word}.{part}.{self._offsets(part, word).index(sense) + 1:02d}"

    def _offsets(self, part: str, word: str) -> list[int]:
        # part, number of senses, number of pointer symbols, the symbols, number of senses, tagged senses, offsets
        fields = self._index(part)[word].split()
        return [int(offset) for offset in fields[-int(fields[1]) :]]

    def _read_index(self, part: str) -> dict[str, str]:
        lines = self._files[f"index.{_PARTS[part]}"].decode("latin-1").split("\n")
        return dict(line.split(" ", 1) for line in lines if line and line[0] != " ")

    def _read_exceptions(self, part: str) -> dict[str, list[str]]:
        lines = (line.split() for line in self._files[f"{_PARTS[part]}.exc"].decode("latin-1").split("\n"))
        return {line[0]: line[1:] for line in lines if line}

    def _read_synset(self, part: str, offset: int) -> Synset:
        data = self._files[f"data.{_PARTS[part]}"]
        fields = data[offset : data.index(b"|", offset)].decode("latin-1").split()
        number = int(fields[3], 16)
        words = tuple(_without_marker(word) for word in fields[4 : 4 + 2 * number : 2])
        pointers = fields[5 + 2 * number : 5 + 2 * number + 4 * int(fields[4 + 2 * number])]
        above = (int(target) for kind, target in zip(pointers[::4], pointers[1::4], strict=True) if kind in ("@", "@i"))
        return Synset(words, tuple(dict.fromkeys(above)))


def _without_marker(word: str) -> str:
    """Return an adjective without the mark of where it may stand: `asleep(p)` becomes `asleep`."""
    return word[: word.rindex("(")] if word.endswith(")") and "(" in word else word


class _Folder(dict[str, bytes]):
    """The files of a folder or of a zip file, read when asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def __missing__(self, name: str) -> bytes:
        if self._path.suffix == ".zip":
            with zipfile.ZipFile(self._path) as archive:
                member = next(each for each in archive.namelist() if each.rpartition("/")[2] == name)
                self[name] = archive.read(member)
        else:
            self[name] = (self._path / name).read_bytes()
        return self[name]

    def holds_wordnet(self) -> bool:
        """Return whether all needed files are there."""
        if self._path.suffix == ".zip":
            if not zipfile.is_zipfile(self._path):
                return False
            with zipfile.ZipFile(self._path) as archive:
                names = {each.rpartition("/")[2] for each in archive.namelist()}
            return names.issuperset(_NEEDED)
        return all((self._path / name).is_file() for name in _NEEDED)


def _places() -> Iterator[Path]:
    yield Path("/usr/share/wordnet")
    yield Path("/usr/local/share/wordnet")
    roots = [Path(root) for root in os.environ.get("NLTK_DATA", "").split(os.pathsep) if root]
    roots += [Path.home() / "nltk_data", Path(sys.prefix) / "nltk_data", Path(sys.prefix) / "share/nltk_data"]
    roots += [Path("/usr/share/nltk_data"), Path("/usr/local/share/nltk_data")]
    for root in roots:
        yield root / "corpora/wordnet"
        yield root / "corpora/wordnet.zip"


def find_wordnet() -> Path | None:
    """Return where WordNet's files are: the folder that `SHELFQA_WORDNET` names, Debian's, or nltk's."""
    named = os.environ.get(VARIABLE)
    return next((path for path in ([Path(named)] if named else _places()) if _Folder(path).holds_wordnet()), None)


_loaded: dict[tuple[str | None, str | None], WordNet] = {}


def wordnet() -> WordNet:
    """Return WordNet, read once.

    Raises:
        InputError: in one line how to get WordNet, where it is not found.

    """
    asked = (os.environ.get(VARIABLE), os.environ.get("NLTK_DATA"))
    if asked not in _loaded:
        _loaded[asked] = _load()
    return _loaded[asked]


def _load() -> WordNet:
    path = find_wordnet()
    if path is None:
        named = os.environ.get(VARIABLE)
        raise InputError(
            (f"{VARIABLE}={named!r} holds no WordNet. " if named else "WordNet 3.0 is not on this machine. ")
            + "Get it with: apt install wordnet-base, or: python -m nltk.downloader wordnet, or name the folder with "
            + f"data.noun and index.noun in the environment variable {VARIABLE}."
        )
    return WordNet(_Folder(path))
