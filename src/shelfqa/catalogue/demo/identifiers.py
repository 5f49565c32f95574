"""Identifiers of drawn listings and images: they never collide and depend on (seed, index) alone."""

from __future__ import annotations

import hashlib

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VIEWS_AT_MOST = 8


def _seed_offset(seed: int, purpose: str, modulus: int) -> int:
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % modulus


def _written(number: int, digits: str, length: int) -> str:
    text = ""
    for _ in range(length):
        number, digit = divmod(number, len(digits))
        text = digits[digit] + text
    return text


def item_id(seed: int, index: int) -> str:
    """Return ten characters like B07QK2M1XZ; different for every index below 36**7."""
    modulus = 36**7
    number = (index * 48_271_927_613 + _seed_offset(seed, "item", modulus)) % modulus
    return "B0" + _DIGITS[10 + index % 7] + _written(number, _DIGITS, 7)


def image_id(seed: int, index: int, view: int) -> str:
    """Return eleven characters like 71kQx2ab9TL; different for every picture."""
    modulus = 62**8
    number = ((index * VIEWS_AT_MOST + view) * 131_530_046_819_587 + _seed_offset(seed, "image", modulus)) % modulus
    return ("71", "81", "61", "91")[index % 4] + _written(number, _LETTERS, 8) + "L"


def image_path(seed: int, index: int, view: int) -> str:
    """Return the path below images/small, like 8c/8ccb5859.jpg; different for every picture."""
    number = (index * VIEWS_AT_MOST + view) * 2_654_435_761 + _seed_offset(seed, "path", 2**32)
    name = f"{number % 2**32:08x}"
    return f"{name[:2]}/{name}.jpg"
