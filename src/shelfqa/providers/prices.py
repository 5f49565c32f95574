"""What requests cost: prices of models by the package `genai-prices`, and tokens as estimated before they are sent."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from shelfqa.providers.base import Request, Usage
from shelfqa.providers.hosted import is_local
from shelfqa.providers.settings import ClientConfig

BATCH_SHARE = 0.5
"""What a request costs in a batch, of its price; all three providers say half."""

_BYTES_A_TOKEN = 4.0
"""Of English text."""
_MILLION = 1_000_000
_LISTED = {"anthropic": "anthropic", "gemini": "google", "openai": "openai"}
"""What `genai-prices` calls our providers."""


class Price(NamedTuple):
    """Dollars a token."""

    input: float
    output: float

    def of(self, usage: Usage) -> float:
        """Return what a request cost.

        >>> round(Price(input=3e-07, output=2.5e-06).of(Usage(1000, 200)), 6)
        0.0008
        """
        return self.input * usage.input_tokens + self.output * usage.output_tokens


def price_of(provider: str, model: str, settings: ClientConfig) -> Price | None:
    """Return the price of a model: the one given, else the listed one; None where it is not known."""
    listed = _listed(provider, model, settings.base_url)
    if settings.input_price is None and settings.output_price is None:
        return listed
    given_in = None if settings.input_price is None else settings.input_price / _MILLION
    given_out = None if settings.output_price is None else settings.output_price / _MILLION
    price_in = given_in if given_in is not None else listed and listed.input
    price_out = given_out if given_out is not None else listed and listed.output
    return None if price_in is None or price_out is None else Price(price_in, price_out)


def _listed(provider: str, model: str, base_url: str | None) -> Price | None:
    if provider not in _LISTED:
        return None
    try:
        from genai_prices import Usage as Amount
        from genai_prices import calc_price
    except ImportError:
        return None
    thousand = Amount(input_tokens=1000, output_tokens=1000)  # few enough for no surcharge on long prompts
    try:
        price = calc_price(thousand, model, provider_api_url=base_url) if base_url else None
    except LookupError:  # a proxy in front of the provider, or a server of one's own
        if is_local(base_url or ""):
            return None
        price = None
    try:
        price = price or calc_price(thousand, model, provider_id=_LISTED[provider])
    except LookupError:
        return None
    return Price(float(price.input_price) / 1000, float(price.output_price) / 1000)


def estimated_input_tokens(provider: str, request: Request, sizes: Sequence[tuple[int, int]]) -> int:
    """Return about how many tokens a request has; `sizes` are width and height of its pictures as they are sent."""
    texts = [request.system, request.prompt, json.dumps(request.schema) if request.schema is not None else ""]
    tokens = sum(len(text.encode("utf-8", "replace")) for text in texts) / _BYTES_A_TOKEN
    return round(tokens) + sum(picture_tokens(provider, *size) for size in sizes)


def picture_tokens(provider: str, width_px: int, height_px: int) -> int:
    """Return what a picture counts by the provider's published rule; OpenAI's is that of GPT-4o at high detail.

    >>> [picture_tokens(name, 256, 256) for name in ("gemini", "openai", "anthropic")]
    [258, 255, 88]
    """
    if provider == "gemini":
        if max(width_px, height_px) <= 384:
            return 258
        return 258 * math.ceil(width_px / 768) * math.ceil(height_px / 768)
    if provider == "anthropic":
        scale = min(1.0, 1568 / max(width_px, height_px))
        return math.ceil(width_px * height_px * scale**2 / 750)
    scale = min(1.0, 2048 / max(width_px, height_px))
    scale = min(scale, 768 / min(width_px, height_px))
    return 85 + 170 * math.ceil(width_px * scale / 512) * math.ceil(height_px * scale / 512)


def size_of(picture: bytes) -> tuple[int, int]:
    """Return width and height of a picture, of its header alone; (1, 1) where that cannot be read."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return 1, 1
