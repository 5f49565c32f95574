"""What went wrong, from what an SDK raises or a server says: the kind, how long to wait, and one line without a key.

What a server says is quoted only for a status that is no matter of keys, with the key cut out.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from shelfqa.providers.base import ErrorKind, ProviderError

_MOST_DETAIL = 200

_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"})
"""What OpenAI and Anthropic call an error that waiting does not mend."""
_NO_CREDIT_WORDS = ("credit balance is too low", "specified api usage limits")
"""What Anthropic says of the same with status 400."""
_OF_A_DAY = ("PerDay", "per-day")
"""What is in the id of a quota of Gemini, and in OpenRouter's message, where a day's quota is used up."""

_MEANINGS: Mapping[ErrorKind, str] = {
    "busy": "too many requests",
    "server": "the server failed",
    "timeout": "no reply in time",
    "unreadable": "the reply cannot be read",
    "request": "the request is refused",
    "key": "not permitted",
    "quota": "the quota or the credit is used up",
    "model": "no such model or address",
}


class Said(NamedTuple):
    """What a server said of an error."""

    status: int
    """Of HTTP; of a batch's result, what it would be."""
    detail: str = ""
    """The message, as the server put it."""
    code: str = ""
    """The code or, where there is none, the type of the error."""
    param: str = ""
    """The setting that the error is about, where the server tells it."""
    flagged: bool = False
    """A filter of OpenRouter stopped the request; the key is not to blame, though the status is 403."""
    of_a_day: bool = False
    """The quota is that of a day."""
    retry_after_s: float | None = None

    @property
    def kind(self) -> ErrorKind:
        """What kind of error it is."""
        detail = self.detail.casefold()
        if self.status == 402 or self.code in _NO_CREDIT or any(words in detail for words in _NO_CREDIT_WORDS):
            return "quota"
        if self.status == 403 and self.flagged:
            return "request"
        if self.status in (401, 403) or (self.status == 400 and "api key" in detail):
            return "key"
        if self.status == 404:
            return "model"
        if self.status == 408:
            return "timeout"
        if self.status in (429, 529):
            return "quota" if self.of_a_day else "busy"
        return "server" if self.status >= 500 else "request"


def said_by(error: Exception) -> Said | None:
    """Return what the server said, if `error`, of an SDK, is about a status other than success."""
    for attribute in ("status_code", "code"):
        status = getattr(error, attribute, None)
        if isinstance(status, int) and not 200 <= status < 300:
            break
    else:
        return None
    body = getattr(error, "body", None) or getattr(error, "details", None)
    said = said_in(status, body if body is not None else getattr(error, "message", None))
    headers = getattr(getattr(error, "response", None), "headers", None)
    asked = _retry_after_of(headers) if headers is not None else None
    return said if asked is None else said._replace(retry_after_s=asked)


def said_in(status: int, body: object) -> Said:
    """Return what the body of an error with this status says, in any of the providers' forms."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if isinstance(body, Mapping) and isinstance(body.get("error"), (Mapping, str)):
        body = body["error"]
    if not isinstance(body, Mapping):
        return Said(status, str(body or ""))
    detail = str(body.get("message") or body.get("detail") or "")
    code, metadata, parts = body.get("code"), body.get("metadata"), body.get("details")
    parts = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return Said(
        status,
        detail,
        code=str((code if isinstance(code, str) else None) or body.get("type") or ""),
        param=str(body.get("param") or ""),
        flagged=isinstance(metadata, Mapping) and ("flagged_input" in metadata or "reasons" in metadata),
        of_a_day=any(mark in quota for quota in (*_quotas_of(parts), detail) for mark in _OF_A_DAY),
        retry_after_s=next((_seconds(delay) for part in parts if (delay := part.get("retryDelay"))), None),
    )


def error_of(said: Said, *, at: str, keys: tuple[str, ...], key: str, kind: ErrorKind | None = None) -> ProviderError:
    """Return the error to raise for what a server said.

    Args:
        said: it.
        at: who said it.
        keys: the environment variables that may hold the key.
        key: what must not be quoted.
        kind: what kind of error it is, if not what `said` tells.

    """
    kind = kind or said.kind
    if kind == "key" and said.status != 403:
        line = f"{at}: the key in {' or '.join(keys)} is not accepted (status {said.status})"
    else:
        detail = "" if kind == "key" else " ".join(said.detail.replace(key, "***").split())[:_MOST_DETAIL]
        line = f"{at}: {_MEANINGS[kind]} (status {said.status}{': ' + detail if detail else ''})"
    return ProviderError(line, kind=kind, retry_after_s=said.retry_after_s)


def unsaid(error: Exception, *, at: str) -> ProviderError:
    """Return the error to raise where no server said what is wrong: nothing came, or nothing that can be read."""
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    if "Timeout" in names:
        return ProviderError(f"{at}: no reply in time", kind="timeout")
    if re.search(r"\b(APIConnectionError|TransportError|ConnectionError|ClientConnectionError)\b", names):
        return ProviderError(f"{at}: no connection", kind="connection")
    return ProviderError(f"{at}: the reply cannot be read ({type(error).__name__})", kind="unreadable")


def _quotas_of(details: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the ids of the quotas that Gemini says were used up."""
    for part in details:
        violations = part.get("violations")
        for violation in violations if isinstance(violations, list) else []:
            if isinstance(violation, Mapping):
                yield str(violation.get("quotaId"))


def _retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the headers ask us to wait."""
    if (wait_s := _seconds(headers.get("retry-after-ms"))) is not None:
        return wait_s / 1000
    after = headers.get("retry-after")
    if after is None or (wait_s := _seconds(after)) is not None:
        return wait_s if after is not None else None
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except (ValueError, OverflowError):  # no date
        return None


def _seconds(text: object) -> float | None:
    """Return the number in `12`, `0.5` or `12s`."""
    try:
        seconds = float(str(text).removesuffix("s"))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
