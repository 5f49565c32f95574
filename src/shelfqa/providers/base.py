"""What a provider of replies is: a prompt, with pictures or without, becomes a reply.

A `Provider` sends one request and does nothing else; waiting, retrying, counting, keeping and paying are the
business of `client`, which everything goes through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from shelfqa.errors import ShelfqaError
from shelfqa.registry import Registry

PROVIDERS = Registry(
    "provider",
    {
        "anthropic": "shelfqa.providers.anthropic:Anthropic",
        "gemini": "shelfqa.providers.gemini:Gemini",
        "openai": "shelfqa.providers.openai_compatible:OpenAICompatible",
        "scripted": "shelfqa.providers.scripted:from_file",
    },
)
"""Each entry, called with the name of a model, returns a `Provider`; hosted ones also take `base_url`, `timeout_s`."""

MAX_TOKENS = 4096
"""Longest reply; models that think before they answer spend it on thoughts too."""

ErrorKind = Literal[
    "busy",  # too many requests or tokens for now (429, 529): wait, and ask less at once
    "server",  # 5xx, or a reply that broke off
    "timeout",
    "connection",
    "unreadable",  # a reply in no known form
    "request",  # this request is not taken, others may be (400, 413, 422)
    "picture",  # a picture of this request cannot be read
    "key",  # 401, 403, or a key that is called invalid
    "quota",  # the day's quota or the credit is used up
    "model",  # no such model or address (404)
]
"""What went wrong. `request` and `picture` concern one request; `key`, `quota` and `model` all; the rest may pass."""

PASSING: frozenset[ErrorKind] = frozenset({"busy", "server", "timeout", "connection", "unreadable"})
FATAL: frozenset[ErrorKind] = frozenset({"key", "quota", "model"})


class ProviderError(ShelfqaError):
    """A request got no reply; one line that names no key."""

    def __init__(self, message: str, *, kind: ErrorKind, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.retry_after_s = retry_after_s
        """How long the server asks us to wait, where it does."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked, but for the model."""

    prompt: str
    system: str = ""
    """What the model is told before the prompt; empty for nothing."""
    images: tuple[Path, ...] = ()
    schema: Mapping[str, Any] | None = None
    """JSON schema of the reply: an object at the top, all properties required, no others allowed, no `$ref`."""
    max_tokens: int = MAX_TOKENS
    image_side_px: int | None = None
    """Larger pictures are scaled down to this longer side before they are sent."""


class Usage(NamedTuple):
    """Tokens of a request as the provider counts them, pictures and thoughts among them."""

    input_tokens: int = 0
    output_tokens: int = 0


NO_USAGE = Usage()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back."""

    text: str
    """Empty where the model refuses."""
    model: str
    """The model that replied, as exactly as the provider tells it."""
    usage: Usage = NO_USAGE
    refused: bool = False
    """The model or the provider's filter declined to answer."""
    cut: bool = False
    """The reply ended at `max_tokens`."""


class Provider(Protocol):
    """Something that replies to requests; many may be under way at once, all in one event loop."""

    name: str
    """The entry of `PROVIDERS`."""
    model: str
    """The model that is asked for."""

    async def ask(self, request: Request, pictures: Sequence[bytes]) -> Reply:
        """Send `request` once, with its pictures as JPEG files, and return the reply.

        Raises:
            ProviderError: if there is none.

        """
        ...

    async def close(self) -> None:
        """Give back connections; `ask` in another event loop may follow."""
        ...


class BatchItem(NamedTuple):
    """A request in a batch, under an id of letters, digits, `-` and `_`, at most 64."""

    id: str
    request: Request
    pictures: tuple[bytes, ...]


class BatchState(NamedTuple):
    """How far a batch is."""

    ended: bool
    """Nothing more will be answered: done, failed, expired or cancelled; results may be there all the same."""
    done: int
    """Requests that have an answer."""
    error: str | None = None
    """Why the batch as a whole failed, in one line."""
    error_kind: ErrorKind = "server"


@runtime_checkable
class BatchProvider(Provider, Protocol):
    """A provider that also takes many requests at once, to answer them within a day at half the price."""

    batch_requests: int
    """Most requests of one batch."""
    batch_bytes: int
    """Most bytes of one batch's requests."""

    async def submit_batch(self, name: str, items: Sequence[BatchItem]) -> str:
        """Hand in a batch that can be found again by `name`, and return the provider's id of it."""
        ...

    async def find_batch(self, name: str, items: int, since: float, known: Callable[[str], bool]) -> str | None:
        """Return the id of a batch handed in under `name` after `since` (seconds since 1970), or None.

        Where the provider keeps no names it is the newest batch of `items` requests that was made after `since` and
        whose id is not `known` to be another's.
        """
        ...

    async def batch_state(self, batch: str) -> BatchState:
        """Return how far the batch with the id `batch` is."""
        ...

    def batch_results(self, batch: str) -> AsyncIterator[tuple[str, Reply | ProviderError]]:
        """Yield the id of each item that has come to an end, and its reply or why there is none.

        Items that expired or were cancelled give a `ProviderError` of a passing kind; items that are missing got no
        answer.
        """
        ...
