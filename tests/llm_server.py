"""A fast server of OpenAI's, Anthropic's and Gemini's APIs on 127.0.0.1, which fails as it is told and counts all.

`running` starts it in a process of its own and gives what asks it for its counts. A reply is paid for when it is "ok"
and written to the end; what the client does not wait for is asked, but not paid for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from llm_app import App, Plan
from llm_faults import Faults, Settings, settings_from
from llm_wire import as_bytes


class Connection(asyncio.Protocol):
    """HTTP/1.1 of one client, one request after the other."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._buffer = bytearray()
        self._head: tuple[str, str, dict[str, str]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._plan: Plan | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._plan is None and (request := self._next_request()) is not None:
            self._plan = self._app.plan(*request)
            if self._plan.delay_s > 0:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._plan.delay_s, self._finish)
            else:
                self._finish()

    def _next_request(self) -> tuple[str, str, dict[str, str], bytes] | None:
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
            del self._buffer[: end + 4]
            method, target, _ = first.split(" ", 2)
            pairs = (line.partition(":") for line in lines)
            self._head = (method, target, {name.lower(): value.strip() for name, _, value in pairs})
        headers = self._head[2]
        if "chunked" in headers.get("transfer-encoding", ""):
            if (body := self._unchunked()) is None:
                return None
        else:
            size = int(headers.get("content-length", 0))
            if len(self._buffer) < size:
                return None
            body = bytes(self._buffer[:size])
            del self._buffer[:size]
        request = (*self._head, body)
        self._head = None
        return request

    def _unchunked(self) -> bytes | None:
        body, at = bytearray(), 0
        while (end := self._buffer.find(b"\r\n", at)) >= 0:
            size = int(self._buffer[at:end].split(b";")[0], 16)
            if len(self._buffer) < end + 2 + size + 2:
                return None
            body += self._buffer[end + 2 : end + 2 + size]
            at = end + 2 + size + 2
            if size == 0:
                del self._buffer[:at]
                return bytes(body)
        return None

    def _finish(self) -> None:
        plan, self._plan, self._timer = self._plan, None, None
        assert plan is not None
        plan.left()
        if self._transport.is_closing():
            return
        if plan.how in ("hang", "dropped"):
            self._transport.close()
            return
        written = as_bytes(plan.answer)
        if plan.how == "broken_off":
            head = written.index(b"\r\n\r\n") + 4
            self._transport.write(written[: (head + len(written)) // 2])
            self._transport.close()
            return
        self._transport.write(written)
        if not self._transport.is_closing():
            plan.written()
        if self._buffer:
            self.data_received(b"")

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None and self._plan is not None:
            self._timer.cancel()
            self._plan.left()
            self._timer = self._plan = None


async def _serve(settings: Settings, port: int, *, until_input_ends: bool) -> None:
    loop = asyncio.get_running_loop()
    app = App(settings)
    server = await loop.create_server(lambda: Connection(app), "127.0.0.1", port, backlog=4096)
    print(f"listening http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    ended = asyncio.Event()
    if until_input_ends:  # also where whoever started it was killed
        loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    server.close()


class Server:
    """A server in another process."""

    def __init__(self, address: str) -> None:
        self.address = address
        # without a proxy, whatever the environment says
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def url(self, provider: str) -> str:
        """Return the base URL that is given to the SDK of a provider."""
        return f"{self.address}/v1" if provider == "openai" else self.address

    def _get(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}{path}", data)
        with self._open(request, timeout=60) as response:
            return json.load(response)

    def log(self, *, paid: bool = False) -> dict[str, Any]:
        """Return the counts; with `paid` also the replies that each identity got."""
        return cast(dict[str, Any], self._get("/_log?paid=1" if paid else "/_log"))

    def arrivals(self, since: int = 0) -> list[list[Any]]:
        """Return [monotonic time, identity, outcome, written, source] of each request, from one on."""
        return cast(list[list[Any]], self._get(f"/_arrivals?since={since}")["arrivals"])

    def settings(self, **changed: Any) -> None:
        """Change the settings that are given."""
        self._get("/_settings", _as_json(changed))

    def reset(self) -> None:
        """Forget all requests, files and batches."""
        self._get("/_reset", {})


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    settings_from({name: value for name, value in settings.items() if not callable(value)})
    written = dict(settings)
    if isinstance(faults := written.get("faults"), Faults):
        written["faults"] = asdict(faults)
    for name in ("say", "identity"):
        if callable(function := written.get(name)):
            written[name] = f"{function.__module__}:{function.__qualname__}"
    return written


@contextlib.contextmanager
def running(**settings: Any) -> Iterator[Server]:
    """Run a server with the given `Settings` in a process of its own, for as long as the context lasts.

    `say` and `identity` may be functions that can be imported.
    """
    command = [sys.executable, __file__, "--until-input-ends", "--settings", json.dumps(_as_json(settings))]
    paths = [str(Path(__file__).parent), *(path for path in sys.path if path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("listening "):
                raise RuntimeError(f"the server did not start: {line!r}")
            yield Server(line.split()[1])
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--latency", type=float, metavar="SECONDS")
    parser.add_argument("--faults", type=json.loads, metavar="JSON", help='such as {"busy": 0.1}')
    parser.add_argument("--settings", type=json.loads, default={}, metavar="JSON", help="any of `Settings`")
    parser.add_argument("--until-input-ends", action="store_true", help="end when the standard input does")
    given = parser.parse_args()
    named = {"seed": given.seed, "latency_s": given.latency, "faults": given.faults}
    settings = settings_from(given.settings | {name: value for name, value in named.items() if value is not None})
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(settings, given.port, until_input_ends=given.until_input_ends))


if __name__ == "__main__":
    main()
