"""A server of files on 127.0.0.1 that serves ranges, drops connections and lies, as it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple


class Seen(NamedTuple):
    method: str
    path: str
    range: str | None
    if_range: str | None


class Server:
    """What the test server has, how it misbehaves, and what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.ranges = True
        self.drops: list[int] = []
        """After how many bytes each of the next GETs breaks off."""
        self.statuses: list[int] = []
        """What the next requests are answered with, whatever they ask."""
        self.claim = 0
        """Bytes that Content-Length overstates the file by, in a GET."""
        self.content_type = "application/x-tar"
        self.before: Callable[[Seen], None] = lambda _: None
        self.seen: list[Seen] = []
        self.url = ""

    def gets(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "GET"]

    def etag(self, name: str) -> str:
        return self.etags.get(name, f'"{hashlib.md5(self.files[name]).hexdigest()}"')


class Handler(BaseHTTPRequestHandler):
    """Answers as `state`, set by a subclass, says."""

    state: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        state, name = self.state, self.path.strip("/")
        seen = Seen(self.command, name, self.headers.get("Range"), self.headers.get("If-Range"))
        state.before(seen)
        state.seen.append(seen)
        status = state.statuses.pop(0) if state.statuses else (200 if name in state.files else 404)
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, start = state.files[name], 0
        fresh = seen.if_range in (None, state.etag(name))
        if seen.range and state.ranges and fresh:
            start = int(seen.range.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        claim = state.claim if self.command == "GET" else 0
        self.send_header("Content-Length", str(len(data) - start + claim))
        self.send_header("Content-Type", state.content_type)
        self.send_header("ETag", state.etag(name))
        self.end_headers()
        if self.command == "GET":
            stop = start + state.drops.pop(0) if state.drops else len(data)
            self.wfile.write(data[start:stop])
            self.close_connection = True
