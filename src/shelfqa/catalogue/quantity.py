"""How many items a listing sells together, found by rules in its name and bullet points."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from shelfqa.catalogue import clean

_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9} | {
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "dozen": 12,
}
_NUMBER = rf"(?P<number>\d{{1,4}}|{'|'.join(_WORDS)})"
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("set", rf"\b(?:set|juego|conjunto|ensemble|satz)\s+(?:of|de|von|da|di)\s+{_NUMBER}\b(?![.,]\d)"),
        (
            "pack",
            rf"\b(?:pack|package|paquete|pacote|lot|lote|confezione)\s+(?:of|de|von|da|di)\s+{_NUMBER}\b(?![.,]\d)",
        ),
        ("set", rf"(?<![\w.,]){_NUMBER}\s?-?\s?(?:er-?\s?set|set)\b"),
        ("pack", rf"(?<![\w.,]){_NUMBER}\s?-?\s?(?:er-?\s?pack(?:ung)?|packs?|pk)\b"),
        (
            "pieces",
            rf"(?<![\w.,]){_NUMBER}\s?-?\s?(?:pieces?|pcs?|teilig(?:es|er|e)?|stück|piezas|pezzi|pièces|count|ct)\b",
        ),
    )
)

_MAX_DIGITS = 9

_HINTS = (
    "set", "pack", "piece", "pieza", "pièce", "pezz", "satz", "teilig", "stück", "juego", "conjunto", "ensemble",
    "paquete", "pacote", "lot", "confezione", "count",
)  # fmt: skip
_SHORT_HINTS = ("pc", "pk", "ct")
_NUMBER_ENDS = (*"0123456789", *_WORDS)
"""Every rule needs a hint, or a short hint after a number; most texts hold none."""


class Quantity(NamedTuple):
    """How many items; `text` is where it is said, `kind` is `set`, `pack` or `pieces`."""

    number: int
    text: str
    kind: str


def quantity(name: str | None, bullet_points: Iterable[str] = ()) -> Quantity | None:
    """Return the one quantity that the name states, else the one that the bullet points agree on, else None.

    >>> quantity("Stoneware mugs, Set of 4, 12 oz")
    Quantity(number=4, text='Set of 4', kind='set')
    >>> quantity("Set of 2, 6-Piece") is None
    True
    """
    for texts in ([name or ""], bullet_points):
        found = [stated for text in texts for stated in _stated(text)]
        if found:
            return found[0] if len({stated.number for stated in found}) == 1 else None
    return None


def _has_hint(lower: str) -> bool:
    for hint in _HINTS:
        if hint in lower:
            return True
    for hint in _SHORT_HINTS:
        place = lower.find(hint, 1)
        while place > 0:
            before = lower[max(place - 12, 0) : place].rstrip().removesuffix("-").rstrip()
            if before.endswith(_NUMBER_ENDS):
                return True
            place = lower.find(hint, place + 1)
    return False


@functools.lru_cache(maxsize=1 << 14)
def _stated(text: str) -> tuple[Quantity, ...]:
    lower = text.lower()
    if not _has_hint(lower):
        return ()
    found: list[Quantity] = []
    for kind, pattern in _RULES:
        for match in pattern.finditer(text):
            number = match["number"].lower()
            value = _WORDS.get(number) or int(number)
            if value > 0:
                found.append(Quantity(value, match[0], kind))
    return tuple(found)


def items_attributes(given: Any, name: str | None, bullets: Sequence[str]) -> dict[str, Any]:
    """Return `number_of_items`, given or found in the texts, and `number_of_items_text`, the words that say so."""
    if given is not None:
        first = given[0] if isinstance(given, list) and given else given
        number = clean.text(first.get("value") if isinstance(first, dict) else first)
        if number is not None and number.isdecimal() and len(number) <= _MAX_DIGITS:
            return {"number_of_items": int(number)}
    stated = quantity(name, bullets)
    if stated is None:
        return {}
    return {"number_of_items": stated.number, "number_of_items_text": stated.text}
