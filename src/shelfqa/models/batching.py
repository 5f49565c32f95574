"""Pictures and questions in batches: decoded ahead by threads, sized to the memory, halved where it is short."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from accelerate.utils.memory import should_reduce_batch_size

from shelfqa.errors import ImageError, UserError
from shelfqa.models.base import Decoding, Explained, Features, PictureInputs, Query, VqaModel
from shelfqa.records import Answer

T = TypeVar("T")

_DECODED_AHEAD = 4
"""Pictures a thread that wait to be taken."""
_ROOMY = 0.4
"""A batch that leaves more than half of the memory free can be twice as large."""


class Decoded(NamedTuple):
    """A picture as the tower's input, or why there is none."""

    inputs: PictureInputs | None
    error: str | None


class BatchSize:
    """How many rows to take at once: grows while the device's memory allows, halves where it does not."""

    def __init__(self, start: int, *, most: int | None = None) -> None:
        """Begin with `start` rows; grow up to `most`, by default not at all."""
        self.rows = start
        self._most = start if most is None else most

    def halve(self, failed: int) -> None:
        """Take note that `failed` rows were too many, for good."""
        self.rows = self._most = (failed + 1) // 2

    def grow(self, done: int, memory_share: float) -> None:
        """Take note that a batch of `done` rows used at most `memory_share` (0 to 1) of the memory."""
        if done >= self.rows and memory_share < _ROOMY:
            self.rows = min(2 * self.rows, self._most)


def decode_ahead(model: VqaModel, paths: Sequence[Path], *, workers: int = 2) -> Iterator[Decoded]:
    """Yield the pictures at `paths` in order, read and scaled by threads a little ahead of who takes them."""

    def decode(path: Path) -> Decoded:
        try:
            return Decoded(model.inputs_of(path), None)
        except ImageError as error:
            return Decoded(None, str(error))

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Decoded]] = deque()
        for path in paths:
            waiting.append(pool.submit(decode, path))
            if len(waiting) > _DECODED_AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def encode_in_batches(model: VqaModel, pictures: Sequence[PictureInputs], size: BatchSize) -> list[Any]:
    """Return the features of `pictures`, one entry each, with half the batch again and again where memory is short."""
    with torch.no_grad():
        return _in_batches(list(pictures), size, lambda some: list(model.encode(some)), "picture")


def answer_in_batches(
    model: VqaModel, features: Features, queries: Sequence[Query], decoding: Decoding, size: BatchSize
) -> list[list[Answer]]:
    """Return `model.answer` for any number of questions, in batches of about equal length.

    Questions that share their prompt's beginning stay together where the model gains from it.
    """
    return _by_length(model, queries, size, lambda some: model.answer(features, some, decoding))


def explain_in_batches(
    model: VqaModel, features: Features, queries: Sequence[Query], decoding: Decoding, size: BatchSize
) -> list[Explained]:
    """Return `model.explain` for any number of questions, as `answer_in_batches` returns `model.answer`."""
    return _by_length(model, queries, size, lambda some: model.explain(features, some, decoding))


def _by_length(
    model: VqaModel, queries: Sequence[Query], size: BatchSize, ask: Callable[[Sequence[Query]], list[T]]
) -> list[T]:
    def order(row: int) -> tuple[Any, ...]:
        query = queries[row]
        length = len(query.question) + len(query.candidates)
        if model.shares_prompts:
            return (len(query.shots), len(query.images), query.images, query.shots, length, row)
        return (length, query.images, row)

    rows = sorted(range(len(queries)), key=order)
    contexts = [(queries[row].images, queries[row].shots) if model.shares_prompts else row for row in rows]
    with torch.no_grad():
        found = _in_batches(rows, size, lambda some: ask([queries[row] for row in some]), "question", contexts)
    by_row = dict(zip(rows, found, strict=True))
    return [by_row[row] for row in range(len(queries))]


def _in_batches(
    items: Sequence[Any],
    size: BatchSize,
    work: Callable[[Sequence[Any]], list[T]],
    what: str,
    contexts: Sequence[Any] | None = None,
) -> list[T]:
    """Call `work` on runs of `items` and join the results; runs end between `contexts` where they can.

    Raises:
        UserError: if the memory does not suffice for a single item.

    """
    done: list[T] = []
    start = 0
    while start < len(items):
        stop = _end_of_run(start, min(start + size.rows, len(items)), contexts)
        run = items[start:stop]
        _watch_memory()
        try:
            done.extend(work(run))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(run) == 1:
                raise not_enough_memory(what) from None
            size.halve(len(run))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        size.grow(len(run), _memory_share())
        start = stop
    return done


def not_enough_memory(what: str) -> UserError:
    """Return the error to raise where the memory does not suffice for a single `what`."""
    return UserError(
        f"Not enough memory on the device for a single {what}: run with --device cpu, with --dtype bfloat16, or with a "
        "smaller model (`shelfqa doctor` says what fits this machine)."
    )


def _end_of_run(start: int, stop: int, contexts: Sequence[Any] | None) -> int:
    if contexts is None or stop == len(contexts):
        return stop
    end = stop
    while end > start and contexts[end - 1] == contexts[end]:
        end -= 1
    return end if end > start else stop


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that the memory of the device or the machine does not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and should_reduce_batch_size(error)


def _watch_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _memory_share() -> float:
    """Return how much of the GPU's memory was used at most since `_watch_memory`; 1 where nobody can tell."""
    if not torch.cuda.is_available():
        return 1.0
    return float(torch.cuda.max_memory_allocated() / torch.cuda.get_device_properties().total_memory)
