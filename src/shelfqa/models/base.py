"""What every visual question answering model can do, whatever its family.

Shapes: n images, q questions, p positions of a picture, d channels. An adapter answers by calling the parts of a
transformers model directly, so that the vision features of one picture serve all of its questions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from shelfqa.errors import InputError, UserError
from shelfqa.images import try_image
from shelfqa.records import Answer

T = TypeVar("T")

_DECODED_AHEAD = 32


class Truncation(NamedTuple):
    """How many questions and answers are longer than the model reads."""

    questions: int
    answers: int


class VqaModel(ABC):
    """A model that answers questions about pictures; `module` is the transformers model that it drives."""

    family: str
    name: str
    """What the user called it: a preset, a hub name or a folder."""
    module: nn.Module
    fingerprint: str = ""
    """Tells the base weights apart, so that an adapter is not put on another model (`loading.weights_fingerprint`)."""

    @abstractmethod
    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Turn RGB pictures into the tower's input [n, 3, height, width], on the CPU; threads may call it."""

    @abstractmethod
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Map the output of `pixels` to vision features [n, p, d]: what is computed once a picture."""

    @abstractmethod
    def answer(
        self, features: Tensor, image_index: Sequence[int], questions: Sequence[str], *, top_k: int
    ) -> list[list[Answer]]:
        """Return the `top_k` best distinct answers to each question, best first.

        Args:
            features: [n, p, d], from `encode_images`.
            image_index: which image each question is about.
            questions: any text; what is longer than the model reads is cut.
            top_k: how many answers at most.

        """

    @abstractmethod
    def loss(
        self, features: Tensor, image_index: Sequence[int], questions: Sequence[str], answers: Sequence[str]
    ) -> Tensor:
        """Return the mean training loss over the answers alone: no padding, no question tokens in it."""

    @abstractmethod
    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """Return the prefixes of module names that make up each of vision, connector, language and head.

        A module belongs to the group with the longest matching prefix. A group may be absent.
        """

    @abstractmethod
    def truncation(self, questions: Sequence[str], answers: Sequence[str]) -> Truncation:
        """Count the texts that `answer` and `loss` would cut."""

    @abstractmethod
    def save_pretrained(self, folder: Path) -> None:
        """Write a full checkpoint that `load_model` reads."""

    def prepare_for_training(self, answers: Counter[str]) -> int:
        """Extend the answer table, where there is one, with `answers`; return how many were added."""
        return 0

    def learnable(self, answers: Sequence[str]) -> list[bool]:
        """Say for each answer whether the model could ever give it."""
        return [True] * len(answers)

    def adapter_state(self) -> dict[str, list[str]]:
        """Return what an adapter needs beside its weights, for example answers added to the table."""
        return {}

    def restore_adapter_state(self, state: Mapping[str, list[str]]) -> None:
        """Take on what `adapter_state` returned, before the adapter's weights are loaded."""
        if any(state.values()):
            raise InputError(f"The adapter brings {', '.join(state)}, for which {self.name!r} has no place.")

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Map RGB pictures to vision features [n, p, d]."""
        return self.encode_pixels(self.pixels(images))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.module.parameters()).dtype

    def group_of(self, module_name: str) -> str | None:
        """Return the group that a module (or parameter) belongs to, by the longest matching prefix."""
        best, found = -1, None
        for group, prefixes in self.module_groups().items():
            for prefix in prefixes:
                if len(prefix) > best and (module_name == prefix or module_name.startswith(prefix + ".")):
                    best, found = len(prefix), group
        return found


class Decoded(NamedTuple):
    """A picture as the tower's input [1, 3, height, width], or why there is none."""

    pixels: Tensor | None
    error: str | None


def decode_ahead(model: VqaModel, paths: Sequence[Path], *, workers: int = 2) -> Iterator[Decoded]:
    """Yield the pictures at `paths` in order, read and scaled by threads a little ahead of who takes them."""

    def decode(path: Path) -> Decoded:
        loaded = try_image(path)
        if loaded.image is None:
            return Decoded(None, loaded.error)
        return Decoded(model.pixels([loaded.image]), None)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Decoded]] = deque()
        for path in paths:
            waiting.append(pool.submit(decode, path))
            if len(waiting) > _DECODED_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def encode_in_batches(model: VqaModel, pixels: Tensor, batch_size: int) -> Tensor:
    """Return the features of `pixels` [n, …], with half the batch again and again where memory is short."""
    with torch.no_grad():
        return torch.cat(
            in_shrinking_batches(range(len(pixels)), batch_size, lambda rows: [model.encode_pixels(pixels[list(rows)])])
        )


def answer_in_batches(
    model: VqaModel,
    features: Tensor,
    image_index: Sequence[int],
    questions: Sequence[str],
    *,
    top_k: int,
    batch_size: int,
) -> list[list[Answer]]:
    """Return `model.answer` for any number of questions, in batches of about equal length."""
    order = sorted(range(len(questions)), key=lambda row: (len(questions[row]), row))

    def answer(rows: Sequence[int]) -> list[tuple[int, list[Answer]]]:
        found = model.answer(
            features, [image_index[row] for row in rows], [questions[row] for row in rows], top_k=top_k
        )
        return list(zip(rows, found, strict=True))

    answers: list[list[Answer]] = [[] for _ in questions]
    with torch.no_grad():
        for row, found in in_shrinking_batches(order, batch_size, answer):
            answers[row] = found
    return answers


def in_shrinking_batches(rows: Sequence[int], batch_size: int, work: Callable[[Sequence[int]], Sequence[T]]) -> list[T]:
    """Call `work` on runs of `rows` and join the results; a run that is too large for the memory is halved.

    Raises:
        UserError: if the memory does not suffice for a single row.

    """
    done: list[T] = []
    start = 0
    while start < len(rows):
        run = rows[start : start + batch_size]
        try:
            done.extend(work(run))
        except torch.OutOfMemoryError:
            if len(run) == 1:
                raise UserError(
                    "Not enough memory on the device for a single question: run with --device cpu, or choose a "
                    "smaller model (`shelfqa models` lists them)."
                ) from None
            batch_size = (len(run) + 1) // 2
            torch.cuda.empty_cache()
            continue
        start += len(run)
    return done
