"""The one door through which requests go out: limits, money, and what failures teach.

The server's health is read from what comes back. Busy or failing servers get fewer requests at once and, when that does
not help, a pause that doubles; one request at a time then probes whether it is over. A wrong key, a missing model and a
used-up quota end the run at once, an outage after `PATIENCE_S` seconds: nothing that was answered is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from datetime import datetime

from shelfqa.errors import UserError
from shelfqa.providers.base import FATAL, ProviderError
from shelfqa.providers.limits import Concurrency, Taken, WindowLimit
from shelfqa.providers.settings import ClientConfig

PATIENCE_S = 600.0
"""How long a service may fail before the run stops."""
FIRST_WAIT_S = 0.5
"""First pause after failures; each further one is twice as long, drawn between half of it and all."""
LONGEST_WAIT_S = 60.0
_VAIN_AT_START = 10
"""So many requests without any reply end a run that has had none."""
_ROUNDS_AT_START = 4
_FEW = 3
_MINUTE_S, _DAY_S = 60.0, 86_400.0


def backoff_s(times: int) -> float:
    """Return how long to wait after failing for the `times`-th time, from 0: doubling, with jitter, bounded."""
    return min(FIRST_WAIT_S * 2.0 ** min(times, 20), LONGEST_WAIT_S) * random.uniform(0.5, 1.0)


class Stopped(Exception):
    """The run has stopped; nothing more goes out."""


class Ticket:
    """A request that is under way."""

    __slots__ = ("dollars", "key", "sent_at", "taken")

    def __init__(self, key: str, sent_at: float, dollars: float, taken: Taken | None) -> None:
        self.key = key
        self.sent_at = sent_at
        self.dollars = dollars
        self.taken = taken


class Gate:
    """Lets requests out one by one, as limits allow."""

    def __init__(self, settings: ClientConfig, *, spent: float = 0.0) -> None:
        self._settings = settings
        self._concurrency = Concurrency(settings.concurrency)
        minute, tokens, day = settings.requests_per_minute, settings.tokens_per_minute, settings.requests_per_day
        self._requests = WindowLimit(minute, _MINUTE_S) if minute is not None else None
        self._tokens = WindowLimit(tokens, _MINUTE_S) if tokens is not None else None
        self._day = WindowLimit(day, _DAY_S, spread=False) if day is not None else None
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._stopped = asyncio.Event()
        self._in_flight = 0
        self._reserved = 0.0
        self._pause_until = float("-inf")
        self._health = _Health()
        self.spent = spent
        """Dollars, those of earlier, broken-off runs included."""
        self.stop: UserError | None = None
        """Why nothing more goes out."""

    def remember(self, past: list[tuple[float, int]]) -> None:
        """Count requests of earlier runs, given as seconds since 1970 and tokens, oldest first."""
        now = time.monotonic()
        offset = now - time.time()
        moved = [(min(at + offset, now), tokens) for at, tokens in past]  # a clock that was set back has a future
        recent = [(at, tokens) for at, tokens in moved if at > now - _MINUTE_S]
        if self._requests is not None:
            self._requests.remember((at, 1) for at, _ in recent)
        if self._tokens is not None:
            self._tokens.remember(recent)
        if self._day is not None:
            self._day.remember((at, 1) for at, _ in moved)

    def halt(self, error: UserError) -> None:
        """Let nothing more out, for the reason `error`; the first reason counts."""
        self.stop = self.stop or error
        self._changed.set()
        self._stopped.set()

    async def rest(self, seconds: float) -> None:
        """Sleep. Raises `Stopped` as soon as the run has ended."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)
            raise Stopped

    async def enter(self, key: str, tokens: int, dollars: float) -> Ticket:
        """Wait until a request of about `tokens` and at most `dollars` may go out.

        Raises:
            Stopped: if the run has ended.

        """
        async with self._turn:
            while True:
                if self.stop is not None:
                    raise Stopped
                now = time.monotonic()
                wait = self._wait_s(tokens, dollars, now)
                if wait <= 0:
                    break
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), None if wait == float("inf") else wait)
            self._in_flight += 1
            self._reserved += dollars
            for limit in (self._requests, self._day):
                if limit is not None:
                    limit.take(1, now)
            return Ticket(key, now, dollars, self._tokens.take(tokens, now) if self._tokens is not None else None)

    def _wait_s(self, tokens: int, dollars: float, now: float) -> float:
        """Return how long to wait, infinity for until something changes. Raises `Stopped` if that is in vain."""
        budget = self._settings.budget
        if budget is not None and self.spent + self._reserved + dollars > budget:
            if not self._in_flight:
                self.halt(
                    UserError(
                        f"The budget of ${budget:,.2f} is used up: ${self.spent:,.4f} spent, and the next request may "
                        f"cost up to ${dollars:,.4f}. Give more with --budget and run the same command again."
                    )
                )
                raise Stopped
            return float("inf")
        if self._day is not None and (wait := self._day.wait_s(1, now)) > 0:
            at = datetime.fromtimestamp(time.time() + wait).strftime("%H:%M on %d %B")
            self.halt(
                UserError(
                    f"The {self._day.limit:g} requests of a day are used up: run the same command again from {at}."
                )
            )
            raise Stopped
        if self._in_flight >= self._concurrency.allowed:
            return float("inf")
        waits = [self._pause_until - now]
        if self._requests is not None:
            waits.append(self._requests.wait_s(1, now))
        if self._tokens is not None:
            waits.append(self._tokens.wait_s(tokens, now))
        return max(waits)

    def reply(self, ticket: Ticket, tokens: int, dollars: float) -> None:
        """Note that a request got a reply, of so many tokens and at that price."""
        self._leave(ticket, dollars)
        if ticket.taken is not None and self._tokens is not None:
            self._tokens.correct(ticket.taken, tokens)
        self._health.reply()
        self._concurrency.reply()

    def failure(self, ticket: Ticket, error: ProviderError, dollars: float) -> None:
        """Note that a request got none, and what it may have cost all the same."""
        self._leave(ticket, dollars)
        now = time.monotonic()
        if error.kind in FATAL:
            self.halt(UserError(f"{error}."))
        elif error.kind == "request":
            if self._health.refused() >= _VAIN_AT_START:
                self.halt(UserError(f"None of the first {_VAIN_AT_START} requests got a reply: {error}."))
        else:
            failing = self._health.failure(ticket.key, error, now)
            new_round = failing and self._concurrency.refusal(ticket.sent_at, now)
            self._health.rounds += new_round
            if error.retry_after_s is not None and error.retry_after_s > PATIENCE_S:
                wait = f"{error.retry_after_s / 60:,.0f} minutes"
                self.halt(UserError(f"{error}. It asks to wait {wait}: run the same command again then."))
            elif error.retry_after_s is not None:
                self._pause_until = max(self._pause_until, now + error.retry_after_s + random.uniform(0, 0.01))
            elif new_round:
                self._pause_until = max(self._pause_until, now + self._health.pause_s())
            if (why := self._health.given_up(now)) is not None:
                self.halt(UserError(f"{why}: {error}."))

    def is_tired(self, since: float) -> bool:
        """Say whether what has failed since then has had all the time that it may have."""
        return time.monotonic() - since > PATIENCE_S

    def _leave(self, ticket: Ticket, dollars: float) -> None:
        self._in_flight -= 1
        self._reserved = self._reserved - ticket.dollars if self._in_flight else 0.0
        self.spent += dollars
        self._changed.set()

    def has_answered(self) -> None:
        """Note that this model has answered before: it takes requests of this kind, whatever comes back first now."""
        self._health.has_answered = True

    @property
    def replies(self) -> int:
        """How many requests have got a reply."""
        return self._health.replies


class _Health:
    """What came back lately."""

    def __init__(self) -> None:
        self.replies = 0
        self.has_answered = False
        """Whether there was a reply, now or in an earlier run."""
        self.rounds = 0
        """How often in a row fewer requests were tried at once, in vain."""
        self._refused = 0
        self._failures = 0
        self._since: float | None = None
        self._keys: set[str] = set()

    def reply(self) -> None:
        self.replies += 1
        self.has_answered = True
        self._failures = self.rounds = 0
        self._since = None
        self._keys.clear()

    def refused(self) -> int:
        """Note a request that is not taken; return how many were, if none was ever answered."""
        self._refused += 1
        return 0 if self.has_answered else self._refused

    def failure(self, key: str, error: ProviderError, now: float) -> bool:
        """Note a failure; return whether the server asks for less, be it by failing again and again."""
        self._failures += error.kind != "busy"
        self._since = now if self._since is None else self._since
        if len(self._keys) < _FEW:
            self._keys.add(key)
        return error.kind == "busy" or self._failures >= _FEW

    def pause_s(self) -> float:
        """Return how long to pause; the first round of failures asks for fewer requests at once and for no pause."""
        if self.rounds < 2:
            return 0.0
        return backoff_s(self.rounds - 2)

    def given_up(self, now: float) -> str | None:
        """Return why to go on is in vain: nothing has come back from the start, or from any of several for long."""
        if not self.has_answered and self._failures >= _VAIN_AT_START and self.rounds >= _ROUNDS_AT_START:
            return f"None of the first {self._failures} requests got a reply"
        if self._since is not None and now - self._since > PATIENCE_S and len(self._keys) >= _FEW:
            return f"No request has got a reply for {(now - self._since) / 60:.0f} minutes"
        return None
