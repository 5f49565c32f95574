"""The trouble put into a drawn catalogue on purpose, so that curation has something to find.

Every hundred products have the same number of each kind of trouble, at places chosen by (seed, hundred): the
fraction holds for any size, and what befalls a product does not depend on how many products there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from shelfqa.catalogue.demo.palette import NEUTRALS
from shelfqa.catalogue.demo.spec import random_for, sample_spec

BLOCK = 100
UNREADABLE = ("truncated", "empty", "html")


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What befalls one product: nothing, unless a field says so.

    `file` names what its main picture is: "jpeg", "cmyk", "grey", "turned" (by EXIF), or one of `UNREADABLE`.
    """

    second_domain: bool = False
    repeated_row: bool = False
    broken_row: bool = False
    no_main_image: bool = False
    unlisted_image: bool = False
    file: str = "jpeg"


@lru_cache(maxsize=64)
def trouble_plan(seed: int, block: int) -> dict[int, Trouble]:
    """Return the trouble of one block of products, by index."""
    rng = random_for(seed, block, "trouble")
    first = block * BLOCK
    order = list(range(first, first + BLOCK))
    rng.shuffle(order)
    plan: dict[int, Trouble] = {}
    grey = next((i for i in order if sample_spec(seed, i).color in NEUTRALS), None)
    if grey is not None:
        order.remove(grey)
        plan[grey] = Trouble(file="grey")
    # The first block shows every kind of unreadable file; later ones take turns.
    files = [*(UNREADABLE if block == 0 else (UNREADABLE[block % 3],)), "cmyk", "turned"]
    for file in files:
        plan[order.pop()] = Trouble(file=file)
    for _ in range(5):
        plan[order.pop()] = Trouble(second_domain=True)
    for _ in range(2):
        plan[order.pop()] = Trouble(repeated_row=True)
    plan[order.pop()] = Trouble(broken_row=True)
    plan[order.pop()] = Trouble(no_main_image=True)
    plan[order.pop()] = Trouble(unlisted_image=True)
    return plan
