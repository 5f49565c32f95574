"""Questions from listing fields, asked only where the field gives one answer that the picture shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from shelfqa.question_types import question_type
from shelfqa.questions import vocabulary
from shelfqa.questions.checks import leaks
from shelfqa.questions.nouns import head_noun
from shelfqa.questions.pairs import Made, Pair, Source, digest
from shelfqa.questions.templates import VERSION, WORDINGS, render
from shelfqa.questions.vocabulary import Answer
from shelfqa.records import Drop

FIELDS: tuple[str, ...] = tuple(WORDINGS)
"""The fields that can be asked about; `number_of_items`, `pattern`, `shape` and `style` are attributes."""

_FILE = "products.parquet"


class _Candidate(NamedTuple):
    field: str
    question: str
    answer: str


def questions_from_metadata(products: pa.Table, fields: Sequence[str], *, per_product: int, seed: int) -> Made:
    """Return at most `per_product` questions a product, one a field.

    A field that a product has but that gives no question is dropped with its reason. Where a product has more
    candidates than allowed, those fields are asked about of which there are fewest so far, so that types of
    questions stay balanced.

    Args:
        products: with `PRODUCT_COLUMNS`.
        fields: some of `FIELDS`.
        per_product: the most questions about one product.
        seed: seed of the choice of wordings and of the order in which products are looked at.

    """
    made = Made([], [])
    asked: Counter[str] = Counter()
    rows = sorted(enumerate(products.to_pylist(), start=1), key=lambda item: digest(seed, item[1]["product_id"]))
    for number, product in rows:
        product_id = product["product_id"]
        candidates: list[_Candidate] = []
        for field, value, answer in field_answers(product, fields):
            found = answer if answer.word is None else _candidate(product, field, answer.word, seed)
            if isinstance(found, _Candidate):
                candidates.append(found)
            else:
                made.drops.append(Drop(_FILE, number, product_id, found.reason, f"{field} {value!r}"))
        candidates.sort(key=lambda one: (asked[one.field], digest(seed, product_id, one.field)))
        for candidate in candidates[:per_product]:
            asked[candidate.field] += 1
            made.pairs.append(_pair(product, candidate))
        for candidate in candidates[per_product:]:
            detail = f"{candidate.field} {candidate.answer!r}"
            made.drops.append(Drop(_FILE, number, product_id, "over-per-product", detail))
    return made


def field_answers(product: dict[str, Any], fields: Sequence[str]) -> list[tuple[str, Any, Answer]]:
    """Return (field, value, answer or reason) for each of the fields that the product has."""
    attributes = _attributes(product["attributes"])
    noun = head_noun(product["product_type"])
    found: list[tuple[str, Any, Answer]] = []
    for field in fields:
        value = product[field] if field in product else attributes.get(field)
        if value is None or value == "":
            continue
        if field == "number_of_items":
            text = attributes.get("number_of_items_text")
            answer = vocabulary.count(value, text if isinstance(text, str) else None, noun)
        elif field == "product_type":
            answer = Answer(noun, "" if noun is not None else "type-vague")
        elif field == "color":
            given = attributes.get("color_given")
            answer = _color(str(value), given if isinstance(given, str) else None, noun)
        else:
            answer = _ANSWERS[field](str(value))
        found.append((field, value, answer))
    return found


_ANSWERS = {
    "material": vocabulary.material,
    "pattern": vocabulary.pattern,
    "shape": vocabulary.shape,
    "brand": vocabulary.brand,
    "style": vocabulary.style,
}
_COLOR_OF_LIGHT = frozenset({"bulb", "light"})


def _color(value: str, given: str | None, noun: str | None) -> Answer:
    if noun in _COLOR_OF_LIGHT and "white" in value.casefold().split():
        return Answer(None, "color-of-light")
    return vocabulary.color(value, given)


def _attributes(text: str | None) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _candidate(product: dict[str, Any], field: str, answer: str, seed: int) -> _Candidate | Answer:
    """Return the question, worded by the hash of product, field and seed; the noun is left out where it tells."""
    wording = WORDINGS[field]
    template = wording.templates[int(digest(seed, product["product_id"], field), 16) % len(wording.templates)]
    noun = head_noun(product["product_type"])
    plain = "item" if field == "number_of_items" else "product"
    for name in (noun, plain) if noun is not None else (plain,):
        question = render(template, name)
        if not leaks(question, answer) and question_type(question) == wording.task:
            return _Candidate(field, question, answer)
    return Answer(None, "answer-in-question")


def _pair(product: dict[str, Any], candidate: _Candidate) -> Pair:
    return Pair(
        product_id=product["product_id"],
        product_type=product["product_type"],
        image_paths=(product["image_path"],),
        question=candidate.question,
        answer=candidate.answer,
        source=Source(provider="metadata", model="templates", prompt_version=VERSION, field=candidate.field),
        used_metadata=True,
    )
