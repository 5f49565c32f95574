"""Token embeddings of distinct texts: each embedded once, in batches of one length, so that nothing is padded.

Since a batch holds texts of exactly one length, no value depends on padding; what a batch holds beside a text moves
its values by float32 rounding alone (about 1e-7). Texts that a tokenizer maps to the same tokens count as one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Ids = tuple[int, ...]
BATCH_TOKENS = 8192
"""Tokens that go through a model at once."""
IN_MEMORY = 2**30
"""Embeddings larger than this many bytes lie in a temporary file, of which the system keeps in memory what fits."""


class Distinct(NamedTuple):
    """The distinct token sequences of some texts, shortest first, and the number of each text's sequence."""

    sequences: list[Ids]
    of_text: NDArray[np.int64]

    @classmethod
    def of(cls, ids: Sequence[Ids]) -> Distinct:
        """Return the distinct sequences of `ids`; their order does not depend on the order of the texts."""
        sequences = sorted(set(ids), key=lambda one: (len(one), one))
        number = {one: index for index, one in enumerate(sequences)}
        return cls(sequences, np.array([number[one] for one in ids], dtype=np.int64))


class TokenVectors(NamedTuple):
    """The vectors of all tokens, one text after the other."""

    vectors: NDArray[Any]
    """[tokens, d]"""
    starts: NDArray[np.int64]
    """[texts], the row of each text's first token."""

    def gather(self, texts: NDArray[np.int64], length: int) -> NDArray[Any]:
        """Return the vectors of texts [n] that have `length` tokens each, [n, length, d]."""
        found: NDArray[Any] = self.vectors[self.starts[texts][:, None] + np.arange(length)]
        return found


def batches(sequences: Sequence[Ids], batch_tokens: int = BATCH_TOKENS) -> Iterator[slice]:
    """Yield slices of `sequences` (sorted by length) that hold one length, at most `batch_tokens` tokens each."""
    start = 0
    for length, group in groupby(sequences, key=len):
        end = start + sum(1 for _ in group)
        step = max(1, batch_tokens // max(length, 1))
        yield from (slice(first, min(first + step, end)) for first in range(start, end, step))
        start = end


def encoded(
    sequences: Sequence[Ids], encode: Callable[[Tensor], Tensor], device: Any
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield for each batch of `sequences` its place and `encode` of its ids [n, length], as NumPy; no gradients.

    Half-precision results come as float32. A text without any token is left out.
    """
    import torch

    with torch.inference_mode():
        for batch in batches(sequences):
            if sequences[batch.start]:
                result = encode(torch.tensor(sequences[batch], device=device))
                wide = result.dtype if result.dtype == torch.float64 else torch.float32
                yield batch, result.to("cpu", wide).numpy()


def token_vectors(sequences: Sequence[Ids], encode: Callable[[Tensor], Tensor], device: Any) -> TokenVectors:
    """Return the vectors [length, d] that `encode` makes of each of the `sequences`, which are sorted by length."""
    lengths = np.array([len(one) for one in sequences], dtype=np.int64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    vectors: NDArray[Any] = np.empty((0, 0), dtype=np.float32)
    for batch, found in encoded(sequences, encode, device):
        if not len(vectors):
            vectors = _room((int(ends[-1]), found.shape[-1]), found.dtype)
        vectors[starts[batch.start] : ends[batch.stop - 1]] = found.reshape(-1, found.shape[-1])
    return TokenVectors(vectors, starts)


def _room(shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    if shape[0] * shape[1] * dtype.itemsize <= IN_MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:  # the mapping outlives the file's name and handle
        return np.memmap(file, dtype, "w+", shape=shape)


class PairGroup(NamedTuple):
    """Pairs whose first texts have one length, and whose second texts have one length."""

    members: NDArray[np.int64]
    """[n], which pairs."""
    first_length: int
    second_length: int


def pair_groups(
    first: NDArray[np.int64], second: NDArray[np.int64], lengths: NDArray[np.int64], size: Callable[[int, int], int]
) -> Iterator[PairGroup]:
    """Yield the pairs of texts `first` [pairs] and `second` [pairs] in groups of equal lengths, `size` at most each."""
    order = np.lexsort((second, first, lengths[second], lengths[first]))
    sizes = np.stack([lengths[first][order], lengths[second][order]], axis=1)
    edges = np.flatnonzero(np.any(np.diff(sizes, axis=0) != 0, axis=1)) + 1
    for members in np.split(order, edges) if len(order) else []:
        one, two = int(lengths[first[members[0]]]), int(lengths[second[members[0]]])
        step = max(1, size(one, two))
        for start in range(0, len(members), step):
            yield PairGroup(members[start : start + step], one, two)
