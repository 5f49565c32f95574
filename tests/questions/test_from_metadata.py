from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfqa.question_types import question_type
from shelfqa.questions import vocabulary
from shelfqa.questions.checks import leaks
from shelfqa.questions.from_metadata import FIELDS, questions_from_metadata
from shelfqa.questions.nouns import head_noun, plural, singular
from shelfqa.questions.pairs import Made, questions_table
from shelfqa.questions.templates import WORDINGS, render
from shelfqa.text import answer_tokens
from tiny_catalogue import product, products

NOUNS = ("mug", "box", "headphones", "shade", "glasses", "product", "item", "print")


def make(*rows: dict[str, Any], per_product: int = 8, seed: int = 0) -> Made:
    return questions_from_metadata(products(*rows), FIELDS, per_product=per_product, seed=seed)


def outcome(**fields: Any) -> dict[str, str]:
    """field -> the answer, or the reason of the drop, for one product."""
    made = make(product(0, **fields))
    found = {str(pair.source.field): pair.answer for pair in made.pairs}
    return found | {drop.detail.split(" ")[0]: drop.reason for drop in made.drops}


def test_each_field_gives_a_question_with_its_source() -> None:
    made = make(
        product(
            0,
            color="Navy Blue",
            material="Stoneware",
            brand="Acme",
            attributes={"pattern": "Stripes", "shape": "Circular", "style": "Fringed", "number_of_items": 4},
        )
    )
    assert {str(pair.source.field): pair.answer for pair in made.pairs} == {
        "color": "blue",
        "product_type": "mug",
        "material": "ceramic",
        "pattern": "striped",
        "shape": "round",
        "brand": "Acme",
        "number_of_items": "4",
        "style": "fringed",
    }
    for pair in made.pairs:
        assert (pair.source.provider, pair.source.model, pair.used_metadata) == ("metadata", "templates", True)
        assert pair.source.prompt_version
        assert pair.image_paths == ("aa/000.png",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("black", "black"),
        ("Gray", "grey"),
        ("medical blue", "blue"),
        ("Jet Black", "black"),
        ("satin nickel", "silver"),
        ("black (black black)", "black"),
        ("black leather", "black"),
        ("chestnut suede", "brown"),
        ("transparent", "clear"),
        ("multicolor", "color-ambiguous"),
        ("Multi-Colored", "color-ambiguous"),
        ("assorted", "color-ambiguous"),
        ("black/white", "color-ambiguous"),
        ("black and grey", "color-ambiguous"),
        ("walnut & black", "color-ambiguous"),
        ("white with gold", "color-ambiguous"),
        ("yellow gold", "color-unknown"),
        ("olive grey", "color-ambiguous"),
        ("rose gold", "color-unknown"),
        ("soft white", "color-unknown"),
        ("mushroom", "color-unknown"),
        ("0", "color-unknown"),
    ],
)
def test_only_certain_single_colours_are_asked_about(value: str, expected: str) -> None:
    assert outcome(color=value, product_type=None)["color"] == expected


def test_the_given_colour_can_contradict_the_standardized_one() -> None:
    assert outcome(color="blue", attributes={"color_given": "Ocean"})["color"] == "blue"
    assert outcome(color="blue", attributes={"color_given": "Blue/White"})["color"] == "color-ambiguous"
    assert outcome(color="blue", attributes={"color_given": "Red"})["color"] == "color-ambiguous"
    assert outcome(color="white", product_type="light bulb")["color"] == "color-of-light"


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("material", "Solid Wood", "wood"),
        ("material", "60% cotton, 40% linen", "material-mixed"),
        ("material", "wood and metal", "material-mixed"),
        ("material", "Polyester", "material-not-visible"),
        ("brand", "Amazon Basics", "brand-several-words"),
        ("brand", "Generic", "brand-generic"),
        ("product_type", "home", "type-vague"),
        ("product_type", "toys and games", "type-vague"),
        ("product_type", "saute fry pan", "pan"),
        ("product_type", "finering", "ring"),
    ],
)
def test_values_that_cannot_be_seen_or_said_are_dropped_with_a_reason(field: str, value: str, expected: str) -> None:
    assert outcome(**{field: value})[field] == expected


@pytest.mark.parametrize(
    ("number", "text", "kind", "expected"),
    [
        (4, "Set of 4", "mug", "4"),
        (1, None, "mug", "1"),
        (12, None, "mug", "12"),
        (13, None, "mug", "count-out-of-range"),
        (6, "6-Piece", "mug", "count-of-pieces"),
        (1, "1 set", "mug", "count-of-pieces"),
        (12, "12-pack", "mug", "count-not-visible"),
        (2, "Set of 2", "shoes", "count-of-pairs"),
    ],
)
def test_counts_are_asked_where_the_picture_shows_them(number: int, text: str | None, kind: str, expected: str) -> None:
    attributes = {"number_of_items": number, "number_of_items_text": text}
    assert outcome(product_type=kind, attributes=attributes)["number_of_items"] == expected


def test_no_count_is_assumed() -> None:
    assert "number_of_items" not in outcome()


def test_the_answer_is_never_in_the_question() -> None:
    pairs = {str(pair.source.field): pair for pair in make(product(0, product_type="glasses", material="Glass")).pairs}
    assert "glass" not in pairs["material"].question
    assert outcome(brand="Brand")["brand"] == "brand-generic"
    assert leaks("How many boxes are shown?", "box")
    assert not leaks("What color is the mug?", "red")


@given(
    st.sampled_from(
        ["mug", "cellular phone case", "headphones", "lamp shade", "print", "glasses", "home", None, "box"]
    ),
    st.sampled_from(["red", "Navy", "glass", None]),
    st.sampled_from(["Glass", "Wood", None]),
    st.sampled_from(["Mug", "Case", "Shade", "Acme", "Made", None]),
    st.integers(0, 50),
)
def test_whatever_the_product_no_answer_leaks_and_tasks_agree(
    kind: str | None, color: str | None, material: str | None, brand: str | None, seed: int
) -> None:
    attributes = {"pattern": "Striped", "shape": "Round", "number_of_items": 2, "style": "stool"}
    row = product(seed, product_type=kind, color=color, material=material, brand=brand, attributes=attributes)
    made = make(row, seed=seed)
    for pair in made.pairs:
        assert not set(answer_tokens(pair.answer)) & set(answer_tokens(pair.question))
        assert len(answer_tokens(pair.answer)) == 1
        assert question_type(pair.question) == WORDINGS[str(pair.source.field)].task
        if pair.source.field == "product_type" and kind is not None:
            assert not set(kind.split()) & vocabulary.words([pair.question])
    present = sum(value is not None for value in (kind, color, material, brand)) + len(attributes)
    assert made.read == present


def test_every_wording_is_of_its_type() -> None:
    for field, wording in WORDINGS.items():
        assert len(wording.templates) >= 4, field
        for template in wording.templates:
            question = render(template, "mug")
            assert question_type(question) == wording.task, question
            assert question.endswith("?")


def test_wordings_vary_and_are_the_same_for_the_same_seed() -> None:
    rows = [product(number, color="red") for number in range(60)]
    questions = [{pair.question_id: pair.question for pair in make(*rows, seed=seed).pairs} for seed in (0, 0, 1)]
    assert questions[0] == questions[1] != questions[2]
    assert len(set(questions[0].values())) == 10
    backwards = {pair.question_id: pair.question for pair in make(*rows[::-1]).pairs}
    assert backwards == questions[0]


def test_a_limit_keeps_fields_balanced_and_counts_the_rest() -> None:
    rows = [product(number, color="red", material="wood", brand="Acme") for number in range(40)]
    made = make(*rows, per_product=2)
    assert len(made.pairs) == 80
    assert made.read == 160
    fields = [pair.source.field for pair in made.pairs]
    assert {fields.count(field) for field in set(fields)} == {20}
    assert {drop.reason for drop in made.drops} == {"over-per-product"}


def test_the_table_is_sorted_and_typed() -> None:
    table = questions_table(make(product(1, color="red"), product(0, color="blue")).pairs)
    assert table["product_id"].to_pylist() == ["P000", "P000", "P001", "P001"]
    assert set(table["task"].to_pylist()) == {"colour", "what-kind"}


@pytest.mark.parametrize(
    ("many", "one"),
    [("mugs", "mug"), ("boxes", "box"), ("batteries", "battery"), ("shelves", "shelf"), ("jeans", "jeans")],
)
def test_nouns_in_singular_and_plural(many: str, one: str) -> None:
    assert (singular(many), plural(one)) == (one, many)
    assert head_noun(f"fine {many}") == one
