"""The words of an answer, lower case, without the punctuation around them: what METEOR and WordNet metrics compare."""

from __future__ import annotations

import string
from functools import lru_cache

_EDGES = string.punctuation + "“”‘’«»…¿¡"


@lru_cache(maxsize=1 << 16)
def words_of(text: str) -> tuple[str, ...]:
    """Return the words between spaces in lower case, without punctuation at their edges; a word of it alone stays.

    Other than `shelfqa.text.answer_tokens` it keeps articles and number words as they are.

    >>> words_of("The T-shirt (navy), 2.5!")
    ('the', 't-shirt', 'navy', '2.5')
    """
    return tuple(word.strip(_EDGES) or word for word in text.lower().split())
