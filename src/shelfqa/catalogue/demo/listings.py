"""A product's listing, in the fields and the nesting of Amazon Berkeley Objects.

What can be seen is told truly: colour, material, pattern, shape, style, brand and count are the ones drawn.
"""

from __future__ import annotations

from random import Random
from typing import Any

from shelfqa.catalogue.demo.identifiers import image_id, item_id
from shelfqa.catalogue.demo.spec import Spec
from shelfqa.catalogue.demo.vocabulary import set_phrase, word

Listing = dict[str, Any]
_DOMAINS: dict[str, tuple[str, str]] = {
    "amazon.com": ("US", "en_US"),
    "amazon.co.uk": ("GB", "en_GB"),
    "amazon.in": ("IN", "en_IN"),
    "amazon.de": ("DE", "de_DE"),
    "amazon.fr": ("FR", "fr_FR"),
    "amazon.es": ("ES", "es_ES"),
    "amazon.co.jp": ("JP", "ja_JP"),
}
_SERVICE_LINES = (
    "30-day return policy and one year of warranty.",
    "Ships in recyclable packaging.",
    "Easy to clean with a damp cloth.",
    "Designed with everyday use in mind.",
    "Makes a lovely gift for birthdays and holidays.",
    "Carefully inspected before it leaves our warehouse.",
)
_NODES = {
    "MUG": "/Categories/Kitchen & Dining/Drinkware/Mugs",
    "BOTTLE": "/Categories/Kitchen & Dining/Drinkware/Bottles",
    "SHIRT": "/Categories/Clothing/Tops/T-Shirts",
    "BACKPACK": "/Categories/Luggage/Backpacks",
    "CHAIR": "/Categories/Furniture/Chairs",
    "LAMP": "/Categories/Lighting/Lamps",
    "CLOCK": "/Categories/Home Decor/Clocks",
    "TABLE": "/Categories/Furniture/Tables",
    "SHOES": "/Categories/Shoes",
    "CELLULAR_PHONE_CASE": "/Categories/Electronics/Phone Accessories/Cases",
    "STORAGE_BOX": "/Categories/Home/Storage/Boxes",
    "PLATE": "/Categories/Kitchen & Dining/Tableware/Plates",
    "UMBRELLA": "/Categories/Accessories/Umbrellas",
    "NOTEBOOK": "/Categories/Office/Notebooks",
    "PILLOW": "/Categories/Home/Bedding/Cushions",
    "VASE": "/Categories/Home Decor/Vases",
    "SOFA": "/Categories/Furniture/Sofas",
    "RUG": "/Categories/Home Decor/Rugs",
}
# How often a field is left out, as in a real catalogue.
_MISSING = {
    "brand": 0.05,
    "bullet_point": 0.08,
    "color": 0.06,
    "item_keywords": 0.1,
    "item_name": 0.02,
    "item_shape": 0.06,
    "material": 0.08,
    "model_number": 0.1,
    "node": 0.07,
    "pattern": 0.08,
    "product_type": 0.02,
    "style": 0.1,
}


def noun_of(spec: Spec) -> str:
    """Return the English noun of the product."""
    return "Stool" if spec.style == "Stool" else spec.details.noun


def listing_of(spec: Spec, *, other_domain: bool = False) -> Listing:
    """Write the listing of a product, or the one under a second domain with the same item and images."""
    rng = spec.rng("second listing" if other_domain else "listing")
    domain, tags = _market(spec.rng("listing"), spec.rng("second domain") if other_domain else None)
    country = _DOMAINS[domain][0]
    listing: Listing = {
        "brand": [_tagged(spec.brand, tag) for tag in tags[:1]] if spec.brand else None,
        "bullet_point": [_tagged(line, tag) for tag in tags for line in _bullets(spec, tag, rng)],
        "color": [
            {"language_tag": tag, "standardized_values": [spec.color], "value": _color_value(spec, tag)} for tag in tags
        ],
        "item_id": item_id(spec.seed, spec.index),
        "item_keywords": [_tagged(value, tag) for tag in tags for value in _keywords(spec, tag)],
        "item_name": [_tagged(_name(spec, tag, rng), tag) for tag in tags],
        "item_shape": [_tagged(word(spec.shape, tag), tag) for tag in tags] if spec.shape else None,
        "material": [_tagged(word(spec.material, tag), tag) for tag in tags],
        "model_number": [{"value": f"{spec.details.product_type[:3]}-{spec.index:05d}"}],
        "pattern": [_tagged(word(spec.pattern, tag), tag) for tag in tags],
        "product_type": spec.details.product_type if rng.random() < 0.1 else [{"value": spec.details.product_type}],
        "style": [_tagged(spec.style, tag) for tag in tags if tag.startswith("en")] or None,
        "node": [{"node_id": 1_000_000 + 37 * spec.index % 9973, "node_name": _NODES[spec.details.product_type]}],
        "country": country,
        "marketplace": "Amazon",
        "domain_name": domain,
        "main_image_id": image_id(spec.seed, spec.index, 0),
        "other_image_id": [image_id(spec.seed, spec.index, view) for view in range(1, spec.views + 1)] or None,
    }
    if rng.random() < 0.3 and tags[0].startswith("en"):
        listing["product_description"] = [_tagged(_description(spec, tags[0]), tags[0])]
    if rng.random() < 0.35:
        listing.update(_measures(rng))
    for field, share in _MISSING.items():
        if rng.random() < share:
            listing[field] = None
    return {field: listing[field] for field in sorted(listing) if listing[field] is not None}


def _market(rng: Random, second: Random | None) -> tuple[str, list[str]]:
    """Choose the domain and the languages of the texts: English, another beside it, or another instead."""
    kind = rng.random()
    if kind < 0.7:
        first = rng.choice(["amazon.com", "amazon.com", "amazon.co.uk", "amazon.in"])
    else:
        first = rng.choice(["amazon.de", "amazon.fr", "amazon.es", "amazon.co.jp", "amazon.in"])
    domain = first if second is None else second.choice([d for d in _DOMAINS if d != first])
    own = _DOMAINS[domain][1]
    if domain == "amazon.in" and kind >= 0.7:
        return domain, ["hi_IN"] if kind >= 0.86 else ["en_IN", "hi_IN"]
    if own.startswith("en"):
        return domain, [own]
    return domain, [own] if kind >= 0.86 else ["en_US", own] if kind < 0.78 else [own, "en_GB"]


def _tagged(value: str | None, tag: str) -> dict[str, str]:
    return {"language_tag": tag, "value": value or ""}


def _color_value(spec: Spec, tag: str) -> str:
    return spec.shade if tag.startswith("en") else word(spec.color, tag)


def _name(spec: Spec, tag: str, rng: Random) -> str:
    """Compose a title: brand, colour, material, noun and, at times, pattern and style."""
    noun, color = word(noun_of(spec), tag), _color_value(spec, tag)
    parts = [spec.brand] if spec.brand else []
    material, pattern = word(spec.material, tag), word(spec.pattern, tag)
    if tag.startswith("en"):
        style = "" if spec.style == "Stool" else f", {spec.style}"
        title = rng.choice(
            [
                f"{pattern} {material} {noun}{style}",
                f"{material} {noun}{style}",
                f"{noun}{style} - {pattern}",
                f"{noun}{style}",
            ]
        )
    else:
        title = rng.choice([f"{noun}, {material}, {pattern}", f"{noun}, {material}", noun])
    if spec.shape and rng.random() < 0.5:
        title = f"{word(spec.shape, tag)} {title}" if tag.startswith("en") else f"{title}, {word(spec.shape, tag)}"
    parts.append(title)
    text = " ".join(parts)
    if rng.random() < 0.8:
        text += f", {color}"
    if spec.count > 1:
        text += f", {set_phrase(spec.count, tag)}"
    return text


def _bullets(spec: Spec, tag: str, rng: Random) -> list[str]:
    def fact(label: str, value: str) -> str:
        return f"{word(label, tag)}: {word(value, tag)}"

    lines = [fact("Material", spec.material), fact("Pattern", spec.pattern)]
    if tag.startswith("en"):
        lines[0] = rng.choice([f"Made of {spec.material.lower()}", fact("Material", spec.material)])
        lines.append(rng.choice([f"Style: {spec.style}", fact("Colour", spec.color)]))
    if spec.shape:
        lines.append(fact("Shape", spec.shape))
    if spec.count > 1:
        lines.append(set_phrase(spec.count, tag, pack=True))
    rng.shuffle(lines)
    if tag.startswith("en"):
        lines += rng.sample(_SERVICE_LINES, rng.randint(0, 2))
    return lines


def _keywords(spec: Spec, tag: str) -> list[str]:
    words = [word(noun_of(spec), tag), word(spec.color, tag), word(spec.material, tag), word(spec.pattern, tag)]
    return list(dict.fromkeys(w.lower() for w in words))


def _description(spec: Spec, tag: str) -> str:
    noun = noun_of(spec).lower()
    subject = f"this {noun}" if spec.count == 1 else f"this set of {spec.count} ({noun})"
    pattern = "plain" if spec.pattern == "Solid" else spec.pattern.lower()
    return (
        f"<p>Meet {subject} in <b>{_color_value(spec, tag)}</b>.</p><ul><li>{pattern} look</li>"
        f"<li>{spec.material.lower()} throughout</li></ul><p>A friend for every home&nbsp;&amp; every day.</p>"
    )


def _measures(rng: Random) -> Listing:
    dimensions = {}
    for side in ("height", "length", "width"):
        inches = round(rng.uniform(2, 40), 2)
        dimensions[side] = {
            "normalized_value": {"unit": "inches", "value": inches},
            "unit": "inches",
            "value": inches,
        }
    pounds = round(rng.uniform(0.2, 30), 2)
    weight = {"normalized_value": {"unit": "pounds", "value": pounds}, "unit": "pounds", "value": pounds}
    return {"item_dimensions": dimensions, "item_weight": [weight]}
