"""Asking by batches: half the price, answered within a day.

Rounds: all that is still to be asked is handed in, in parts; when the last part has ended, what expired, failed or has
to be asked again makes up the next round. A part is kept before it is handed in and again with the provider's id, so
that a run that is killed finds it, and nothing is handed in twice.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING

from shelfqa.errors import UserError
from shelfqa.progress import Tick, progress, say
from shelfqa.providers.base import FATAL, PASSING, BatchItem, BatchProvider, ProviderError, Reply
from shelfqa.providers.gate import backoff_s
from shelfqa.providers.jobs import Outcome
from shelfqa.providers.prices import BATCH_SHARE
from shelfqa.providers.store import Failure, KeptBatch

if TYPE_CHECKING:
    from shelfqa.providers.client import Client, OnEnd, Ready, Told
    from shelfqa.providers.jobs import Job

MOST_ROUNDS = 4
"""So many times a request may expire or fail in batches."""
MOST_LOOKS = 60
"""So many looks at a batch may fail in a row, an hour of them."""
_TRIES = 8
_AT_ONCE = 256
_CLOCKS_DIFFER_S = 60.0
_ITEM_BYTES = 2_000
"""What the form of a request takes, beside its texts and pictures."""


class BatchDrive:
    """One call of `Client.complete` in batches."""

    def __init__(self, client: Client, provider: BatchProvider, on_end: OnEnd, told: Told) -> None:
        self._client = client
        self._provider = provider
        self._store = client.store
        self._on_end = on_end
        self._told = told
        self._ended: set[int] = set()
        self._failed: Counter[str] = Counter()
        self._open: list[KeptBatch] = []
        self._looks_failed: Counter[str] = Counter()
        self._busy: ProviderError | None = None
        self._taken = self._replies = 0

    async def all(self, jobs: Iterable[Job]) -> None:
        """Bring every job to its end; `jobs` is gone through once a round."""
        self._open = [
            found for kept in self._store.open_batches(self._client.run) if (found := await self._found(kept))
        ]
        jobs = list(jobs) if isinstance(jobs, Iterator) else jobs
        total = len(jobs) if isinstance(jobs, Sized) else 0
        idle = 0
        with progress(self._told.label, total) as tick:
            while True:
                over = await self._hand_in(jobs)
                tick(len(self._ended), self._told.note())
                if not self._open:
                    if over is not None:
                        raise over
                    return
                while self._open:
                    await self._look(tick)
                if self._busy is None or self._replies:
                    idle = 0
                else:
                    await self._bear(self._busy, idle)
                    await asyncio.sleep(self._client.settings.poll_s)
                    idle += 1

    async def _found(self, kept: KeptBatch) -> KeptBatch | None:
        """Return a batch of an earlier, broken-off run with its id, None if it was never handed in."""
        if kept.batch is not None:
            return kept
        batch = await self._patiently(kept)
        if batch is None:
            self._store.end_batch(kept.name)
            return None
        found = kept._replace(batch=batch)
        self._keep(found)
        return found

    async def _patiently(self, kept: KeptBatch) -> str | None:
        """Ask the provider whether it has the batch."""
        for attempt in range(_TRIES):
            try:
                since = kept.made_at - _CLOCKS_DIFFER_S
                return await self._provider.find_batch(kept.name, len(kept.keys), since, self._store.knows_batch)
            except ProviderError as error:
                await self._bear(error, attempt)
        raise UserError(f"{self._client.provider.name} does not say which batches it has: run the same command again.")

    async def _hand_in(self, jobs: Iterable[Job]) -> UserError | None:
        """Hand in what is still to be asked; return why not all of it, if the budget forbids."""
        self._busy, self._taken, self._replies = None, 0, 0
        asked = {key for kept in self._open for key in kept.keys}
        budget, spent = self._client.settings.budget, self._store.spent(self._client.run).dollars
        reserved = sum(kept.dollars for kept in self._open)
        part = _Part()
        over: UserError | None = None
        most = min(self._client.settings.batch_requests, self._provider.batch_requests)
        for position, job in enumerate(jobs):
            if position in self._ended:
                continue
            step = await asyncio.to_thread(self._client.prepare, job)
            if isinstance(step, Outcome):
                self._ended.add(position)
                self._on_end(job, step)
                continue
            key = step.asking.key
            if key in asked:
                continue
            cost = self._client.dollars(self._client.tokens(step)) * BATCH_SHARE
            if budget is not None and spent + reserved + cost > budget:
                over = UserError(
                    f"The budget of ${budget:,.2f} is used up: ${spent:,.4f} spent. Give more with --budget and run "
                    "the same command again."
                )
                break
            asked.add(key)
            reserved += cost
            if part.items and (len(part.items) >= most or part.bytes + _size(step) > self._provider.batch_bytes):
                await self._submit(part)
                part = _Part()
            part.add(step, cost)
        if part.items:
            await self._submit(part)
        return over

    async def _submit(self, part: _Part) -> None:
        """Hand in a part; where it is not clear whether it got there, look before it is handed in again."""
        name = f"shelfqa-{secrets.token_hex(8)}"
        kept = KeptBatch(name, None, time.time(), part.dollars, tuple(item.id for item in part.items))
        self._keep(kept)
        for attempt in range(_TRIES):
            try:
                batch = await self._provider.submit_batch(name, part.items)
            except ProviderError as error:
                await self._bear(error, attempt)
                found = await self._patiently(kept)
                if found is None:
                    continue
                batch = found
            kept = kept._replace(batch=batch)
            self._keep(kept)
            self._open.append(kept)
            say(
                f"  batch {batch}: {len(part.items):,} requests handed in, to be answered within 24 hours. You may "
                "stop here: the same command goes on."
            )
            return
        self._store.end_batch(name)
        raise UserError(f"{self._provider.name} takes no batch: run the same command again later.")

    async def _bear(self, error: ProviderError, attempt: int) -> None:
        """Wait after an error that may pass; raise one that will not."""
        if error.kind in FATAL or error.kind not in PASSING or attempt == _TRIES - 1:
            raise UserError(f"{error}. What was handed in is kept: the same command goes on.") from None
        await asyncio.sleep(error.retry_after_s if error.retry_after_s is not None else backoff_s(attempt))

    async def _look(self, tick: Tick) -> None:
        """Look at every open batch once, and take the results of those that have ended."""
        done = 0
        for kept in list(self._open):
            assert kept.batch is not None
            try:
                state = await self._provider.batch_state(kept.batch)
                if state.ended:
                    failed = ProviderError(state.error, kind=state.error_kind) if state.error is not None else None
                    await self._take(kept, self._provider.batch_results(kept.batch), failed)
                    self._open.remove(kept)
                else:
                    done += state.done
            except ProviderError as error:
                if error.kind == "model":  # 404: removed there
                    await self._lose(kept)
                    continue
                self._looks_failed[kept.name] += 1
                if error.kind not in PASSING or self._looks_failed[kept.name] >= MOST_LOOKS:
                    raise UserError(f"{error}. What was handed in is kept: the same command goes on.") from None
            else:
                self._looks_failed[kept.name] = 0
        tick(len(self._ended) + self._taken + done, f"{len(self._open)} batches open")
        if self._open:
            await asyncio.sleep(self._client.settings.poll_s)

    async def _lose(self, kept: KeptBatch) -> None:
        """Give up a batch that the provider does not have any more: its requests go into the next round."""
        say(f"  batch {kept.batch} is gone at {self._provider.name}: what is not kept of it is handed in again.")
        gone = ProviderError(f"{self._provider.name}: the batch is gone", kind="server")
        missing = [key for key in kept.keys if self._store.reply(key) is None]
        await self._fail(dict.fromkeys(missing, gone))
        self._store.end_batch(kept.name)
        self._open.remove(kept)

    async def _take(
        self, kept: KeptBatch, results: AsyncIterator[tuple[str, Reply | ProviderError]], failed: ProviderError | None
    ) -> None:
        """Keep the replies of a batch that has ended, and count what has none."""
        client, store, provider = self._client, self._store, self._client.provider
        missing = failed or ProviderError(f"{provider.name}: the batch ended without it", kind="server")
        without = dict.fromkeys(kept.keys, missing)
        answered: set[str] = set()
        waiting = []
        async for key, result in results:
            if key not in without:
                continue
            if isinstance(result, ProviderError):
                without[key] = result
                continue
            answered.add(key)
            known = any(result.usage)
            paid = client.dollars(result.usage) * BATCH_SHARE if known else kept.dollars / len(kept.keys)
            store.paid_in_batch(kept.name, client.run, provider.name, provider.model, key, sum(result.usage), paid)
            waiting.append(asyncio.wrap_future(store.keep(key, provider.name, provider.model, result)))
            if len(waiting) >= _AT_ONCE:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
        if failed is not None and failed.kind not in PASSING:
            store.end_batch(kept.name)
            raise UserError(f"{failed}.")
        self._taken += len(kept.keys)
        self._replies += len(answered)
        if failed is not None and failed.kind == "busy":  # too many batches wait: nothing was tried
            self._busy = failed
        else:
            await self._fail({key: error for key, error in without.items() if key not in answered})
        store.end_batch(kept.name)

    async def _fail(self, errors: Mapping[str, ProviderError]) -> None:
        """Count requests without a reply; one is given up when it is not taken, or after several rounds."""
        waiting = []
        for key, error in errors.items():
            self._failed[key] += 1
            if error.kind not in PASSING or self._failed[key] >= MOST_ROUNDS:
                times = f" ({self._failed[key]} times)" if self._failed[key] > 1 else ""
                failure = Failure(error.kind, f"{error}{times}")
                waiting.append(asyncio.wrap_future(self._store.fail(self._client.run, key, failure)))
        await asyncio.gather(*waiting)

    def _keep(self, kept: KeptBatch) -> None:
        provider = self._client.provider
        self._store.keep_batch(self._client.run, provider.name, provider.model, kept)


class _Part:
    """Requests that are handed in together."""

    def __init__(self) -> None:
        self.items: list[BatchItem] = []
        self.bytes = 0
        self.dollars = 0.0

    def add(self, ready: Ready, dollars: float) -> None:
        self.items.append(BatchItem(ready.asking.key, ready.asking.request, ready.pictures))
        self.bytes += _size(ready)
        self.dollars += dollars


def _size(ready: Ready) -> int:
    """Return about how many bytes a request has in a batch, where pictures are base64."""
    request = ready.asking.request
    texts = len(json.dumps([request.system, request.prompt, request.schema]))
    return texts + _ITEM_BYTES + sum(len(picture) + 3 for picture in ready.pictures) * 4 // 3
