"""What the providers behind an API share: keys, pictures, settings that a model refuses, and errors of one line.

A key is read from the environment and appears in no message: errors say what went wrong in our words, and what a server
says is quoted only for a status that is no matter of keys, with the key cut out.
"""

from __future__ import annotations

import base64
import importlib
import io
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from shelfqa.errors import ConfigError, ImageError, UserError
from shelfqa.images import load_image
from shelfqa.providers.base import ProviderError, Reply

MAX_RETRIES = 4
"""How often a request is sent again by the SDK, with growing waits; the provider's limit for one minute passes so."""

TIMEOUT_S = 120.0
"""How long one request may take."""

MAX_TOKENS = 4096
"""Longest reply; models that think before they answer spend it on thoughts too, a few hundred tokens for a verdict."""

JPEG_QUALITY = 90

_JPEG = b"\xff\xd8\xff"
_REPLACEMENTS = {"temperature": "", "max_completion_tokens": "max_tokens"}
"""Settings that some models refuse, and what to say instead, if anything."""
_MOST_DETAIL = 200


class Hosted:
    """A provider whose requests go through an SDK; a subclass says how."""

    name: ClassVar[str]
    """The entry of `PROVIDERS`."""
    sdk: ClassVar[str]
    """The module that is imported."""
    keys: ClassVar[tuple[str, ...]]
    """Environment variables that may hold the key; the first that is set does."""
    url_variable: ClassVar[str]
    """Environment variable of the base URL."""
    local_without_key: ClassVar[bool] = False
    settings: ClassVar[Mapping[str, float]] = {}
    """What goes with each request, until the model refuses it."""

    def __init__(
        self, model: str, *, base_url: str = "", max_retries: int = MAX_RETRIES, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Connect to nothing yet, but know all that is needed.

        Args:
            model: name of the model, as the API calls it.
            base_url: where the API is, if not where the environment or the SDK says.
            max_retries: how often a request that failed for a passing reason is sent again.
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
            sdk = importlib.import_module(self.sdk)
        except ImportError:
            raise UserError(
                f"provider {self.name!r} needs a package that is not installed: pip install 'shelfqa[providers]'."
            ) from None
        self._settings = dict(self.settings)
        self._client = self._connect(sdk, max_retries, timeout_s)

    def _connect(self, sdk: Any, max_retries: int, timeout_s: float) -> Any:
        """Return the SDK's client."""
        raise NotImplementedError

    def _ask(self, prompt: str, pictures: Sequence[bytes], settings: Mapping[str, float]) -> Reply:
        """Send one request; `pictures` are JPEG files. May raise anything."""
        raise NotImplementedError

    def complete(self, prompt: str, *, images: Sequence[Path] = ()) -> Reply:
        """Return the reply to `prompt`, without text where the model refuses.

        Raises:
            ProviderError: if there is none after the retries, or a picture cannot be read.

        """
        try:
            pictures = [as_jpeg(Path(path)) for path in images]
        except ImageError as error:
            raise ProviderError(f"{self.name}: cannot send the picture: {error}") from None
        while True:
            settings = self._settings
            try:
                return self._ask(prompt, pictures, settings)
            except ProviderError:
                raise
            except Exception as error:  # of the SDK, of its HTTP client, or of a reply in an unknown form
                accepted = self._without_refused(settings, error)
                if accepted is None:
                    said = self._explain(error)
                    raise ProviderError(said, of_request="the request is refused" in said) from None
                self._settings = accepted

    def _find_key(self) -> str:
        for variable in self.keys:
            if key := os.environ.get(variable, "").strip():
                if not (key.isascii() and key.isprintable()) or " " in key:
                    raise UserError(f"provider {self.name!r}: {variable} holds characters that no key has.")
                return key
        if self.local_without_key and is_local(self._url):
            return "none"
        raise UserError(f"provider {self.name!r} needs a key: set the environment variable {' or '.join(self.keys)}.")

    def _without_refused(self, settings: Mapping[str, float], error: Exception) -> dict[str, float] | None:
        """Return the settings without one that the error says the model refuses; None if it says no such thing."""
        if _status_of(error) not in (400, 422):
            return None
        said = _detail_of(error)
        for name, instead in _REPLACEMENTS.items():
            if name in settings and name in said:
                rest = {key: value for key, value in settings.items() if key != name}
                return rest | ({instead: settings[name]} if instead else {})
        return None

    def _explain(self, error: Exception) -> str:
        """Return one line on what went wrong, without the key."""
        status, kinds = _status_of(error), " ".join(kind.__name__ for kind in type(error).__mro__)
        host = urlsplit(self._url).hostname if self._url else None
        at = f"{self.name} at {host}" if host else self.name
        if status is not None and not 200 <= status < 300:
            detail = _detail_of(error)
            if status == 401 or (status == 400 and "api key" in detail.casefold()):
                return f"{at}: the key in {' or '.join(self.keys)} is not accepted (status {status})"
            meaning = {402: "no credit", 403: "not permitted", 404: "no such model or address", 429: "quota used up"}
            what = meaning.get(status, "the server failed" if status >= 500 else "the request is refused")
            detail = " ".join(detail.replace(self._key, "***").split())[:_MOST_DETAIL] if status != 403 else ""
            return f"{at}: {what} (status {status}{': ' + detail if detail else ''})"
        if "Timeout" in kinds:
            return f"{at}: no reply in time"
        if re.search(r"\b(APIConnectionError|TransportError|ConnectionError)\b", kinds):
            return f"{at}: no connection"
        return f"{at}: the reply cannot be read ({type(error).__name__})"


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


def as_jpeg(path: Path) -> bytes:
    """Return the picture as a JPEG file: its own bytes if it is one. Raises `ImageError`."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                if (head := file.read(len(_JPEG))) == _JPEG:
                    return head + file.read()
    except (OSError, ValueError):
        pass  # `load_image` says what is wrong
    buffer = io.BytesIO()
    load_image(path).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def base64_of(picture: bytes) -> str:
    """Return the bytes as base64 text."""
    return base64.b64encode(picture).decode("ascii")


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status that an SDK's error is about."""
    for attribute in ("status_code", "code"):
        if isinstance(status := getattr(error, attribute, None), int):
            return status
    return None


def _detail_of(error: Exception) -> str:
    """Return what the server said, as it said it."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        body = body.get("error", body)
    said = body.get("message") if isinstance(body, dict) else body
    return str(said or getattr(error, "message", None) or "")
