"""Batches of the Gemini API: a file of requests goes in, a file of replies and errors comes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from shelfqa.providers.base import BatchItem, BatchState, ProviderError, Reply
from shelfqa.providers.errors import error_of, said_in
from shelfqa.providers.hosted import Hosted
from shelfqa.providers.jsonl import BATCH_TIMEOUT_S, PREFIX, file_of

_OPTIONS = {"timeout": int(BATCH_TIMEOUT_S * 1000)}
_WHOLE = frozenset({"JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED"})
_FAILED = {
    "JOB_STATE_FAILED": "the batch failed",
    "JOB_STATE_CANCELLED": "the batch was cancelled",
    "JOB_STATE_EXPIRED": "the batch expired",
}
_STATUSES = {1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 14: 503, 16: 401}
"""The status of HTTP for a code of gRPC, which errors in batches have; others are the server's, 500."""
_FIRST_STATUS = 100
"""Codes from here on are of HTTP."""


class _Line(msgspec.Struct):
    key: str
    response: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] | None = None


_LINE = msgspec.json.Decoder(_Line)


class GeminiBatches(Hosted):
    """What `Gemini` knows of batches."""

    batch_requests = 100_000
    batch_bytes = 500_000_000

    async def submit_batch(self, name: str, items: Sequence[BatchItem]) -> str:
        """Upload the requests, make a batch of them that is displayed as `name`, and return its id.

        Raises:
            ProviderError: if it is not taken.

        """
        forms = self._forms
        lines = ({"key": id, "request": self._body(request, pictures, forms)} for id, request, pictures in items)
        with self._one_line(), file_of(lines) as path, self._lent() as client:
            # With the base URL, as otherwise the lines go past it, to the address that the server tells.
            options = {**_OPTIONS, "base_url": self._url} if self._url else _OPTIONS
            uploaded = await client.aio.files.upload(
                file=str(path), config={"display_name": name, "mime_type": "jsonl", "http_options": options}
            )
            made = await client.aio.batches.create(
                model=self.model, src=uploaded.name, config={"display_name": name, "http_options": _OPTIONS}
            )
        self._batches[made.name] = (forms, len(items))
        return str(made.name)

    async def find_batch(self, name: str, items: int, since: float, known: Callable[[str], bool]) -> str | None:
        """Return the id of the batch that is displayed as `name`, or None.

        Raises:
            ProviderError: if the batches cannot be listed.

        """
        with self._one_line(), self._lent() as client:
            async for job in await client.aio.batches.list(config={"page_size": 100}):
                if job.display_name == name:
                    return str(job.name)
        return None

    async def batch_state(self, batch: str) -> BatchState:
        """Return how far the batch is; how many requests have an answer is not told before it has ended.

        Raises:
            ProviderError: if the server does not tell.

        """
        with self._one_line(), self._lent() as client:
            job = await client.aio.batches.get(name=batch)
            state = job.state.name if job.state is not None else ""
            if state in _WHOLE and job.dest is not None and job.dest.file_name:  # told a little later, at times
                return BatchState(True, self._batches.get(batch, ({}, 0))[1])
            if state not in _FAILED:
                return BatchState(False, 0)
            error, why = job.error, f"{self._at}: {_FAILED[state]}"
            if error is None or state != "JOB_STATE_FAILED":
                return BatchState(True, 0, why if state == "JOB_STATE_FAILED" else None)
            said = said_in(_status(error.code), {"message": error.message})
            told = error_of(said, at=why, keys=self.keys, key=self._key)
            return BatchState(True, 0, str(told), told.kind)

    async def batch_results(self, batch: str) -> AsyncIterator[tuple[str, Reply | ProviderError]]:
        """Yield what came of each request; see `BatchProvider`.

        Raises:
            ProviderError: if the results cannot be read to the end.

        """
        with self._one_line(), self._lent() as client, TemporaryDirectory(prefix=PREFIX) as folder:
            job = await client.aio.batches.get(name=batch)
            if job.dest is None or not job.dest.file_name:
                return
            path = Path(folder) / "results.jsonl"
            try:
                await client.aio.files.download(
                    file=job.dest.file_name, destination=str(path), config={"http_options": _OPTIONS}
                )
            except TypeError:  # older versions return the bytes
                path.write_bytes(await client.aio.files.download(file=job.dest.file_name))
            with path.open("rb") as lines:
                for line in filter(None, map(bytes.strip, lines)):
                    told = _LINE.decode(line)
                    yield told.key, self._result_of(batch, told)

    def _result_of(self, batch: str, line: _Line) -> Reply | ProviderError:
        if line.error is None:
            return self._batch_reply(line.response)
        return self._batch_error(batch, _status(line.error.get("code")), line.error)


def _status(code: object) -> int:
    """Return the status of HTTP for a code of gRPC or of HTTP."""
    if not isinstance(code, int):
        return 500
    return code if code >= _FIRST_STATUS else _STATUSES.get(code, 500)
