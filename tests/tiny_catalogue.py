"""Small catalogues in ABO's layout, and products and questions without any files, for tests."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image, ImageDraw

from shelfqa.records import PRODUCT_COLUMNS


def picture(path: Path, seed: int, *, size: int = 48) -> Path:
    """Draw a picture of random boxes; other seeds give pictures that are no near-duplicates."""
    rng = random.Random(seed)
    image = Image.new("RGB", (size, size), (rng.randrange(256),) * 3)
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        x, y = rng.randrange(size), rng.randrange(size)
        shade = tuple(rng.randrange(256) for _ in range(3))
        draw.rectangle((x, y, x + rng.randrange(4, size), y + rng.randrange(4, size)), fill=shade)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def tagged(*values: object, tag: str = "en_US") -> list[dict[str, object]]:
    """Return values as ABO writes them."""
    return [{"language_tag": tag, "value": value} for value in values]


def listing(number: int, **fields: Any) -> dict[str, Any]:
    """Return a plain listing with its own picture; fields given replace it, None removes them."""
    values: dict[str, Any] = {
        "item_id": f"P{number:03}",
        "domain_name": "amazon.com",
        "main_image_id": f"I{number:03}",
        "item_name": tagged(f"Plain mug {number}"),
        "product_type": [{"value": "MUG"}],
        "color": [{"language_tag": "en_US", "value": "Navy", "standardized_values": ["Blue"]}],
    }
    values.update(fields)
    return {key: value for key, value in values.items() if value is not None}


def write_abo(
    folder: Path,
    shards: Sequence[Sequence[Mapping[str, Any] | bytes]],
    *,
    images: int = 12,
    gzipped: bool = True,
) -> Path:
    """Write a folder in ABO's layout; a line given as bytes is written as it is."""
    metadata = folder / "listings" / "metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    for place, lines in enumerate(shards):
        data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
        name = f"listings_{place}.json"
        if gzipped:
            (metadata / f"{name}.gz").write_bytes(gzip.compress(data, mtime=0))
        else:
            (metadata / name).write_bytes(data)
    rows = ["image_id,height,width,path"]
    for number in range(images):
        picture(folder / "images" / "small" / "aa" / f"{number:03}.png", number)
        rows.append(f"I{number:03},48,48,aa/{number:03}.png")
    (folder / "images" / "metadata").mkdir(parents=True, exist_ok=True)
    (folder / "images" / "metadata" / "images.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode(), mtime=0))
    return folder


def product(number: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a row of products.parquet; attributes are given as a dict."""
    values: dict[str, Any] = dict.fromkeys(PRODUCT_COLUMNS.names)
    values.update(
        product_id=f"P{number:03}",
        image_path=f"aa/{number:03}.png",
        other_image_paths=[],
        product_type="mug",
        richness=0,
    )
    values.update(fields)
    values["attributes"] = json.dumps(values["attributes"] or {})
    return values


def products(*rows: dict[str, Any]) -> pa.Table:
    """Return rows as the table of products."""
    return pa.Table.from_pylist(list(rows), schema=PRODUCT_COLUMNS)
