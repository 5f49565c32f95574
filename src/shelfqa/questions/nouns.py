"""What a product type is called in a question or an answer: its head noun, in the singular."""

from __future__ import annotations

from functools import lru_cache


def word_set(*lines: str) -> frozenset[str]:
    """Return the words in the lines, which are separated by blanks."""
    return frozenset(" ".join(lines).split())


_PLURAL_ONLY = word_set(
    "headphones earphones earbuds glasses sunglasses scissors pants shorts jeans trousers tights leggings",
    "binoculars goggles pajamas pliers tongs overalls briefs",
)
_NOT_PLURAL = ("ss", "us", "is", "ous")
_WHOLE = {
    "finering": "ring",
    "fineearring": "earring",
    "finenecklace": "necklace",
    "finebracelet": "bracelet",
    "fashionring": "ring",
    "fashionearring": "earring",
    "light fixture": "light",
    "shirt": "shirt",
    "t shirt": "shirt",
    "notebook computer": "laptop",
    "flash memory": None,
    "water flotation device": None,
}
"""Types whose name is not its head noun's; None where there is none."""

_VAGUE = word_set(
    "home accessory accessories other fineother finenecklacebraceletanklet supply supplies product products good",
    "goods decor living bath kitchen hardware equipment item part set kit device instrument electronic",
    "electronics furniture apparel clothing jewelry beauty grocery food toy toys game games tool tools component",
    "material add on setting outdoor outdoors health care personal unit system misc miscellaneous general auto",
    "automotive sport sports baby pet garden office industrial lighting bedding houseware housewares luxury wear",
    "assortment collection swatch consumable consumer media video software service abis drugstore art craft",
    "crafts media music wireless computer professional healthcare fashionnecklacebraceletanklet fashionother biss",
    "source improvement color stock bit protection storage control agent support attachment audio appliance",
    "seating vehicle filament note figure converter processor sale merchandise stuff thing things object picture",
)


@lru_cache(maxsize=4096)
def head_noun(product_type: str | None) -> str | None:
    """Return the last word of a product type in the singular, or None where it says nothing of what is seen.

    >>> head_noun("cellular phone case"), head_noun("shoes"), head_noun("home"), head_noun("sporting goods")
    ('case', 'shoe', None, None)
    """
    if not product_type:
        return None
    name = " ".join(product_type.casefold().replace("_", " ").replace("-", " ").split())
    if name in _WHOLE:
        return _WHOLE[name]
    words = name.split()
    last = words[-1] if words else ""
    noun = singular(last)
    if "and" in words or not last.isalpha() or len(noun) < 3 or last in _VAGUE or noun in _VAGUE:
        return None
    return noun


def singular(word: str) -> str:
    """Return the singular of an English noun.

    >>> singular("dresses"), singular("knives"), singular("batteries"), singular("glass"), singular("scissors")
    ('dress', 'knife', 'battery', 'glass', 'scissors')
    """
    if word in _PLURAL_ONLY or not word.endswith("s") or word.endswith(_NOT_PLURAL):
        return word
    for ending, instead in (("ies", "y"), ("ives", "ife"), ("lves", "lf"), ("ches", "ch"), ("shes", "sh")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + instead
    for ending in ("sses", "xes", "zzes"):
        if word.endswith(ending):
            return word[:-2]
    return word[:-1]


def plural(noun: str) -> str:
    """Return the plural of an English noun.

    >>> plural("mug"), plural("box"), plural("battery"), plural("shelf"), plural("jeans")
    ('mugs', 'boxes', 'batteries', 'shelves', 'jeans')
    """
    if is_plural(noun):
        return noun
    if noun in ("knife", "shelf", "loaf", "scarf"):
        return noun.removesuffix("fe").removesuffix("f") + "ves"
    if noun.endswith("y") and noun[-2:-1] not in ("a", "e", "i", "o", "u"):
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")


def is_plural(noun: str) -> bool:
    """Return whether the noun is one of those that have no singular."""
    return noun in _PLURAL_ONLY
