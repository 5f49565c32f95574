"""A chat model on this machine as a provider of replies: requests that are under way together are answered together.

    ask, ask, ask  ->  waiting  ->  one thread: oldest request and those like it  ->  Writer.write  ->  replies

Importing this module imports no torch; the model is loaded at the first request.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shelfqa.artifacts import fingerprint
from shelfqa.errors import UserError
from shelfqa.models.presets import source_of
from shelfqa.providers.base import ProviderError, Reply, Request

if TYPE_CHECKING:
    from shelfqa.models.base import Loading
    from shelfqa.models.batching import BatchSize
    from shelfqa.models.writer import Writer

_AT_ONCE = {"cuda": 8}
_AT_ONCE_ELSEWHERE = 4
_GATHERING_S = 0.02
"""A batch is begun once no request has come in for so long: little beside the seconds that writing takes."""


class _Asked(NamedTuple):
    """A request that waits for its reply."""

    request: Request
    pictures: tuple[bytes, ...]
    reply: Future[Reply]

    def unlike(self, other: _Asked) -> tuple[int, int]:
        """Return how far apart two requests are in length: pictures first, each of which takes many tokens."""
        lengths = [len(one.request.prompt) + len(one.request.system) for one in (self, other)]
        return abs(len(self.pictures) - len(other.pictures)), abs(lengths[0] - lengths[1])

    def settle(self, found: Reply | Exception) -> None:
        """Give the reply, or the error, to who waits for it, if anybody still does."""
        with suppress(InvalidStateError):
            if isinstance(found, Reply):
                self.reply.set_result(found)
            else:
                self.reply.set_exception(found)


class LocalProvider:
    """Asks a chat model that shelfqa runs itself; `ask` may be called from several event loops."""

    name = "local"

    def __init__(
        self,
        model: str,
        *,
        adapter: Path | None = None,
        device: str = "auto",
        loading: Loading | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            model: a preset of `shelfqa models`, a hub name, or a folder with a checkpoint.
            adapter: as `load_model` takes it; so are `device` and `loading`.
            device: `auto`, or what torch calls it.
            loading: how to read the checkpoint.
            batch_size: most requests that are answered at once; by default 8 on a GPU of CUDA, else 4. No more than
                are under way, of course.

        """
        self._given = model
        folder = Path(source_of(model))
        self.model = f"{model}@{fingerprint(folder)[:12]}" if folder.is_dir() else model
        """The name under which replies are kept: another checkpoint in the same folder has another."""
        self._source = (adapter, device, loading)
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self._waiting: list[_Asked] = []
        self._working: list[_Asked] = []
        self._thread: ThreadPoolExecutor | None = None
        self._loaded: tuple[Writer, BatchSize] | None = None

    async def ask(self, request: Request, pictures: Sequence[bytes]) -> Reply:
        """Return the model's reply; where the caller gives up waiting, the model ends at the next token.

        A reply to a request with a schema is JSON in that form: compact, its texts and lists bounded (`grammar`).

        Raises:
            ProviderError: if a picture cannot be decoded (`picture`), or the request is longer than the model reads,
                does not fit into memory even alone, or has a schema that cannot be kept (`request`).
            UserError: if the model cannot be loaded or is no chat model, or packages are missing.

        """
        if request.schema is not None and importlib.util.find_spec("llguidance") is None:
            raise UserError(
                "Keeping a local model's replies to a form needs the package 'llguidance': "
                "pip install 'shelfqa[local]'."
            )
        asked = _Asked(request, tuple(pictures), Future())
        with self._lock:
            self._waiting.append(asked)
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="shelfqa-local")
            self._thread.submit(self._work)
        return await asyncio.wrap_future(asked.reply)

    async def close(self) -> None:
        """End what is under way, and free the model and the thread; a later `ask` loads the model anew."""
        with self._lock:
            thread, self._thread = self._thread, None
            left = [*self._working, *self._waiting]
            self._waiting = []
        for asked in left:
            asked.settle(ProviderError("the model was closed before it had replied", kind="connection"))
        if thread is not None:
            await asyncio.to_thread(thread.shutdown)
        self._loaded = None
        gc.collect()
        _free_gpu_memory()

    def _work(self) -> None:
        """Answer one batch of what waits; called once a request, so the last calls find nothing."""
        if not self._waiting:
            return
        try:
            writer, size = self._model()
        except Exception as error:
            with self._lock:
                left, self._waiting = self._waiting, []
            _settle(left, [error] * len(left))
            return
        self._gather(size.rows)
        with self._lock:
            self._working = self._next_batch(size.rows)
        try:
            _settle(self._working, _replies(writer, size, self._working))
        finally:
            self._working = []

    def _model(self) -> tuple[Writer, BatchSize]:
        if self._loaded is None:
            from shelfqa.models.loading import require_extras

            require_extras()
            from shelfqa.models.batching import BatchSize
            from shelfqa.models.writer import Writer

            adapter, device, loading = self._source
            writer = Writer.load(self._given, adapter=adapter, device=device, loading=loading)
            at_once = self._batch_size or _AT_ONCE.get(writer.device, _AT_ONCE_ELSEWHERE)
            self._loaded = writer, BatchSize(at_once)
        return self._loaded

    def _gather(self, enough: int) -> None:
        """Wait for requests that come in together."""
        there = 0
        while there < len(self._waiting) < enough:
            there = len(self._waiting)
            time.sleep(_GATHERING_S)

    def _next_batch(self, rows: int) -> list[_Asked]:
        """Take the oldest request and those most like it; with pictures and without go apart."""
        self._waiting = [asked for asked in self._waiting if not asked.reply.done()]
        if not self._waiting:
            return []
        oldest = self._waiting[0]
        alike = [asked for asked in self._waiting if bool(asked.pictures) == bool(oldest.pictures)]
        batch = sorted(alike, key=oldest.unlike)[:rows]
        taken = set(map(id, batch))
        self._waiting = [asked for asked in self._waiting if id(asked) not in taken]
        return batch


def _settle(asked: Iterable[_Asked], found: Iterable[Reply | Exception]) -> None:
    for one, reply in zip(asked, found, strict=True):
        one.settle(reply)


def _replies(writer: Writer, size: BatchSize, asked: Sequence[_Asked]) -> Sequence[Reply | Exception]:
    """Return a reply or an error for each request; what fails together is tried in halves, down to one alone."""
    from shelfqa.models.writer import Job

    if not asked:
        return []
    try:
        return writer.write([Job(one.request, one.pictures, one.reply.done) for one in asked])
    except Exception as error:
        problem, short = _problem(error, writer)
    # Out of the `except`, which would hold on to the tensors of what failed.
    if len(asked) == 1:
        return [problem]
    if short:
        size.halve(len(asked))
        gc.collect()
        _free_gpu_memory()
    rows = (len(asked) + 1) // 2
    parts = (asked[start : start + rows] for start in range(0, len(asked), rows))
    return [found for part in parts for found in _replies(writer, size, part)]


def _problem(error: Exception, writer: Writer) -> tuple[Exception, bool]:
    """Return what to tell of an error, and whether memory was short."""
    from shelfqa.models.batching import out_of_memory

    if out_of_memory(error):
        return ProviderError(
            f"{writer.name!r} has not enough memory for this request alone: give fewer or smaller pictures, or a "
            "smaller model",
            kind="request",
        ), True
    if isinstance(error, ValueError | ZeroDivisionError | IndexError):  # so processors refuse a picture's shape
        detail = " ".join(str(error).split())[:200]
        return ProviderError(f"{writer.name!r} does not take the request: {detail}", kind="request"), False
    return error, False


def _free_gpu_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
