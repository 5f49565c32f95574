"""What a run will take, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shelfqa.providers.base import ProviderError, Reply, Request, Usage
from shelfqa.providers.client import Client
from shelfqa.providers.jobs import Job, Outcome
from shelfqa.providers.prices import BATCH_SHARE

_MINUTE_S, _DAY_S = 60.0, 86_400.0


class Estimate(NamedTuple):
    """Requests, tokens, money and time that a run still takes if every first reply will do."""

    jobs: int
    done: int
    """Jobs whose replies are kept already, or that cannot be asked."""
    requests: int
    input_tokens: int
    output_tokens: int
    dollars: float | None
    """None where the price is not known."""
    seconds: float | None
    """At the limits given; None where none is given."""
    limited_by: str | None
    """The setting that the time comes from."""


class Unasked:
    """Stands for a provider of which only the prices and the sizes of requests are wanted: it needs no key."""

    def __init__(self, name: str, model: str) -> None:
        self.name = name
        self.model = model

    async def ask(self, request: Request, pictures: Sequence[bytes]) -> Reply:
        """Raise `ProviderError`."""
        raise ProviderError(f"{self.name} was not to be asked", kind="request")

    async def close(self) -> None:
        """Do nothing."""


def estimate(client: Client, jobs: Iterable[Job]) -> Estimate:
    """Go through `jobs` and add up what is still to be asked; sends nothing."""
    total = done = requests = 0
    usage = Usage()
    asked: set[str] = set()
    for job in jobs:
        total += 1
        step = client.prepare(job)
        if isinstance(step, Outcome):
            done += 1
        elif step.asking.key not in asked:
            asked.add(step.asking.key)
            requests += 1
            more = client.tokens(step)
            usage = Usage(usage.input_tokens + more.input_tokens, usage.output_tokens + more.output_tokens)
    share = BATCH_SHARE if client.settings.batch else 1.0
    dollars = client.dollars(usage) * share if client.price is not None else None
    seconds, limited_by = _time(client, requests, usage)
    return Estimate(total, done, requests, *usage, dollars, seconds, limited_by)


def _time(client: Client, requests: int, usage: Usage) -> tuple[float | None, str | None]:
    settings = client.settings
    if settings.batch:
        return (_DAY_S if requests else 0.0), "batch"
    times: list[tuple[float, str]] = []
    if settings.requests_per_minute is not None:
        times.append((requests / settings.requests_per_minute * _MINUTE_S, "requests_per_minute"))
    if settings.tokens_per_minute is not None:
        times.append((sum(usage) / settings.tokens_per_minute * _MINUTE_S, "tokens_per_minute"))
    if settings.requests_per_day is not None:
        full_days = max(-(-requests // settings.requests_per_day) - 1, 0)
        times.append((full_days * _DAY_S, "requests_per_day"))
    return max(times) if times else (None, None)
