"""Plain colour names: what a shop's "Midnight Blue" or "dunkelblau" is called in a short list of English names.

Conservative: a name whose colour two people would not agree on (`taupe`, `teal`, `coral`, `rose gold`), a text with
two colours, and every unknown name give None. The list is Amazon's, which `standardized_values` in Amazon Berkeley
Objects and `color_map` in Amazon's templates draw from, without `metallic`.
"""

from __future__ import annotations

import re
from functools import lru_cache

STANDARD_COLORS = (
    "beige", "black", "blue", "bronze", "brown", "clear", "gold", "green", "grey", "multicolor", "off-white",
    "orange", "pink", "purple", "red", "silver", "turquoise", "white", "yellow",
)  # fmt: skip
"""All that `standard_color` returns."""

STANDARD_COLOR_WORDS = frozenset({*STANDARD_COLORS, "gray", "multi"})
"""The list with the spellings that stand beside it in Amazon Berkeley Objects."""


def _table(**names: str) -> dict[str, str]:
    return {name: color.replace("_", "-") for color, several in names.items() for name in several.split(", ")}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BASIC = _table(
    beige="beige",
    black="black, noir, noire, negro, negra, nero, nera, schwarz, preto, preta, zwart",
    blue="blue, bleu, bleue, azul, blu, blau, blauw",
    bronze="bronze",
    brown="brown, brun, brune, braun, marrón, marrone, castanho, bruin",
    clear="clear, transparent, transparente, trasparente, durchsichtig, crystal clear",
    gold="gold, golden, gold tone, doré, dorée, dorado, dorada, dorato, dourado, goud",
    green="green, vert, verte, verde, grün, groen",
    grey="grey, gray, gris, grise, grau, grigio, grigia, cinza, grijs",
    off_white="off white, offwhite, ivory, cream, ecru, écru, eggshell, elfenbein, creme, crème, naturweiß",
    orange="orange, naranja, arancione, laranja, oranje",
    pink="pink, rosa, rose",
    purple="purple, violet, violette, violeta, viola, violett, lila, roxo, paars, púrpura, morado",
    red="red, rouge, rojo, roja, rosso, rossa, rot, vermelho, vermelha, rood",
    silver="silver, silver tone, argent, argenté, plata, plateado, argento, silber, prata, prateado, zilver",
    turquoise="turquoise, türkis, turquesa, turchese, turkoois, aqua, cyan, aquamarine",
    white="white, blanc, blanche, blanco, blanca, bianco, bianca, weiß, weiss, branco, branca, wit",
    yellow="yellow, jaune, amarillo, amarilla, giallo, gialla, gelb, amarelo, amarela, geel",
)
_NAMED = _table(
    black="jet, onyx, ebony, jet black",
    blue="navy, cobalt, sapphire, ultramarine, indigo, azure, royal, marineblau, bleu marine, azul marino, marine",
    brown="chocolate, espresso, walnut, chestnut, mocha, cocoa, mahogany",
    gold="brass",
    green="emerald, olive, sage, mint, jade",
    grey="charcoal, graphite, slate, anthracite, anthrazit, anthracit, antracita, antracite, gunmetal",
    multicolor="multi, multicolor, multicolour, multicolored, multicoloured, multi color, multi colour, multi colored, "
    "multi coloured, mehrfarbig, bunt, multicolore, multicolor, rainbow, multifarben, veelkleurig",
    pink="fuchsia, magenta, flamingo, hot pink",
    purple="lavender, lilac, plum, amethyst, aubergine",
    red="crimson, scarlet, ruby, burgundy, bordeaux, maroon",
    silver="chrome, nickel, stainless steel",
    white="snow",
    yellow="lemon, mustard, sunflower",
)
_UNCERTAIN = frozenset(
    {"rose gold", "white gold", "green gold", "red gold", "antique white", "soft white", "warm white", "cool white"}
    | {"natural white", "winter white", "antique brass", "blue light", "wine", "golden brown", "silver grey"}
    | {"nickel free", "sterling silver", "dusty rose", "clear coat", "multi purpose", "royal oak"}
)
_MODIFIERS = _words(
    "dark light deep pale bright matte matt mat glossy gloss satin brushed polished metallic solid pure classic medium"
    " rich soft dusty faded heather heathered shiny the color colour farbe couleur dunkel hell foncé clair claro oscuro"
    " scuro chiaro pastel neon true dunkles helles transparent"
)
_AFTER = _words(
    "leather suede canvas wood metal cotton velvet fabric mesh patent glass plastic denim finish color colour"
)
_SPLIT = re.compile(r"[/,;&+|()\[\]]|\s-\s|\b(?:and|with|und|mit|et|avec|y|con|e|en|met)\b")
_NOT = re.compile(r"\b(?:not|non|no|without|kein|ohne|sans|sin|senza)\b")
_WORD = re.compile(r"[^\W\d_]+")
_GERMAN = re.compile(
    r"(?:hell|dunkel|mittel|tief|pastell|marine|himmel|königs|royal|stahl|nacht|wald|gras|moos|tannen|rosen|wein|"
    r"feuer|blut|zitronen|sonnen|schoko|silber|stein|maus|schiefer|schnee|rein|creme)"
    r"(blau|grün|grau|braun|rot|gelb|weiß|weiss|rosa|lila|schwarz)"
)
_JOINED = re.compile(r"(?:light|dark|medium|pale|deep|forest|sky|royal|midnight|steel|navy|lawn|lime|sea|dodger|slate)")


def standard_color(text: object) -> str | None:
    """Return the one of `STANDARD_COLORS` that a colour text certainly means, or None.

    English, and the plain words of German, French, Spanish, Italian, Portuguese and Dutch, are known. Several parts
    (`Black/White`) give their colour where they agree; three or more that differ are `multicolor`; two are None,
    since a black chair with a chrome foot is not multicoloured.

    >>> standard_color("Navy Blue"), standard_color("Charcoal"), standard_color("dunkelgrün")
    ('blue', 'grey', 'green')
    >>> standard_color("Black/White"), standard_color("Mushroom"), standard_color("red, white and blue")
    (None, None, 'multicolor')

    """
    return _standard(text) if isinstance(text, str) else None


@lru_cache(maxsize=1 << 14)
def _standard(text: str) -> str | None:
    plain = " ".join(text.casefold().replace("ß", "ss").split())
    if _NOT.search(plain):
        return None
    whole = _one(" ".join(_WORD.findall(plain)))
    if whole is not None:
        return whole
    parts = [" ".join(_WORD.findall(part)) for part in _SPLIT.split(plain)]
    found = [_one(part) for part in parts if part]
    colors = set(found)
    if not found or None in colors:
        return None
    if len(colors) == 1:
        return colors.pop()
    return "multicolor" if len(colors) > 2 else None


def _one(phrase: str) -> str | None:
    """Return the colour of a phrase in lower case without marks."""
    if phrase in _UNCERTAIN:
        return None
    if phrase in _KNOWN:
        return _KNOWN[phrase]
    words = phrase.split()
    while len(words) > 1 and words[-1] in _AFTER:
        words.pop()
    if not words or " ".join(words) in _UNCERTAIN:
        return None
    if " ".join(words) in _KNOWN:
        return _KNOWN[" ".join(words)]
    if len(words) == 1:
        return _compound(words[0])
    for before, word in ((words[:-1], words[-1]), (words[1:], words[0])):
        color = _KNOWN.get(word) or _compound(word)
        if color is not None and all(one in _MODIFIERS for one in before):
            return color
    *before, last = words
    if last in _BASIC_WORDS and last not in ("clear", "gold", "silver", "bronze"):
        known = {_KNOWN.get(word, _BASIC_WORDS[last]) for word in before}
        if known == {_BASIC_WORDS[last]} and not any(word.endswith("ish") for word in before):
            return _BASIC_WORDS[last]
    return None


def _compound(word: str) -> str | None:
    """Return the colour of `dunkelblau` or `lightblue`."""
    german = _GERMAN.fullmatch(word)
    if german:
        return _KNOWN[german[1]]
    english = _JOINED.match(word)
    return _BASIC_WORDS.get(word[english.end() :]) if english else None


def _folded(table: dict[str, str]) -> dict[str, str]:
    return {name.casefold().replace("ß", "ss"): color for name, color in table.items()}


_BASIC_WORDS = _folded(_BASIC)
_KNOWN = _BASIC_WORDS | _folded(_NAMED)
