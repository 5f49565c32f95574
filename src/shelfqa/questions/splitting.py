"""Dealing questions into train, validation and test so that nothing leaks, and checking that nothing did.

Rows that are about the same product, the same picture, or near-duplicate pictures form one group; a group is never
divided. Groups are dealt within the product type of most of their rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shelfqa.near_duplicates import connected_groups, near_duplicate_groups
from shelfqa.text import normalize_answer

SPLITS = ("train", "validation", "test")


class Asked(NamedTuple):
    """What splitting needs to know of a row."""

    product_id: str
    image_paths: Sequence[str]
    product_type: str
    held_out: bool


class Groups(NamedTuple):
    """The group of each row; groups are numbered by the least product id in them."""

    of_row: NDArray[np.int64]
    size: int


def find_groups(
    rows: Sequence[Asked],
    hashes: Mapping[str, bytes],
    products_of_image: Mapping[str, Collection[str]],
    *,
    max_bits: int,
) -> Groups:
    """Return the connected groups of the rows.

    Args:
        rows: the questions.
        hashes: perceptual hash of each picture, as far as it could be read.
        products_of_image: the products that show a picture, asked about or not.
        max_bits: pictures whose hashes differ in at most this many bits are near-duplicates.

    """
    products = sorted({row.product_id for row in rows})
    images = sorted({path for row in rows for path in row.image_paths})
    shown = {product for path in images for product in products_of_image.get(path, ())}
    nodes: dict[tuple[str, str], int] = {}
    for kind, names in (("product", [*products, *sorted(shown - set(products))]), ("image", images)):
        for name in names:
            nodes[kind, name] = len(nodes)
    edges = {(nodes["product", row.product_id], nodes["image", path]) for row in rows for path in row.image_paths} | {
        (nodes["product", product], nodes["image", path])
        for path in images
        for product in products_of_image.get(path, ())
    }
    hashed = [path for path in images if path in hashes]
    if hashed:
        near = near_duplicate_groups([hashes[path] for path in hashed], max_bits=max_bits).tolist()
        first: dict[int, str] = {}
        edges |= {
            (nodes["image", first.setdefault(group, path)], nodes["image", path])
            for path, group in zip(hashed, near, strict=True)
        }
    pairs = np.array(sorted(edges), dtype=np.int64).reshape(-1, 2)
    raw = connected_groups(len(nodes), pairs)[[nodes["product", row.product_id] for row in rows]]
    order: dict[int, int] = {}
    for _, group in sorted(zip((row.product_id for row in rows), raw.tolist(), strict=True)):
        order.setdefault(group, len(order))
    return Groups(np.array([order[group] for group in raw.tolist()], dtype=np.int64), len(order))


class Group(NamedTuple):
    """A group as it is dealt."""

    number: int
    rows: int
    product_type: str
    held_out: bool
    luck: str


def describe_groups(rows: Sequence[Asked], groups: Groups, seed: int) -> list[Group]:
    """Return each group with its size, its commonest product type and its seeded place in the queue."""
    types: list[Counter[str]] = [Counter() for _ in range(groups.size)]
    held_out = [False] * groups.size
    least: dict[int, str] = {}
    for row, number in zip(rows, groups.of_row.tolist(), strict=True):
        types[number][row.product_type] += 1
        held_out[number] = held_out[number] or row.held_out
        least[number] = min(least.get(number, row.product_id), row.product_id)
    return [
        Group(
            number=number,
            rows=counts.total(),
            product_type=min(counts, key=lambda name: (-counts[name], name)),
            held_out=held_out[number],
            luck=hashlib.sha256(f"{seed}/{least[number]}".encode()).hexdigest(),
        )
        for number, counts in enumerate(types)
    ]


def deal(groups: Sequence[Group], fractions: Mapping[str, float]) -> dict[int, str]:
    """Return the split of each group, dealt type by type so that the fractions hold within and over all types.

    Within a type the groups come largest first, equal ones by luck, and each goes where most rows are lacking. The
    first goes to the largest split, so that no type is tested that was never trained on. What a type could not
    balance is carried over to the next, smaller one.
    """
    wanted = {name: share for name, share in fractions.items() if share > 0}
    home = max(wanted, key=lambda name: wanted[name])
    by_type: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        by_type[group.product_type].append(group)
    totals = {name: sum(group.rows for group in members) for name, members in by_type.items()}
    found: dict[int, str] = {}
    carried = dict.fromkeys(wanted, 0.0)
    for name in sorted(by_type, key=lambda name: (-totals[name], name)):
        bound = {split: max(share * totals[name], 1.0) for split, share in wanted.items()}
        lacking = {
            split: share * totals[name] + min(max(carried[split], -bound[split]), bound[split])
            for split, share in wanted.items()
        }
        for place, group in enumerate(sorted(by_type[name], key=lambda group: (-group.rows, group.luck))):
            split = home if place == 0 else max(wanted, key=lambda split: lacking[split])
            found[group.number] = split
            lacking[split] -= group.rows
            carried[split] -= group.rows
        for split, share in wanted.items():
            carried[split] += share * totals[name]
    return found


def assign(rows: Sequence[Asked], groups: Groups, fractions: Mapping[str, float], seed: int) -> list[str]:
    """Return the split of each row; groups with a held-out row are test whole, the rest is dealt."""
    described = describe_groups(rows, groups, seed)
    held_out = {group.number for group in described if group.held_out}
    shares = dict(fractions)
    if held_out:
        shares.pop("test", None)
        total = sum(shares.values())
        shares = {name: share / total for name, share in shares.items()}
    dealt = deal([group for group in described if group.number not in held_out], shares)
    return ["test" if number in held_out else dealt[number] for number in groups.of_row.tolist()]


def audit_leakage(rows: Sequence[Mapping[str, Any]], hashes: Mapping[str, bytes], *, max_bits: int) -> dict[str, Any]:
    """Return what each pair of splits shares, found anew from the finished rows.

    Args:
        rows: product_id, image_paths, question, answer and split of each question.
        hashes: perceptual hash of each picture.
        max_bits: as for `find_groups`.

    Returns:
        for `train/validation`, `train/test` and `validation/test`: the number of shared `products`, `image_files`
        and `near_duplicate_images` (pairs of pictures), and of shared `question_answer_texts`, which may well be.

    """
    products: dict[str, set[str]] = {name: set() for name in SPLITS}
    images: dict[str, set[str]] = {name: set() for name in SPLITS}
    texts: dict[str, set[tuple[str, str]]] = {name: set() for name in SPLITS}
    for row in rows:
        products[row["split"]].add(row["product_id"])
        images[row["split"]].update(row["image_paths"])
        texts[row["split"]].add((row["question"].casefold(), normalize_answer(row["answer"])))
    found = {}
    for left, right in (("train", "validation"), ("train", "test"), ("validation", "test")):
        sides = [sorted(path for path in images[name] if path in hashes) for name in (left, right)]
        found[f"{left}/{right}"] = {
            "products": len(products[left] & products[right]),
            "image_files": len(images[left] & images[right]),
            "near_duplicate_images": _crossing(sides[0], sides[1], hashes, max_bits),
            "question_answer_texts": len(texts[left] & texts[right]),
        }
    return found


def _crossing(left: list[str], right: list[str], hashes: Mapping[str, bytes], max_bits: int) -> int:
    """Count the pairs of pictures across two splits whose hashes are near, by counting bits that differ."""
    if not left or not right:
        return 0
    ours, theirs = (
        np.frombuffer(b"".join(hashes[path] for path in side), dtype=np.uint64).reshape(len(side), -1).T.copy()
        for side in (left, right)
    )
    near = 0
    for top in range(0, len(left), 32):  # tiles of 32 x 4096 stay in the processor's cache
        for start in range(0, len(right), 4096):
            differ = np.uint16(0)
            for one, other in zip(ours[:, top : top + 32, None], theirs[:, None, start : start + 4096], strict=True):
                differ = differ + np.bitwise_count(one ^ other)
            near += int(np.count_nonzero(differ <= max_bits))
    return near
