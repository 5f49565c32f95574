"""Batches of Anthropic's Messages API, which go in as one request and keep no name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from shelfqa.providers.base import BatchItem, BatchState, ProviderError, Reply
from shelfqa.providers.hosted import Hosted
from shelfqa.providers.jsonl import BATCH_TIMEOUT_S, lines_of

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that an error has outside a batch; others are the server's, 500."""


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] = msgspec.field(default_factory=dict)


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


_LINE = msgspec.json.Decoder(_Line)


class AnthropicBatches(Hosted):
    """What `Anthropic` knows of batches."""

    batch_requests = 100_000
    batch_bytes = 250_000_000

    async def submit_batch(self, name: str, items: Sequence[BatchItem]) -> str:
        """Make a batch of the requests and return its id; `name` is kept nowhere.

        Raises:
            ProviderError: if it is not taken.

        """
        forms = self._forms
        with self._one_line(), self._lent() as client:
            requests = [
                {"custom_id": id, "params": self._body(request, pictures, forms)} for id, request, pictures in items
            ]
            made = await client.messages.batches.create(
                requests=[], extra_body={"requests": requests}, timeout=BATCH_TIMEOUT_S
            )
        self._batches[made.id] = (forms, len(items))
        return str(made.id)

    async def find_batch(self, name: str, items: int, since: float, known: Callable[[str], bool]) -> str | None:
        """Return the id of the newest batch of `items` requests made after `since` that is not `known`, or None.

        Raises:
            ProviderError: if the batches cannot be listed.

        """
        with self._one_line(), self._lent() as client:
            async for batch in client.messages.batches.list(limit=100):  # the newest first
                if batch.created_at.timestamp() <= since:
                    break
                counts = batch.request_counts.to_dict().values()
                if sum(count for count in counts if isinstance(count, int)) == items and not known(str(batch.id)):
                    return str(batch.id)
        return None

    async def batch_state(self, batch: str) -> BatchState:
        """Return how far the batch is.

        Raises:
            ProviderError: if the server does not tell.

        """
        with self._one_line(), self._lent() as client:
            made = await client.messages.batches.retrieve(batch)
            counts = made.request_counts
            return BatchState(made.processing_status == "ended", counts.succeeded + counts.errored)

    async def batch_results(self, batch: str) -> AsyncIterator[tuple[str, Reply | ProviderError]]:
        """Yield what came of each request, in no order; see `BatchProvider`.

        Raises:
            ProviderError: if the results cannot be read to the end.

        """
        with self._one_line(), self._lent() as client:
            opened = client.messages.batches.with_streaming_response.results(batch, timeout=BATCH_TIMEOUT_S)
            async with opened as response:
                async for line in lines_of(response.iter_bytes()):
                    told = _LINE.decode(line)
                    yield told.custom_id, self._result_of(batch, told.result)

    def _result_of(self, batch: str, result: _Result) -> Reply | ProviderError:
        match result.type:
            case "succeeded":
                return self._batch_reply(result.message)
            case "errored":
                error = result.error.get("error", result.error)
                kind = error.get("type") if isinstance(error, dict) else None
                return self._batch_error(batch, _STATUSES.get(str(kind), 500), error)
            case "expired":
                return ProviderError(f"{self._at}: the batch expired before this request", kind="timeout")
            case _:
                return ProviderError(f"{self._at}: the batch ended before this request", kind="server")
