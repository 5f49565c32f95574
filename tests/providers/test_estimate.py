"""What a run will take, before anything is sent; and what requests cost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fake_providers import Fake, priced
from PIL import Image

from shelfqa.errors import ConfigError
from shelfqa.providers.base import Request, Usage
from shelfqa.providers.client import Client, Ready
from shelfqa.providers.estimate import Estimate, estimate
from shelfqa.providers.jobs import Job
from shelfqa.providers.prices import Price, estimated_input_tokens, picture_tokens, price_of, size_of
from shelfqa.providers.settings import ClientConfig
from shelfqa.providers.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "replies.sqlite") as store:
        yield store


def jobs_of(*prompts: str) -> list[Job]:
    return [Job(id=prompt, request=Request(prompt=prompt, max_tokens=500), output_tokens=50) for prompt in prompts]


def estimated(store: Store, jobs: list[Job], settings: ClientConfig | None = None) -> Estimate:
    fake = Fake()
    found = estimate(Client(fake, settings or priced(), store, run="run"), jobs)
    assert not fake.asked
    return found


def test_requests_tokens_and_dollars(store: Store) -> None:
    found = estimated(store, jobs_of("a" * 400, "b" * 800, "a" * 400))
    assert (found.jobs, found.done, found.requests) == (3, 0, 2)
    assert (found.input_tokens, found.output_tokens) == (300, 100)
    assert found.dollars == pytest.approx((300 * 1000 + 100 * 2000) / 1e6)
    assert (found.seconds, found.limited_by) == (None, None)
    assert estimated(store, []) == Estimate(0, 0, 0, 0, 0, 0.0, None, None)
    assert estimated(store, jobs_of("a"), ClientConfig()).dollars is None


def test_what_is_kept_or_cannot_be_asked_is_done(store: Store, tmp_path: Path) -> None:
    jobs = jobs_of("a" * 400, "b" * 400, "c" * 400)
    jobs.append(Job(id="gone", request=Request(prompt="d", images=(tmp_path / "gone.jpg",))))
    ended: list[object] = []
    Client(Fake(), priced(), store, run="run").complete(jobs[:1], lambda job, _: ended.append(job.id))
    found = estimated(store, jobs)
    assert (found.jobs, found.done, found.requests, found.input_tokens) == (4, 2, 2, 200)


def test_pictures_count_as_they_are_sent(store: Store, tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1500)).save(tmp_path / "a.png")
    request = Request(prompt="", images=(tmp_path / "a.png",), image_side_px=1024)
    fake = Fake()
    fake.name = "gemini"
    found = estimate(Client(fake, priced(), store, run="run"), [Job(id=1, request=request)])
    assert found.input_tokens == 258 * 2  # tiles of 1024 x 512


@pytest.mark.parametrize(
    ("given", "seconds", "by"),
    [
        ({"requests_per_minute": 60}, 100, "requests_per_minute"),
        ({"tokens_per_minute": 1500}, 600, "tokens_per_minute"),
        ({"requests_per_minute": 5, "tokens_per_minute": 1500}, 1200, "requests_per_minute"),
        ({"requests_per_day": 40}, 2 * 86_400, "requests_per_day"),
        ({"requests_per_day": 50}, 86_400, "requests_per_day"),
        ({"requests_per_day": 100, "requests_per_minute": 60}, 100, "requests_per_minute"),
        ({"batch": True, "requests_per_minute": 1}, 86_400, "batch"),
    ],
)
def test_the_time_is_that_of_the_tightest_limit(given: dict[str, Any], seconds: float, by: str, store: Store) -> None:
    jobs = jobs_of(*(f"{number:0400}" for number in range(100)))  # of 150 tokens each
    found = estimated(store, jobs, priced(**given))
    assert found.seconds == pytest.approx(seconds)
    assert found.limited_by == by


def test_batches_are_half_the_price_and_nothing_takes_no_time(store: Store) -> None:
    jobs = jobs_of("a" * 400)
    alone, batched = estimated(store, jobs), estimated(store, jobs, priced(batch=True))
    assert batched.dollars == pytest.approx((alone.dollars or 0) / 2)
    assert estimated(store, [], priced(batch=True)).seconds == 0


def test_the_estimate_is_what_a_run_then_costs(store: Store) -> None:
    jobs = [Job(id=n, request=Request(prompt=f"{n:0400}", max_tokens=5), output_tokens=5) for n in range(30)]
    before = estimated(store, jobs)
    fake = Fake()
    Client(fake, priced(), store, run="run").complete(jobs, lambda *_: None)
    assert sum(fake.billed.values()) == pytest.approx(before.dollars)
    assert estimated(store, jobs).requests == 0


def test_estimates_learn_from_replies(store: Store) -> None:
    async def ask() -> None:
        client = Client(Fake(), priced(), store, run="run")
        ready = client.prepare(jobs_of("a" * 400)[0])
        assert isinstance(ready, Ready)
        assert client.tokens(ready) == Usage(100, 50)
        reply = await Fake().ask(Request(prompt="a" * 800), ())
        client.learn(ready, reply)
        assert client.tokens(ready) == Usage(200, 5)

    asyncio.run(ask())


def test_prices_are_those_given_before_those_listed() -> None:
    listed = price_of("openai", "gpt-4o-mini", ClientConfig())
    assert listed == pytest.approx(Price(0.15e-6, 0.6e-6))
    assert price_of("openai", "gpt-4o-mini", ClientConfig(output_price=2.0)) == pytest.approx(Price(0.15e-6, 2e-6))
    assert price_of("openai", "gpt-4o-mini", ClientConfig(input_price=0, output_price=0)) == Price(0, 0)
    assert price_of("gemini", "gemini-2.5-flash", ClientConfig()) == pytest.approx(Price(0.3e-6, 2.5e-6))
    assert price_of("anthropic", "claude-sonnet-4-5", ClientConfig()) == pytest.approx(Price(3e-6, 15e-6))
    assert price_of("openai", "no-such-model", ClientConfig()) is None
    assert price_of("openai", "gpt-4o-mini", ClientConfig(base_url="http://127.0.0.1:8000/v1")) is None
    assert price_of("openai", "gpt-4o-mini", ClientConfig(base_url="https://proxy.example/v1")) == listed
    assert price_of("openai", "own-model", ClientConfig(base_url="https://vllm.example/v1")) is None
    assert price_of("scripted", "any", ClientConfig()) is None
    half_known = ClientConfig(input_price=1.0)
    assert price_of("scripted", "any", half_known) is None  # not: replies are free
    assert price_of("scripted", "any", ClientConfig(input_price=1.0, output_price=2.0)) == Price(1e-6, 2e-6)


@pytest.mark.parametrize("given", [{}, {"input_price": 1.0}, {"output_price": 1.0}])
def test_a_budget_needs_a_price(given: dict[str, Any], store: Store) -> None:
    with pytest.raises(ConfigError, match="A budget needs a price, and that of 'fake-1' is not known"):
        Client(Fake(), ClientConfig(budget=1.0, **given), store, run="run")


def test_not_all_providers_take_batches(store: Store) -> None:
    with pytest.raises(ConfigError, match="takes no batches: leave out --batch"):
        Client(Fake(), ClientConfig(batch=True), store, run="run").complete([], lambda *_: None)


def test_tokens_are_about_right() -> None:
    request = Request(prompt="x" * 4000, system="y" * 400, schema={"type": "object"})
    assert estimated_input_tokens("openai", request, []) == pytest.approx(1105, abs=5)
    assert estimated_input_tokens("openai", Request(prompt="é\ud800"), [(256, 256)]) == 256
    assert picture_tokens("gemini", 4000, 3000) == 258 * 6 * 4
    assert picture_tokens("anthropic", 10_000, 1000) == pytest.approx(picture_tokens("anthropic", 1568, 157), abs=1)
    assert picture_tokens("openai", 8000, 8000) == 85 + 170 * 4
    assert all(picture_tokens(name, 1, 1) > 0 for name in ("gemini", "anthropic", "openai"))


def test_sizes_of_pictures() -> None:
    buffer = BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "JPEG")
    assert size_of(buffer.getvalue()) == (30, 20)
    for broken in (b"", b"no picture", buffer.getvalue()[:9]):
        assert size_of(broken) == (1, 1)
