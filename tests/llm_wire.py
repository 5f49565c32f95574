"""What the APIs of OpenAI, Anthropic and Gemini have in common: requests and replies, tokens, ids and HTTP."""

from __future__ import annotations

import itertools
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

PICTURE_TOKENS = 258
_numbers = itertools.count(1)


class Asked(NamedTuple):
    """A request to a model, whichever API it came by."""

    model: str
    system: str
    prompt: str
    schema: Mapping[str, Any] | None
    pictures: int
    parameters: frozenset[str]
    max_tokens: int


class Invalid(Exception):
    """The request keeps not to its API."""


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: Any
    """Something to write as JSON, or the bytes themselves."""
    headers: tuple[tuple[str, str], ...] = ()


def tokens(text: str) -> int:
    """Return how many tokens the text counts as: one for each four characters, and one."""
    return len(text) // 4 + 1


def input_tokens(asked: Asked) -> int:
    system = tokens(asked.system) if asked.system else 0
    return system + tokens(asked.prompt) + PICTURE_TOKENS * asked.pictures


def fresh_id() -> str:
    return f"{next(_numbers):012x}"


def timestamp(at: float | None = None) -> str:
    """Return the time as the APIs write it."""
    return datetime.fromtimestamp(time.time() if at is None else at, UTC).isoformat().replace("+00:00", "Z")


class Wire(ABC):
    """One API: how a request is read, and how replies and errors are written."""

    name: ClassVar[str]

    @abstractmethod
    def read(self, body: Any, model: str) -> Asked:
        """Return what is asked; `model` is that of the path. Raises `Invalid`."""

    @abstractmethod
    def reply(self, asked: Asked, text: str, ending: str, thoughts: int) -> dict[str, Any]:
        """Return a reply that ends in "stop", "cut", "null_content", "refused" or "filtered"."""

    @abstractmethod
    def error(self, kind: str, said: str = "", wait_s: float | None = None) -> Answer:
        """Return an error: "busy", "quota", "key", "model", "server_error", "unavailable" or "bad_request"."""


def objects_in(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Go through all schemas of a schema."""
    if isinstance(schema, dict):
        yield schema
        for name, inner in schema.items():
            if name in ("properties", "$defs"):
                for one in inner.values():
                    yield from objects_in(one)
            elif name == "items":
                yield from objects_in(inner)
            elif name in ("anyOf", "oneOf", "allOf"):
                for one in inner:
                    yield from objects_in(one)


def texts_and_pictures(content: Any, picture: str) -> tuple[list[str], int]:
    """Return the texts of a message's content, and how many parts are of the kind `picture`."""
    if isinstance(content, str):
        return [content], 0
    texts, pictures = [], 0
    for part in content:
        if part["type"] == "text":
            texts.append(part["text"])
        elif part["type"] == picture:
            pictures += 1
        else:
            raise Invalid(f"Invalid value: '{part['type']}'.")
    return texts, pictures


def as_bytes(answer: Answer, *, close: bool = False) -> bytes:
    """Return the answer as HTTP."""
    kind = "application/octet-stream"
    body = answer.body
    if not isinstance(body, bytes):
        kind, body = "application/json", json.dumps(body, ensure_ascii=False).encode()
    head = f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Error')}\r\nContent-Type: {kind}\r\n"
    for name, value in answer.headers:
        head += f"{name}: {value}\r\n"
    head += f"Content-Length: {len(body)}\r\n{'Connection: close' if close else 'Connection: keep-alive'}\r\n\r\n"
    return head.encode("latin-1") + body


_PHRASES = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
