"""Whatever a model prefers, what it writes fits the schema and comes to an end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfqa.errors import UserError
from shelfqa.models.grammar import Grammar, KeepToGrammar, bounded, closing_bytes
from shelfqa.providers.base import ProviderError
from tiny_chat import tokenizer

WORDS = tokenizer(["<image>"], bos="<s>", eos="</s>", pad="<pad>", whole=[" mug", '","', '"}', "]}", '\\"', "\\", "  "])
ENDS = [int(WORDS.eos_token_id), int(WORDS.pad_token_id)]
WIDTH = len(WORDS) + 45
GRAMMAR = Grammar(WORDS, "some", ends=ENDS, width=WIDTH)


def an_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
ITEM = an_object(question=TEXT, answer=TEXT, level={"enum": [1, 2, 33]}, sure={"type": "boolean"})
SCHEMAS = [
    an_object(pairs={"type": "array", "items": ITEM}),
    an_object(pairs={"type": "array", "items": ITEM, "minItems": 2, "maxItems": 3}, note=TEXT),
    an_object(names={"type": "array", "items": TEXT}, inner=an_object(unit={"anyOf": [TEXT, {"type": "null"}]})),
    an_object(task={"type": "string", "enum": ["a", 'b"é']}, kind={"const": "x"}, n={"type": "integer"}, last=TEXT),
]


def written(scores: list[torch.Tensor], schemas: list[dict[str, Any]], limits: list[int]) -> list[list[int]]:
    """The tokens that a model with these scores [b, v] a step writes, ends included, as `generate` does."""
    rows = [GRAMMAR.row(schema, limit) for schema, limit in zip(schemas, limits, strict=True)]
    keep = KeepToGrammar(rows, GRAMMAR.width)
    ids = torch.zeros((len(rows), 3), dtype=torch.long)
    ended = [False] * len(rows)
    found: list[list[int]] = [[] for _ in rows]
    for step in scores:
        chosen = keep(ids, step).argmax(-1).tolist()
        for row, token in enumerate(chosen):
            if ended[row]:
                chosen[row] = ENDS[1]
                continue
            found[row].append(token)
            ended[row] = token in ENDS or len(found[row]) == limits[row]
        ids = torch.cat([ids, torch.tensor(chosen).unsqueeze(1)], dim=1)
        if all(ended):
            break
    return found


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value fits one of the schemas above, and the limits beyond them."""
    if "anyOf" in schema:
        return any(fits(value, one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return value in schema.get("enum", [schema.get("const")])
    if schema["type"] == "object":
        properties = schema["properties"]
        return list(value) == list(properties) and all(fits(value[name], properties[name]) for name in value)
    if schema["type"] == "array":
        least, most = schema.get("minItems", 1), schema.get("maxItems", 10)
        return least <= len(value) <= most and all(fits(item, schema["items"]) for item in value)
    types = {"string": str, "boolean": bool, "integer": int, "null": type(None)}
    return isinstance(value, types[schema["type"]]) and (not isinstance(value, str) or len(value) <= 400)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(150, 700), st.floats(0, 8))
def test_any_scores_give_json_that_fits_within_the_limit(seed: int, limit: int, sticky: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    liked = sticky * torch.randn(len(SCHEMAS), WIDTH, generator=draw)  # a model that repeats itself
    limits = [limit, limit + 3, limit - 20, limit]
    steps = [liked + torch.randn(len(SCHEMAS), WIDTH, generator=draw) for _ in range(limit + 3)]
    for ids, schema, most in zip(written(steps, SCHEMAS, limits), SCHEMAS, limits, strict=True):
        assert len(ids) <= most
        text = GRAMMAR.text(ids[:-1] if ids[-1] in ENDS else ids)
        assert fits(json.loads(text), schema), text


def test_rows_without_a_grammar_and_ends() -> None:
    keep = KeepToGrammar([GRAMMAR.row(an_object(kind={"const": "x"}), 50), None], GRAMMAR.width)
    ids = torch.zeros((2, 1), dtype=torch.long)
    text = ""
    while True:
        allowed = keep(ids, torch.zeros(2, WIDTH)) == 0
        assert allowed[1].all()
        only = allowed[0].nonzero().flatten().tolist()
        if len(only) > 1:
            break
        text += GRAMMAR.text(only)
        ids = torch.cat([ids, torch.full((2, 1), only[0])], dim=1)
    assert text == '{"kind":"x"}'
    assert set(only) == set(ENDS)


def test_what_bounds_a_schema() -> None:
    narrow = bounded(SCHEMAS[0])["properties"]["pairs"]
    assert (narrow["minItems"], narrow["maxItems"]) == (1, 10)
    texts = {name: value.get("maxLength") for name, value in narrow["items"]["properties"].items()}
    assert texts == {"question": 200, "answer": 400, "level": None, "sure": None}
    assert "minItems" not in SCHEMAS[0]["properties"]["pairs"]  # its own is left as it was
    own = {"type": "array", "items": {"type": "string", "maxLength": 900}, "minItems": 12}
    assert bounded(own) == own | {"maxItems": 12}
    assert (
        0
        <= closing_bytes(bounded(SCHEMAS[0])) - len('{"pairs":[{"question":"","answer":"","level":33,"sure":false}]}')
        < 10
    )


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match=r"the schema cannot be kept: .*look-around") as caught:
        GRAMMAR.row({"type": "string", "pattern": "a(?=b)"}, 10)
    assert caught.value.kind == "request"
    from transformers import ByT5Tokenizer

    with pytest.raises(UserError, match=r"The tokenizer of 'some' cannot be kept to a form \(Only fast"):
        Grammar(ByT5Tokenizer(), "some", ends=[1], width=300)
