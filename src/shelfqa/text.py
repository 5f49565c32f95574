"""Normalising answers, so that `A mug.` and `mug` are the same answer.

The rules are those of the VQA v2 evaluation (Goyal et al. 2017, arXiv 1612.00837; the code published with it): lower
case, punctuation removed, number words from zero to ten as digits, articles removed. We depart from it in one
point: contractions are not respelled, since product answers hold none.
"""

from __future__ import annotations

import re
from functools import lru_cache

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_PUNCTUATION = re.compile(r"""[;/\[\]"{}()=+\\_<>@`?!,|*#$%&:~^]""")
_COMMA_IN_NUMBER = re.compile(r"(?<=\d),(?=\d)")
_PERIOD_OUTSIDE_NUMBER = re.compile(r"\.(?!\d)")
_QUOTE_AT_WORD_EDGE = re.compile(r"(?<!\w)['’]|['’](?!\w)")
_DASH_BETWEEN_WORDS = re.compile(r"(?<=\w)[-–—](?=\w)")


@lru_cache(maxsize=1 << 18)
def normalize_answer(answer: str) -> str:
    """Return the answer in the form in which answers are compared.

    >>> normalize_answer("The Mug."), normalize_answer("Two"), normalize_answer("1,000"), normalize_answer("T-Shirt")
    ('mug', '2', '1000', 't shirt')
    """
    text = _COMMA_IN_NUMBER.sub("", answer.casefold().replace("\u00a0", " "))
    text = _PERIOD_OUTSIDE_NUMBER.sub(" ", _PUNCTUATION.sub(" ", text))
    text = _QUOTE_AT_WORD_EDGE.sub("", text)
    text = _DASH_BETWEEN_WORDS.sub(" ", text)
    words = (_NUMBER_WORDS.get(word, word) for word in text.split())
    return " ".join(word for word in words if word not in _ARTICLES)


def answer_tokens(answer: str) -> list[str]:
    """Return the words of the normalised answer, repetitions kept.

    >>> answer_tokens("A red, red rose")
    ['red', 'red', 'rose']
    """
    return normalize_answer(answer).split()
