"""What a drawn product is: its attributes, sampled independently of each other from (seed, index)."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from shelfqa.catalogue.demo.palette import SHADES, Rgb, accent
from shelfqa.catalogue.demo.patterns import PATTERN_NAMES

BRANDS: tuple[str, ...] = (
    "Velora",
    "Norvik",
    "Zumbo",
    "Lumeo",
    "Orvato",
    "Pindle",
    "Quilla",
    "Tavix",
    "Belmu",
    "Hexora",
    "Jundo",
    "Wispel",
)
_ANY_OUTLINE = ("Round", "Oval", "Square", "Rectangular", "Hexagonal")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A product type: how listings call it and which values its attributes may take."""

    product_type: str
    noun: str
    materials: tuple[str, ...]
    styles: tuple[str, ...]
    shapes: tuple[str, ...] = ()
    most: int = 1  # largest set sold together
    lying: bool = False  # photographed from above
    printed: bool = False  # a brand can be printed on the product; else it stands on a tag beside it


KINDS: dict[str, Kind] = {
    "mug": Kind(
        product_type="MUG",
        noun="Mug",
        materials=("Ceramic", "Glass", "Metal", "Wood"),
        styles=("Straight", "Tapered", "Rounded"),
        most=6,
        printed=True,
    ),
    "bottle": Kind(
        product_type="BOTTLE",
        noun="Bottle",
        materials=("Glass", "Plastic", "Metal"),
        styles=("Screw Cap", "Cork Stopper", "Carry Loop"),
        most=6,
        printed=True,
    ),
    "shirt": Kind(
        product_type="SHIRT",
        noun="T-Shirt",
        materials=("Cotton", "Linen", "Wool", "Denim"),
        styles=("Crew Neck", "V-Neck", "Long Sleeve"),
        most=3,
        lying=True,
        printed=True,
    ),
    "backpack": Kind(
        product_type="BACKPACK",
        noun="Backpack",
        materials=("Canvas", "Leather", "Denim"),
        styles=("Front Pocket", "Flap Top", "Side Pockets"),
        printed=True,
    ),
    "chair": Kind(
        product_type="CHAIR",
        noun="Chair",
        materials=("Wood", "Plastic", "Leather", "Wicker"),
        styles=("Slatted Back", "Solid Back", "Stool"),
        most=3,
    ),
    "lamp": Kind(
        product_type="LAMP",
        noun="Lamp",
        materials=("Linen", "Metal", "Glass", "Wicker"),
        styles=("Table Lamp", "Floor Lamp", "Pendant"),
        most=2,
    ),
    "clock": Kind(
        product_type="CLOCK",
        noun="Wall Clock",
        materials=("Wood", "Metal", "Plastic", "Marble"),
        styles=("Arabic Numerals", "Roman Numerals", "Hour Marks"),
        shapes=_ANY_OUTLINE,
        lying=True,
        printed=True,
    ),
    "table": Kind(
        product_type="TABLE",
        noun="Table",
        materials=("Wood", "Glass", "Metal", "Marble"),
        styles=("Four Legs", "Pedestal", "Hairpin Legs"),
        shapes=_ANY_OUTLINE,
    ),
    "shoe": Kind(
        product_type="SHOES",
        noun="Shoe",
        materials=("Canvas", "Leather", "Wool"),
        styles=("Sneaker", "High Top", "Slip-On"),
        most=2,
    ),
    "case": Kind(
        product_type="CELLULAR_PHONE_CASE",
        noun="Phone Case",
        materials=("Plastic", "Leather", "Wood"),
        styles=("Single Lens Cutout", "Double Lens Cutout", "Triple Lens Cutout"),
        most=4,
        lying=True,
        printed=True,
    ),
    "box": Kind(
        product_type="STORAGE_BOX",
        noun="Storage Box",
        materials=("Paper", "Wood", "Metal", "Wicker"),
        styles=("With Lid", "Open Top", "With Ribbon"),
        shapes=("Square", "Rectangular", "Round", "Hexagonal"),
        most=5,
        printed=True,
    ),
    "plate": Kind(
        product_type="PLATE",
        noun="Plate",
        materials=("Ceramic", "Glass", "Metal", "Wood"),
        styles=("Wide Rim", "Coupe", "Bordered"),
        shapes=_ANY_OUTLINE,
        most=6,
        lying=True,
        printed=True,
    ),
    "umbrella": Kind(
        product_type="UMBRELLA",
        noun="Umbrella",
        materials=("Canvas", "Plastic", "Linen"),
        styles=("Crook Handle", "Straight Handle", "Ball Handle"),
    ),
    "book": Kind(
        product_type="NOTEBOOK",
        noun="Notebook",
        materials=("Paper", "Leather", "Linen"),
        styles=("Hardcover", "Spiral Bound", "Elastic Band"),
        most=6,
        printed=True,
        lying=True,
    ),
    "cushion": Kind(
        product_type="PILLOW",
        noun="Cushion",
        materials=("Cotton", "Linen", "Wool", "Velvet"),
        styles=("Piped Edge", "Tasselled", "Buttoned"),
        shapes=("Round", "Square", "Rectangular", "Hexagonal"),
        most=4,
        lying=True,
        printed=True,
    ),
    "vase": Kind(
        product_type="VASE",
        noun="Vase",
        materials=("Ceramic", "Glass", "Metal", "Marble"),
        styles=("Slim", "Bulb", "Amphora"),
        most=4,
        printed=True,
    ),
    "sofa": Kind(
        product_type="SOFA",
        noun="Sofa",
        materials=("Leather", "Linen", "Wool", "Velvet"),
        styles=("One Seat", "Two Seats", "Three Seats"),
    ),
    "rug": Kind(
        product_type="RUG",
        noun="Rug",
        materials=("Wool", "Cotton", "Wicker"),
        styles=("Fringed", "Bordered", "Plain Edge"),
        shapes=_ANY_OUTLINE,
        lying=True,
        printed=True,
    ),
}
KIND_NAMES: tuple[str, ...] = tuple(KINDS)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """All that is true of one drawn product; its picture shows it and its listing says it.

    `color` is a basic colour and `shade` its marketing name; `brand` is None where none can be read in the picture;
    `shape` is None for types that come in one shape; `views` counts the further pictures.
    """

    seed: int
    index: int
    kind: str
    color: str
    shade: str
    rgb: Rgb
    accent: Rgb
    material: str
    pattern: str
    style: str
    shape: str | None
    brand: str | None
    count: int
    views: int

    @property
    def details(self) -> Kind:
        """The product type's own facts."""
        return KINDS[self.kind]

    @property
    def brand_on_product(self) -> bool:
        """Whether the brand is printed on the product itself, large enough to read."""
        return self.brand is not None and self.count == 1 and self.details.printed

    def rng(self, purpose: str) -> Random:
        """Return this product's own random numbers for one purpose."""
        return random_for(self.seed, self.index, purpose)


def random_for(seed: int, index: int, purpose: str) -> Random:
    """Return random numbers that depend on these three alone (string seeds are hashed with SHA-512)."""
    return Random(f"{seed}/{index}/{purpose}")


def _kind(seed: int, index: int) -> str:
    """Deal the types like cards: each run of as many products as there are types holds every type once."""
    block, place = divmod(index, len(KIND_NAMES))
    order = list(KIND_NAMES)
    random_for(seed, block, "order of types").shuffle(order)
    return order[place]


def sample_spec(seed: int, index: int) -> Spec:
    """Sample the product at this index; products do not depend on one another."""
    rng = random_for(seed, index, "attributes")
    kind = _kind(seed, index)
    details = KINDS[kind]
    color = rng.choice(list(SHADES))
    shade = rng.choice(SHADES[color])
    many = details.most > 1 and rng.random() < 0.6
    return Spec(
        seed=seed,
        index=index,
        kind=kind,
        color=color,
        shade=shade.name,
        rgb=shade.rgb,
        accent=accent(color, shade.rgb, rng),
        material=rng.choice(details.materials),
        pattern=rng.choice(PATTERN_NAMES),
        style=rng.choice(details.styles),
        shape=rng.choice(details.shapes) if details.shapes else None,
        brand=rng.choice(BRANDS) if rng.random() < 0.78 else None,
        count=rng.randint(2, details.most) if many else 1,
        views=rng.randint(1, 3) if rng.random() < 0.25 else 0,
    )
