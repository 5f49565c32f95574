"""Clean texts from a listing's fields: HTML stripped, blanks joined, lists without repetitions, type names readable."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Iterable

_HIDDEN = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_INLINE_TAG = re.compile(r"</?(?:b|i|u|em|strong|span|font|a|sup|sub|small|big|mark)\b[^<>]*>", re.IGNORECASE)


def text(value: object) -> str | None:
    """Return the value as text with single blanks, or None where nothing is left."""
    if not isinstance(value, str):
        if value is None or isinstance(value, (dict, list)):
            return None
        value = str(int(value) if isinstance(value, float) and value.is_integer() else value)
    return " ".join(value.split()) or None


def texts(values: Iterable[object]) -> list[str]:
    """Return the non-empty texts, each once (case apart), in order."""
    found: dict[str, str] = {}
    for value in values:
        cleaned = " ".join(value.split()) if isinstance(value, str) else text(value)
        if cleaned:
            found.setdefault(cleaned.casefold(), cleaned)
    return list(found.values())


def without_html(value: object) -> str | None:
    """Return the text that a reader of the HTML would see; text without mark-up stays as it is.

    >>> without_html("<p>A <b>big</b>ger mug<br>with 5 &amp; more, 3 < 4</p>")
    'A bigger mug with 5 & more, 3 < 4'
    """
    if value is None or isinstance(value, (dict, list)):
        return None
    raw = str(value)
    if "<" in raw:
        if "<!--" in raw or "<s" in raw or "<S" in raw:
            raw = _HIDDEN.sub(" ", raw)
        raw = _TAG.sub(" ", _INLINE_TAG.sub("", raw))
    if "&" in raw:
        raw = html.unescape(raw)
    return text(raw)


@functools.lru_cache(maxsize=1 << 12)
def type_name(value: object) -> str | None:
    """Return a product type in lower case with blanks.

    >>> type_name("CELLULAR_PHONE_CASE")
    'cellular phone case'
    """
    cleaned = text(value)
    return text(cleaned.replace("_", " ").lower()) if cleaned is not None else None
