"""What the providers behind an API share: keys, connections, and settings that a model refuses.

A key is read from the environment and appears in no message (see `errors`).
"""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

import msgspec

from shelfqa.errors import ConfigError, UserError
from shelfqa.providers.base import ErrorKind, ProviderError, Reply, Request
from shelfqa.providers.errors import Said, error_of, said_by, said_in, unsaid
from shelfqa.providers.pictures import as_jpeg

__all__ = ["POOL", "TIMEOUT_S", "Forms", "Hosted", "Setting", "as_jpeg", "is_local", "prompt_of"]

TIMEOUT_S = 120.0
"""How long one request may take."""

POOL = 20
"""Most requests at once through one client of the SDK, which keeps as many connections; more take further clients.

Before each request the HTTP library looks at all connections of its client: with 256 in one, that takes longer than all
the rest of a request.
"""

Forms = Mapping[str, str]
"""In which form each setting is sent; an empty one says that it is not."""


class Setting(NamedTuple):
    """Something that goes with a request, until the model or the server refuses it."""

    forms: tuple[str, ...]
    """How to send it, the best first; an empty form is to go without."""
    named: tuple[str, ...]
    """What a refusal calls it, in small letters; any of these."""


class _Pool:
    """A client of the SDK, and how many requests are under way through it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.busy = 0


class Hosted:
    """A provider whose requests go through an SDK; a subclass says how."""

    name: str
    """The entry of `PROVIDERS`."""
    sdk: ClassVar[str]
    """The module that is imported."""
    keys: ClassVar[tuple[str, ...]]
    """Environment variables that may hold the key; the first that is set does."""
    url_variable: ClassVar[str]
    """Environment variable of the base URL."""
    local_without_key: ClassVar[bool] = False
    settings: ClassVar[Mapping[str, Setting]]
    """What may be refused; `schema` concerns only requests that have one."""

    def __init__(self, model: str, *, base_url: str = "", timeout_s: float = TIMEOUT_S) -> None:
        """Connect to nothing yet, but know all that is needed.

        Args:
            model: name of the model, as the API calls it.
            base_url: where the API is, if not where the environment or the SDK says.
            timeout_s: how long one request may take.

        Raises:
            UserError: if the key or the SDK is missing, or the URL is none.

        """
        self.model = model
        self._url = base_url or os.environ.get(self.url_variable, "").strip()
        if self._url and not _is_address(self._url):
            raise ConfigError(
                f"provider {self.name!r}: the base URL is no address that begins with http:// or https://."
            )
        self._key = self._find_key()
        try:
            self._sdk = importlib.import_module(self.sdk)
        except ImportError:
            raise UserError(
                f"provider {self.name!r} needs a package that is not installed: pip install 'shelfqa[providers]'."
            ) from None
        self._timeout_s = timeout_s
        self._forms: Forms = {name: setting.forms[0] for name, setting in self.settings.items()}
        self._batches: dict[str, tuple[Forms, int]] = {}
        """In which forms the batches that were handed in here are written, and how many requests each has."""
        self._pools: list[_Pool] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def _connect(self) -> Any:
        """Return a new client of the SDK, which tries nothing twice."""
        raise NotImplementedError

    async def _disconnect(self, client: Any) -> None:
        """Close what `_connect` made."""
        await client.close()

    def _body(self, request: Request, pictures: Sequence[bytes], forms: Forms) -> dict[str, Any]:
        """Return the request as the API takes it, alone or in a batch; `pictures` are JPEG files."""
        raise NotImplementedError

    async def _send(self, client: Any, body: dict[str, Any]) -> bytes:
        """Send one request and return the body of the answer. May raise anything."""
        raise NotImplementedError

    def _read(self, answer: bytes | msgspec.Raw) -> Reply:
        """Return the reply that the body of an answer tells. May raise anything."""
        raise NotImplementedError

    async def ask(self, request: Request, pictures: Sequence[bytes]) -> Reply:
        """Return the reply to `request`, without text where the model refuses.

        Raises:
            ProviderError: if there is none.

        """
        while True:
            forms = self._forms
            with self._one_line():
                try:
                    async with asyncio.timeout(self._timeout_s):
                        with self._lent() as client:
                            answer = await self._send(client, self._body(request, pictures, forms))
                except Exception as error:  # of the SDK or of its HTTP client
                    said = said_by(error)
                    if said is None or not self._gives_way(said, forms, with_schema=request.schema is not None):
                        raise
                else:
                    return self._read(answer)

    async def close(self) -> None:
        """Give back the connections, if they are of this event loop; `ask` makes new ones."""
        pools, loop = self._pools, self._loop
        self._pools, self._loop = [], None
        if loop is asyncio.get_running_loop():
            for pool in pools:
                await self._disconnect(pool.client)

    @contextmanager
    def _lent(self) -> Iterator[Any]:
        """Lend a client of the running event loop for one request."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # the connections of a loop that has ended cannot be closed
            self._pools, self._loop = [], loop
        pool = next((pool for pool in self._pools if pool.busy < POOL), None)
        if pool is None:
            self._pools.append(pool := _Pool(self._connect()))
        pool.busy += 1
        try:
            yield pool.client
        finally:
            pool.busy -= 1

    def _find_key(self) -> str:
        for variable in self.keys:
            if key := os.environ.get(variable, "").strip():
                if not (key.isascii() and key.isprintable()) or " " in key:
                    raise UserError(f"provider {self.name!r}: {variable} holds characters that no key has.")
                return key
        if self.local_without_key and is_local(self._url):
            return "none"
        raise UserError(f"provider {self.name!r} needs a key: set the environment variable {' or '.join(self.keys)}.")

    def _gives_way(self, said: Said, forms: Forms, *, with_schema: bool) -> bool:
        """Say whether a request in `forms` is refused for a setting that can be sent in another form from now on.

        Many requests are under way at once: one that was sent before another's refusal came back takes the form that
        is now sent, and only a refusal of that one leads on to the next.
        """
        if said.status not in (400, 422):
            return False
        named, detail = said.param.casefold(), said.detail.casefold()
        if not any(word in named for setting in self.settings.values() for word in setting.named):
            named = "" if named.startswith(("messages", "input")) else detail
        for name, setting in self.settings.items():
            if (name == "schema" and not with_schema) or not any(word in named for word in setting.named):
                continue
            if later := setting.forms[setting.forms.index(forms[name]) + 1 :]:
                if self._forms[name] == forms[name]:
                    self._forms = {**self._forms, name: later[0]}
                return True
        return False

    def _error(self, said: Said) -> ProviderError:
        """Return the error for what a server said."""
        return error_of(said, at=self._at, keys=self.keys, key=self._key)

    def _batch_error(self, batch: str, status: int, body: object) -> ProviderError:
        """Return why a request of a batch has no reply; one that is refused for a setting may be sent again without."""
        said = said_in(status, body)
        forms, _ = self._batches.get(batch, ({name: setting.forms[0] for name, setting in self.settings.items()}, 0))
        kind: ErrorKind | None = "server" if self._gives_way(said, forms, with_schema=True) else None
        return error_of(said, at=self._at, keys=self.keys, key=self._key, kind=kind)

    def _batch_reply(self, answer: bytes | msgspec.Raw) -> Reply | ProviderError:
        """Return the reply that the body of an answer in a batch tells, or why it cannot be read."""
        try:
            with self._one_line():
                return self._read(answer)
        except ProviderError as error:
            return error

    @property
    def _at(self) -> str:
        """Who answers, for messages."""
        return f"{self.name} at {urlsplit(self._url).hostname}" if self._url else self.name

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Turn whatever is raised within into a `ProviderError` of one line, without the key."""
        try:
            yield
        except ProviderError:
            raise
        except Exception as error:  # of the SDK, of its HTTP client, or of a reply in an unknown form
            said = said_by(error)
            raise (unsaid(error, at=self._at) if said is None else self._error(said)) from None


def prompt_of(request: Request, *, schema_sent: bool) -> str:
    """Return the prompt, with the schema of the reply written out unless it is sent beside the prompt."""
    if request.schema is None or schema_sent:
        return request.prompt
    schema = msgspec.json.encode(request.schema).decode()
    return f"{request.prompt}\n\nReply with one JSON object and nothing else. It follows this JSON schema:\n{schema}"


def is_local(url: str) -> bool:
    """Say whether `url` points to this machine.

    >>> is_local("http://localhost:8000/v1"), is_local("https://openrouter.ai/api/v1"), is_local("")
    (True, False, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or a bracket
        return False
