"""Replies that keep to a JSON schema: before each token, those that would break the schema are ruled out.

The masks are llguidance's (MIT, https://github.com/guidance-ai/llguidance). A model that means nothing by what it
writes fills every text to its limit, so the schema is narrowed first (`bounded`), and where the tokens run out the
reply is closed: the text ends, the list ends, what is required is left empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor

from shelfqa.errors import UserError
from shelfqa.providers.base import ProviderError

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

MAX_ITEMS = 10
"""Longest list, where the schema does not say; the shortest has one item."""
MAX_CHARACTERS = 400
"""Longest text, where the schema does not say."""
SHORTER: Mapping[str, int] = {"question": 200}
"""Longest text of a property that is shorter than others, by the property's name."""

_ESCAPES = '"\\n'
"""Of escapes the three that a text needs; the others, and blanks between values, weak models repeat without end."""
_CLOSING = ('"', "]", "}", ",")
"""What ends a reply soonest; the first that may come next is taken. Within a text that is the quotation mark."""
_SPARE_TOKENS = 8
"""What may come before a text can end: the rest of an escape or of a letter of several bytes."""
_WITHOUT_LENGTH = frozenset({"enum", "const", "maxLength", "pattern", "format"})


def bounded(schema: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Return a JSON schema whose texts and lists are bounded, so that what fits it comes to an end.

    Args:
        schema: without `$ref`.
        name: of the property that it describes.

    >>> bounded({"type": "array", "items": {"type": "string"}})
    {'type': 'array', 'items': {'type': 'string', 'maxLength': 400}, 'minItems': 1, 'maxItems': 10}
    """
    found = dict(schema)
    kind = schema.get("type", ())
    kinds = {kind} if isinstance(kind, str) else set(kind)
    if "string" in kinds and not _WITHOUT_LENGTH & set(schema):
        found["maxLength"] = SHORTER.get(name, MAX_CHARACTERS)
    if "array" in kinds:
        found["minItems"] = schema.get("minItems", 1)
        found["maxItems"] = schema.get("maxItems", max(MAX_ITEMS, found["minItems"]))
    if isinstance(schema.get("items"), Mapping):
        found["items"] = bounded(schema["items"], name)
    if isinstance(schema.get("properties"), Mapping):
        found["properties"] = {key: bounded(value, key) for key, value in schema["properties"].items()}
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            found[choice] = [bounded(one, name) for one in schema[choice]]
    return found


def closing_bytes(schema: Mapping[str, Any]) -> int:
    """Return how many bytes the shortest value takes, of choices the longest: as many tokens can closing a reply take.

    >>> closing_bytes({"properties": {"answer": {"type": "string"}, "level": {"enum": [1, 20]}}})
    24
    """
    if "const" in schema or "enum" in schema:
        return max(len(_compact(value)) for value in schema.get("enum", (schema.get("const"),)))
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if choices:
        return max(map(closing_bytes, choices))
    if "properties" in schema:
        return 1 + sum(len(_compact(name)) + 2 + closing_bytes(value) for name, value in schema["properties"].items())
    if "items" in schema:
        return 1 + int(schema.get("minItems", 0)) * (1 + closing_bytes(schema["items"])) + 1
    text = 2 + int(schema.get("minLength", 0))
    return text if schema.get("type") == "string" else max(text, len("false"))


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Row:
    """How far one reply is, as the grammar sees it."""

    def __init__(self, matcher: Any, closing: Sequence[int], ends: Sequence[int], limit: int, reserve: int) -> None:
        self._matcher = matcher
        self._closing = closing
        self._ends = ends
        self._left = limit
        self._reserve = reserve
        self._ended = limit <= 0
        self.error: str | None = None
        """Why llguidance gave up, as it does where the schema is too complex for it."""

    def take(self, token: int) -> None:
        """Go on by the token that was chosen; what follows the reply's end is padding, which is passed over."""
        if self._ended:
            return
        self._left -= 1
        if token not in self._ends and not self._matcher.consume_token(token):
            self.error = _line(self._matcher.get_error())
        self._ended = self._left == 0 or self.error is not None or token in self._ends

    @property
    def complete(self) -> bool:
        """Whether what was taken is all that the schema asks for."""
        return bool(self._matcher.is_accepting())

    def allow(self, mask: NDArray[np.int32], place: int) -> None:
        """Write into row `place` of `mask`, a bit a token, which may come next."""
        import llguidance.numpy as bits

        if self._ended:
            mask[place] = -1
            return
        bits.fill_next_token_bitmask(self._matcher, mask, place)
        if self._left > self._reserve or self.complete:
            return
        for token in self._closing:
            if mask[place, token >> 5] >> (token & 31) & 1:
                mask[place] = 0
                mask[place].view(np.uint32)[token >> 5] = 1 << (token & 31)
                return


class Grammar:
    """Makes rows from schemas for one model."""

    def __init__(self, tokenizer: Any, name: str, *, ends: Sequence[int], width: int) -> None:
        """Read the vocabulary, which takes a second where it is large.

        Args:
            tokenizer: of transformers, a fast one.
            name: what the user called the model.
            ends: the tokens that end a reply.
            width: how many tokens the model scores; may be more than the tokenizer has.

        Raises:
            UserError: if llguidance does not know such tokenizers.

        """
        from llguidance.hf import from_tokenizer

        try:
            self._tokenizer = from_tokenizer(tokenizer, n_vocab=max(width, len(tokenizer)), eos_token=list(ends))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"The tokenizer of {name!r} cannot be kept to a form ({_line(str(error))}): choose another chat model."
            ) from None
        self._ends = ends
        single = (self._tokenizer.greedy_tokenize(text) for text in _CLOSING)
        self._closing = [ids[0] for ids in single if len(ids) == 1]
        self._known: dict[str, tuple[Any, int]] = {}

    @property
    def width(self) -> int:
        """How many tokens a mask covers."""
        return int(self._tokenizer.vocab_size)

    def row(self, schema: Mapping[str, Any], limit: int) -> Row:
        """Return the beginning of a reply of at most `limit` tokens.

        Raises:
            ProviderError: if the schema is none, or holds what llguidance does not know.

        """
        from llguidance import LLMatcher

        key = json.dumps(schema)
        if key not in self._known:
            narrow = bounded(schema)
            compact: JsonCompileOptions = {"whitespace_flexible": False, "json_allowed_escapes": _ESCAPES}
            grammar = LLMatcher.grammar_from_json_schema(narrow, overrides=compact)
            matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
            if matcher.is_error():
                raise ProviderError(f"the schema cannot be kept: {_line(matcher.get_error())}", kind="request")
            self._known[key] = (matcher, closing_bytes(narrow) + _SPARE_TOKENS)
        matcher, reserve = self._known[key]
        return Row(matcher.deep_copy(), self._closing, self._ends, limit, reserve)

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of tokens as the grammar reads it, byte by byte."""
        return str(self._tokenizer.decode_str(list(ids)))


class KeepToGrammar(LogitsProcessor):  # type: ignore[misc]
    """Rules out, in transformers' `generate`, what would break each row's grammar; rows without one are left alone."""

    def __init__(self, rows: Sequence[Row | None], width: int) -> None:
        self._rows = rows
        self._mask = np.full((len(rows), (width + 31) // 32), -1, dtype=np.int32)
        self._begun = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores [b, v] with those of tokens that may not come next at minus infinity."""
        last = input_ids[:, -1].tolist()
        for place, row in enumerate(self._rows):
            if row is not None:
                if self._begun:
                    row.take(last[place])
                row.allow(self._mask, place)
        self._begun = True
        allowed = np.unpackbits(self._mask.view(np.uint8), axis=1, count=scores.shape[1], bitorder="little")
        return scores.masked_fill(torch.from_numpy(allowed == 0).to(scores.device), float("-inf"))


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
