"""Per-attribute exact match, where an answer is a JSON object such as {"color": "red", "material": "wood"}."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from shelfqa.metrics.base import Answered, PairMetric, Scores
from shelfqa.metrics.exact import comparable

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


class Share(NamedTuple):
    """How many of how many rows are right."""

    right: int
    rows: int


@lru_cache(maxsize=1 << 16)
def attributes_of(text: str) -> Mapping[str, str] | None:
    """Return the normalised attributes of a JSON object, also in a Markdown fence; None where the text is none.

    >>> attributes_of('{"Color": "Navy Blue", "pieces": 2}'), attributes_of("navy")
    ({'color': 'navy blue', 'pieces': '2'}, None)
    """
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
        if not isinstance(value, dict):
            return None
        return {" ".join(name.lower().replace("_", " ").split()): _plain(given) for name, given in value.items()}
    except (ValueError, RecursionError):
        return None


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return json.dumps(sorted(_plain(each) for each in value), ensure_ascii=False)
    if isinstance(value, dict):
        return json.dumps({name: _plain(each) for name, each in sorted(value.items())}, ensure_ascii=False)
    return comparable("" if value is None else str(value))


def attribute_match_score(prediction: str, answer: str) -> float:
    """Return the share of the answer's attributes that the prediction has right.

    Formula: number of attributes k of the answer with norm(prediction[k]) = norm(answer[k]) / number of attributes of
    the answer, in [0, 1]; norm is that of `exact_match`, lists are compared as bags, attributes that the answer does
    not have are ignored. A prediction that is no JSON object scores 0; an answer without attributes scores 1 against
    any object. Source: exact match (arXiv 1606.05250), an attribute at a time.

    >>> attribute_match_score('{"color": "Red", "legs": 4}', '{"color": "red", "legs": "three"}')
    0.5
    """
    said, true = attributes_of(prediction), attributes_of(answer)
    if said is None or true is None:
        return 0.0
    return sum(said.get(name) == value for name, value in true.items()) / len(true) if true else 1.0


class AttributeMatch(PairMetric):
    """Share of the attributes of a JSON answer that are exactly right; a prediction that is no JSON object gets 0."""

    name = "attribute_match"
    symmetric: ClassVar[bool] = False
    perfect_is_high: ClassVar[bool] = False

    def lacking(self, rows: Answered) -> str | None:
        """Return what the rows lack: every answer must be a JSON object."""
        for row, answer in enumerate(rows.answers):
            if attributes_of(answer) is None:
                return f"answers that are JSON objects (row {row} has {answer[:40]!r})"
        return None

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return `attribute_match_score` of each pair."""
        return np.array([attribute_match_score(*pair) for pair in zip(predictions, answers, strict=True)])

    def by_attribute(self, rows: Answered) -> dict[str, Share]:
        """Return for each attribute of the answers how many rows have it right, the commonest attribute first."""
        right: dict[str, int] = {}
        number: dict[str, int] = {}
        for prediction, answer in zip(rows.predictions, rows.answers, strict=True):
            said = (None if prediction is None else attributes_of(prediction)) or {}
            for name, value in (attributes_of(answer) or {}).items():
                number[name] = number.get(name, 0) + 1
                right[name] = right.get(name, 0) + (said.get(name) == value)
        return {name: Share(right[name], number[name]) for name in sorted(number, key=lambda each: -number[each])}
