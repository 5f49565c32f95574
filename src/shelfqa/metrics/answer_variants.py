"""Answers that differ by number word, plural, spacing or spelling alone: right to a person, wrong to exact match."""

from __future__ import annotations

import re
from functools import lru_cache

from shelfqa.metrics.exact import comparable

KINDS = ("number word", "plural", "spacing", "spelling")

_TEENS = "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
_NUMBERS = {word: str(value) for value, word in enumerate(_TEENS.split(), start=11)} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "hundred": "100",
    "dozen": "12",
    "once": "1",
    "single": "1",
}
_BRITISH = (
    (re.compile(r"(?<=[a-z])our(?=s?$|ed$|ful$)"), "or"),
    (re.compile(r"(?<=[a-z]{3})tre(?=s?$)"), "ter"),
    (re.compile(r"(?<=[a-z]{3})is(?=e[ds]?$|ing$)"), "iz"),
    (re.compile(r"^grey(?=s?$|ish$)"), "gray"),
    (re.compile(r"^aluminium$"), "aluminum"),
    (re.compile(r"^jewellery$"), "jewelry"),
    (re.compile(r"^mould"), "mold"),
    (re.compile(r"^tyre(?=s?$)"), "tire"),
    (re.compile(r"ll(?=ed$|ing$)"), "l"),
    (re.compile(r"^fibre(?=s?$)"), "fiber"),
)
_IRREGULAR = {"knives": "knife", "shelves": "shelf", "leaves": "leaf", "feet": "foot", "men": "man", "women": "woman",
              "children": "child", "wolves": "wolf", "halves": "half", "mice": "mouse", "geese": "goose"}  # fmt: skip
_LEAST_LETTERS = 6
"""A word must have so many letters for one letter more, less or swapped to be a slip: `shirt` is no `skirt`."""


@lru_cache(maxsize=1 << 18)
def variant_kind(prediction: str, answer: str) -> str | None:
    """Return which of `KINDS` tells a wrong prediction from the answer, or None where more does.

    The rules are tried in that order on normalised texts: numbers above ten as words; plural endings; spaces and
    hyphens; British and American spelling, then one letter too many, missing or swapped in a word of six or more. A
    replaced letter never counts, nor one at the end, since they make other words (`striped`, `stripe`).

    >>> variant_kind("12", "twelve"), variant_kind("flowers", "flower"), variant_kind("gray", "grey")
    ('number word', 'plural', 'spelling')
    >>> variant_kind("red", "red"), variant_kind("skirt", "shirt")
    (None, None)
    """
    one, two = comparable(prediction).split(), comparable(answer).split()
    if one == two or not one or not two:
        return None
    one, two = [_NUMBERS.get(word, word) for word in one], [_NUMBERS.get(word, word) for word in two]
    if one == two:
        return "number word"
    one, two = [_singular(word) for word in one], [_singular(word) for word in two]
    if one == two:
        return "plural"
    if "".join(one) == "".join(two):
        return "spacing"
    one, two = [_american(word) for word in one], [_american(word) for word in two]
    if len(one) == len(two) and all(a == b or _one_slip(a, b) for a, b in zip(one, two, strict=True)):
        return "spelling"
    return None


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zzes")):
        return word[:-2]
    return word[:-1]


def _american(word: str) -> str:
    for pattern, replacement in _BRITISH:
        word = pattern.sub(replacement, word)
    return word


def _one_slip(one: str, two: str) -> bool:
    """Return whether the words differ by one letter more or less, or by two neighbours swapped."""
    if min(len(one), len(two)) < _LEAST_LETTERS or not (one.isalpha() and two.isalpha()):
        return False
    first = next((at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    if len(one) == len(two):
        swapped = one[:first] + one[first : first + 2][::-1] + one[first + 2 :]
        return swapped == two
    longer, shorter = (one, two) if len(one) > len(two) else (two, one)
    if len(longer) != len(shorter) + 1 or first == len(shorter):
        return False
    return longer[:first] + longer[first + 1 :] == shorter
