"""Asking a model many things, to the end: nothing is lost, nothing is paid for twice.

Each job goes its own way through `jobs.Replies.next_step`: asked, kept on disk, reviewed, asked again with the reason.
What may go out when is for `gate.Gate` to say. A run that is killed at any moment finds its replies in the store; only
requests that were under way at that moment are sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from shelfqa.errors import ConfigError, ImageError, UserError
from shelfqa.progress import progress, say
from shelfqa.providers.base import FATAL, PASSING, BatchProvider, Provider, ProviderError, Reply, Usage
from shelfqa.providers.batches import BatchDrive
from shelfqa.providers.gate import Gate, Stopped, backoff_s
from shelfqa.providers.jobs import Asking, Job, Outcome, Replies
from shelfqa.providers.pictures import as_jpeg
from shelfqa.providers.prices import estimated_input_tokens, price_of, size_of
from shelfqa.providers.settings import ClientConfig
from shelfqa.providers.store import Failure, Store

MOST_FAILURES = 6
"""So many times a request may fail while others are answered, or as one of the last."""
MOST_BUSY = 30
"""So many times a server may call itself busy for one request while others are answered."""
_SPARE_S = 5.0
"""How much longer than the SDK's own time limit we wait."""
_GRACE_S = 30.0
"""How long what is under way may take to finish after Ctrl-C."""
_LAST = 2
_PLACES = 8
"""So many jobs are under way at least: one request without a reply is told from a service that is down."""
_MINUTE_S, _DAY_S = 60.0, 86_400.0
_LIGHT_BYTES = 128_000
"""Pictures up to this size are read at once: handing them to a thread takes longer."""
_ENOUGH = 300
"""Replies after which estimates are as good as they get."""

OnEnd = Callable[[Job, Outcome], None]
T = TypeVar("T")


@dataclass
class Told:
    """What the progress line says beside the count."""

    note: Callable[[], str] = str
    label: str = "ask"


class Client:
    """Asks one model, under one set of limits."""

    def __init__(self, provider: Provider, settings: ClientConfig, store: Store, *, run: str) -> None:
        """Connect to nothing yet.

        Args:
            provider: who is asked.
            settings: limits, prices, patience.
            store: where replies are kept.
            run: a name for this run and those that go on with it: its failures and its spending.

        Raises:
            ConfigError: if there is a budget, but no price.

        """
        self.provider = provider
        self.settings = settings
        self.store = store
        self.run = run
        self.price = price_of(provider.name, provider.model, settings)
        if settings.budget is not None and self.price is None:
            raise ConfigError(
                f"A budget needs a price, and that of {provider.model!r} is not known: give --input-price and "
                "--output-price in dollars a million tokens."
            )
        self.replies = Replies(store, provider.name, provider.model, run)
        self._learned = _Learned()

    def complete(self, jobs: Iterable[Job], on_end: OnEnd, told: Told | None = None) -> None:
        """Bring every job to its end and call `on_end` with each, in the order in which they end.

        Batches go through `jobs` several times.

        Raises:
            UserError: if the run has to stop before: the key is wrong, the quota or the budget is used up, the service
                is down. What was answered is kept, and the same call goes on.

        """
        run_async(lambda: self._complete(jobs, on_end, told or Told()))

    async def _complete(self, jobs: Iterable[Job], on_end: OnEnd, told: Told) -> None:
        try:
            if not self.settings.batch:
                await _Drive(self, on_end, told, len(jobs) if isinstance(jobs, Sized) else 0).all(jobs)
            elif isinstance(self.provider, BatchProvider):
                await BatchDrive(self, self.provider, on_end, told).all(jobs)
            else:
                raise ConfigError(f"The provider {self.provider.name!r} takes no batches: leave out --batch.")
        finally:
            await self.provider.close()

    def prepare(self, job: Job) -> Ready | Outcome:
        """Return what is to be sent next for `job`, or how it has ended. Reads files; may run in any thread."""
        step = self.replies.next_step(job)
        if isinstance(step, Outcome):
            return step
        try:
            pictures = tuple(as_jpeg(path, step.request.image_side_px) for path in step.request.images)
        except ImageError as error:
            return Outcome(None, Failure("picture", f"cannot send the picture: {error}"), 0, ())
        tokens = estimated_input_tokens(self.provider.name, step.request, [size_of(picture) for picture in pictures])
        return Ready(step, pictures, tokens, job.output_tokens)

    def tokens(self, ready: Ready) -> Usage:
        """Return about how many tokens a request will take."""
        return Usage(round(ready.tokens * self._learned.ratio), round(self._learned.output or ready.output_tokens))

    def dollars(self, usage: Usage) -> float:
        """Return what so many tokens cost, 0 where the price is not known."""
        return self.price.of(usage) if self.price is not None else 0.0

    def learn(self, ready: Ready, reply: Reply) -> None:
        """Compare what a request took with what was estimated."""
        self._learned.see(ready.tokens, reply.usage)


class Ready(NamedTuple):
    """A request with all that goes along."""

    asking: Asking
    pictures: tuple[bytes, ...]
    tokens: int
    """Estimated, of the input."""
    output_tokens: int


class _Learned:
    """How estimates compare with what the provider counted, over the first replies."""

    def __init__(self) -> None:
        self.ratio = 1.0
        self.output = 0.0
        self._seen = self._estimated = self._input = self._output = 0

    def see(self, estimated: int, usage: Usage) -> None:
        if self._seen >= _ENOUGH or not usage.input_tokens:
            return
        self._seen += 1
        self._estimated += estimated
        self._input += usage.input_tokens
        self._output += usage.output_tokens
        self.ratio = self._input / max(self._estimated, 1)
        self.output = self._output / self._seen


class _Drive:
    """One call of `complete`."""

    def __init__(self, client: Client, on_end: OnEnd, told: Told, total: int) -> None:
        self._client = client
        self._on_end = on_end
        self._told = told
        self._total = total
        self._ended = 0
        self._feeding = True
        self._failed: Exception | None = None
        self._under_way: dict[str, asyncio.Event] = {}
        settings, store, run = client.settings, client.store, client.run
        self._gate = Gate(settings, spent=store.spent(run).dollars)
        if store.has_replied(run):
            self._gate.has_answered()
        provider = client.provider
        back_s = _DAY_S if settings.requests_per_day is not None else _MINUTE_S
        self._gate.remember(store.sent_since(provider.name, provider.model, time.time() - back_s))
        self._places = asyncio.Semaphore(max(2 * settings.concurrency, _PLACES))

    async def all(self, jobs: Iterable[Job]) -> None:
        tasks: set[asyncio.Task[None]] = set()
        with progress(self._told.label, self._total) as tick:
            self._tick = tick
            try:
                for job in jobs:
                    await self._places.acquire()
                    if self._gate.stop is not None:
                        break
                    task = asyncio.create_task(self._finish(job))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                self._feeding = False
                while tasks:
                    await asyncio.wait(tasks)
            except (asyncio.CancelledError, Exception):  # Ctrl-C, or what `jobs` raises
                await self._wind_up(tasks)
                raise
            finally:
                for task in tasks:
                    task.cancel()
        if self._failed is not None:
            raise self._failed
        if self._gate.stop is not None:
            raise _with_what_is_kept(self._gate, self._client.store)

    async def _wind_up(self, tasks: set[asyncio.Task[None]]) -> None:
        """Let what is under way finish, since it is paid for."""
        self._gate.halt(UserError("Interrupted."))
        if tasks:
            say("Stopping: what is under way is waited for. Interrupt again to leave at once.")
            await asyncio.wait(tasks, timeout=_GRACE_S)

    async def _finish(self, job: Job) -> None:
        try:
            while isinstance(step := await self._prepared(job), Ready):
                await self._settle(step)
            if step.reply is not None:
                self._gate.has_answered()
            self._ended += 1
            self._on_end(job, step)
            self._tick(self._ended, self._note())
        except Stopped:
            pass
        except Exception as error:
            self._failed = self._failed or error
            self._gate.halt(UserError("An error ended the run."))
        finally:
            self._places.release()

    async def _prepared(self, job: Job) -> Ready | Outcome:
        """Prepare the next step of a job; in a thread where pictures may have to be scaled, which takes longer."""
        if _bytes_of(job) <= _LIGHT_BYTES:
            return self._client.prepare(job)
        return await asyncio.to_thread(self._client.prepare, job)

    async def _settle(self, ready: Ready) -> None:
        """Send a request until its reply or its failure is kept; if another job is about it already, wait for that."""
        key = ready.asking.key
        if (other := self._under_way.get(key)) is not None:
            await other.wait()
            return
        settled = self._under_way[key] = asyncio.Event()
        try:
            failure = await self._fetch(ready)
            if failure is not None:
                await asyncio.wrap_future(self._client.store.fail(self._client.run, key, failure))
        finally:
            del self._under_way[key]
            settled.set()

    def _note(self) -> str:
        note = self._told.note()
        if self._client.price is None:
            return note
        budget = self._client.settings.budget
        money = f"${self._gate.spent:,.2f}" + (f" of ${budget:,.2f}" if budget is not None else "")
        return f"{note}, {money}" if note else money

    async def _fetch(self, ready: Ready) -> Failure | None:
        """Send a request until it has a reply, which is kept, or will have none: return why."""
        failures = busy = times = 0
        replies_before = -1
        since: float | None = None
        while True:
            error = await self._send(ready)
            if error is None:
                return None
            if error.kind not in PASSING and error.kind not in FATAL:
                return Failure(error.kind, str(error))
            if self._gate.stop is not None:  # it may still get its reply when the run goes on
                raise Stopped
            times += 1
            since = time.monotonic() if since is None else since
            # A failure counts where others are answered: then it is not the service that is down.
            if self._gate.replies > replies_before or self._is_last():
                busy += error.kind == "busy"
                failures += error.kind != "busy"
            tired = times >= MOST_FAILURES and self._gate.is_tired(since)
            if failures >= MOST_FAILURES or busy >= MOST_BUSY or tired:
                return Failure(error.kind, f"{error} ({times} times)")
            replies_before = self._gate.replies
            if error.kind != "busy":
                await self._gate.rest(backoff_s(max(failures - 1, 0)))

    def _is_last(self) -> bool:
        return not self._feeding and len(self._under_way) <= _LAST

    async def _send(self, ready: Ready) -> ProviderError | None:
        """Send a request once, and keep its reply."""
        client, store, provider = self._client, self._client.store, self._client.provider
        request, key = ready.asking
        usage = client.tokens(ready)
        most = client.dollars(Usage(usage.input_tokens, request.max_tokens))
        ticket = await self._gate.enter(key, sum(usage), most)
        number = secrets.randbits(62)
        likely = client.dollars(usage)
        noted = store.sent(number, client.run, provider.name, provider.model, key, time.time(), sum(usage), likely)
        await asyncio.wrap_future(noted)  # limits and budget of the run that goes on after a kill count it
        try:
            async with asyncio.timeout(client.settings.timeout_s + _SPARE_S):
                reply = await provider.ask(request, ready.pictures)
        except (ProviderError, TimeoutError) as caught:
            error = caught if isinstance(caught, ProviderError) else _late(provider.name)
            perhaps_paid = error.kind in ("timeout", "connection", "unreadable")
            lost = likely if perhaps_paid else 0.0
            store.ended(number, error.kind, sum(usage) if perhaps_paid else 0, lost)
            self._gate.failure(ticket, error, lost)
            return error
        used = reply.usage if any(reply.usage) else usage
        paid = client.dollars(used)
        kept = store.keep(key, provider.name, provider.model, reply)
        store.ended(number, "reply", sum(used), paid)
        client.learn(ready, reply)
        self._gate.reply(ticket, sum(used), paid)
        await asyncio.wrap_future(kept)
        return None


def _bytes_of(job: Job) -> int:
    """Return how large the files of a job's pictures are; those that are not there count nothing."""
    sizes = 0
    for path in job.request.images:
        with contextlib.suppress(OSError, ValueError):
            sizes += path.stat().st_size
    return sizes


def _late(name: str) -> ProviderError:
    return ProviderError(f"{name}: no reply in time", kind="timeout")


def _with_what_is_kept(gate: Gate, store: Store) -> UserError:
    stop = gate.stop
    assert stop is not None
    if not gate.replies:
        return stop
    return UserError(
        f"{stop} {gate.replies:,} replies of this run are kept in {str(store.path)!r}: the same command goes on."
    )


def run_async(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, also from within a notebook, whose own event loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    found: list[T] = []
    failed: list[BaseException] = []
    stop: list[Callable[[], object]] = []
    begun, over = threading.Event(), threading.Event()

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        stop.append(partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel))
        begun.set()
        found.append(await make())

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        over.wait()  # not `join`, which takes a thread for ended when it is interrupted (Python 3.11)
    except KeyboardInterrupt:
        begun.wait()
        with contextlib.suppress(RuntimeError):  # the loop has just ended
            stop[0]()
        over.wait()
        raise
    finally:
        thread.join()
    if failed:
        raise failed[0]
    return found[0]
