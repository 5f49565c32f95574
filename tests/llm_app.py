"""What the test server of models answers to a request, and its counts of what was asked and paid for."""

from __future__ import annotations

import asyncio
import json
import re
from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from llm_anthropic import Anthropic
from llm_batch_forms import Ending, item_ending
from llm_batches import Batches, Call
from llm_faults import Identify, Say, Settings, digest, load, settings_from, unit
from llm_gemini import Gemini
from llm_openai import OpenAI
from llm_wire import Answer, Asked, Invalid, Wire

WIRES: dict[str, Wire] = {wire.name: wire for wire in (OpenAI(), Anthropic(), Gemini())}
_VERSION = re.compile(r"^(/upload)?/v1(?:beta)?(?=/)")
_SOURCES = tuple(f"{name}{batch}" for name in WIRES for batch in ("", " batch"))


class Records:
    """What was asked, in 26 bytes a request and some more for each identity."""

    def __init__(self) -> None:
        self.at = array("d")
        self.identity = array("Q")
        self.outcome = array("B")
        self.source = array("B")
        self.written = array("B")
        self.outcomes: list[str] = []
        self.asked: Counter[int] = Counter()
        self.paid: Counter[int] = Counter()
        self.replies = 0
        self.under_way = 0
        self.most_at_once = 0
        self.let_through: deque[float] = deque()

    def add(self, at: float, identity: int, outcome: str, source: str) -> int:
        if outcome not in self.outcomes:
            self.outcomes.append(outcome)
        self.at.append(at)
        self.identity.append(identity)
        self.outcome.append(self.outcomes.index(outcome))
        self.source.append(_SOURCES.index(source))
        self.written.append(0)
        return len(self.at) - 1

    def enter(self) -> None:
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)

    def leave(self) -> None:
        self.under_way -= 1

    def has_written(self, record: int) -> None:
        self.written[record] = 1
        if self.outcomes[self.outcome[record]] == "ok":
            self.paid[self.identity[record]] += 1

    def log(self, *, paid: bool) -> dict[str, Any]:
        outcomes = Counter(self.outcome)
        unwritten = Counter(outcome for outcome, written in zip(self.outcome, self.written, strict=True) if not written)
        log = {
            "requests": len(self.at),
            "outcomes": {self.outcomes[index]: count for index, count in outcomes.items()},
            "not_written": {self.outcomes[index]: count for index, count in unwritten.items()},
            "sources": {_SOURCES[index]: count for index, count in Counter(self.source).items()},
            "identities": len(self.asked),
            "paid": {str(times): count for times, count in sorted(Counter(self.paid.values()).items())},
            "paid_more_than_once": [f"{one:016x}" for one, times in self.paid.items() if times > 1],
            "asked": {str(times): count for times, count in sorted(Counter(self.asked.values()).items())},
            "violations": outcomes[self.outcomes.index("limited")] if "limited" in self.outcomes else 0,
            "most_at_once": self.most_at_once,
        }
        return log | ({"paid_by_identity": {f"{one:016x}": n for one, n in self.paid.items()}} if paid else {})

    def arrivals(self, since: int) -> list[list[Any]]:
        return [
            [at, f"{identity:016x}", self.outcomes[outcome], bool(written), _SOURCES[source]]
            for at, identity, outcome, written, source in zip(
                *(column[since:] for column in (self.at, self.identity, self.outcome, self.written, self.source)),
                strict=True,
            )
        ]


class Plan(NamedTuple):
    """What the connection does for a request."""

    answer: Answer
    delay_s: float = 0.0
    how: str = "whole"
    """Or "hang", "dropped", "broken_off"."""
    written: Callable[[], None] = lambda: None
    """Called when the whole answer is written."""
    left: Callable[[], None] = lambda: None
    """Called when the answer is written or the client has gone."""


class App:
    """The server without its connections."""

    def __init__(self, settings: Settings) -> None:
        self.time: Callable[[], float] = asyncio.get_running_loop().time
        self.change(settings)
        self.records = Records()
        self.batches = Batches(lambda: self.settings, self._answer_item)

    def change(self, settings: Settings) -> None:
        self.say: Say = load(settings.say)
        self.identify: Identify = load(settings.identity)
        self.settings = settings

    def reset(self) -> None:
        self.batches.stop()
        self.records = Records()
        self.batches = Batches(lambda: self.settings, self._answer_item)

    def plan(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Plan:
        path, _, query = target.partition("?")
        if path.startswith("/_"):
            return Plan(self._control(path, query, body))
        if "x-goog-api-key" in headers or path.startswith(("/upload/", "/v1beta/")) or ":generateContent" in path:
            wire = WIRES["gemini"]
        else:
            wire = WIRES["anthropic" if "/messages" in path else "openai"]
        path = _VERSION.sub(r"\1", path)
        call = Call(method, path, query, headers, body, wire)
        if self.settings.key and self.settings.key != _key_of(call) and "upload_id=" not in query:
            return self._refused(wire.error("key"), 0, "key", wire)
        model = ""
        if method == "POST" and wire.name == "gemini" and path.endswith(":generateContent"):
            model = path.removeprefix("/models/").removesuffix(":generateContent")
        if method == "POST" and (model or path in ("/chat/completions", "/messages")):
            return self._asked(wire, body, model)
        answer = self.batches.handle(call)
        return Plan(wire.error("missing"), how="dropped") if answer is None else Plan(answer)

    def _refused(self, answer: Answer, identity: int, outcome: str, wire: Wire) -> Plan:
        records = self.records
        record = records.add(self.time(), identity, outcome, wire.name)
        return Plan(answer, written=lambda: records.has_written(record))

    def _asked(self, wire: Wire, body: bytes, model: str) -> Plan:
        now, settings, records = self.time(), self.settings, self.records
        asked = _read(wire, body, model)
        if isinstance(asked, Answer):
            return self._refused(asked, 0, "invalid", wire)
        identity = digest(asked.system, self.identify(asked.prompt))
        if settings.limit_requests:
            passed = records.let_through
            while passed and passed[0] <= now - settings.limit_window_s:
                passed.popleft()
            if len(passed) >= settings.limit_requests:
                wait_s = passed[0] + settings.limit_window_s - now
                return self._refused(wire.error("busy", wait_s=wait_s), identity, "limited", wire)
            passed.append(now)
        if settings.quota_requests and records.replies >= settings.quota_requests:
            kind = "quota"
            if wire.name == "anthropic" and settings.quota_as != "credit":
                kind = f"quota_{settings.quota_as}"
            return self._refused(wire.error(kind), identity, "quota", wire)
        before = records.asked[identity]
        records.asked[identity] = before + 1
        outcome = settings.faults.met(settings.seed, identity, before)
        answer, outcome = self._answer(wire, asked, identity, outcome)
        delay_s = settings.latency_s
        if settings.latency_spread:
            delay_s *= 1 + settings.latency_spread * (2 * unit(settings.seed, identity, before, "latency") - 1)
        record = records.add(now, identity, outcome, wire.name)
        records.enter()
        how = outcome if outcome in ("hang", "dropped", "broken_off") else "whole"
        if how == "hang":
            delay_s = settings.faults.hang_s
        return Plan(answer, delay_s, how, lambda: records.has_written(record), records.leave)

    def _answer(self, wire: Wire, asked: Asked, identity: int, outcome: str) -> tuple[Answer, str]:
        """Return what is sent for an outcome, and the outcome that it turned out to be."""
        settings = self.settings
        if asked.model == settings.missing_model:
            return wire.error("model"), "model"
        if refused := [one for one in settings.refuses if one in asked.parameters]:
            return wire.error("refuses", refused[0]), "setting_refused"
        match outcome:
            case "busy" | "server_error" | "unavailable" | "bad_request":
                return wire.error(outcome), outcome
            case "busy_retry_after":
                return wire.error("busy", wait_s=settings.faults.retry_after_s), outcome
            case "filtered" if wire.name == "anthropic":
                return wire.error("filtered"), outcome
        if outcome == "off_schema":
            text = json.dumps({"unexpected": [f"{identity:x}"]})
        else:
            text = self.say(asked.prompt, asked.system, asked.schema, asked.pictures)
        if outcome == "cut":
            text = text[: len(text) // 2]
        if outcome not in ("hang", "dropped"):
            self.records.replies += 1
        return Answer(200, wire.reply(asked, text, outcome, settings.thought_tokens)), outcome

    def _answer_item(self, wire: Wire, body: Any, model: str) -> Ending:
        asked = _read(wire, body, model)
        if isinstance(asked, Answer):
            return item_ending(asked.status, asked.body, expired=False)
        settings, records = self.settings, self.records
        identity = digest(asked.system, self.identify(asked.prompt))
        before = records.asked[identity]
        records.asked[identity] = before + 1
        outcome = settings.faults.met(settings.seed, identity, before, in_batch=True)
        at = unit(settings.seed, identity, before, "batch")
        if outcome == "ok" and before < settings.faults.transient_askings:
            if at < settings.batch_errored:
                outcome = "server_error"
            elif at < settings.batch_errored + settings.batch_expired:
                outcome = "expired"
        expired = outcome == "expired"
        answer = Answer(0, None) if expired else None
        if answer is None:
            answer, outcome = self._answer(wire, asked, identity, outcome)
        records.has_written(records.add(self.time(), identity, outcome, f"{wire.name} batch"))
        return item_ending(answer.status, answer.body, expired=expired)

    def _control(self, path: str, query: str, body: bytes) -> Answer:
        asked = parse_qs(query)
        match path:
            case "/_log":
                log = self.records.log(paid="paid" in asked)
                return Answer(200, log | {"batch_calls": self.batches.calls, "batches": len(self.batches.batches)})
            case "/_arrivals":
                return Answer(200, {"arrivals": self.records.arrivals(int(asked.get("since", ["0"])[0]))})
            case "/_settings":
                try:
                    self.change(settings_from(json.loads(body), self.settings))
                except (ValueError, TypeError, ImportError, AttributeError) as error:
                    return Answer(400, {"error": str(error)})
                return Answer(200, asdict(self.settings))
            case "/_reset":
                self.reset()
                return Answer(200, {})
        return Answer(404, {"error": f"no {path}"})


def _key_of(call: Call) -> str:
    bearer = call.headers.get("authorization", "").removeprefix("Bearer ")
    named = call.headers.get("x-api-key") or call.headers.get("x-goog-api-key")
    return named or bearer or call.parameter("key")


def _read(wire: Wire, body: Any, model: str) -> Asked | Answer:
    try:
        return wire.read(json.loads(body) if isinstance(body, bytes) else body, model)
    except Invalid as error:
        return wire.error("bad_request", str(error))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return wire.error("bad_request", f"{type(error).__name__}: {error}")
