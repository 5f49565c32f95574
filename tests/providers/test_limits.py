"""Limits of requests and tokens, on a clock of their own."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfqa.providers.limits import Concurrency, Taken, WindowLimit

LIMITS = [1, 15, 60, 100, 600, 5000]
SLACK_S = 1e-6


def most_in_window(sent: list[tuple[float, float]], window_s: float = 60.0) -> float:
    """Return the most that (time, amount) come to within any window, both ends counted."""
    sent = sorted(sent)
    most = total = 0.0
    first = 0
    for at, amount in sent:
        total += amount
        while sent[first][0] < at - window_s:
            total -= sent[first][1]
            first += 1
        most = max(most, total)
    return most


def send(limit: WindowLimit, amount: float, now: float, *, late_s: float = 0.0) -> tuple[Taken, float]:
    """Wait as told, and up to `late_s` longer, then take; return what was taken, and when."""
    for _ in range(10_000):
        wait = limit.wait_s(amount, now)
        if wait <= 0:
            return limit.take(amount, now), now
        now += wait + SLACK_S + random.uniform(0, late_s)
    raise AssertionError("it never lets anything out")


@settings(max_examples=150, deadline=None)
@given(
    limit=st.sampled_from([0.5, 1, 1.5, 2, 7, 15, 60, 300]),
    idle_s=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, 1.0, 20.0, 59.99, 60.0, 61.0, 200.0]), max_size=90),
    seed=st.integers(0, 9),
)
def test_no_window_has_more_requests_than_the_limit(limit: float, idle_s: list[float], seed: int) -> None:
    random.seed(seed)
    window, now = WindowLimit(limit, 60.0), 0.0
    sent: list[tuple[float, float]] = []
    for idle in [*idle_s, *[0.0] * int(limit)]:
        _, now = send(window, 1, now + idle)
        sent.append((now, 1))
    assert most_in_window([(at + random.uniform(0, 0.02), 1) for at, _ in sent]) <= max(limit, 1)
    assert most_in_window(sent) <= max(limit, 1)


@settings(max_examples=150, deadline=None)
@given(
    limit=st.sampled_from([100, 1000, 30_000]),
    steps=st.lists(
        st.tuples(
            st.floats(0.001, 1.4),
            st.floats(0.0, 3.0),
            st.sampled_from([0.0, 0.0, 0.1, 5.0, 59.0, 61.0]),
            st.integers(0, 6),
        ),
        min_size=1,
        max_size=60,
    ),
)
def test_no_window_has_more_tokens_than_are_known(limit: int, steps: list[tuple[float, float, float, int]]) -> None:
    """Amounts are shares of the limit; each is corrected to another, some steps later."""
    window, now = WindowLimit(limit, 60.0), 0.0
    log: list[Taken] = []
    due: list[tuple[int, Taken, float]] = []
    for step, (share, change, idle, later) in enumerate(steps):
        for _, taken, real in [one for one in due if one[0] <= step]:
            window.correct(taken, real)
        due = [one for one in due if one[0] > step]
        amount = max(round(share * limit), 1)
        taken, now = send(window, amount, now + idle)
        before = sum(one.amount for one in log if one.at >= now - 60.0)
        assert before + amount <= limit or before == 0
        log.append(taken)
        due.append((step + later, taken, round(amount * change)))
    assert window._in_window == sum(taken.amount for taken in window._log)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("late_s", [0.0, 0.005])
def test_endless_demand_gets_nearly_all_of_the_limit(limit: int, late_s: float) -> None:
    random.seed(1)
    window, now = WindowLimit(limit, 60.0), 0.0
    times: list[float] = []
    while now <= 240:
        _, now = send(window, 1, now, late_s=late_s)
        times.append(now)
    for start in (0.0, 120.0):
        assert sum(start <= at < start + 120 for at in times) >= int(0.97 * 2 * limit)
    assert len(times) >= 4 * limit * 0.97
    assert most_in_window([(at + random.uniform(0, 0.02), 1) for at in times]) <= limit
    if limit > 1:  # spread, not in bursts
        assert most_in_window([(at, 1) for at in times], 6.0) <= limit / 10 * 1.2 + 2


@pytest.mark.parametrize(("bias", "over"), [(0.5, 0.02), (1.0, 0.005), (2.0, 0.0)])
def test_tokens_of_unequal_requests_get_nearly_all_of_the_limit(bias: float, over: float) -> None:
    """What was sent within the half second before a reply tells may have been estimated too low."""
    random.seed(2)
    limit, now = 200_000, 0.0
    window = WindowLimit(limit, 60.0)
    replies: list[tuple[float, Taken, int]] = []
    sent: list[Taken] = []
    while now <= 240:
        real = random.choice([300, 800, 1500])
        estimate = int(real * bias * random.uniform(0.8, 1.2))
        while (wait := window.wait_s(estimate, now)) > 0:
            now += wait + random.uniform(SLACK_S, 0.002)
            while replies and replies[0][0] <= now:  # a reply wakes whoever waits
                now, taken, amount = replies.pop(0)
                window.correct(taken, amount)
        sent.append(window.take(estimate, now))
        replies.append((now + 0.5, sent[-1], real))
    for _, taken, amount in replies:
        window.correct(taken, amount)
    amounts = [(taken.at, taken.amount) for taken in sent]
    assert sum(amount for at, amount in amounts if 60 <= at < 180) >= 0.97 * 2 * limit
    assert most_in_window(amounts) <= limit * (1 + over)


def test_what_an_earlier_run_sent_counts() -> None:
    window = WindowLimit(10, 60.0)
    window.remember([(float(at), 1) for at in range(0, 50, 5)])
    sent = [(float(at), 1.0) for at in range(0, 50, 5)]
    now = 50.0
    assert window.wait_s(1, now) == pytest.approx(10, abs=1)
    for _ in range(30):
        _, now = send(window, 1, now)
        sent.append((now, 1))
    assert most_in_window(sent) <= 10
    forgetful = WindowLimit(10, 60.0)
    assert forgetful.wait_s(1, 50.0) == 0


def test_a_day_is_not_spread() -> None:
    day = WindowLimit(3, 86_400.0, spread=False)
    for now in (0.0, 0.0, 1.0):
        assert day.wait_s(1, now) == 0
        day.take(1, now)
    assert day.wait_s(1, 2.0) == pytest.approx(86_400, rel=0.002)


def test_an_amount_over_the_limit_waits_for_an_empty_window() -> None:
    window = WindowLimit(100, 60.0)
    window.take(1, 0.0)
    assert window.wait_s(500, 1.0) == pytest.approx(59, abs=0.1)
    _, now = send(window, 500, 1.0)
    assert now == pytest.approx(60, abs=0.1)
    assert window.wait_s(1, now) >= 60


def test_concurrency_grows_and_halves_once_a_round() -> None:
    allowed = Concurrency(64)
    assert allowed.allowed == 8
    for _ in range(8):
        allowed.reply()
    assert allowed.allowed == 16
    for _ in range(100):
        allowed.reply()
    assert allowed.allowed == 64
    assert allowed.refusal(sent_at=1.0, now=2.0)
    assert allowed.allowed == 32
    assert not any(allowed.refusal(sent_at=at, now=3.0) for at in (0.5, 1.0, 2.0))
    assert allowed.allowed == 32
    grown = []
    for _ in range(32 * 4):
        allowed.reply()
        grown.append(allowed.allowed)
    assert 35 <= grown[-1] <= 37  # about one a round
    assert all(later - earlier in (0, 1) for earlier, later in pairwise(grown))
    for now in range(10, 20):
        assert allowed.refusal(sent_at=now - 0.5, now=float(now))
    assert allowed.allowed == 1


def test_concurrency_starts_at_the_most_where_that_is_less() -> None:
    assert Concurrency(1).allowed == 1
    one = Concurrency(1)
    one.reply()
    assert one.allowed == 1
