"""Taking personal data out of customer feedback before it leaves the machine.

Rules, no model: what is found is the same on every run and on every machine. `redaction_patterns` and
`redaction_addresses` hold what is written in figures, `redaction_names` finds names by the words around them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shelfqa.questions.redaction_addresses import ADDRESSES
from shelfqa.questions.redaction_names import known_words, names
from shelfqa.questions.redaction_patterns import AFTER_ADDRESSES, BEFORE_ADDRESSES, Pattern, datum

KINDS = ("NAME", "PHONE", "EMAIL", "ORDER", "ADDRESS", "URL", "CARD", "HANDLE")
"""Each is replaced by its name in square brackets."""

PATTERNS = (*BEFORE_ADDRESSES, *ADDRESSES, *AFTER_ADDRESSES)
"""What an earlier one has taken, a later one cannot."""

_MOST_ROUNDS = 4
_BEFORE_FIGURES = 150
_AFTER_FIGURES = 400
_FIGURES = re.compile(rf"\d++(?:\D{{1,{_BEFORE_FIGURES + _AFTER_FIGURES}}}+\d++)*+")
_WORD = re.compile(r"[^\W\d_]+")
_WORDS = frozenset().union(*(pattern.words for pattern in PATTERNS))


class Redacted(NamedTuple):
    """A text without personal data, and how many of each kind were taken out; kinds that were not there are absent."""

    text: str
    counts: dict[str, int]


class _Span(NamedTuple):
    """Where a datum starts and ends."""

    start: int
    end: int
    kind: str


def redact(text: str, *, known: Iterable[str] = ()) -> Redacted:
    """Return the text with names, telephones, mail and postal addresses, order numbers, links and cards replaced.

    Redacting a second time changes nothing. Nothing is raised, whatever the text holds.

    Args:
        text: what a customer wrote.
        known: names and brands in the product's own listing: a word of them is nobody's name by itself.

    >>> redact("Call me at 617-555-1234. Thanks, John Smith")
    Redacted(text='Call me at [PHONE]. Thanks, [NAME]', counts={'NAME': 1, 'PHONE': 1})
    >>> redact("My Harley mug, order 111-1234567-1234567, is 12 x 30 cm", known=["Harley"]).text
    'My Harley mug, order [ORDER], is 12 x 30 cm'
    """
    words = known_words(known)
    counts = dict.fromkeys(KINDS, 0)
    for _ in range(_MOST_ROUNDS):
        before = text
        spans = _in_figures(text)
        text = _replaced(text, spans)
        people = [_Span(start, end, "NAME") for start, end in names(text, words)]
        text = _replaced(text, people)
        for span in (*spans, *people):
            counts[span.kind] += 1
        if text == before:
            break
    return Redacted(text, {kind: count for kind, count in counts.items() if count})


def _in_figures(text: str) -> list[_Span]:
    """Return what the patterns find, in order and apart from each other."""
    windows = _windows(text)
    places: dict[str, list[int]] = {}
    for word in _WORD.finditer(text):
        low = word[0].lower()
        if low in _WORDS:
            places.setdefault(low, []).append(word.start())
    taken = bytearray(len(text))
    spans = []
    for pattern in PATTERNS:
        for found in _matches(pattern, text, windows, places):
            start, end = datum(found)
            if pattern.check is not None:
                end = pattern.check(found)
            if end > start and taken.find(1, start, end) < 0:
                taken[start:end] = b"\1" * (end - start)
                spans.append(_Span(start, end, pattern.kind))
    return sorted(spans)


def _matches(
    pattern: Pattern, text: str, windows: list[tuple[int, int]], places: dict[str, list[int]]
) -> Iterator[re.Match[str]]:
    if not pattern.words:
        for start, end in windows if pattern.near_figures else [(0, len(text))]:
            yield from pattern.expression.finditer(text, start, end)
    elif windows or not pattern.near_figures:
        end = 0
        for place in sorted(place for word in pattern.words for place in places.get(word, ())):
            if place >= end and (found := pattern.expression.match(text, place)):
                yield found
                end = found.end()


def _windows(text: str) -> list[tuple[int, int]]:
    """Return the parts of a text that are near figures, which is where most patterns need to be looked for."""
    return [
        (max(0, found.start() - _BEFORE_FIGURES), min(len(text), found.end() + _AFTER_FIGURES))
        for found in _FIGURES.finditer(text)
    ]


def _replaced(text: str, spans: list[_Span]) -> str:
    """Put the placeholders where the spans are, which are in order and apart from each other."""
    if not spans:
        return text
    pieces = []
    done = 0
    for start, end, kind in spans:
        pieces += [text[done:start], f"[{kind}]"]
        done = end
    return "".join([*pieces, text[done:]])
