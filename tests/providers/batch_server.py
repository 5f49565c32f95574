"""A server that takes batches as OpenAI, Anthropic and Gemini do, one batch at a time, and answers as a test says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

from hosted_server import reply

from local_server import serving

JSON = dict[str, Any]


class Batches:
    """What a server knows of its batches; a test sets what becomes of them."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[JSON] = []
        """The lines or requests of the batch that was handed in last."""
        self.names: list[str] = []
        """Of all batches, as far as the provider keeps names."""
        self.paths: list[str] = []
        self.outcomes: dict[str, str] = {}
        """What becomes of a request by its id: `answered`, if not given, `refused`, `expired`, `unsaid`, `settings`."""
        self.state = "running"
        """`running`, `done`, `failed`, `expired` or `cancelled`."""
        self.failure: JSON = {}
        self.made_at = time.time()
        self.lost = False
        """The next batch is made, but the answer to that breaks off."""
        self.broken = False
        """The results break off."""

    def respond(self, path: str, body: bytes) -> tuple[dict[str, str], object] | None:
        """Return headers and a body, bytes or what becomes JSON; None breaks off."""
        raise NotImplementedError

    def lines(self) -> bytes:
        """Return the file of results; U+2028 and an empty line are in it."""
        lines = [json.dumps(line, ensure_ascii=False).encode() for line in self.results()]
        return b"\n\n".join(lines) + (b'\n{"cus' if self.broken else b"\n")

    def results(self) -> Iterator[JSON]:
        raise NotImplementedError

    def outcome(self, id: str) -> str:
        return self.outcomes.get(id, "answered")


class OpenAIServer(Batches):
    def respond(self, path: str, body: bytes) -> tuple[dict[str, str], object] | None:
        if path == "/files":
            found = re.search(rb"\r\n\r\n(\{.*?\})\n?\r\n--", body, re.DOTALL)
            assert found is not None
            self.requests = [json.loads(line) for line in found[1].splitlines()]
            assert b'name="purpose"\r\n\r\nbatch\r\n' in body
            return {}, {"id": "file-in", "object": "file", "filename": "x", "purpose": "batch", "bytes": 1}
        if path == "/batches":
            asked = json.loads(body)
            metadata = asked.pop("metadata")
            assert list(metadata) == ["shelfqa"]
            assert asked == {
                "input_file_id": "file-in",
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            }
            self.names.append(metadata["shelfqa"])
            return None if self.lost else ({}, self.batch(len(self.names)))
        if path.startswith("/batches?"):
            data = [self.batch(number) for number in range(len(self.names), 0, -1)]
            return {}, {"object": "list", "data": data, "has_more": False}
        if path.startswith("/batches/"):
            return {}, self.batch(int(path.rsplit("-", 1)[1]))
        assert path in ("/files/file-out/content", "/files/file-errors/content")
        of_errors = "errors" in path
        chosen = [line for line in self.results() if (line["error"] is not None) == of_errors]
        lines = [json.dumps(line, ensure_ascii=False).encode() for line in chosen]
        return {}, b"\n\n".join(lines) + (b'\n{"cus' if self.broken else b"\n")

    def batch(self, number: int) -> JSON:
        status = {"running": "in_progress", "done": "completed"}.get(self.state, self.state)
        ended = self.state not in ("running", "failed")
        return {
            "id": f"batch-{number}",
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "input_file_id": "file-in",
            "status": status,
            "created_at": int(self.made_at),
            "metadata": {"shelfqa": self.names[number - 1]},
            "request_counts": {"total": 3, "completed": 1, "failed": 1},
            "output_file_id": "file-out" if ended else None,
            "error_file_id": "file-errors" if ended else None,
            "errors": {"object": "list", "data": [self.failure]} if self.failure else None,
        }

    def results(self) -> Iterator[JSON]:
        for asked in self.requests:
            id, outcome = asked["custom_id"], self.outcome(asked["custom_id"])
            line: JSON = {"id": "r", "custom_id": id, "response": None, "error": None}
            answer = reply("openai", f"navy\u2028{id}", usage=True)[1]
            match outcome:
                case "answered":
                    line["response"] = {"status_code": 200, "request_id": "q", "body": answer}
                case "unsaid":
                    line["response"] = {"status_code": 200, "request_id": "q", "body": {}}
                case "refused":
                    error = {"message": "odd", "type": "invalid_request_error", "param": None, "code": None}
                    line["response"] = {"status_code": 400, "request_id": "q", "body": {"error": error}}
                case "settings":
                    error = {"message": "Unsupported value", "param": "temperature", "code": "unsupported_value"}
                    line["response"] = {"status_code": 400, "request_id": "q", "body": {"error": error}}
                case _:
                    line["error"] = {"code": "batch_expired", "message": "not in time"}
            yield line


class AnthropicServer(Batches):
    def respond(self, path: str, body: bytes) -> tuple[dict[str, str], object] | None:
        if path == "/v1/messages/batches" and body:
            self.requests = json.loads(body)["requests"]
            self.names.append("")
            return None if self.lost else ({}, self.batch(len(self.names)))
        if path.startswith("/v1/messages/batches?"):
            data = [self.batch(number) for number in range(len(self.names), 0, -1)]
            return {}, {"data": data, "has_more": False, "first_id": None, "last_id": None}
        if path.endswith("/results"):
            return {"Content-Type": "application/x-jsonl"}, self.lines()
        return {}, self.batch(int(path.rsplit("_", 1)[1]))

    def batch(self, number: int) -> JSON:
        ended = self.state != "running"
        counts = {"processing": 1, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 0}
        made_at = datetime.fromtimestamp(self.made_at, UTC).isoformat()
        return {
            "id": f"msgbatch_{number}",
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "created_at": made_at,
            "expires_at": made_at,
            "results_url": f"{self.url}/v1/messages/batches/msgbatch_{number}/results" if ended else None,
        }

    def results(self) -> Iterator[JSON]:
        for asked in self.requests:
            id, outcome = asked["custom_id"], self.outcome(asked["custom_id"])
            error = {"type": "invalid_request_error", "message": "odd"}
            result: JSON = {"type": "expired"}
            match outcome:
                case "answered":
                    result = {"type": "succeeded", "message": reply("anthropic", f"navy\u2028{id}", usage=True)[1]}
                case "unsaid":
                    result = {"type": "succeeded", "message": {}}
                case "refused":
                    result = {"type": "errored", "error": {"type": "error", "error": error}}
                case "settings":
                    error["message"] = "`temperature` is deprecated for this model."
                    result = {"type": "errored", "error": {"type": "error", "error": error}}
            yield {"custom_id": id, "result": result}


class GeminiServer(Batches):
    def respond(self, path: str, body: bytes) -> tuple[dict[str, str], object] | None:
        if path == "/upload/v1/files":
            file = json.loads(body)["file"]
            self.names.append(file.get("displayName") or file["display_name"])  # the API takes both
            return {"X-Goog-Upload-URL": "https://example.org/upload/here?id=1"}, {}
        if path.startswith("/upload/here"):
            self.requests = [json.loads(line) for line in body.splitlines()]
            return {"X-Goog-Upload-Status": "final"}, {"file": {"name": "files/in"}}
        if path.endswith(":batchGenerateContent"):
            batch = json.loads(body)["batch"]
            assert batch == {"displayName": self.names[-1], "inputConfig": {"fileName": "files/in"}}
            return None if self.lost else ({}, self.batch(len(self.names)))
        if path.startswith("/v1/files/batch-out:download"):
            return {}, self.lines()
        if path.startswith("/v1/batches?"):
            return {}, {"operations": [self.batch(number) for number in range(1, len(self.names) + 1)]}
        return {}, self.batch(int(path.rsplit("-", 1)[1]))

    def batch(self, number: int) -> JSON:
        state = {"running": "RUNNING", "done": "SUCCEEDED"}.get(self.state, self.state.upper())
        metadata: JSON = {
            "displayName": self.names[number - 1],
            "state": f"BATCH_STATE_{state}",
            "createTime": datetime.fromtimestamp(self.made_at, UTC).isoformat(),
        }
        if self.state == "done":
            metadata["output"] = {"responsesFile": "files/batch-out"}
        return {"name": f"batches/b-{number}", "metadata": metadata}

    def results(self) -> Iterator[JSON]:
        for asked in self.requests:
            key, outcome = asked["key"], self.outcome(asked["key"])
            match outcome:
                case "answered":
                    yield {"key": key, "response": reply("gemini", f"navy\u2028{key}", usage=True)[1]}
                case "unsaid":
                    yield {"key": key, "response": {}}
                case "refused":
                    yield {"key": key, "error": {"code": 3, "message": "odd"}}
                case "settings":
                    yield {"key": key, "error": {"code": 400, "message": "temperature is not supported"}}
                case _:
                    yield {"key": key, "error": {"code": 4, "message": "Deadline exceeded"}}


class _Handler(BaseHTTPRequestHandler):
    state: Batches

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def _respond(self) -> None:
        body = self._read()
        self.state.paths.append(self.path)
        answered = self.state.respond(self.path, body)
        if answered is None:
            return
        headers, answer = answered
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _read(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(parts)


SERVERS: dict[str, type[Batches]] = {"anthropic": AnthropicServer, "gemini": GeminiServer, "openai": OpenAIServer}


@contextmanager
def batching(name: str) -> Iterator[Batches]:
    """Serve on this machine the batches of the provider `name`."""
    state = SERVERS[name]()
    with serving(type("Handler", (_Handler,), {"state": state})) as state.url:
        yield state
