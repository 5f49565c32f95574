"""Finding pictures that are nearly the same, by their perceptual hashes, exactly and without an index.

Every pair of hashes is compared, but cheaply: half of the bits first, in tiles that stay in the processor's cache, and
the other half only for the few pairs that are left. Measured against matrix products and trees in docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfqa.images import HASH_BITS

NEAR_DUPLICATE_BITS = 32
"""Two pictures whose hashes differ in at most this many of 256 bits count as near-duplicates.

Chosen by looking at pairs of Amazon Berkeley Objects photographs: up to 32 bits nearly all pairs are the same
photograph or the same product in another colour; the classic 64-bit hash chains unrelated products together
(docs/decisions.md)."""

_STRIP_ROWS = 256
_TILE_ROWS = 32
_TILE_COLUMNS = 4096
_MOST_EDGES = 200_000


def near_duplicate_pairs(
    hashes: Iterable[bytes], *, max_bits: int = NEAR_DUPLICATE_BITS, workers: int = 2
) -> NDArray[np.int64]:
    """Return all pairs of positions (i < j) whose hashes differ in at most `max_bits` bits.

    Many copies of one picture make quadratically many pairs; `near_duplicate_groups` does without listing them.

    Args:
        hashes: perceptual hashes of 32 bytes each.
        max_bits: the greatest distance, 0 to 256.
        workers: threads.

    Returns:
        shape [pairs, 2], in ascending order.

    """
    strips = list(_over_strips(_words(hashes), max_bits, workers, as_forest=False))
    return np.concatenate([np.empty((0, 2), dtype=np.int64), *strips])


def near_duplicate_groups(
    hashes: Iterable[bytes], *, max_bits: int = NEAR_DUPLICATE_BITS, workers: int = 2
) -> NDArray[np.int64]:
    """Return the group of each hash, shape [hashes]; near-duplicates, and what chains of them join, share one.

    Groups are numbered from 0 in the order of their first members. Memory stays bounded, however many pairs there are.

    Args:
        hashes: perceptual hashes of 32 bytes each.
        max_bits: the greatest distance of two near-duplicates, 0 to 256.
        workers: threads.

    """
    words = _words(hashes)
    distinct, which = np.unique(words, axis=0, return_inverse=True)
    edges = np.empty((0, 2), dtype=np.int64)
    for found in _over_strips(distinct, max_bits, workers, as_forest=True):
        edges = np.concatenate([edges, found])
        if len(edges) > _MOST_EDGES + 2 * len(distinct):
            edges = _forest(edges)
    raw = connected_groups(len(distinct), edges)[which.reshape(-1)]
    first, numbers = np.unique(raw, return_index=True, return_inverse=True)[1:]
    return np.argsort(np.argsort(first))[numbers.reshape(-1)]


def connected_groups(size: int, edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the group number of each of `size` nodes; nodes joined by any chain of edges [n, 2] share one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    weights = np.ones(len(edges), dtype=np.int8)
    graph = coo_matrix((weights, (edges[:, 0], edges[:, 1])), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _words(hashes: Iterable[bytes]) -> NDArray[np.uint64]:
    """Return the hashes as rows of four 64-bit words, shape [hashes, 4]."""
    return np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(-1, HASH_BITS // 64)


def _over_strips(
    words: NDArray[np.uint64], max_bits: int, workers: int, *, as_forest: bool
) -> Iterator[NDArray[np.int64]]:
    """Yield the near pairs of each strip of rows with itself and all later rows, shape [pairs, 2], strips in order."""
    columns = np.ascontiguousarray(words.T)

    def strip(start: int) -> NDArray[np.int64]:
        found: list[NDArray[np.int64]] = [np.empty((0, 2), dtype=np.int64)]
        held = 0
        for pairs in _tiles(columns, start, min(start + _STRIP_ROWS, columns.shape[1]), max_bits):
            found.append(pairs)
            held += len(pairs)
            if as_forest and held > _MOST_EDGES:
                found = [_forest(np.concatenate(found))]
                held = len(found[0])
        pairs = np.concatenate(found)
        return pairs if as_forest else pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(strip, range(0, columns.shape[1], _STRIP_ROWS))


def _tiles(columns: NDArray[np.uint64], start: int, stop: int, max_bits: int) -> Iterator[NDArray[np.int64]]:
    """Yield the near pairs (i < j) with start <= i < stop, tile by tile; `columns` has shape [4, hashes]."""
    shape = (_TILE_ROWS, _TILE_COLUMNS)
    differ, bits = np.empty(shape, dtype=np.uint64), np.empty(shape, dtype=np.uint8)
    more, near = np.empty(shape, dtype=np.uint8), np.empty(shape, dtype=np.bool_)
    size = columns.shape[1]
    most = min(max_bits, HASH_BITS // 2)  # the counts are bytes
    for top in range(start, stop, _TILE_ROWS):
        rows = columns[:, top : min(top + _TILE_ROWS, stop), None]
        height = rows.shape[1]
        for left in range(top, size, _TILE_COLUMNS):
            others = columns[:, None, left : left + _TILE_COLUMNS]
            part: Any = (slice(0, height), slice(0, others.shape[2]))
            np.bitwise_xor(rows[2], others[2], out=differ[part])
            np.bitwise_count(differ[part], out=bits[part])
            np.bitwise_xor(rows[3], others[3], out=differ[part])
            np.bitwise_count(differ[part], out=more[part])
            np.add(bits[part], more[part], out=bits[part])
            np.less_equal(bits[part], most, out=near[part])
            if not near[part].any():
                continue
            row, column = np.nonzero(near[part])
            row, column = row + top, column + left
            row, column = row[column > row], column[column > row]
            apart = np.bitwise_count(columns[:, row] ^ columns[:, column]).sum(axis=0, dtype=np.int64)
            yield np.stack([row, column], axis=1)[apart <= max_bits]


def _forest(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return fewer edges [n, 2] that join the same nodes: from each node to the next one of its group."""
    nodes, ends = np.unique(edges, return_inverse=True)
    groups = connected_groups(len(nodes), ends.reshape(-1, 2))
    order = np.argsort(groups, kind="stable")
    same = groups[order[1:]] == groups[order[:-1]]
    return np.stack([nodes[order[:-1][same]], nodes[order[1:][same]]], axis=1)
