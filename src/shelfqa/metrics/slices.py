"""By what scores are sliced: columns of the table, and kinds of question and answer found by rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from shelfqa.question_types import QUESTION_TYPES, question_type
from shelfqa.text import normalize_answer

SLICES = ("question_type", "answer_type", "answer_length", "product_type", "source", "difficulty")
"""The columns by which scores are sliced, as far as the table has them."""

DERIVED = ("question_type", "answer_type", "answer_length")
"""Those of them that are found by rules; a column of the file's with such a name is replaced."""

ANSWER_TYPES = ("yes/no", "number", "colour", "other")
MOST_WORDS = 5
"""Answers of so many words or more are one slice."""

_NUMBER = re.compile(r"[-−]?\d+(?:[.,/]\d+)*(?:st|nd|rd|th)?")
_NUMBER_WORDS_TEXT = (
    "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty "
    "seventy eighty ninety hundred thousand dozen"
)
_COLOURS_TEXT = (
    "amber apricot aqua aquamarine azure beige black blond blue brass bronze brown burgundy camel champagne charcoal "
    "chocolate clear cobalt copper coral cream crimson cyan denim ecru emerald espresso fuchsia gold golden gray green "
    "grey indigo ivory khaki lavender lilac lime magenta maroon mauve mint multicolor multicolored multicolour "
    "multicoloured mustard navy ochre olive orange peach pink plum purple red rose rust salmon sand scarlet silver "
    "tan taupe teal transparent turquoise vermilion violet white wine yellow"
)
_SHADES_TEXT = "and bright burnt dark deep hot light medium metallic multi neon off pale pastel royal sky"

_NUMBER_WORDS = frozenset(_NUMBER_WORDS_TEXT.split())
_COLOURS = frozenset(_COLOURS_TEXT.split())
_SHADES = frozenset(_SHADES_TEXT.split())


def answer_type(answer: str) -> str:
    """Return which of `ANSWER_TYPES` the answer is: yes or no; a number, in digits or words; a colour; anything else.

    Several numbers or colours and words for their shade count as such; a word beside them (`2 legs`, `blue dog`) does
    not. `none` is a number, as in the VQA v2 evaluation.

    >>> [answer_type(answer) for answer in ("Yes", "twelve", "dark blue", "2 legs")]
    ['yes/no', 'number', 'colour', 'other']
    """
    words = normalize_answer(answer).split()
    if words in (["yes"], ["no"]):
        return "yes/no"
    if words and all(word in _NUMBER_WORDS or _NUMBER.fullmatch(word) for word in words):
        return "number"
    if any(word in _COLOURS for word in words) and all(word in _COLOURS or word in _SHADES for word in words):
        return "colour"
    return "other"


def answer_length(answer: str) -> int:
    """Return the number of words of the answer as it stands.

    >>> answer_length("a red T-shirt")
    3
    """
    return len(answer.split())


def with_kinds(table: pa.Table) -> pa.Table:
    """Return the table with the columns of `DERIVED` behind it."""
    answers = table["answer"].to_pylist()
    types = [
        task if task in QUESTION_TYPES else question_type(question or "")
        for task, question in zip(table["task"].to_pylist(), table["question"].to_pylist(), strict=True)
    ]
    table = table.drop_columns([name for name in DERIVED if name in table.column_names])
    table = table.append_column("question_type", pa.array(types, type=pa.string()))
    table = table.append_column("answer_type", pa.array(map(answer_type, answers), type=pa.string()))
    return table.append_column("answer_length", pa.array(map(answer_length, answers), type=pa.int64()))


def slice_values(table: pa.Table, column: str) -> list[str | None]:
    """Return the value by which each row is sliced, as text; None where it has none."""
    as_text = _TEXTS.get(column, str)
    return [None if value is None else as_text(value) for value in table[column].to_pylist()]


def has_slices(table: pa.Table, column: str) -> bool:
    """Return whether the table can be sliced by `column`."""
    return column in table.column_names and any(value is not None for value in slice_values(table, column))


def _source(source: Any) -> str | None:
    if not isinstance(source, Mapping):
        return str(source)
    parts = [source.get("provider"), source.get("model")]
    return "/".join(dict.fromkeys(part for part in parts if part)) or None


def _words(number: int) -> str:
    return f"{MOST_WORDS} or more" if number >= MOST_WORDS else str(number)


_TEXTS: dict[str, Callable[[Any], str | None]] = {"source": _source, "answer_length": _words}
