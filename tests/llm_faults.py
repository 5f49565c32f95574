"""What the test server of models says to a prompt, and when it fails instead: both follow from the prompt alone."""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import Any

Say = Callable[[str, str, Mapping[str, Any] | None, int], str]
"""Called with prompt, system, schema and the number of pictures; returns the text of the reply."""
Identify = Callable[[str], str]
"""What of a prompt tells one question to the model from another."""

OF_CONTENT = ("cut", "off_schema", "null_content", "refused", "filtered")
TRANSIENT = ("busy", "busy_retry_after", "server_error", "unavailable", "hang", "dropped", "broken_off", *OF_CONTENT)
ALWAYS = ("refused_always", "off_schema_always", "bad_request_always")


@dataclass(frozen=True, kw_only=True)
class Faults:
    """The probability of each fault at one asking, and the share of prompts that a fault holds for ever.

    Whether a prompt meets a fault, and which, follows from the seed, its identity and how often it was asked before.
    """

    busy: float = 0.0
    """429 that says no time."""
    busy_retry_after: float = 0.0
    """429 with Retry-After; Gemini has its RetryInfo instead."""
    server_error: float = 0.0
    """500."""
    unavailable: float = 0.0
    """503; Anthropic says 529."""
    hang: float = 0.0
    """Nothing for `hang_s`, then the connection is closed."""
    dropped: float = 0.0
    """The connection is closed before any byte."""
    broken_off: float = 0.0
    """The connection is closed half-way in the body."""
    cut: float = 0.0
    """The text ends half-way for its length, and the reply says so."""
    off_schema: float = 0.0
    """JSON of another form."""
    null_content: float = 0.0
    """A reply like any other, but without text."""
    refused: float = 0.0
    """The model declines; Gemini blocks the prompt."""
    filtered: float = 0.0
    """The provider's filter stops the reply; Anthropic says so by a 400."""
    refused_always: float = 0.0
    off_schema_always: float = 0.0
    bad_request_always: float = 0.0
    """400."""

    transient_askings: int = 3
    """Askings of a prompt that may meet a fault which does not hold for ever."""
    retry_after_s: float = 0.05
    hang_s: float = 60.0

    def __post_init__(self) -> None:
        for names in (TRANSIENT, ALWAYS):
            shares = [getattr(self, name) for name in names]
            if min(shares) < 0 or sum(shares) > 1 + 1e-9:
                raise ValueError(f"the shares of {names} are {shares}: each must be 0 or more, all together at most 1.")

    @functools.cached_property
    def _always(self) -> tuple[tuple[str, float], ...]:
        return tuple((name.removesuffix("_always"), share) for name, share in self._shares(ALWAYS))

    @functools.cached_property
    def _transient(self) -> tuple[tuple[str, float], ...]:
        return tuple(self._shares(TRANSIENT))

    @functools.cached_property
    def _of_content(self) -> tuple[tuple[str, float], ...]:
        return tuple(self._shares(OF_CONTENT))

    def _shares(self, names: Iterable[str]) -> Iterator[tuple[str, float]]:
        return ((name, share) for name in names if (share := getattr(self, name)))

    def met(self, seed: int, identity: int, asked_before: int, *, in_batch: bool = False) -> str:
        """Return the fault that an asking meets, or "ok"; in a batch only faults of the content are met."""
        if self._always and (name := _pick(self._always, unit(seed, identity, "always"))):
            return name
        transient = self._of_content if in_batch else self._transient
        if transient and asked_before < self.transient_askings:
            return _pick(transient, unit(seed, identity, asked_before)) or "ok"
        return "ok"


def _pick(shares: tuple[tuple[str, float], ...], at: float) -> str | None:
    for name, share in shares:
        if at < share:
            return name
        at -= share
    return None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the server behaves; all of it may be changed while it runs."""

    seed: int = 0
    faults: Faults = field(default_factory=Faults)
    say: str = "llm_faults:say"
    """`module:function` of a `Say`."""
    identity: str = "llm_faults:whole_prompt"
    """`module:function` of an `Identify`."""
    key: str = ""
    """The only key that is taken; any is, if empty."""
    latency_s: float = 0.0
    latency_spread: float = 0.0
    """How far latencies depart from `latency_s` both ways, as a share of it."""
    limit_requests: int = 0
    """Requests within any `limit_window_s` that are let through; 0 for all."""
    limit_window_s: float = 60.0
    quota_requests: int = 0
    """Replies after which the quota or the credit is gone; 0 for never."""
    quota_as: str = "credit"
    """How Anthropic tells: "credit" (400, as it does), "billing" (402) or "spend_limit" (429, without end)."""
    missing_model: str = "missing-model"
    """The model that is not there (404)."""
    refuses: tuple[str, ...] = ()
    """Parameters that the model does not take, such as "temperature" (400)."""
    thought_tokens: int = 0
    """Tokens of thoughts that each reply counts as output."""

    batch_s: float = 0.0
    """How long a batch takes."""
    batch_errored: float = 0.0
    """Share of askings in batches that end in an error of the server."""
    batch_expired: float = 0.0
    """Share of askings in batches that expire."""
    batches_fail: int = 0
    """How many of the first batches fail as a whole."""
    batches_expire: int = 0
    """How many of the batches after those expire, with `batch_part_done` of their requests answered."""
    batch_part_done: float = 0.5
    batch_creates_lost: int = 0
    """How many batches are made without the client hearing of it: the connection is dropped."""
    batch_calls_fail: float = 0.0
    """Share of the calls about batches and their files that give a 503."""
    batch_output_late_s: float = 0.0
    """For how long a batch of Gemini has succeeded without telling where its responses are, as it happens."""


def settings_from(given: Mapping[str, Any], base: Settings | None = None) -> Settings:
    """Return `base` with what is given; faults are replaced as a whole. Unknown names raise ValueError."""
    known = {one.name for one in fields(Settings)}
    changed = dict(given)
    if unknown := sorted(set(changed) - known):
        raise ValueError(f"unknown settings {unknown}; known are {sorted(known)}")
    if isinstance(faults := changed.get("faults"), Mapping):
        try:
            changed["faults"] = Faults(**faults)
        except TypeError as error:
            raise ValueError(str(error)) from None
    if "refuses" in changed:
        changed["refuses"] = tuple(changed["refuses"])
    return replace(base or Settings(), **changed)


def load(name: str) -> Any:
    """Return the function that `module:function` names."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def digest(*parts: object) -> int:
    """Return 64 bits that follow from the parts."""
    return int.from_bytes(blake2b("\0".join(map(str, parts)).encode("utf-8", "replace"), digest_size=8).digest())


def unit(*parts: object) -> float:
    """Return a number in [0, 1) that follows from the parts."""
    return digest(*parts) / 2**64


def identity_of(system: str, identity: str) -> str:
    """Return the name under which the log has what a prompt is identified by, asked with `system`."""
    return f"{digest(system, identity):016x}"


def whole_prompt(prompt: str) -> str:
    return prompt


def product_of(prompt: str) -> str:
    """Return the X of `product_id: X` where a line of the prompt begins with `Product `, else the whole prompt."""
    if re.search(r"^Product ", prompt, re.MULTILINE) and (found := re.search(r"product_id: *(\S+)", prompt)):
        return found[1]
    return prompt


_CONSONANTS, _VOWELS = "bdfgklmnprstvzhj", "aiou"


class _Words:
    """Distinct words of six letters that follow from a prompt."""

    def __init__(self, prompt: str, system: str) -> None:
        self.state = digest(system, prompt, "words")
        self.used: set[str] = set()

    def number(self) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state >> 33

    def word(self) -> str:
        while True:
            at = self.number()
            letters = []
            for _ in range(3):
                letters.append(_CONSONANTS[at & 15] + _VOWELS[(at >> 4) & 3])
                at >>= 6
            if (word := "".join(letters)) not in self.used:
                self.used.add(word)
                return word


def say(prompt: str, system: str, schema: Mapping[str, Any] | None, pictures: int) -> str:
    """Return JSON that keeps to the schema, or a word without one.

    What is called a question asks, what is called an answer is a single word that its question does not contain.
    """
    words = _Words(prompt, system)
    return words.word() if schema is None else json.dumps(_fill(schema, words, ""), ensure_ascii=False)


def _fill(schema: Mapping[str, Any], words: _Words, name: str) -> Any:
    if "const" in schema:
        return schema["const"]
    if options := schema.get("enum"):
        return options[words.number() % len(options)]
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return _fill(options[0], words, name)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    match str(kind).lower():  # Gemini's own schemas have their types in capitals
        case "object":
            return {key: _fill(inner, words, key) for key, inner in schema.get("properties", {}).items()}
        case "array":
            count = int(schema.get("minItems", schema.get("min_items", 3)))
            return [_fill(schema.get("items", {}), words, name) for _ in range(count)]
        case "integer" | "number":
            low = int(schema.get("minimum", 0))
            return min(low + words.number() % 10, int(schema.get("maximum", low + 9)))
        case "boolean":
            return bool(words.number() & 1)
        case "null":
            return None
    if "question" in name:
        return f"What is the {words.word()} of the {words.word()} here?"
    return words.word()
