"""JSON Schemas that replies in tests keep to."""

from __future__ import annotations

from typing import Any


def pairs_schema(**properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that lists pairs with these properties."""
    pair = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"pairs": {"type": "array", "items": pair}},
        "required": ["pairs"],
        "additionalProperties": False,
    }
