from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shelfqa import near_duplicates
from shelfqa.near_duplicates import connected_groups, near_duplicate_groups, near_duplicate_pairs


def all_pairs(hashes: list[bytes], max_bits: int) -> list[list[int]]:
    """The definition, pair by pair."""
    numbers = [int.from_bytes(value) for value in hashes]
    return [
        [i, j]
        for i in range(len(numbers))
        for j in range(i + 1, len(numbers))
        if (numbers[i] ^ numbers[j]).bit_count() <= max_bits
    ]


def families(seed: int, size: int, flips: int) -> list[bytes]:
    """Hashes of which many differ from another in up to `flips` bits, some in none."""
    random = np.random.default_rng(seed)
    bits = random.integers(0, 2, (size, 256), dtype=np.uint8)
    for row in range(1, size):
        if random.random() < 0.7:
            bits[row] = bits[random.integers(0, row)]
            bits[row, random.permutation(256)[: random.integers(0, flips + 1)]] ^= 1
    return [np.packbits(row).tobytes() for row in bits]


def numbered(groups: NDArray[np.int64]) -> list[int]:
    """Groups renumbered in the order of their first members."""
    order: dict[int, int] = {}
    return [order.setdefault(group, len(order)) for group in groups.tolist()]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 90), st.sampled_from([0, 1, 16, 32, 100, 128, 200, 256]))
def test_pairs_and_groups_are_those_of_the_definition(seed: int, size: int, max_bits: int) -> None:
    hashes = families(seed, size, max(2 * max_bits, 1) % 257)
    expected = all_pairs(hashes, max_bits)
    assert near_duplicate_pairs(hashes, max_bits=max_bits).tolist() == expected
    groups = near_duplicate_groups(hashes, max_bits=max_bits)
    assert groups.tolist() == numbered(connected_groups(size, np.array(expected, dtype=np.int64).reshape(-1, 2)))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_tiles_strips_and_threads_do_not_show(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    hashes = families(1, 400, 40)
    expected = all_pairs(hashes, 32)
    for name, value in (("_STRIP_ROWS", 24), ("_TILE_ROWS", 7), ("_TILE_COLUMNS", 50), ("_MOST_EDGES", 10)):
        monkeypatch.setattr(near_duplicates, name, value)
    assert near_duplicate_pairs(hashes, workers=workers).tolist() == expected
    groups = near_duplicate_groups(hashes, workers=workers)
    assert groups.tolist() == numbered(connected_groups(400, np.array(expected)))


def test_many_copies_make_one_group_without_their_pairs() -> None:
    copies = [b"\x0f" * 32] * 100_000
    near = [bytes([0x0F] * 31 + [last]) for last in range(256)]
    assert set(near_duplicate_groups([*copies, *near, b"\xf0" * 32]).tolist()) == {0, 1}


def test_the_bound_counts_as_near() -> None:
    here, there = bytes(32), b"\xff" * 4 + bytes(28)
    assert near_duplicate_pairs([here, there], max_bits=32).tolist() == [[0, 1]]
    assert near_duplicate_pairs([here, there], max_bits=31).tolist() == []
    assert near_duplicate_pairs([here, b"\xff" * 32], max_bits=256).tolist() == [[0, 1]]


def test_groups_follow_chains() -> None:
    groups = connected_groups(5, np.array([[0, 1], [1, 4]]))
    assert groups[0] == groups[1] == groups[4]
    assert len(set(groups.tolist())) == 3


def test_no_edges_no_pictures() -> None:
    assert near_duplicate_pairs([]).shape == (0, 2)
    assert near_duplicate_groups([]).shape == (0,)
    assert len(connected_groups(0, np.empty((0, 2), dtype=np.int64))) == 0
    assert near_duplicate_groups([bytes(32)]).tolist() == [0]
