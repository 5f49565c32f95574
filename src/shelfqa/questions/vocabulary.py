"""Which field values give a single-word answer that anyone who sees the picture would give.

Each function returns an `Answer`: a word, or the reason why the value gives none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from shelfqa.questions.nouns import word_set


class Answer(NamedTuple):
    """The answer, or None and a short reason for counting."""

    word: str | None
    reason: str = ""


def _table(**meanings: str) -> dict[str, str]:
    """Return phrase -> word from word="phrase, phrase"; the word itself is one of its phrases."""
    table = {}
    for word, phrases in meanings.items():
        for phrase in (word, *phrases.split(", ")):
            table[phrase] = word
    table.pop("", None)
    return table


_BASIC = _table(
    black="", white="", grey="gray", red="", blue="", green="", yellow="", orange="", pink="", purple="", brown="",
    beige="", silver="", gold="golden", clear="transparent",
)  # fmt: skip
_MARKETING = _table(
    black="jet, onyx, ebony",
    white="snow",
    grey="charcoal, graphite, slate, anthracite, gunmetal",
    red="crimson, scarlet, ruby",
    blue="navy, cobalt, sapphire, ultramarine, indigo",
    green="emerald, olive, sage, mint, lime, jade",
    yellow="lemon, mustard, sunflower, dandelion",
    orange="tangerine, pumpkin, mandarin",
    pink="fuchsia, magenta, flamingo, blush",
    purple="lavender, lilac, violet, plum, amethyst, aubergine",
    brown="chocolate, espresso, walnut, chestnut, mocha, cocoa, mahogany",
    beige="oatmeal",
    silver="chrome, nickel, stainless, stainless steel",
    gold="brass",
)
_MODIFIERS = word_set(
    "dark light deep pale bright matte matt glossy gloss satin brushed polished metallic solid pure classic",
    "medium rich antique soft dusty faded heather heathered shiny the color colour finish",
)
_AFTER_COLOR = word_set(
    "leather suede canvas wood metal cotton velvet fabric mesh patent glass plastic denim finish color colour",
)
_MISLEADING = frozenset(
    {"off white", "soft white", "warm white", "cool white", "bright white", "natural white", "rose gold", "white gold"}
    | {"yellow gold", "green gold", "nickel free", "soft gold", "sterling silver", "antique white", "antique brass"}
)
_SEVERAL = re.compile(r"\b(?:multi\w*|assorted|various|mixed|rainbow|printed?|patterned|\w+ tone|several|random|non)\b")
_PARTS = re.compile(r"[/,;&+|()\[\]]|\band\b|\bwith\b|\bon\b|\bet\b|\by\b|\bund\b|-(?=\w+\s)|\s-\s")
_WORD = re.compile(r"[a-z]+")


def color(value: str | None, given: str | None = None) -> Answer:
    """Return the basic colour that `value` certainly means, unless the colour as first given contradicts it.

    >>> color("Midnight Blue").word, color("black/white").reason, color("mushroom").reason
    ('blue', 'color-ambiguous', 'color-unknown')
    """
    answer = _color(value or "")
    if answer.word is not None and given:
        first = _color(given)
        if first.reason == "color-ambiguous" or first.word not in (None, answer.word):
            return Answer(None, "color-ambiguous")
    return answer


def _color(value: str) -> Answer:
    text = " ".join(value.casefold().split())
    if _SEVERAL.search(text):
        return Answer(None, "color-ambiguous")
    found = {_color_of_part(" ".join(_WORD.findall(part))) for part in _PARTS.split(text) if _WORD.search(part)}
    if len(found) == 1:
        only = found.pop()
        return Answer(only) if only else Answer(None, "color-unknown" if only is None else "color-ambiguous")
    return Answer(None, "color-ambiguous" if found else "color-unknown")


def _color_of_part(phrase: str) -> str | None:
    """Return the basic colour of a phrase, None where it is not known, "" where it names two."""
    if phrase in _MISLEADING:
        return None
    words = phrase.split()
    if phrase in _MARKETING:
        return _MARKETING[phrase]
    if len({_BASIC[word] for word in words if word in _BASIC}) > 1:
        return ""
    while len(words) > 1 and words[-1] in _AFTER_COLOR:
        words.pop()
    *before, last = words
    if last in _BASIC:
        known = {_BASIC.get(word, _MARKETING.get(word)) for word in before} - {None}
        return _BASIC[last] if known <= {_BASIC[last]} else ""
    if last in _MARKETING and all(word in _MODIFIERS for word in before):
        return _MARKETING[last]
    return None


_MATERIALS = _table(
    wood="wooden, solid wood, oak, pine, walnut, teak, mango wood, acacia, acacia wood, sheesham, sheesham wood, "
    "beech, birch, rubberwood, hardwood, engineered wood, plywood, mdf",
    metal="steel, stainless steel, iron, cast iron, wrought iron, aluminum, aluminium, alloy steel, "
    "carbon steel, metallic",
    glass="tempered glass, borosilicate glass, borosilicate",
    ceramic="porcelain, stoneware, earthenware, bone china",
    plastic="polypropylene, abs, pvc, polycarbonate, thermoplastic, melamine",
    leather="genuine leather, faux leather, artificial leather, synthetic leather, pu leather, vegan leather, "
    "full grain leather",
    paper="cardboard, kraft paper",
    wicker="rattan, seagrass",
    marble="", bamboo="", cotton="100 cotton", linen="", wool="", denim="", canvas="", velvet="", suede="faux suede",
    rubber="natural rubber", silicone="", cork="", jute="", stone="", silk="", straw="",
)  # fmt: skip
_PATTERNS = _table(
    solid="solids, plain, solid color, solid colour",
    striped="stripes, stripe",
    floral="flowers, flower, botanical floral",
    plaid="tartan, buffalo plaid, buffalo check",
    checked="checkered, check, checks, gingham",
    dotted="dots, polka dot, polka dots, dot, polka",
    geometric="geometrical",
    zigzag="chevron, zig zag",
    paisley="", camouflage="camo", leopard="leopard print", zebra="zebra print", stars="star", hearts="heart",
    herringbone="", houndstooth="", argyle="", quilted="", marbled="marble",
)  # fmt: skip
_SHAPES = _table(
    round="circular, circle, runner round", oval="ellipse, elliptical", square="squared", rectangular="rectangle",
    hexagonal="hexagon", octagonal="octagon", triangular="triangle", cylindrical="cylinder", spherical="sphere, ball",
    heart="heart shaped", star="star shaped", conical="cone", cube="cubic, cubed",
)  # fmt: skip
_STYLES = word_set(
    "fringed hardcover buttoned tasselled tufted bordered hooded sleeveless pendant pedestal sneaker stool",
    "tapered straight rounded slim coupe amphora loafer slingback ballerina wedge platform sectional",
)
_MIXTURE = re.compile(r"%|/|,|;|&|\+|\band\b|\bwith\b|\bblend\b|\bmix(?:ed)?\b")
_NO_BRAND = frozenset({"generic", "unknown", "none", "unbranded", "na", "handmade", "other", "various", "no", "brand"})


def material(value: str) -> Answer:
    """Return the visible material, unless it is a mixture."""
    if _MIXTURE.search(value.casefold()):
        return Answer(None, "material-mixed")
    return _looked_up(value, _MATERIALS, "material-not-visible")


def pattern(value: str) -> Answer:
    """Return the pattern, if it is one that a picture shows plainly."""
    return _looked_up(value, _PATTERNS, "pattern-unknown")


def shape(value: str) -> Answer:
    """Return the shape, if it is one that a picture shows plainly."""
    return _looked_up(value, _SHAPES, "shape-unknown")


def style(value: str) -> Answer:
    """Return the style, if it is one that can be seen."""
    return _looked_up(value, {word: word for word in _STYLES}, "style-not-visible")


def brand(value: str) -> Answer:
    """Return the brand, if it is a single word and a name."""
    name = value.strip().rstrip(".®™")
    if not re.fullmatch(r"[^\W\d_][\w'’]+", name):
        return Answer(None, "brand-several-words")
    return Answer(None, "brand-generic") if name.casefold() in _NO_BRAND else Answer(name)


def _looked_up(value: str, table: Mapping[str, str], reason: str) -> Answer:
    phrase = " ".join(re.findall(r"[a-z0-9]+", value.casefold()))
    word = table.get(phrase)
    return Answer(word) if word is not None else Answer(None, reason)


_PAIRED = word_set(
    "shoe boot sandal slipper sock glove earring sneaker loafer mitten cufflink headphones",
)
_UNCOUNTED = re.compile(
    r"piece|pcs?\b|count|\bct\b|teilig|stück|pièces|piezas|pezzi|^\W*(?:1|one)\W*set", re.IGNORECASE
)


def count(number: object, text: str | None, noun: str | None) -> Answer:
    """Return how many are sold together: 1 to 12 in a field of its own, 2 to 9 in words such as "Set of 4".

    On Amazon Berkeley Objects, sets and packs of up to nine show that many in most pictures (0.66 to 0.99 of those
    with a label from another source), packs of ten or twelve hardly ever (0.00 to 0.12), "1-pack" in 0.35.
    """
    if not isinstance(number, int) or not 1 <= number <= 12:
        return Answer(None, "count-out-of-range")
    if text is not None and _UNCOUNTED.search(text):
        return Answer(None, "count-of-pieces")
    if text is not None and (number > 9 or (number == 1 and "pack" in text.casefold())):
        return Answer(None, "count-not-visible")
    if noun in _PAIRED:
        return Answer(None, "count-of-pairs")
    return Answer(str(number))


def words(texts: Iterable[str]) -> set[str]:
    """Return all words in the texts, in lower case."""
    return {word for text in texts for word in re.findall(r"\w+", text.casefold())}
