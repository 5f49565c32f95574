"""Batches of requests and the files they come and go in, as OpenAI, Anthropic and Gemini have them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from llm_batch_forms import DAY_S, Batch, Ending, gemini_ending, written
from llm_faults import Settings, unit
from llm_gemini import either
from llm_wire import Answer, Wire, fresh_id, timestamp

AT_ONCE = 100
"""Requests of a batch that are answered before others get their turn."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Call(NamedTuple):
    """A request over HTTP, to one API."""

    method: str
    path: str
    """Without the version."""
    query: str
    headers: dict[str, str]
    body: bytes
    wire: Wire

    def parameter(self, name: str, default: str = "") -> str:
        return parse_qs(self.query).get(name, [default])[0]


AnswerItem = Callable[[Wire, Any, str], Ending]
"""Called with the API, the body of a request in a batch and the model of the path."""


@dataclass
class File:
    id: str
    name: str
    purpose: str
    content: bytes
    at: float = field(default_factory=time.time)


class Batches:
    """All batches and files of the server."""

    def __init__(self, settings: Callable[[], Settings], answer: AnswerItem) -> None:
        self._settings = settings
        self._answer = answer
        self.files: dict[str, File] = {}
        self.batches: dict[str, Batch] = {}
        self.calls: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._made = itertools.count()
        self._uploads: dict[str, tuple[dict[str, Any], bytearray]] = {}
        self._work: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        for work in self._work:
            work.cancel()

    def handle(self, call: Call) -> Answer | None:
        """Return the answer to a call about batches or files, None if the connection is to be dropped."""
        known = self._route(call)
        if known is None:
            return call.wire.error("missing")
        name, answer = known
        self.calls[f"{call.wire.name} {name}"] += 1
        settings = self._settings()
        if unit(settings.seed, "call", next(self._numbers)) < settings.batch_calls_fail:
            self.calls[f"{call.wire.name} {name} failed"] += 1
            return call.wire.error("unavailable")
        before = len(self.batches)
        try:
            replied = answer()
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            return call.wire.error("bad_request", f"{type(error).__name__}: {error}")
        if len(self.batches) > before and len(self.batches) <= settings.batch_creates_lost:
            return None
        return replied

    def _route(self, call: Call) -> tuple[str, Callable[[], Answer]] | None:
        parts = call.path.strip("/").split("/")
        match (call.wire.name, call.method, parts):
            case ("openai", "POST", ["files"]):
                return "upload", lambda: self._openai_upload(call)
            case ("openai", "GET", ["files", id_, "content"]):
                return "download", lambda: self._content(call.wire, id_)
            case ("openai", "GET", ["files", id_]):
                return "file", lambda: self._openai_file(call.wire, id_)
            case ("openai", "DELETE", ["files", id_]):
                return "delete", lambda: self._delete(id_, {"id": id_, "object": "file", "deleted": True})
            case ("openai", "POST", ["batches"]):
                return "create", lambda: self._openai_create(call)
            case ("openai" | "gemini", "GET", ["batches"]) | ("anthropic", "GET", ["messages", "batches"]):
                return "list", lambda: self._list(call)
            case ("anthropic", "POST", ["messages", "batches"]):
                return "create", lambda: self._anthropic_create(call)
            case ("anthropic", "GET", ["messages", "batches", id_, "results"]):
                return "results", lambda: self._anthropic_results(call, id_)
            case ("openai" | "gemini", "GET", ["batches", id_]) | ("anthropic", "GET", ["messages", "batches", id_]):
                return "state", lambda: self._state(call, id_)
            case ("gemini", "POST", ["upload", "files"]):
                return "upload", lambda: self._gemini_upload(call)
            case ("gemini", "POST", ["models", name]) if name.endswith(":batchGenerateContent"):
                return "create", lambda: self._gemini_create(call, name.partition(":")[0])
            case ("gemini", "GET", ["files", name]) if name.endswith(":download"):
                return "download", lambda: self._content(call.wire, "files/" + name.removesuffix(":download"))
            case ("gemini", "GET", ["files", id_]):
                return "file", lambda: self._gemini_file(call, f"files/{id_}")
            case ("gemini", "DELETE", ["files", id_]):
                return "delete", lambda: self._delete(f"files/{id_}", {})
        return None

    # Files

    def _keep(self, file: File) -> File:
        self.files[file.id] = file
        return file

    def _content(self, wire: Wire, id_: str) -> Answer:
        file = self.files.get(id_)
        return Answer(200, file.content) if file else wire.error("missing")

    def _delete(self, id_: str, said: Any) -> Answer:
        del self.files[id_]
        return Answer(200, said)

    def _openai_upload(self, call: Call) -> Answer:
        boundary = call.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        fields: dict[str, tuple[str, bytes]] = {}
        for part in call.body.split(b"--" + boundary)[1:-1]:
            head, _, content = part[2:-2].partition(b"\r\n\r\n")
            names = dict(re.findall(r'(name|filename)="([^"]*)"', head.decode()))
            fields[names["name"]] = (names.get("filename", ""), content)
        name, content = fields["file"]
        purpose = fields["purpose"][1].decode()
        file = self._keep(File(f"file-{fresh_id()}", name, purpose, content))
        return self._openai_file(call.wire, file.id)

    def _openai_file(self, wire: Wire, id_: str) -> Answer:
        if (file := self.files.get(id_)) is None:
            return wire.error("missing")
        about = {"id": id_, "object": "file", "bytes": len(file.content), "created_at": int(file.at)}
        about |= {"filename": file.name, "purpose": file.purpose, "status": "processed", "status_details": None}
        return Answer(200, about)

    def _gemini_upload(self, call: Call) -> Answer:
        command = call.headers.get("x-goog-upload-command", "")
        if command == "start":
            id_ = fresh_id()
            about = json.loads(call.body or b"{}").get("file", {})
            about["mimeType"] = call.headers.get("x-goog-upload-header-content-type", "")
            self._uploads[id_] = (about, bytearray())
            query = f"upload_id={id_}&upload_protocol=resumable"
            url = f"http://{call.headers['host']}/upload/v1beta/files?{query}"
            return Answer(200, {}, (("X-Goog-Upload-Status", "active"), ("X-Goog-Upload-URL", url)))
        about, content = self._uploads[call.parameter("upload_id")]
        if int(call.headers["x-goog-upload-offset"]) != len(content):
            raise ValueError("the offset is not where the upload is")
        content += call.body
        if "finalize" not in command:
            return Answer(200, {}, (("X-Goog-Upload-Status", "active"),))
        del self._uploads[call.parameter("upload_id")]
        id_ = about.get("name") or f"files/{fresh_id()}"
        name = either(about, "displayName", "")
        self._keep(File(id_, name, about["mimeType"], bytes(content)))
        file = self._gemini_file(call, id_).body
        return Answer(200, {"file": file}, (("X-Goog-Upload-Status", "final"),))

    def _gemini_file(self, call: Call, id_: str) -> Answer:
        if (file := self.files.get(id_)) is None:
            return call.wire.error("missing")
        sha256 = base64.b64encode(hashlib.sha256(file.content).hexdigest().encode()).decode()
        made, gone = timestamp(file.at), timestamp(file.at + 2 * DAY_S)
        uri = f"https://generativelanguage.googleapis.com/v1beta/{id_}"
        about = {"name": id_, "displayName": file.name, "mimeType": file.purpose, "sizeBytes": str(len(file.content))}
        about |= {"createTime": made, "updateTime": made, "expirationTime": gone, "sha256Hash": sha256}
        return Answer(200, about | {"uri": uri, "state": "ACTIVE", "source": "UPLOADED"})

    # What all batches share

    def _start(self, batch: Batch) -> Answer:
        self.batches[batch.id] = batch
        if batch.state == "working":
            work = asyncio.get_running_loop().create_task(self._run(batch))
            self._work.add(work)
            work.add_done_callback(self._work.discard)
        return Answer(200, written(batch, self._settings()))

    def _new(
        self, wire: Wire, id_: str, items: list[tuple[str, Any]], *, model: str = "", about: dict[str, Any]
    ) -> Batch:
        return Batch(id_, wire, next(self._made), model, about, items, len(items))

    async def _run(self, batch: Batch) -> None:
        settings = self._settings()
        await asyncio.sleep(settings.batch_s)
        settings = self._settings()
        fails = batch.number < settings.batches_fail
        expires = not fails and batch.number < settings.batches_fail + settings.batches_expire
        to_do = int(batch.total * settings.batch_part_done) if expires else batch.total
        if fails:
            limit = "Enqueued token limit reached for the model in this organization."
            batch.errors = [{"code": "token_limit_exceeded", "message": limit, "param": None, "line": None}]
            to_do = 0
        for place, (id_, body) in enumerate(batch.items):
            if place < to_do:
                ending = self._answer(batch.wire, body, batch.model)
            elif fails:
                ending = Ending("errored", 500, batch.wire.error("server_error").body)
            else:
                ending = Ending("expired", 0, None)
            batch.counts[ending.kind] += 1
            batch.results.append((id_, ending))
            if place % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        batch.items = []
        batch.results.reverse()  # no API promises an order
        if batch.wire.name == "openai" and not fails:
            self._openai_outputs(batch)
        if batch.wire.name == "gemini" and not fails and not expires and "fileName" in batch.about["inputConfig"]:
            self._gemini_output(batch)
        batch.state = "failed" if fails else "expired" if expires else "done"
        if batch.wire.name == "openai" and batch.counts["expired"]:
            batch.state = "expired"
        batch.ended = time.time()

    def _state(self, call: Call, id_: str) -> Answer:
        batch = self.batches.get(f"batches/{id_}" if call.wire.name == "gemini" else id_)
        return Answer(200, written(batch, self._settings())) if batch else call.wire.error("missing")

    def _list(self, call: Call) -> Answer:
        settings, name = self._settings(), call.wire.name
        mine = [one for one in reversed(self.batches.values()) if one.wire is call.wire]
        limit = int(call.parameter("pageSize" if name == "gemini" else "limit", "20"))
        after = call.parameter({"openai": "after", "anthropic": "after_id"}.get(name, "pageToken"))
        first = 1 + [one.id for one in mine].index(after) if after else 0
        page, more = mine[first : first + limit], len(mine) > first + limit
        data = [written(one, settings) for one in page]
        if name == "gemini":
            body = {"operations": data} if data else {}
            return Answer(200, body | ({"nextPageToken": page[-1].id} if more else {}))
        ends = {"first_id": page[0].id if page else None, "last_id": page[-1].id if page else None, "has_more": more}
        return Answer(200, ({"object": "list"} if name == "openai" else {}) | {"data": data} | ends)

    # OpenAI

    def _openai_create(self, call: Call) -> Answer:
        given = json.loads(call.body)
        file = self.files.get(given["input_file_id"])
        if file is None or file.purpose != "batch":
            return call.wire.error("bad_request", f"Invalid input_file_id: {given['input_file_id']}.")
        if given["completion_window"] != "24h":
            return call.wire.error("bad_request", "Invalid completion_window.")
        metadata = given.get("metadata")
        if metadata and any(len(key) > 64 or len(value) > 512 for key, value in metadata.items()):
            return call.wire.error("bad_request", "Invalid metadata: string too long.")
        items, errors, models = [], [], set()
        for number, line in enumerate(file.content.splitlines(), 1):
            item = json.loads(line)
            if item["method"] != "POST" or item["url"] != given["endpoint"]:
                errors.append({"code": "mismatched_endpoint", "line": number, "message": item["url"], "param": "url"})
            models.add(item["body"]["model"])
            items.append((item["custom_id"], item["body"]))
        if len({id_ for id_, _ in items}) < len(items):
            errors.append({"code": "duplicate_custom_id", "line": None, "message": "custom_id", "param": "custom_id"})
        if len(models) > 1:
            errors.append({"code": "mismatched_model", "line": None, "message": "model", "param": "model"})
        if not items:
            errors.append({"code": "empty_file", "line": None, "message": "The file is empty.", "param": None})
        about = {"endpoint": given["endpoint"], "input_file_id": file.id, "metadata": metadata}
        batch = self._new(call.wire, f"batch_{fresh_id()}", items, about=about)
        if errors:
            batch.state, batch.errors, batch.ended = "failed", errors, time.time()
        return self._start(batch)

    def _openai_outputs(self, batch: Batch) -> None:
        outputs: dict[bool, list[str]] = {True: [], False: []}
        for id_, ending in batch.results:
            line: dict[str, Any] = {"id": f"batch_req_{fresh_id()}", "custom_id": id_, "response": None, "error": None}
            if ending.kind == "expired":
                said = "This request could not be executed before the completion window expired."
                line["error"] = {"code": "batch_expired", "message": said}
            else:
                line["response"] = {"status_code": ending.status, "request_id": fresh_id(), "body": ending.body}
            outputs[ending.kind == "ok"].append(json.dumps(line))
        batch.results = []
        ids: list[str | None] = []
        for good in (True, False):
            content = "".join(f"{line}\n" for line in outputs[good]).encode()
            file = File(f"file-{fresh_id()}", f"{batch.id}_output.jsonl", "batch_output", content)
            ids.append(self._keep(file).id if content else None)
        batch.output, batch.error_output = ids

    # Anthropic

    def _anthropic_create(self, call: Call) -> Answer:
        items = [(one["custom_id"], one["params"]) for one in json.loads(call.body)["requests"]]
        if not items or len({id_ for id_, _ in items}) < len(items):
            return call.wire.error("bad_request", "requests: custom_id must be unique")
        if not all(_ID.fullmatch(id_) for id_, _ in items):
            return call.wire.error("bad_request", "requests.0.custom_id: String should match '^[a-zA-Z0-9_-]{1,64}$'")
        return self._start(self._new(call.wire, f"msgbatch_{fresh_id()}", items, about={"host": call.headers["host"]}))

    def _anthropic_results(self, call: Call, id_: str) -> Answer:
        batch = self.batches.get(id_)
        if batch is None or batch.ended is None:
            return call.wire.error("missing")
        lines = []
        for custom_id, ending in batch.results:
            of_kind = {"ok": {"message": ending.body}, "errored": {"error": ending.body}, "expired": {}}[ending.kind]
            kind = {"ok": "succeeded"}.get(ending.kind, ending.kind)
            lines.append(json.dumps({"custom_id": custom_id, "result": {"type": kind, **of_kind}}) + "\n")
        return Answer(200, "".join(lines).encode())

    # Gemini

    def _gemini_create(self, call: Call, model: str) -> Answer:
        given = json.loads(call.body)["batch"]
        source = either(given, "inputConfig")
        about = {"displayName": either(given, "displayName"), "inputConfig": source}
        if name := either(source, "fileName"):
            if name not in self.files:
                return call.wire.error("missing")
            lines = [json.loads(line) for line in self.files[name].content.splitlines()]
            items = [(str(line["key"]), line["request"]) for line in lines]
            about["inputConfig"] = {"fileName": name}
        else:
            requests = source["requests"]["requests"]
            items = [(json.dumps(one.get("metadata")), one["request"]) for one in requests]
            about["inputConfig"] = {}
        return self._start(self._new(call.wire, f"batches/{fresh_id()}", items, model=model, about=about))

    def _gemini_output(self, batch: Batch) -> None:
        lines = [json.dumps({"key": id_, **gemini_ending(ending)}) + "\n" for id_, ending in batch.results]
        batch.results = []
        id_ = f"files/batch-{fresh_id()}"
        batch.output = self._keep(File(id_, "", "application/jsonl", "".join(lines).encode())).id
