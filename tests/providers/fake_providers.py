"""Providers without a network: what they say and bill is laid out by a test, what they were asked is counted."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from shelfqa.providers.base import BatchItem, BatchState, ProviderError, Reply, Request, Usage
from shelfqa.providers.settings import ClientConfig

Act = Callable[[Request, int], Awaitable[Reply]]
"""Called with a request and how often it was asked before."""

INPUT_PRICE, OUTPUT_PRICE = 1000.0, 2000.0
"""Dollars a million tokens: a thousandth of a dollar for a token that goes in, two for one that comes out."""


def priced(**given: object) -> ClientConfig:
    """Return settings with a price; `given` as in `ClientConfig`."""
    return ClientConfig(**{"input_price": INPUT_PRICE, "output_price": OUTPUT_PRICE, **given})  # type: ignore[arg-type]


def dollars(usage: Usage) -> float:
    return (usage.input_tokens * INPUT_PRICE + usage.output_tokens * OUTPUT_PRICE) / 1e6


def usage_of(prompt: str) -> Usage:
    """Return what a prompt is billed: as many tokens as are estimated, and five of the reply."""
    return Usage(round(len(prompt) / 4), 5)


def reply_to(prompt: str) -> Reply:
    return Reply(text=f"reply to {prompt}", model="fake-exact", usage=usage_of(prompt))


async def at_once(request: Request, before: int) -> Reply:
    return reply_to(request.prompt)


def failing(kind: str, times: int, *, only: str = "") -> Act:
    """Fail so many times for each prompt that contains `only`, then reply."""

    async def act(request: Request, before: int) -> Reply:
        if before < times and only in request.prompt:
            raise ProviderError(f"fake: {kind}", kind=kind)  # type: ignore[arg-type]
        return reply_to(request.prompt)

    return act


class Fake:
    """Replies by a coroutine; `bills` is a file that has a line for each reply, written before it is given."""

    name = "fake"

    def __init__(self, act: Act = at_once, *, latency_s: float = 0.0, bills: Path | None = None) -> None:
        self.model = "fake-1"
        self.asked: Counter[str] = Counter()
        self.billed: dict[str, float] = {}
        self.pictures: list[int] = []
        self.under_way = self.most_at_once = self.closed = 0
        self._act = act
        self._latency_s = latency_s
        self._bills = None if bills is None else os.open(bills, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def ask(self, request: Request, pictures: Sequence[bytes]) -> Reply:
        before = self.asked[request.prompt]
        self.asked[request.prompt] += 1
        self.pictures.append(len(pictures))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await asyncio.sleep(self._latency_s)
            reply = await self._act(request, before)
        finally:
            self.under_way -= 1
        self.billed[request.prompt] = self.billed.get(request.prompt, 0.0) + dollars(reply.usage)
        if self._bills is not None:
            os.write(self._bills, f"{dollars(reply.usage)!r} {request.prompt}\n".encode())
        return reply

    async def close(self) -> None:
        self.closed += 1


class FakeBatches(Fake):
    """Takes batches that have ended at once, or as `states` tells of the first, the second and so on."""

    batch_requests = 1000
    batch_bytes = 1_000_000

    def __init__(self, act: Act = at_once) -> None:
        super().__init__(act)
        self.batches: dict[str, tuple[str, list[BatchItem]]] = {}
        self.states: dict[int, list[BatchState | ProviderError]] = {}
        """What is told of a batch, by its number, before it has ended like any other."""
        self.create: Callable[[int], ProviderError | None] = lambda number: None
        """What goes wrong for the n-th creation; the batch is made if the error is none of a refusal."""
        self.results_fail = 0
        """How often the results of a batch break off before the last."""
        self.results: dict[str, Reply | ProviderError] = {}
        self.creations = 0

    async def submit_batch(self, name: str, items: Sequence[BatchItem]) -> str:
        error = self.create(self.creations)
        self.creations += 1
        if error is None or error.kind in ("connection", "timeout"):
            batch = f"b{len(self.batches)}"
            self.batches[batch] = (name, list(items))
        if error is not None:
            raise error
        return batch

    async def find_batch(self, name: str, items: int, since: float, known: Callable[[str], bool]) -> str | None:
        return next((batch for batch, (kept, _) in self.batches.items() if kept == name), None)

    async def batch_state(self, batch: str) -> BatchState:
        told = self.states.get(int(batch[1:]))
        if told:
            state = told.pop(0)
            if isinstance(state, ProviderError):
                raise state
            if state.error is not None:
                self.batches[batch] = (self.batches[batch][0], [])
            return state
        return BatchState(True, len(self.batches[batch][1]))

    async def batch_results(self, batch: str) -> AsyncIterator[tuple[str, Reply | ProviderError]]:
        items = self.batches[batch][1]
        for place, item in enumerate(reversed(items)):
            if self.results_fail and place == len(items) - 1:
                self.results_fail -= 1
                raise ProviderError("fake: the results broke off", kind="connection")
            yield item.id, await self._result_of(batch, item)

    async def _result_of(self, batch: str, item: BatchItem) -> Reply | ProviderError:
        """Return what came of a request, which is the same however often it is read."""
        at = f"{batch} {item.id}"
        if at not in self.results:
            try:
                self.results[at] = await self.ask(item.request, item.pictures)
            except ProviderError as error:
                self.results[at] = error
        return self.results[at]
