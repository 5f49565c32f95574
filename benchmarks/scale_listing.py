"""One listing of the generated catalogue, in ABO's format, from the seed and its number alone.

A listing's place in each row of eight decides what it is: 7 repeats an earlier product under another domain; 1, 3 and
5 are at times an exact duplicate, a listing without a usable image, one whose other image is another's main image;
the rest, and those with a rare product type, are plain. So every reference is found without looking at other listings.
"""

from __future__ import annotations

from base64 import b64encode
from bisect import bisect_right
from functools import lru_cache
from random import Random
from typing import Literal, NamedTuple

from scale_product import Product, draw_product, render
from scale_words import DOMAINS, LISTINGS_IN_TABLE, PRODUCT_TYPES

Role = Literal["plain", "repeat", "exact", "no-image", "leads"]

BLOCKED_IMAGES = ("518Dk4FOzZL", "719hoe+OvIL", "71Qbh8wmhnL")
"""Image ids that published notebooks exclude by name; here they are the main images of a few listings each."""

_EXACT, _NO_IMAGE, _LEADS = 291, 555, 2457
"""How many there are in the real archive's 147,702 listings."""

_GROUP = 10
_GROUP_IMAGES = 26
"""Ten listings share 26 images: a main image for each, and 16 others."""

_BLOCKED_EVERY = 4000
_TYPE_STEP = 91_291
_RARE_TYPES = 150
_MASK = (1 << 64) - 1


class Made(NamedTuple):
    """A listing as a line of JSON without its line end, and what it was made to be.

    `main_image` is the number of its main image in the image table, or -1 where it has none.
    """

    line: str
    role: Role
    product_type: str
    no_image: Literal["", "missing", "null", "not-in-table"]
    main_image: int


def mixed(seed: int, *numbers: int) -> int:
    """Return 64 well-mixed bits of the numbers (splitmix64)."""
    state = seed & _MASK
    for number in numbers:
        state = (state + 0x9E3779B97F4A7C15 * (number + 1)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def image_id(number: int) -> str:
    """Return the id of an image by its number; the first three are those that notebooks exclude by name."""
    if number < len(BLOCKED_IMAGES):
        return BLOCKED_IMAGES[number]
    code = (number * 0x5DEECE66D1B5 + 0xB) % (1 << 48)
    prefix = ("71", "81", "61", "51", "91", "41")[number % 6]
    return f"{prefix}{b64encode(code.to_bytes(6, 'big'), b'+-').decode()}L"


def image_path(number: int) -> str:
    """Return the path of an image by its number, such as `14/14fe8812.jpg`."""
    name = f"{(number * 0x9E3779B1 + 0x7F4A7C15) % (1 << 32):08x}"
    return f"{name[:2]}/{name}.jpg"


def _type_bounds() -> list[int]:
    """Return where each product type ends among the archive's listings: a giant, a power law, a tail of 1 to 10."""
    last = [10 - 10 * place // _RARE_TYPES for place in range(_RARE_TYPES)]
    giant = LISTINGS_IN_TABLE * 44 // 100
    middle = len(PRODUCT_TYPES) - 1 - _RARE_TYPES
    rest = LISTINGS_IN_TABLE - giant - sum(last) - 11 * middle
    weights = [(place + 1.0) ** -1.05 for place in range(middle)]
    counts = [11 + int(rest * weight / sum(weights)) for weight in weights]
    counts[0] += LISTINGS_IN_TABLE - giant - sum(last) - sum(counts)
    bounds, total = [], 0
    for count in (giant, *counts, *last):
        total += count
        bounds.append(total)
    return bounds


_BOUNDS = _type_bounds()
_RARE_FROM = len(PRODUCT_TYPES) - _RARE_TYPES


class Maker:
    """Makes the listings of one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = Random()

    def listing(self, number: int) -> Made:
        """Return listing `number`, counted from 0."""
        role = self.role(number)
        if role == "repeat":
            return self._repeat(number)
        if role == "exact":
            return self._exact(number)
        product = self.product(number)
        main, no_image = product.main, ""
        others = list(product.others)
        field = f'"{image_id(main)}"'
        if role == "no-image":
            kinds: tuple[Literal["missing"], ...] | tuple[str, ...] = ("missing", "null", "not-in-table")
            no_image = kinds[mixed(self._seed, 5, number) % 3]
            field = {"missing": "", "null": "null"}.get(no_image, f'"{image_id(main + (1 << 40))}"')
            main = -1
        elif role == "leads":
            others.insert(len(others) // 2, self.product(self._plain_before(number)).main)
        elif number % _BLOCKED_EVERY == 2:
            main = number // _BLOCKED_EVERY % len(BLOCKED_IMAGES)
            field = f'"{image_id(main)}"'
        elif product.type_rank == len(PRODUCT_TYPES) - 1:
            main = self._image_of_small_type(number, main)
            field = f'"{image_id(main)}"'
        return self._made(number, product, role, field, others, main, no_image)

    def role(self, number: int) -> Role:
        """Return what listing `number` is."""
        place = number % 8
        if place % 2 == 0 or number < 64 or self._type(number) >= _RARE_FROM:
            return "plain"
        if place == 7:
            return "repeat"
        role: Role = "exact" if place == 1 else "no-image" if place == 3 else "leads"
        count = {1: _EXACT, 3: _NO_IMAGE, 5: _LEADS}[place]
        return role if _scheduled(self._seed, place, number * count // LISTINGS_IN_TABLE, count) == number else "plain"

    def product(self, number: int) -> Product:
        """Return what listing `number` sells, as long as it is no repetition of another."""
        draw = self._random
        draw.seed(mixed(self._seed, 1, number))
        group = number // _GROUP
        first = len(BLOCKED_IMAGES) + group * _GROUP_IMAGES
        count = int(draw.random() * 10) if draw.random() < 0.9 else 0
        start = int(draw.random() * (_GROUP_IMAGES - _GROUP))
        others = [first + _GROUP + (start + place) % (_GROUP_IMAGES - _GROUP) for place in range(count)]
        return draw_product(draw, number, self._type(number), first + number % _GROUP, others)

    def _type(self, number: int) -> int:
        """Return the rank of a listing's product type: over 147,702 listings each type has its exact share."""
        place = (number * _TYPE_STEP + mixed(self._seed, 0)) % LISTINGS_IN_TABLE
        return bisect_right(_BOUNDS, place)

    def _plain_before(self, number: int) -> int:
        """Return an earlier listing that is plain, some way back."""
        return number // 8 // 3 * 8 + 2 * (mixed(self._seed, 2, number) % 4)

    def _image_of_small_type(self, number: int, own: int) -> int:
        """Return the main image of an earlier listing that curation keeps, its type being neither large nor rare.

        The rarest type has that image only: curation has to take it from its holder for the type not to disappear.
        """
        for other in range(number - 1, -1, -1):
            if other % 8 == 0 and 100 <= self._type(other) < _RARE_FROM:
                return self.product(other).main
        return own

    def _repeat(self, number: int) -> Made:
        """Return an earlier product under another domain, with texts of its own."""
        row = number // 8
        place = (0, 2, 4)[mixed(self._seed, 3, row) % 3] if row % 2 == 0 else (4, 6)[mixed(self._seed, 3, row) % 2]
        origin = row // 2 * 8 + place
        product = self.product(origin)
        domain = self._another_domain(origin, row % 2, number)
        main = product.main
        if mixed(self._seed, 4, number) % 100 < 15:
            main = self.product(number).main
        elif origin % _BLOCKED_EVERY == 2:
            main = origin // _BLOCKED_EVERY % len(BLOCKED_IMAGES)
        field = f'"{image_id(main)}"'
        return self._made(number, product, "repeat", field, list(product.others), main, "", domain)

    def _exact(self, number: int) -> Made:
        """Return an earlier listing once more, with another item id, or with the same one under another domain."""
        origin = self._plain_before(number)
        product = self.product(origin)
        made = self.listing(origin)
        old = f'"item_id": "{product.item_id}"'
        if number // 8 % 2:
            line = made.line.replace(old, f'"item_id": "{self.product(number).item_id}"')
        else:
            before, after = self._domain(origin), self._another_domain(origin, 2, number)
            line = made.line.replace(f'"{DOMAINS[before].name}"', f'"{DOMAINS[after].name}"')
        return made._replace(line=line, role="exact")

    def _domain(self, number: int) -> int:
        return self.product(number).domain

    def _another_domain(self, origin: int, slot: int, number: int) -> int:
        """Return a domain that differs from the origin's; those of the three slots differ from each other."""
        own = self._domain(origin)
        rest = [place for place in range(len(DOMAINS)) if place != own][slot::3]
        return rest[min(mixed(self._seed, 6, number) % 9, mixed(self._seed, 7, number) % 9) % len(rest)]

    def _made(
        self,
        number: int,
        product: Product,
        role: Role,
        main_field: str,
        others: list[int],
        main: int,
        no_image: str,
        domain: int | None = None,
    ) -> Made:
        draw = self._random
        draw.seed(mixed(self._seed, 8, number))
        ids = [image_id(other) for other in others]
        odd = draw.random()
        if odd < 0.02 and ids:
            ids.append(ids[0])
        elif odd < 0.03 and main_field not in ("", "null"):
            ids.append(main_field.strip('"'))
        elif odd < 0.035:
            ids.append(image_id((1 << 41) + number))
        rendered = render(draw, product, DOMAINS[product.domain if domain is None else domain], main_field, ids)
        return Made(rendered.line, role, rendered.product_type, no_image, main)  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def _scheduled(seed: int, place: int, turn: int, count: int) -> int:
    """Return which listing is the `turn`-th of its role: one in every `LISTINGS_IN_TABLE / count`, at a drawn place."""
    start = -(-turn * LISTINGS_IN_TABLE // count)
    end = -(-(turn + 1) * LISTINGS_IN_TABLE // count)
    spot = max(start + mixed(seed, 9, place, turn) % max(end - start - 24, 1), 72)
    spot += (place - spot) % 8
    while Maker(seed)._type(spot) >= _RARE_FROM:
        spot += 8
    return spot
