from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfqa.questions.splitting import Asked, Group, Groups, assign, audit_leakage, deal, find_groups

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def hash_of(number: int, flipped: int = 0) -> bytes:
    """A hash of its own for each number, with its first bits flipped."""
    bits = np.random.default_rng(number).integers(0, 2, 256)
    bits[:flipped] ^= 1
    return np.packbits(bits).tobytes()


def row(number: int, *images: str, kind: str = "mug", held_out: bool = False) -> Asked:
    return Asked(f"P{number}", images or (f"{number}.png",), kind, held_out)


def together(rows: list[Asked], hashes: dict[str, bytes] | None = None, **shown: list[str]) -> list[int]:
    products = {f"{name.removeprefix('i')}.png": ids for name, ids in shown.items()}
    groups: list[int] = find_groups(rows, hashes or {}, products, max_bits=32).of_row.tolist()
    return groups


def test_a_product_a_picture_and_near_duplicates_hold_a_group_together() -> None:
    assert together([row(1), row(1, "2.png"), row(3)]) == [0, 0, 1]
    assert together([row(1, "a.png"), row(2, "b.png", "a.png"), row(3)]) == [0, 0, 1]
    near = {"1.png": hash_of(1), "2.png": hash_of(1, 32), "3.png": hash_of(1, 33)}
    assert together([row(1), row(2), row(3)], near) == [0, 0, 0]
    del near["2.png"]
    assert together([row(1), row(2), row(3)], near) == [0, 1, 2]


def test_a_picture_joins_all_products_that_show_it() -> None:
    assert together([row(1), row(2)], i1=["P1", "P2"]) == [0, 0]
    assert together([row(1), row(2)], i1=["P1", "P9"], i2=["P2", "P9"]) == [0, 0]
    assert together([row(1), row(2)], i7=["P1", "P2"]) == [0, 1]


ROWS = st.lists(
    st.builds(
        lambda number, images, kind, held: row(number, *(f"{image}.png" for image in images), kind=kind, held_out=held),
        st.integers(0, 25),
        st.lists(st.integers(0, 40), min_size=1, max_size=2),
        st.sampled_from(["mug", "chair", "lamp"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)
HASHES = {f"{number}.png": hash_of(number // 2, 9 * (number % 2)) for number in range(41)}


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 3), st.booleans(), st.randoms())
def test_nothing_leaks_and_row_order_does_not_matter(rows: list[Asked], seed: int, held: bool, rng: Any) -> None:
    rows = [one if held else one._replace(held_out=False) for one in rows]

    def splits(some: list[Asked]) -> list[str]:
        return assign(some, find_groups(some, HASHES, {}, max_bits=32), FRACTIONS, seed)

    assigned = splits(rows)
    order = list(range(len(rows)))
    rng.shuffle(order)
    assert splits([rows[place] for place in order]) == [assigned[place] for place in order]
    finished = [
        {"product_id": one.product_id, "image_paths": one.image_paths, "question": "", "answer": "", "split": split}
        for one, split in zip(rows, assigned, strict=True)
    ]
    for shared in audit_leakage(finished, HASHES, max_bits=32).values():
        assert (shared["products"], shared["image_files"], shared["near_duplicate_images"]) == (0, 0, 0)
    if any(one.held_out for one in rows):
        assert all(split == "test" for one, split in zip(rows, assigned, strict=True) if one.held_out)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_fractions_hold_overall_and_within_types(seed: int, kinds: int) -> None:
    rng = random.Random(seed)
    groups = [
        Group(number, rng.randint(1, 9), f"type {rng.randrange(kinds)}", False, str(rng.random()))
        for number in range(600)
    ]
    found = deal(groups, FRACTIONS)
    rows = Counter[str]()
    by_type: dict[str, Counter[str]] = {}
    for group in groups:
        rows[found[group.number]] += group.rows
        by_type.setdefault(group.product_type, Counter())[found[group.number]] += group.rows
    for name, share in FRACTIONS.items():
        assert rows[name] / rows.total() == pytest.approx(share, abs=0.02)
        for counts in by_type.values():
            assert counts[name] / counts.total() == pytest.approx(share, abs=0.12 + 12 / counts.total())


def test_a_type_with_one_group_is_trained_on() -> None:
    groups = [Group(number, 5, f"type {number}", False, "") for number in range(40)]
    assert set(deal(groups, FRACTIONS).values()) == {"train"}


def test_a_share_of_nothing_gets_nothing() -> None:
    groups = [Group(number, 5, "mug", False, str(number)) for number in range(40)]
    assert Counter(deal(groups, {"train": 0.5, "validation": 0.5, "test": 0.0}).values()) == {
        "train": 20,
        "validation": 20,
    }


def test_a_held_out_row_takes_its_group_along_and_the_rest_is_dealt_without_test() -> None:
    rows = [row(number) for number in range(100)] + [row(3, held_out=True)]
    assigned = assign(rows, find_groups(rows, {}, {}, max_bits=0), FRACTIONS, 0)
    assert [number for number, split in enumerate(assigned) if split == "test"] == [3, 100]
    assert Counter(assigned)["validation"] == 11


def test_seeds_differ() -> None:
    rows = [row(number) for number in range(100)]
    groups: Groups = find_groups(rows, {}, {}, max_bits=0)
    assert assign(rows, groups, FRACTIONS, 0) != assign(rows, groups, FRACTIONS, 1)


def test_the_audit_finds_planted_leaks() -> None:
    def finished(number: int, split: str, image: str) -> dict[str, Any]:
        return {"product_id": f"P{number}", "image_paths": [image], "question": "Q?", "answer": "A.", "split": split}

    hashes = {"a.png": hash_of(1), "b.png": hash_of(1, 32), "c.png": hash_of(2), "d.png": hash_of(3)}
    rows = [finished(1, "train", "a.png"), finished(2, "test", "b.png"), finished(1, "validation", "c.png")]
    found = audit_leakage([*rows, finished(4, "test", "c.png"), finished(5, "train", "d.png")], hashes, max_bits=32)
    assert found["train/test"] == {
        "products": 0,
        "image_files": 0,
        "near_duplicate_images": 1,
        "question_answer_texts": 1,
    }
    assert found["train/validation"]["products"] == 1
    assert found["validation/test"]["image_files"] == 1
    assert audit_leakage(rows, hashes, max_bits=31)["train/test"]["near_duplicate_images"] == 0
