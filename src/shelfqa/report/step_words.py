"""What the steps of a curation do, in words, for the data card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_READ = "Lines and rows of the catalogue that can be read"

_WORDS = {
    "read": _READ,
    "images": "The catalogue says where the main picture is",
    "pictures": "The main picture can be read, is large enough and not blank",
    "wanted-language": "Some text is in a wanted language",
    "required-fields": "Each of these is given: {fields}",
    "ascii-only": "Only ASCII characters in {fields}",
    "blocked": "Not among {number} blocked ids",
    "richness": "At least {minimum} of colour, bullet points and keywords",
    "exact-duplicates": "One of those that agree in pictures and {fields}",
    "other-image-consistency": "No other picture of it is the main picture of another listing",
    "near-duplicate-metadata": "One of those of a type that say the same in {fields}",
    "cap": "At most {per_type} of a product type, {by}",
    "one-per-image": "One of those with the same main picture",
    "one-per-product": "One of those with the same product id",
    "every-type": "At least some of each product type: up to {per_type} brought back where none was left",
    "describe-from-bullet-points": "Bullet points joined to one description",
}
_BY = {"richness": "the richest", "sample": "a random sample"}


def step_words(step: str, parameters: Mapping[str, Any]) -> str:
    """Return what a listing must be to pass the step; for a step unknown here, its parameters.

    >>> step_words("cap", {"per_type": 200, "by": "richness", "seed": None})
    'At most 200 of a product type, the richest'
    >>> step_words("my-own", {"least": 2, "seed": None})
    'least 2'
    """
    said = {key: _value(value) for key, value in parameters.items()}
    said["by"] = _BY.get(str(parameters.get("by")), said.get("by", ""))
    said["number"] = str(sum(len(value) for value in parameters.values() if isinstance(value, list | tuple)))
    if step == "exact-duplicates" and not parameters.get("fields"):
        said["fields"] = "all other fields"
    try:
        return _WORDS[step].format_map(said)
    except KeyError:
        given = {key: value for key, value in parameters.items() if value not in (None, [], (), "")}
        return ", ".join(f"{key.replace('_', ' ')} {said[key]}" for key in given)


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(field_words(str(one)) for one in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def field_words(name: str) -> str:
    """Return what readers call a field.

    >>> field_words("bullet_points"), field_words("other_image_paths"), field_words("attributes.model_name")
    ('bullet points', 'other pictures', 'model name')
    """
    if name == "other_image_paths":
        return "other pictures"
    return name.removeprefix("attributes.").replace("_", " ")
