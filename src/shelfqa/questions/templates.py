"""The wordings of questions about listing fields.

Change `VERSION` with every change of a wording: it stands in each question's source.
"""

from __future__ import annotations

from typing import NamedTuple

from shelfqa.questions.nouns import is_plural, plural

VERSION = "templates-1"


class Wording(NamedTuple):
    """The question type that all of a field's wordings have, and the wordings."""

    task: str
    templates: tuple[str, ...]


WORDINGS: dict[str, Wording] = {
    "color": Wording(
        "colour",
        (
            "What color {is_} the {noun}?",
            "What is the color of the {noun}?",
            "What color {is_} {this} {noun}?",
            "What is the main color of the {noun}?",
            "Which color {does} the {noun} have?",
        ),
    ),
    "product_type": Wording(
        "what-kind",
        (
            "What is this product?",
            "What product is shown?",
            "What kind of product is this?",
            "What type of item is pictured?",
            "What item is in the picture?",
        ),
    ),
    "material": Wording(
        "material",
        (
            "What {is_} the {noun} made of?",
            "What material {is_} the {noun} made of?",
            "What is the material of the {noun}?",
            "What material {is_} {this} {noun}?",
            "What is the main material of the {noun}?",
        ),
    ),
    "pattern": Wording(
        "pattern",
        (
            "What pattern {does} the {noun} have?",
            "What is the pattern of the {noun}?",
            "Which pattern {does} {this} {noun} have?",
            "What kind of pattern {does} the {noun} have?",
        ),
    ),
    "shape": Wording(
        "shape",
        (
            "What shape {is_} the {noun}?",
            "What is the shape of the {noun}?",
            "Which shape {does} {this} {noun} have?",
            "What shape {does} the {noun} have?",
        ),
    ),
    "brand": Wording(
        "brand",
        (
            "What brand {is_} the {noun}?",
            "What is the brand of the {noun}?",
            "Which brand {is_} {this} {noun}?",
            "What is the brand name of the {noun}?",
        ),
    ),
    "number_of_items": Wording(
        "count",
        (
            "How many {nouns} are shown?",
            "How many {nouns} are there?",
            "How many {nouns} are in the picture?",
            "How many {nouns} can be seen?",
        ),
    ),
    "style": Wording(
        "what-kind",
        (
            "What style {is_} the {noun}?",
            "What style of {noun} is this?",
            "Which style {is_} {this} {noun}?",
            "What style {does} the {noun} have?",
        ),
    ),
}


def render(template: str, noun: str) -> str:
    """Return a template with the noun, its plural, and the verbs that go with it.

    >>> render("What color {is_} {this} {noun}?", "jeans"), render("How many {nouns} are shown?", "box")
    ('What color are these jeans?', 'How many boxes are shown?')
    """
    many = is_plural(noun)
    return template.format(
        noun=noun,
        nouns=plural(noun),
        is_="are" if many else "is",
        does="do" if many else "does",
        this="these" if many else "this",
    )
