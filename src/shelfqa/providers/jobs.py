"""What is to be asked, the digest that a request is known by, and asking again with the reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shelfqa.errors import ImageError
from shelfqa.images import read_image_file
from shelfqa.providers.base import Reply, Request
from shelfqa.providers.store import Failure, Store

MOST_ASKINGS = 3
"""How often a prompt is put at most: once, and again with what was wrong with the reply."""
MOST_TOKENS = 32_768
"""How far a longest reply grows that turned out to be too short."""
_MOST_QUOTED = 2_000
_MOST_DIGESTS = 10_000
"""Of pictures, so that memory stays flat; each is read again for the next asking, or for the next job about it."""

Review = Callable[[Reply], str | None]
"""Says what is wrong with a reply, None where it will do."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request, and when its reply will do; each ends in an `Outcome`."""

    id: Any
    """Whatever the caller knows it by."""
    request: Request
    review: Review | None = None
    output_tokens: int = 200
    """How long the reply will be, about."""


class Asking(NamedTuple):
    """A request that is to be sent for a job, and the key of its reply."""

    request: Request
    key: str


class Outcome(NamedTuple):
    """How a job ended: by a reply, which may still be wrong after the last asking, or by a failure."""

    reply: Reply | None
    failure: Failure | None
    askings: int
    keys: tuple[str, ...]
    """Those of all replies that were asked for."""


@dataclass
class Replies:
    """The replies to one model's requests, kept or to come."""

    store: Store
    provider: str
    model: str
    run: str
    """Whose failures count."""
    _digests: dict[Path, str] = field(default_factory=dict)

    def next_step(self, job: Job) -> Asking | Outcome:
        """Return what is to be asked next for `job`, or how it has ended; reads its pictures' files once."""
        first = request = _sendable(job.request)
        keys: list[str] = []
        for asking in range(1, MOST_ASKINGS + 1):
            try:
                key = self.key(request)
            except ImageError as error:
                return Outcome(None, Failure("picture", f"cannot send the picture: {error}"), asking - 1, tuple(keys))
            reply = self.store.reply(key)
            if reply is None:
                failure = self.store.failure(self.run, key)
                return Asking(request, key) if failure is None else Outcome(None, failure, asking, tuple(keys))
            keys.append(key)
            problem = job.review(reply) if job.review is not None else None
            if problem is None or asking == MOST_ASKINGS:
                break
            request = asked_again(replace(first, max_tokens=request.max_tokens), reply, problem, asking)
        return Outcome(reply, None, asking, tuple(keys))

    def key(self, request: Request) -> str:
        """Return the digest of a request: provider, model, texts, schema, length, and the pictures' bytes.

        Raises:
            ImageError: if the file of a picture cannot be read.

        """
        parts = [
            self.provider,
            self.model,
            request.system,
            request.prompt,
            request.schema,
            request.max_tokens,
            request.image_side_px if request.images else None,
            [self._digest(path) for path in request.images],
        ]
        return hashlib.blake2b(msgspec.json.encode(_clean(parts), order="deterministic"), digest_size=16).hexdigest()

    def _digest(self, path: Path) -> str:
        digest = self._digests.get(path)
        if digest is None:
            digest = hashlib.blake2b(read_image_file(path, path.name), digest_size=16).hexdigest()
            if len(self._digests) >= _MOST_DIGESTS:
                self._digests.clear()
            self._digests[path] = digest
        return digest


def asked_again(request: Request, reply: Reply, problem: str, times: int) -> Request:
    """Return a request once more, with what was wrong with its reply; one that was cut may be twice as long.

    How often it was asked is part of the prompt, as the same wrong reply twice would give the same prompt twice.
    """
    before = "before" if times == 1 else f"{times} times before"
    prompt = (
        f"{request.prompt}\n\nYou have replied to this {before}, but the reply cannot be used: {problem}.\n"
        f"It began:\n{reply.text[:_MOST_QUOTED]}\n\nReply again, as asked above, and mend that."
    )
    longest = min(request.max_tokens * 2, MOST_TOKENS) if reply.cut else request.max_tokens
    return replace(request, prompt=prompt, max_tokens=max(longest, request.max_tokens))


def _sendable(request: Request) -> Request:
    """Return a request whose texts can be encoded; its key is the same."""
    texts = _clean([request.prompt, request.system, request.schema])
    return replace(request, prompt=texts[0], system=texts[1], schema=texts[2])


def _clean(value: Any) -> Any:
    """Return a value whose texts can be encoded: lone surrogates, which listings hold at times, as `?`."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_clean(item) for item in value]
    return value
