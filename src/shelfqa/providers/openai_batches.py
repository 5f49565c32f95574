"""Batches of OpenAI: a file of requests goes in, a file of replies and one of errors come out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from shelfqa.providers.base import BatchItem, BatchState, ErrorKind, ProviderError, Reply
from shelfqa.providers.errors import error_of, said_in
from shelfqa.providers.hosted import Hosted
from shelfqa.providers.jsonl import BATCH_TIMEOUT_S, file_of, lines_of

_PATH = "/v1/chat/completions"
_NAME = "shelfqa"
"""The key of the metadata under which a batch keeps its name."""
_OLDER_S = 3600.0
"""How much older than what is looked for a batch is that ends the search; the server's clock may go wrong by less."""
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_FAILED_KINDS: Mapping[str, ErrorKind] = {
    "token_limit_exceeded": "busy",  # of all batches that wait
    "rate_limit_exceeded": "busy",
    "insufficient_quota": "quota",
    "billing_hard_limit_reached": "quota",
    "model_not_found": "model",
}
"""What kind of error it is that a batch as a whole failed; others mean that it is not taken as it stands."""


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: dict[str, Any] | None = None


_LINE = msgspec.json.Decoder(_Line)


class OpenAIBatches(Hosted):
    """What `OpenAICompatible` knows of batches."""

    batch_requests = 50_000
    batch_bytes = 190_000_000

    async def submit_batch(self, name: str, items: Sequence[BatchItem]) -> str:
        """Upload the requests, make a batch of them and return its id.

        Raises:
            ProviderError: if it is not taken.

        """
        forms = self._forms
        lines = (
            {"custom_id": id, "method": "POST", "url": _PATH, "body": self._body(request, pictures, forms)}
            for id, request, pictures in items
        )
        with self._one_line(), file_of(lines) as path, path.open("rb") as file, self._lent() as client:
            uploaded = await client.files.create(file=(f"{name}.jsonl", file), purpose="batch", timeout=BATCH_TIMEOUT_S)
            made = await client.batches.create(
                input_file_id=uploaded.id,
                endpoint=_PATH,
                completion_window="24h",
                metadata={_NAME: name},
                timeout=BATCH_TIMEOUT_S,
            )
        self._batches[made.id] = (forms, len(items))
        return str(made.id)

    async def find_batch(self, name: str, items: int, since: float, known: Callable[[str], bool]) -> str | None:
        """Return the id of the batch whose metadata tell `name`, or None.

        Raises:
            ProviderError: if the batches cannot be listed.

        """
        with self._one_line(), self._lent() as client:
            async for batch in client.batches.list(limit=100):  # the newest first
                if (batch.metadata or {}).get(_NAME) == name:
                    return str(batch.id)
                if batch.created_at < since - _OLDER_S:
                    break
        return None

    async def batch_state(self, batch: str) -> BatchState:
        """Return how far the batch is.

        Raises:
            ProviderError: if the server does not tell.

        """
        with self._one_line(), self._lent() as client:
            made = await client.batches.retrieve(batch)
            counts = made.request_counts
            done = counts.completed + counts.failed if counts is not None else 0
            if made.status != "failed":
                return BatchState(made.status in _ENDED, done)
            first = next(iter((made.errors and made.errors.data) or ()), None)
            said = said_in(400, {"code": first.code, "message": first.message} if first is not None else None)
            kind = _FAILED_KINDS.get(said.code, "request")
            said = said._replace(detail=said.detail or said.code)
            at = f"{self._at}: the batch failed"
            return BatchState(True, done, str(error_of(said, at=at, keys=self.keys, key=self._key, kind=kind)), kind)

    async def batch_results(self, batch: str) -> AsyncIterator[tuple[str, Reply | ProviderError]]:
        """Yield what came of each request, in no order; see `BatchProvider`.

        Raises:
            ProviderError: if the results cannot be read to the end.

        """
        with self._one_line(), self._lent() as client:
            made = await client.batches.retrieve(batch)
            for file in (made.output_file_id, made.error_file_id):
                if not file:
                    continue
                opened = client.files.with_streaming_response.content(file, timeout=BATCH_TIMEOUT_S)
                async with opened as response:
                    async for line in lines_of(response.iter_bytes()):
                        told = _LINE.decode(line)
                        yield told.custom_id, self._result_of(batch, told)

    def _result_of(self, batch: str, line: _Line) -> Reply | ProviderError:
        response = line.response
        if response is None or response.status_code == 0:  # not sent in time, or not at all
            said = said_in(0, line.error)
            expired = "expired" in said.code
            what = "the batch expired before this request" if expired else "the batch ended before this request"
            return ProviderError(f"{self._at}: {what}", kind="timeout" if expired else "server")
        if 200 <= response.status_code < 300:
            return self._batch_reply(response.body)
        with self._one_line():
            return self._batch_error(batch, response.status_code, msgspec.json.decode(response.body))
