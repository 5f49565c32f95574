"""How many items a listing sells together, found by rules in its name and bullet points."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

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


_HINT = re.compile(
    r"set|pack|pk|pc|count|ct|piec|piez|pi[eè]c|pezz|stück|teilig|satz|lot|paq|pac|jueg|conj|ens|conf", re.I
)
"""Every rule needs one of these; most texts hold none."""


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


def _stated(text: str) -> list[Quantity]:
    found: list[Quantity] = []
    if _HINT.search(text) is None:
        return found
    for kind, pattern in _RULES:
        for match in pattern.finditer(text):
            number = match["number"].lower()
            value = _WORDS.get(number) or int(number)
            if value > 0:
                found.append(Quantity(value, match[0], kind))
    return found
