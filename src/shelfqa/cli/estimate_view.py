"""What `shelfqa generate --dry-run` prints."""

from __future__ import annotations

import json

import click

from shelfqa.providers.estimate import Estimate
from shelfqa.providers.settings import ClientConfig


def show_estimate(estimate: Estimate, client: ClientConfig, *, as_json: bool) -> None:
    """Print requests, tokens, price and time; a line each, or as JSON."""
    if as_json:
        click.echo(json.dumps(estimate._asdict()))
        return
    tokens = estimate.input_tokens + estimate.output_tokens
    rows = [
        ("products", f"{estimate.jobs:,}" + (f", of which {estimate.done:,} have a reply" if estimate.done else "")),
        ("requests", f"{estimate.requests:,}, more where a reply has to be asked for again"),
        ("tokens", f"{tokens:,}: {estimate.input_tokens:,} in, {estimate.output_tokens:,} out"),
        ("price", _price(estimate, client)),
        ("time", _time(estimate)),
    ]
    for name, told in rows:
        click.echo(f"{name:<9} {told}")


def _price(estimate: Estimate, client: ClientConfig) -> str:
    if estimate.dollars is None:
        return "not known: give --input-price and --output-price"
    told = f"${estimate.dollars:,.2f}" if estimate.dollars >= 1 else f"${estimate.dollars:,.4f}"
    if client.batch:
        told += " in batches"
    if client.budget is not None and estimate.dollars > client.budget:
        told += f", over the budget of ${client.budget:,.2f}"
    return told


def _time(estimate: Estimate) -> str:
    if estimate.seconds is None or estimate.limited_by is None:
        return "no limit is given (--requests-per-minute, --tokens-per-minute): as fast as the server replies"
    if estimate.limited_by == "batch":
        return "within 24 hours, mostly sooner"
    by = "--" + estimate.limited_by.replace("_", "-")
    return f"{duration(estimate.seconds)} at the limit of {by}"


def duration(seconds: float) -> str:
    """Return a time in the two units that suit it.

    >>> duration(12), duration(59_192), duration(75)
    ('12 s', '16 h 27 min', '1 min 15 s')
    """
    units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]
    left = round(seconds)
    parts: list[str] = []
    for name, length in units:
        number, left = divmod(left, length)
        if number or (parts and name != "d"):
            parts.append(f"{number} {name}")
    return " ".join(parts[:2]) or "0 s"
