"""The files of batches: a JSON value a line, written and read a line at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

BATCH_TIMEOUT_S = 600.0
"""How long a request that hands in a batch may take, or one that reads what came of it."""

PREFIX = "shelfqa-batch-"
"""With what the names of the folders of batches begin."""


@contextmanager
def file_of(values: Iterable[object]) -> Iterator[Path]:
    """Write each value as a line of JSON; the file is there as long as the context."""
    encoder = msgspec.json.Encoder()
    with TemporaryDirectory(prefix=PREFIX) as folder:
        path = Path(folder) / "batch.jsonl"
        with path.open("wb") as file:
            for value in values:
                file.write(encoder.encode(value))
                file.write(b"\n")
        yield path


async def lines_of(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the lines, without empty ones; only a line feed ends one, as U+2028 and others may stand in a string."""
    kept = bytearray()
    async for chunk in chunks:
        if b"\n" not in chunk:
            kept += chunk
            continue
        first, *lines, last = chunk.split(b"\n")
        for line in (bytes(kept + first), *lines):
            if line.strip():
                yield line
        kept = bytearray(last)
    if kept.strip():
        yield bytes(kept)
