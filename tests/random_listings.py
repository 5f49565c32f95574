"""Random listings that hold all that the steps of curation look for, in any order and number of shards."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

from tiny_catalogue import listing, tagged

TYPES = ["MUG", "CHAIR", "CAFÉ_TABLE", "'; DROP TABLE parts; --", "LAMP", "RUG"]
OTHER_IMAGES = [*range(12, 20)] * 8 + [0, 1]
"""Pictures that are never the main one (12 is not in the image table), and seldom one that is."""
TEXTS = ["Big", "big  mug", "Big mug!", "Für die Küche", "100% 'silk'", "a, b, c", "Dishwasher safe"]


OTHER_BRAND, OTHER_NAME = {"brand": tagged("Acme")}, {"item_name": tagged("Another name")}


def random_lines(seed: int, number: int = 60) -> list[dict[str, Any]]:
    """Listings of few products, pictures and types, so that all that steps look for is there; some are copies."""
    rng = random.Random(seed)
    lines: list[dict[str, Any]] = []

    def some(*values: str) -> list[dict[str, object]] | None:
        chosen = rng.sample(values, rng.randint(0, 2))
        return tagged(*chosen, tag=rng.choice(["en_US", "en_GB", "en_IN", "de_DE"])) or None

    for _ in range(number):
        if lines and rng.random() < 0.2:
            lines.append(
                rng.choice(lines)
                | rng.choice([{}, {"domain_name": "amazon.in"}, {"item_id": "P777"}, OTHER_BRAND, OTHER_NAME])
            )
            continue
        fields = {
            "item_id": f"P{rng.randrange(30)}",
            "main_image_id": f"I{rng.randrange(13):03}",
            "other_image_id": [f"I{rng.choice(OTHER_IMAGES):03}" for _ in range(rng.choice([0, 0, 1, 3]))] or None,
            "domain_name": rng.choice(["amazon.com", "amazon.in", "amazon.de"]),
            "country": rng.choice(["US", "IN"]),
            "product_type": rng.choice([[{"value": rng.choice(TYPES)}], [{"value": TYPES[0]}], None]),
            "item_name": some("Mug", "Chair", "Tisch é"),
            "bullet_point": some(*TEXTS),
            "item_keywords": some(*TEXTS),
            "color": some("red", "blå"),
            "item_weight": [{"value": rng.choice([10, 10.0, 2]), "unit": rng.choice(["furlong", "pounds"])}],
        }
        lines.append(listing(0, **fields))
    return lines


def sharded(folder: Path, lines: list[dict[str, Any]], shards: int, seed: int, *, gzipped: bool = True) -> Path:
    """A catalogue of these listings in any order, without pictures."""
    shuffled = random.Random(seed).sample(lines, len(lines))
    metadata = folder / "listings" / "metadata"
    metadata.mkdir(parents=True)
    for number in range(shards):
        data = "".join(json.dumps(line) + "\n" for line in shuffled[number::shards]).encode()
        name = metadata / f"listings_{number}.json{'.gz' if gzipped else ''}"
        name.write_bytes(gzip.compress(data) if gzipped else data)
    (folder / "images" / "metadata").mkdir(parents=True)
    rows = "".join(f"I{number:03},aa/{number:03}.png\n" for number in range(20) if number != 12)
    (folder / "images" / "metadata" / "images.csv").write_text("image_id,path\n" + rows)
    return folder
