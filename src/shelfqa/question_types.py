"""What a question asks about, found from its wording by rules.

The first rule that matches decides, in the order of `QUESTION_TYPES`. The types are those by which the studies on
Amazon Berkeley Objects slice their scores.
"""

from __future__ import annotations

import re
from functools import lru_cache

_RULES: tuple[tuple[str, str], ...] = (
    ("count", r"\bhow (?:many|much)\b|\bnumber of\b|\bquantity\b|\bcount\b"),
    ("colour", r"\bcolou?r(?:s|ed)?\b|\bhue\b|\bshade\b"),
    ("brand", r"\bbrand\b|\blogo\b|\bmanufacturer\b|\bwho makes\b|\bwhich company\b|\bname (?:on|printed)\b"),
    ("material", r"\bmaterials?\b|\bmade (?:of|from|out of)\b|\bfabric\b|\bmetal type\b"),
    ("pattern", r"\bpatterns?\b|\bprint(?:ed)?\b|\bdesign\b|\bmotif\b|\btexture\b"),
    ("shape", r"\bshapes?d?\b|\bform\b|\bsilhouette\b"),
    (
        "size",
        r"\bsize\b|\bhow (?:long|tall|wide|deep|big|large|thick|heavy)\b|\b(?:length|width|height|weight|capacity)\b",
    ),
    (
        "yes/no",
        r"^\W*(?:is|are|was|were|does|do|did|has|have|had|can|could|will|would|should|may|isn't|aren't|doesn't)\b",
    ),
    (
        "what-kind",
        r"\b(?:what|which) (?:kind|type|sort|style|category)\b|\bwhat (?:is|are) (?:the |this |these |shown |it\b)*"
        r"(?:product|item|object|it|this|shown|pictured)\b|\bwhat (?:product|item|object)\b|"
        r"\bwhat(?:'s| is) (?:this|it)\b",
    ),
)
_COMPILED = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _RULES)

QUESTION_TYPES: tuple[str, ...] = (*(name for name, _ in _RULES), "other")


@lru_cache(maxsize=1 << 18)
def question_type(question: str) -> str:
    """Return which of `QUESTION_TYPES` the question is.

    >>> question_type("What color is the mug?"), question_type("Is it round?"), question_type("How many legs?")
    ('colour', 'yes/no', 'count')
    """
    for name, pattern in _COMPILED:
        if pattern.search(question):
            return name
    return "other"
