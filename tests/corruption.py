"""What the seeded corruptions of catalogues have in common."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shelfqa.artifacts import read_table
from shelfqa.catalogue.settings import CurateConfig
from shelfqa.stages.curate import curate

CASES = 20
"""Cases of each kind of corruption."""


def joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def not_blank(data: bytes) -> int:
    """Lines of a text, blank ones left out."""
    return sum(bool(line.strip()) for line in data.split(b"\n"))


def flipped(data: bytes, rng: random.Random, start: int = 0) -> bytes:
    """The bytes with one to four of them changed."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(start, len(data))] ^= rng.randint(1, 255)
    return bytes(changed)


def deep(depth: int, opening: str = "[", closing: str = "]") -> Any:
    return Raw(opening * depth + "1" + closing * depth)


class Raw(str):
    """Text that stands in a line of JSON as it is."""


DEPTHS = [
    deep(depth, *pair) for depth in (100, 450, 900, 985, 995, 3000, 100_000) for pair in ("[]", ('{"value":', "}"))
]


NUMBERS = [
    Raw("NaN"),
    Raw("-Infinity"),
    Raw("1e999"),
    Raw("9" * 400),
    Raw("9" * 5000),
    Raw("1e308"),
    Raw("-0"),
    10**30,
    2**64,
]
NUMBERS += [-1, Raw("1E400"), Raw("0x10"), Raw("01"), "9" * 5000, "9" * 400, "-5", "٣"]


TEXTS = [
    Raw('"\\ud800"'),
    Raw('"\\udfff\\ud800 x"'),
    "\0",
    "",
    "  ",
    "\u2028",
    "'; DROP TABLE parts; --",
    "x" * 200_000,
]
TEXTS += [
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\x.png",
    Raw('"\\u00zz"'),
    "a\x1fb",
    "<p>" * 3000,
    "&" * 3000,
    "%s%n{}",
]


SHAPES: list[Any] = [
    None,
    True,
    [],
    {},
    [[]],
    [None],
    [{}],
    {"value": None},
    {"value": {"value": 1}},
    [[["x"]]],
    [{"value": []}],
    5,
    "x",
]
SHAPES += [
    [{"value": "x", "language_tag": 5}],
    [{"language_tag": "en_US"}],
    [{"value": True}],
    ["x", 5, None, {"value": "y"}],
]


def seeds(kind: str) -> Iterator[random.Random]:
    return (random.Random(f"{kind} {number}") for number in range(CASES))


def curated(catalogue: Path, out: Path, **config: Any) -> int:
    """Curate, hold the counts against the tables, and return how many listings were read."""
    manifest = curate(catalogue, out, CurateConfig(check_images="none", **config), workers=1)
    counts = manifest.counts
    assert counts.read == counts.kept + sum(counts.dropped.values())
    assert counts.kept == read_table(out, "products").num_rows
    assert sum(counts.dropped.values()) == read_table(out, "dropped").num_rows
    return counts.read
