"""How fast requests may go out: so many in any window of time, and so many at once.

Times are seconds of one clock, whichever the caller uses. Nothing here sleeps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

_SLOWER = 0.01
"""Share of a limit that is given up, since requests arrive with some delay, not all with the same."""


class Taken:
    """Something that went out, and how much of the limit it took."""

    __slots__ = ("amount", "at")

    def __init__(self, at: float, amount: float) -> None:
        self.at = at
        self.amount = amount


class WindowLimit:
    """At most `limit` in any `window_s` seconds, spread evenly.

    Two rules hold at once. A log of what went out within the window says how much is left: nothing ever passes the
    limit. A virtual clock (the generic cell rate algorithm, ITU-T I.371) spreads it, so that a window is not used up
    in its first seconds; it lets a few pass early, to make up for a sleep that took too long.
    """

    def __init__(self, limit: float, window_s: float, *, spread: bool = True) -> None:
        self.limit = limit
        self._window_s = window_s
        self._each_s = window_s / limit * (1 + _SLOWER) if spread else 0.0
        self._early_s = max(limit * _SLOWER - 2, 0) * self._each_s
        self._due = float("-inf")
        self._log: deque[Taken] = deque()
        self._in_window = 0.0

    def remember(self, past: Iterable[tuple[float, float]]) -> None:
        """Count what went out before: (time, amount), oldest first."""
        for at, amount in past:
            self.take(amount, at)

    def wait_s(self, amount: float, now: float) -> float:
        """Return how long to wait until `amount` may go out; an amount over the limit waits for an empty window."""
        self._forget(now)
        wait = max(self._due - self._early_s - now, 0.0)
        over = self._in_window + min(amount, self.limit) - self.limit
        for taken in self._log:
            if over <= 1e-9:
                break
            over -= taken.amount
            wait = max(wait, taken.at + self._window_s * (1 + _SLOWER / 10) - now)
        return wait

    def take(self, amount: float, now: float) -> Taken:
        """Note that `amount` goes out, and return the note."""
        taken = Taken(now, amount)
        self._log.append(taken)
        self._in_window += amount
        self._due = max(self._due, now) + amount * self._each_s
        return taken

    def correct(self, taken: Taken, amount: float) -> None:
        """Note that what went out took `amount`, which was not known before."""
        self._due += (amount - taken.amount) * self._each_s
        if self._log and taken.at >= self._log[0].at:  # else it has left the window
            self._in_window += amount - taken.amount
        taken.amount = amount

    def _forget(self, now: float) -> None:
        while self._log and self._log[0].at <= now - self._window_s * (1 + _SLOWER / 10):
            self._in_window -= self._log.popleft().amount


class Concurrency:
    """How many requests may be under way: doubled while all goes well, halved when the server is busy.

    It grows by one a reply until the first refusal, then by about one a round of replies (additive increase,
    multiplicative decrease; Chiu and Jain 1989). Refusals of one round halve it once.
    """

    def __init__(self, most: int, start: int = 8) -> None:
        self._most = most
        self._allowed = float(min(start, most))
        self._growing_fast = True
        self._halved_at = float("-inf")

    @property
    def allowed(self) -> int:
        """How many may be under way now, at least one."""
        return int(self._allowed)

    def reply(self) -> None:
        """Note a reply."""
        step = 1.0 if self._growing_fast else 1.0 / self._allowed
        self._allowed = min(self._allowed + step, self._most)

    def refusal(self, sent_at: float, now: float) -> bool:
        """Note that a request that was sent at `sent_at` was refused for being one too many, or failed.

        Returns:
            whether it is the first of its round.

        """
        self._growing_fast = False
        if sent_at <= self._halved_at:
            return False
        self._allowed = max(self._allowed / 2, 1.0)
        self._halved_at = now
        return True
