"""Curated products for tests of what asks models about them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from PIL import Image

from shelfqa.artifacts import StageRun, build
from shelfqa.catalogue.settings import CurateConfig
from shelfqa.records import PRODUCT_COLUMNS

COLOURS = ("navy", "crimson", "olive", "teal", "gold", "plum", "coral", "ivory")
KINDS = ("mug", "lamp", "chair", "bottle", "backpack", "clock")


def write_curated(folder: Path, products: int, *, pictures: int = 8) -> Path:
    """Write the artifact of `curate` about so many made-up products, which share a few pictures; return its folder."""
    images = folder.parent / f"{folder.name}-images"
    images.mkdir(parents=True, exist_ok=True)
    for number in range(pictures):
        picture = Image.new("RGB", (64, 64), COLOURS[number % len(COLOURS)])
        picture.putpixel((number % 64, number // 64), (255, 255, 255))
        picture.save(images / f"{number}.jpg")

    def body(run: StageRun) -> None:
        rows = [_product(number, pictures) for number in range(products)]
        run.write_table("products", pa.Table.from_pylist(rows, schema=PRODUCT_COLUMNS))
        run.images = images
        run.counts.read = run.counts.kept = products

    build("curate", folder, CurateConfig(), {}, body)
    return folder


def _product(number: int, pictures: int) -> dict[str, object]:
    kind, colour = KINDS[number % len(KINDS)], COLOURS[number % len(COLOURS)]
    return {
        "product_id": f"P{number:05d}",
        "image_path": f"{number % pictures}.jpg",
        "other_image_paths": [],
        "product_type": kind,
        "name": f"{colour} {kind} number {number}",
        "brand": "Acme",
        "color": colour,
        "bullet_points": [f"made in {1900 + number % 120}"],
        "keywords": [kind, colour],
        "attributes": "{}",
        "language": "en",
        "richness": 3,
    }
