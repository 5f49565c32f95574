"""What asks hosted models beside the studies' loop, one call after the other: at a limit, without one, and its memory.

Both sides send the same prompts with the same pictures through the provider's own SDK to a server on this machine
that speaks its wire format (`tests/llm_server.py`) and takes as long as it is told. Nothing leaves the machine.

1. With a limit of 600 requests a minute and replies that take a second, for two minutes: how much of the limit each
   side makes use of, and how many requests the server saw in any minute and any second.
2. Without a limit and with replies that take 20 ms: requests a second of `shelfqa.providers.client.Client`, of the
   whole stage `generate`, and of the loop.
3. The client's memory over the 100,000 replies of part 2.

The run fails under 97% of the limit, where any minute has more requests than the limit, under 200 requests a second,
and where memory grows by 50 MB or more after the first tenth. The ratio is that of part 1, in replies a minute.

    python benchmarks/generate.py
    python benchmarks/generate.py --provider gemini
    python benchmarks/generate.py --quick
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}

import psutil

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from generating import write_curated
from llm_server import Server, running
from shelfqa.artifacts import image_folder, read_table
from shelfqa.providers.base import PROVIDERS, Request
from shelfqa.providers.client import Client
from shelfqa.providers.settings import ClientConfig
from shelfqa.providers.store import Store
from shelfqa.questions.from_model import Questionnaire
from shelfqa.questions.settings import GenerateConfig
from shelfqa.questions.styles import load_style
from shelfqa.stages.generate import generate

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-flash"}
KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "gemini": "GOOGLE_API_KEY"}
_KEY = "made-up-key"
_REPLIES_TAKE_S, _FAST_REPLIES_TAKE_S = 1.0, 0.02
_SHARE_BAR, _SPEED_BAR, _GROWTH_BAR_MB = 0.97, 200.0, 50.0
_SAMPLES = 10

Ask = Callable[[Request], str]
"""Sends a request through a plain SDK and returns the text of the reply."""


class Length(NamedTuple):
    """How long a run is: seconds at the limit, of the loop there, of the loop without one; requests without one."""

    limited_s: float
    loop_limited_s: float
    loop_free_s: float
    requests: int
    of_stage: int


FULL = Length(120, 30, 20, 100_000, 10_000)
QUICK = Length(20, 6, 4, 3_000, 1_000)


class Limited(NamedTuple):
    """How a side did at the limit; the counts are the server's."""

    sent: int
    answered: int
    seconds: float
    most_a_minute: int
    most_a_second: int


class Pace(NamedTuple):
    """Requests a second, and milliseconds that this process computed for each; the server is another."""

    rate: float
    cpu_ms: float


class Clock(NamedTuple):
    """A moment: seconds that went by, and seconds that this process computed."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> Clock:
        """Return this moment."""
        return cls(time.perf_counter(), time.process_time())

    def pace(self, requests: int) -> Pace:
        """Return how fast so many requests were answered since this moment."""
        return Pace(requests / (time.perf_counter() - self.wall_s), (time.process_time() - self.cpu_s) / requests * 1e3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the three parts, print what they measured, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=sorted(MODELS), default="openai", help="whose SDK and wire format")
    parser.add_argument("--limit", type=int, default=600, help="requests a minute, in part 1")
    parser.add_argument("--quick", action="store_true", help="a minute instead of ten, and no bar for speed")
    options = parser.parse_args(arguments)
    length = QUICK if options.quick else FULL
    for variable in KEYS.values():
        os.environ[variable] = _KEY
    print(f"{options.provider}, {os.cpu_count()} cores shared with the server, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        curated = write_curated(folder / "curated", length.requests)
        ratio, missed = at_the_limit(options.provider, curated, folder, options.limit, length)
        missed += without_limit(options.provider, curated, folder, length, quick=options.quick)
    for line in missed:
        print(f"missed: {line}")
    print(f"ratio: {ratio:.1f} times")
    return 1 if missed else 0


def at_the_limit(provider: str, curated: Path, folder: Path, limit: int, length: Length) -> tuple[float, list[str]]:
    """Print part 1; return the ratio of replies a minute, and what is missed."""
    questionnaire = questions(curated, round(limit * length.limited_s / 60))
    with running(latency_s=_REPLIES_TAKE_S) as server:
        ours = client_limited(provider, server, questionnaire, folder / "limited.sqlite", limit, length.limited_s)
        server.reset()
        loop = loop_limited(provider, server, questionnaire, limit, length.loop_limited_s)
    print(f"\n1. {limit} requests a minute, replies take {_REPLIES_TAKE_S:g} s")
    print(
        f"{'':<10}{'seconds':>9}{'sent':>7}{'answered':>10}{'a minute':>10}{'most a minute':>15}{'most a second':>15}"
    )
    for name, side in (("loop", loop), ("client", ours)):
        print(
            f"{name:<10}{side.seconds:>9.0f}{side.sent:>7,}{side.answered:>10,}{_a_minute(side):>10.0f}"
            f"{side.most_a_minute:>15,}{side.most_a_second:>15,}"
        )
    allowed = limit * ours.seconds / 60
    print(
        f"of the {allowed:,.0f} that the limit allows the client sent {ours.sent / allowed:.1%} and had replies to "
        f"{ours.answered / allowed:.1%} when the time was over",
        flush=True,
    )
    missed = []
    if ours.sent / allowed < _SHARE_BAR:
        missed.append(f"{ours.sent / allowed:.1%} of the limit, at least {_SHARE_BAR:.0%} is wanted")
    if ours.most_a_minute > limit:
        missed.append(f"{ours.most_a_minute} requests in a minute")
    return _a_minute(ours) / _a_minute(loop), missed


def without_limit(provider: str, curated: Path, folder: Path, length: Length, *, quick: bool) -> list[str]:
    """Print parts 2 and 3; return what is missed."""
    with running(latency_s=_FAST_REPLIES_TAKE_S) as server:
        loop = loop_free(provider, server, questions(curated, length.requests), length.loop_free_s)
        stage = stage_free(provider, server, curated, folder, length.of_stage)
        ours, memory_mb = client_free(provider, server, questions(curated, length.requests), folder / "free.sqlite")
    print(f"\n2. no limit, replies take {_FAST_REPLIES_TAKE_S * 1000:g} ms")
    print(f"{'':<10}{'a second':>9}{'times':>7}{'CPU each':>11}")
    for name, pace, what in (
        ("loop", loop, f"{length.loop_free_s:g} s"),
        ("client", ours, f"{length.requests:,} requests"),
        ("generate", stage, f"{length.of_stage:,} products, the whole stage"),
    ):
        print(f"{name:<10}{pace.rate:>9.0f}{pace.rate / loop.rate:>7.1f}{pace.cpu_ms:>8.1f} ms   {what}")
    growth = max(memory_mb[1:]) - memory_mb[0]
    print(f"\n3. the client's memory in MB at each tenth of {length.requests:,} replies")
    print("  ".join(f"{memory:.0f}" for memory in memory_mb))
    print(f"after the first tenth it grew by {growth:.1f} MB", flush=True)
    missed = []
    if min(ours.rate, stage.rate) < _SPEED_BAR and not quick:
        missed.append(f"{min(ours.rate, stage.rate):.0f} requests a second, at least {_SPEED_BAR:.0f} are wanted")
    if growth >= _GROWTH_BAR_MB:
        missed.append(f"memory grew by {growth:.0f} MB, less than {_GROWTH_BAR_MB:.0f} MB is wanted")
    return missed


def questions(curated: Path, number: int) -> Questionnaire:
    """Return what `generate` asks about the first products."""
    products = read_table(curated, "products").slice(0, number)
    style = load_style("single-word")
    return Questionnaire(products=products, style=style, images=image_folder(curated, None), image_side_px=768)


def client_limited(
    provider: str, server: Server, questionnaire: Questionnaire, store: Path, limit: int, seconds: float
) -> Limited:
    """Ask all through the client, and count what was sent and answered in the first `seconds`."""
    ended: list[float] = []
    settings = ClientConfig(requests_per_minute=limit)
    started = ask_all(provider, server, questionnaire, store, settings, lambda: ended.append(time.monotonic()))
    arrived = arrivals(server)
    until = started + seconds
    answered = sum(at <= until for at in ended)
    return Limited(sum(at <= until for at in arrived), answered, seconds, most(arrived, 60), most(arrived, 1))


def client_free(provider: str, server: Server, questionnaire: Questionnaire, store: Path) -> tuple[Pace, list[float]]:
    """Ask all through the client as fast as it goes; return its memory in MB at each tenth of the replies, too."""
    process, ended = psutil.Process(), 0
    memory_mb: list[float] = []
    sample = len(questionnaire) // _SAMPLES

    def end() -> None:
        nonlocal ended
        ended += 1
        if ended % sample == 0:
            memory_mb.append(process.memory_info().rss / 1e6)

    started = Clock.now()
    ask_all(provider, server, questionnaire, store, ClientConfig(), end)
    return started.pace(len(questionnaire)), memory_mb


def ask_all(
    provider: str,
    server: Server,
    questionnaire: Questionnaire,
    store: Path,
    settings: ClientConfig,
    on_end: Callable[[], None],
) -> float:
    """Ask all through the client, and return when it began; a request without a reply ends the run."""
    with Store(store) as replies:
        made = PROVIDERS.load(provider)(MODELS[provider], base_url=server.url(provider))
        client = Client(made, settings, replies, run="benchmark")
        started = time.monotonic()
        lost = 0

        def end(_: Any, outcome: Any) -> None:
            nonlocal lost
            lost += outcome.reply is None
            on_end()

        client.complete(questionnaire, end)
    if lost:
        sys.exit(f"{lost} requests got no reply.")
    return started


def stage_free(provider: str, server: Server, curated: Path, folder: Path, products: int) -> Pace:
    """Run the stage, reading and writing included, with a request a product."""
    config = GenerateConfig(provider=provider, model=MODELS[provider], limit=products)  # type: ignore[arg-type]
    client = ClientConfig(base_url=server.url(provider), store=str(folder / "stage.sqlite"))
    started = Clock.now()
    manifest = generate(curated, folder / "questions", config, client=client)
    pace = started.pace(products)
    if manifest.details["products"] != products:
        sys.exit(f"The stage has questions about {manifest.details['products']} of {products} products.")
    return pace


def loop_limited(provider: str, server: Server, questionnaire: Questionnaire, limit: int, seconds: float) -> Limited:
    """Ask one after the other and sleep to keep the limit, as the studies' notebooks do."""
    took_s = run_loop(PLAIN[provider](server.url(provider)), questionnaire, seconds, pause_s=60 / limit)
    arrived = arrivals(server)
    return Limited(len(arrived), len(took_s), took_s[-1], most(arrived, 60), most(arrived, 1))


def loop_free(provider: str, server: Server, questionnaire: Questionnaire, seconds: float) -> Pace:
    """Ask one after the other."""
    ask, started = PLAIN[provider](server.url(provider)), Clock.now()
    return started.pace(len(run_loop(ask, questionnaire, seconds)))


def run_loop(ask: Ask, questionnaire: Questionnaire, seconds: float, *, pause_s: float = 0.0) -> list[float]:
    """Ask for so many seconds, and return after how many each reply came; two requests lie `pause_s` apart at least."""
    took_s: list[float] = []
    started = time.monotonic()
    for job in questionnaire:
        sent = time.monotonic()
        if sent - started >= seconds:
            break
        if not ask(job.request):
            sys.exit("A request of the loop got no reply.")
        now = time.monotonic()
        took_s.append(now - started)
        time.sleep(max(sent + pause_s - now, 0))
    return took_s


def plain_openai(url: str) -> Ask:
    """Return OpenAI's SDK as its documentation shows it."""
    from openai import OpenAI

    client = OpenAI(base_url=url)

    def ask(request: Request) -> str:
        picture = base64.b64encode(request.images[0].read_bytes()).decode()
        content = [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}},
            {"type": "text", "text": request.prompt},
        ]
        reply = client.chat.completions.create(
            model=MODELS["openai"],
            messages=[{"role": "system", "content": request.system}, {"role": "user", "content": content}],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": request.schema},
            },
            temperature=0,
        )
        return str(reply.choices[0].message.content)

    return ask


def plain_anthropic(url: str) -> Ask:
    """Return Anthropic's SDK as its documentation shows it."""
    from anthropic import Anthropic

    client = Anthropic(base_url=url)

    def ask(request: Request) -> str:
        picture = base64.b64encode(request.images[0].read_bytes()).decode()
        content = [
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": picture}},
            {"type": "text", "text": request.prompt},
        ]
        reply = client.messages.create(
            model=MODELS["anthropic"],
            max_tokens=request.max_tokens,
            system=request.system,
            messages=[{"role": "user", "content": content}],
            output_config={"format": {"type": "json_schema", "schema": request.schema}},
        )
        return str(reply.content[0].text)

    return ask


def plain_gemini(url: str) -> Ask:
    """Return Google's SDK as its documentation shows it."""
    from google import genai
    from google.genai import types

    client = genai.Client(vertexai=False, api_key=_KEY, http_options={"base_url": url})

    def ask(request: Request) -> str:
        picture = types.Part.from_bytes(data=request.images[0].read_bytes(), mime_type="image/jpeg")
        reply = client.models.generate_content(
            model=MODELS["gemini"],
            contents=[picture, request.prompt],
            config={
                "system_instruction": request.system,
                "response_mime_type": "application/json",
                "response_json_schema": request.schema,
                "temperature": 0,
            },
        )
        return str(reply.text)

    return ask


PLAIN: dict[str, Callable[[str], Ask]] = {
    "openai": plain_openai,
    "anthropic": plain_anthropic,
    "gemini": plain_gemini,
}


def arrivals(server: Server) -> list[float]:
    """Return when each request arrived at the server, by the clock of `time.monotonic`."""
    return sorted(row[0] for row in server.arrivals())


def most(times: Iterable[float], window_s: float) -> int:
    """Return the most of the sorted times that any window of so many seconds holds."""
    within: deque[float] = deque()
    found = 0
    for at in times:
        within.append(at)
        while within[0] <= at - window_s:
            within.popleft()
        found = max(found, len(within))
    return found


def _a_minute(side: Limited) -> float:
    return side.answered / side.seconds * 60


if __name__ == "__main__":
    sys.exit(main())
