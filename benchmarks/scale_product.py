"""What a listing of the generated catalogue sells, and how it says so, field by field, in ABO's format."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

from scale_words import (
    BRANDS,
    DOMAINS,
    FINISHES,
    MATERIALS,
    MOTIFS,
    PATTERNS,
    PHONE_BRANDS,
    PHONE_BULLETS,
    PHONE_KEYWORDS,
    PHONE_MODELS,
    PRODUCT_TYPES,
    SHAPES,
    WORDS,
    Domain,
    Words,
)

Value = TypeVar("Value")

_PHONE_TYPE = 0
_MULTICOLOR = 12
_WEIGHTED_DOMAINS = [place for place, domain in enumerate(DOMAINS) for _ in range(domain.weight)]
_ENGLISH = WORDS["en"]
_TYPE_NAMES = [name.replace("_", " ").title() for name in PRODUCT_TYPES]
_POOR_FROM = len(PRODUCT_TYPES) - 6
"""Listings of the rarest types have a colour at most, so that curation drops them and has to bring them back."""
_NEVER_NAMELESS_FROM = len(PRODUCT_TYPES) - 150
"""From this rank on, a type has so few listings that one without its type would make the type disappear."""


def _keyword_pool(words: Words) -> list[str]:
    pairs = [f"{adjective} {noun}".lower() for adjective in words.adjectives for noun in words.nouns[::2]]
    return [*words.nouns, *words.adjectives, *(f"{words.made_for} {noun}" for noun in words.nouns), *pairs]


_KEYWORDS = {language: _keyword_pool(words) for language, words in WORDS.items()}


class Product(NamedTuple):
    """What all listings of one product share; `main` and `others` are numbers of images."""

    item_id: str
    type_rank: int
    domain: int
    brand: str
    color: int
    model: int
    motif: int
    style: int
    size: int
    main: int
    others: list[int]


class Rendered(NamedTuple):
    """A line of JSON, and the product type that it gives (empty where it gives none)."""

    line: str
    product_type: str


def draw_product(draw: Random, number: int, type_rank: int, main: int, others: list[int]) -> Product:
    """Draw product `number`; phone cases are sold in India for the most part and share models, colours and texts."""
    random = draw.random
    phone = type_rank == _PHONE_TYPE
    return Product(
        item_id=_item_id(number),
        type_rank=type_rank,
        domain=0 if phone and random() < 0.93 else _pick(draw, _WEIGHTED_DOMAINS),
        brand=_pick(draw, PHONE_BRANDS if phone else BRANDS),
        color=_MULTICOLOR if phone and random() < 0.6 else int(random() * 14),
        model=int(random() ** 2 * len(PHONE_MODELS)),
        motif=int(random() * len(MOTIFS)),
        style=int(random() * 3),
        size=int(random() * 40) + 5,
        main=main,
        others=others,
    )


def render(draw: Random, product: Product, domain: Domain, main_image: str, other_ids: list[str]) -> Rendered:
    """Return the listing of a product in a domain; `main_image` is the JSON value, or empty to leave the key out."""
    random = draw.random
    phone = product.type_rank == _PHONE_TYPE
    tags = _tags(draw, domain, phone)
    listed = [(tag, WORDS[tag[:2]]) for tag in tags]
    number = f"{product.item_id[4:8]}-{product.size}{product.style}"
    fields: list[str] = []
    _add(fields, "brand", random(), 0.97, [_text(tag, product.brand) for tag, _ in listed])
    poor = product.type_rank >= _POOR_FROM
    _add(fields, "bullet_point", random(), 0.0 if poor else 0.86, _bullets(draw, product, listed))
    _add(fields, "color", random(), 0.8, _colors(draw, product, listed))
    fields.append(f'"item_id": "{product.item_id}"')
    _add(fields, "item_name", random(), 0.995, [_text(tag, _name(draw, product, words)) for tag, words in listed])
    _add(fields, "material", random(), 0.35, [_text(tags[0], _pick(draw, MATERIALS))])
    _add(fields, "model_name", random(), 0.3, [_text(tags[0], f"{_pick(draw, MOTIFS)} {product.size}")])
    _add(
        fields, "model_number", random(), 0.7, [f'{{"value": "{number}"}}' if product.style else _text(tags[0], number)]
    )
    _add(fields, "model_year", random(), 0.2, [f'{{"value": {2012 + product.size % 9}}}'])
    named = _add_type(fields, random(), product.type_rank)
    _add(fields, "style", random(), 0.35, [_text(tag, _pick(draw, words.adjectives)) for tag, words in listed])
    if main_image:
        fields.append(f'"main_image_id": {main_image}')
    if other_ids:
        fields.append('"other_image_id": ["' + '", "'.join(other_ids) + '"]')
    _add(fields, "item_keywords", random(), 0.0 if poor else 0.9, _keywords(draw, product, listed))
    _add_rest(fields, draw, product, tags[0])
    _add_measures(fields, draw, product, domain)
    fields.append(f'"country": "{domain.country}", "marketplace": "Amazon", "domain_name": "{domain.name}"')
    _add(fields, "node", random(), 0.93, _nodes(draw, product, listed[0][1]))
    return Rendered("{" + ", ".join(fields) + "}", PRODUCT_TYPES[product.type_rank] if named else "")


def _pick(draw: Random, values: Sequence[Value]) -> Value:
    return values[int(draw.random() * len(values))]


def _item_id(number: int) -> str:
    """Return an ASIN, another for each number."""
    code = (number * 1_000_003_511 + 77_345_678_901) % 36**8
    digits = ""
    for _ in range(8):
        code, digit = divmod(code, 36)
        digits += "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[digit]
    return "B0" + digits


def _add(fields: list[str], key: str, chance: float, present: float, values: list[str]) -> None:
    """Add a field if `chance` falls below `present`; now and then it is there and null."""
    if chance < present:
        if values:
            fields.append(f'"{key}": [' + ", ".join(values) + "]")
    elif chance > 0.9985:
        fields.append(f'"{key}": null')


def _text(tag: str, value: str) -> str:
    return f'{{"language_tag": "{tag}", "value": "{value}"}}' if tag else f'{{"value": "{value}"}}'


def _tags(draw: Random, domain: Domain, phone: bool) -> list[str]:
    """Return the languages of a listing: the domain's own, at times up to three more."""
    chance = draw.random()
    more = (chance > 0.94) if phone else (chance > 0.45) + (chance > 0.75) + (chance > 0.9)
    tags = [domain.language]
    for _ in range(more):
        tag = _pick(draw, domain.others)
        if tag not in tags:
            tags.append(tag)
    return tags[::-1] if chance < 0.08 else tags


def _name(draw: Random, product: Product, words: Words) -> str:
    chance = draw.random()
    if product.type_rank == _PHONE_TYPE and words is _ENGLISH:
        motif, model = MOTIFS[product.motif], PHONE_MODELS[product.model]
        kinds = ("3D Printed Hard Back Case", "UV Printed Soft Silicone Back Case", "Designer Slim Back Case")
        name = (
            f"{product.brand} Designer {motif} {kinds[product.style]} Mobile Cover for {model} (D{int(chance * 2000)})"
        )
    else:
        adjective = words.adjectives[product.motif % len(words.adjectives)]
        noun = words.nouns[(product.motif + product.size) % len(words.nouns)]
        kind = f" {_TYPE_NAMES[product.type_rank]}" if words is _ENGLISH else ""
        name = f"{product.brand} {adjective}{kind} {noun} - {words.colors[product.color]}, {words.size} {product.size}"
        if chance > 0.5:
            name += f" ({_pick(draw, words.adjectives)}, {int(chance * 1000)} g)"
    if chance < 0.03:
        return name.replace(" ", "  ", 1) + " " if chance < 0.02 else name.replace(" ", "\u00a0", 1)
    return name


def _bullets(draw: Random, product: Product, listed: list[tuple[str, Words]]) -> list[str]:
    found: list[str] = []
    for place, (tag, words) in enumerate(listed):
        chance = draw.random()
        if place and chance < 0.15:
            continue
        if product.type_rank == _PHONE_TYPE and words is _ENGLISH:
            values = _phone_bullets(product, chance)
        else:
            values = [_bullet(draw, words) for _ in range(5 if chance < 0.8 else 1 + int(chance * 100) % 4)]
        if chance > 0.985:
            values[-1] = values[-1].replace(" ", "\\n", 1)
        if chance < 0.005:
            tag = ""
        found.extend([_text(tag, value) for value in values])
    return found


def _phone_bullets(product: Product, chance: float) -> list[str]:
    """Return the bullet points of a phone case: the same for all of a model and style, but for how they are typed."""
    start = product.style * 2
    model = PHONE_MODELS[product.model]
    values = [text.replace("{model}", model) for text in PHONE_BULLETS[start : start + 5]]
    if chance < 0.05:
        return [value.upper() for value in values]
    return [value + "." for value in values] if chance < 0.15 else values


def _bullet(draw: Random, words: Words) -> str:
    random = draw.random
    openings, closings = words.openings, words.closings
    place, turn, chance = int(random() * len(openings)), int(random() * len(closings)), random()
    opening, closing, last = openings[place], closings[turn], closings[(place + turn + 1) % len(closings)]
    if chance < 0.6:
        return f"{opening}; {closing}. {openings[(place + turn + 1) % len(openings)]}, {last}"
    if chance < 0.8:
        return f"{opening} ({int(chance * 500)} x {place * 5 + 10} cm), {closing}; {last}"
    return f"{words.adjectives[place % len(words.adjectives)].upper()}: {opening}, {closing}"


def _colors(draw: Random, product: Product, listed: list[tuple[str, Words]]) -> list[str]:
    found: list[str] = []
    for tag, words in listed:
        chance = draw.random()
        given = words.colors[product.color]
        if product.type_rank != _PHONE_TYPE and chance < 0.4:
            given = f"{_pick(draw, words.adjectives)} {given}"
        standard = words.colors[product.color] if chance > 0.5 else _ENGLISH.colors[product.color]
        if chance < 0.004:
            found.append(f'{{"language_tag": "{tag}", "standardized_values": ["{standard}"], "value": null}}')
        elif chance < 0.01:
            found.append(_text("", given))
        elif chance < 0.45 or chance > 0.7:
            found.append(f'{{"language_tag": "{tag}", "standardized_values": ["{standard}"], "value": "{given}"}}')
        else:
            found.append(_text(tag, given))
    return found


def _keywords(draw: Random, product: Product, listed: list[tuple[str, Words]]) -> list[str]:
    random = draw.random
    found: list[str] = []
    for place, (tag, words) in enumerate(listed):
        chance = random()
        if place and chance < 0.3:
            continue
        if product.type_rank == _PHONE_TYPE and words is _ENGLISH:
            pool = PHONE_KEYWORDS
            start, count = product.model + product.motif % 3, 22 + product.model % 8
            values = [pool[(start + 7 * turn) % len(pool)] for turn in range(count)]
            values.append(PHONE_MODELS[product.model].lower())
        else:
            pool = _KEYWORDS[words.code]
            start, count = int(random() * len(pool)), 6 + int(chance * 13)
            values = [pool[(start + turn) % len(pool)] for turn in range(count)]
            values += [pool[int(random() * len(pool))] for _ in range(count * 3 // 4)]
        opening = f'{{"language_tag": "{tag}", "value": "'
        found.append(opening + ('"}, ' + opening).join(values) + '"}')
        if chance > 0.995:
            found.append(f'{{"language_tag": "{tag}", "value": {product.size}}}')
        elif chance > 0.99:
            found.append(f'{{"language_tag": "{tag}", "value": {_NOTHING[product.style]}}}')
    return found


_NOTHING = ("null", '""', '"  "')


def _add_type(fields: list[str], chance: float, rank: int) -> bool:
    """Add the product type, rarely as a bare string; return whether it was added."""
    name = PRODUCT_TYPES[rank]
    if chance < 0.002 and rank < _NEVER_NAMELESS_FROM:
        return False
    fields.append(f'"product_type": "{name}"' if chance < 0.007 else f'"product_type": [{{"value": "{name}"}}]')
    return True


def _add_rest(fields: list[str], draw: Random, product: Product, tag: str) -> None:
    """Add the fields that few listings have."""
    random = draw.random
    _add(fields, "fabric_type", random(), 0.15, [_text(tag, f"100% {_pick(draw, MATERIALS)}")])
    _add(fields, "pattern", random(), 0.12, [_text(tag, _pick(draw, PATTERNS))])
    _add(fields, "finish_type", random(), 0.1, [_text(tag, _pick(draw, FINISHES))])
    _add(fields, "item_shape", random(), 0.1, [_text(tag, _pick(draw, SHAPES))])
    _add(fields, "color_code", random(), 0.05, [f'"#{int(random() * 16777216):06X}"'])
    if random() < 0.1:
        words = WORDS[tag[:2]]
        paragraphs = "".join(f"<p>{_bullet(draw, words)}.</p> <br>" for _ in range(8 + int(random() * 9)))
        items = "".join(f"<li><b>{_pick(draw, words.adjectives)}</b> {_pick(draw, words.nouns)}</li>" for _ in range(4))
        _add(fields, "product_description", 0.0, 1.0, [_text(tag, f"{paragraphs}<ul>{items}</ul> A &amp; Z")])
    if random() < 0.05:
        fields.append(f'"spin_id": "{product.item_id[2:].lower()}"')
    if random() < 0.05:
        fields.append(f'"3dmodel_id": "{product.item_id}"')


def _add_measures(fields: list[str], draw: Random, product: Product, domain: Domain) -> None:
    random = draw.random
    if random() < 0.72:
        sides = []
        for side in ("height", "length", "width"):
            value = int(random() * 200) / 4
            sides.append(
                f'"{side}": {{"normalized_value": {{"unit": "inches", "value": {value / 2.54:.4f}}}, '
                f'"unit": "centimeters", "value": {value}}}'
            )
        fields.append('"item_dimensions": {' + ", ".join(sides) + "}")
    if random() < 0.7:
        grams = int(random() * 9000) + 10
        fields.append(
            f'"item_weight": [{{"normalized_value": {{"unit": "pounds", "value": {grams / 453.59237:.6f}}}, '
            f'"unit": "grams", "value": {grams}}}]'
        )
    if domain.country in ("US", "GB") and random() < 0.1:
        fields.append(f'"number_of_items": [{{"value": {1 + product.size % 6}}}]')


def _nodes(draw: Random, product: Product, words: Words) -> list[str]:
    random = draw.random
    kind = _TYPE_NAMES[product.type_rank]
    chance = random()
    key = "path" if chance < 0.01 else "node_name"
    return [
        f'{{"node_id": {1_000_000 + int(random() * 4096) * 977}, '
        f'"{key}": "/Categories/Departments/Featured Categories/{kind}/{_pick(draw, words.nouns)}"}}'
        for _ in range(1 + (chance > 0.6) + (chance > 0.9))
    ]
