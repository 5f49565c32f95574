"""Writing a drawn catalogue in the layout of Amazon Berkeley Objects: the same bytes for the same seed."""

from __future__ import annotations

import gzip
import io
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from PIL import Image

from shelfqa.catalogue.demo.identifiers import image_id, image_path
from shelfqa.catalogue.demo.listings import listing_of
from shelfqa.catalogue.demo.scene import render
from shelfqa.catalogue.demo.spec import sample_spec
from shelfqa.catalogue.demo.trouble import BLOCK, UNREADABLE, Trouble, trouble_plan
from shelfqa.config import Config
from shelfqa.errors import UserError
from shelfqa.machine import processors

SHARDS = "0123456789abcdef"
_JPEG_QUALITY = 90
_EXIF_ORIENTATION = 0x0112
_EXIF_TURNED = 6  # stored a quarter turn anticlockwise; viewers turn it back
_PER_TASK = 8
_NOTE = "demo.json"  # marks a folder as ours, so that drawing again may replace it
_HTML = b"<!DOCTYPE html><html><head><title>503</title></head><body><h1>Service Unavailable</h1></body></html>\n"


class DemoConfig(Config, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to draw."""

    products: Annotated[
        int, msgspec.Meta(description="How many products to draw; pictures are half as many again.")
    ] = 800
    seed: Annotated[int, msgspec.Meta(description="Seed of the drawing: the same seed draws the same bytes.")] = 0


class ImageRow(NamedTuple):
    """One row of images.csv."""

    image_id: str
    height: int
    width: int
    path: str


class Drawn(NamedTuple):
    """What drawing one product gave: its rows in images.csv, its listings by shard, and counts."""

    images: list[ImageRow]
    lines: list[tuple[int, bytes]]
    counts: dict[str, int]


def draw_catalogue(
    out: Path, config: DemoConfig, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Draw a catalogue into the folder `out` and return counts: products, listings, images and each trouble.

    `workers` is the number of processes (None: one a core); it does not change a byte. `progress` is told the
    products done and the total. Raises UserError for a configuration that cannot be drawn.
    """
    if config.products < 1:
        raise UserError(f"cannot draw {config.products!r} products: ask for 1 or more, such as --products 800")
    _make_room(out, config)
    (out / "images" / "metadata").mkdir(parents=True)
    (out / "listings" / "metadata").mkdir(parents=True)
    counts: Counter[str] = Counter(
        dict.fromkeys(("products", "listings", "images", "unreadable_images", "broken_rows", "second_domains"), 0)
    )
    images: list[ImageRow] = []
    shards: list[list[bytes]] = [[] for _ in SHARDS]
    for done, drawn in enumerate(_draw_all(out, config, workers), start=1):
        images += drawn.images
        for shard, line in drawn.lines:
            shards[shard].append(line)
        counts.update(drawn.counts)
        if progress is not None:
            progress(done, config.products)
    rows = [f"{row.image_id},{row.height},{row.width},{row.path}\n" for row in sorted(images)]
    _write_gzip(
        out / "images" / "metadata" / "images.csv.gz", [b"image_id,height,width,path\n"] + [r.encode() for r in rows]
    )
    for name, lines in zip(SHARDS, shards, strict=True):
        _write_gzip(out / "listings" / "metadata" / f"listings_{name}.json.gz", lines)
    return dict(counts)


def _make_room(out: Path, config: DemoConfig) -> None:
    """Empty the folder if an earlier drawing is in it; refuse to touch anything else."""
    note = out / _NOTE
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not note.is_file()):
        raise UserError(f"{str(out)!r} holds other files: choose an empty or a new folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    note.write_bytes(msgspec.json.encode({"made_by": "shelfqa demo-catalogue", "config": config}) + b"\n")
    for part in ("images", "listings"):
        shutil.rmtree(out / part, ignore_errors=True)


def _draw_all(out: Path, config: DemoConfig, workers: int | None) -> Iterator[Drawn]:
    """Yield products in the order of their indices, drawn here or in other processes."""
    draw = partial(draw_product, out, config.seed)
    wanted = workers or processors()
    if wanted <= 1 or config.products <= _PER_TASK:
        yield from map(draw, range(config.products))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(wanted, config.products // _PER_TASK + 1), mp_context=context) as pool:
        yield from pool.map(draw, range(config.products), chunksize=_PER_TASK)


def draw_product(out: Path, seed: int, index: int) -> Drawn:
    """Draw the pictures of one product, write them, and return its rows."""
    spec = sample_spec(seed, index)
    trouble = trouble_plan(seed, index // BLOCK).get(index, Trouble())
    images = []
    for view in range(spec.views + 1):
        data, size = encode(render(spec, view), trouble.file if view == 0 else "jpeg")
        path = image_path(seed, index, view)
        target = out / "images" / "small" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        if view > 0 or not trouble.unlisted_image:
            images.append(ImageRow(image_id(seed, index, view), size[1], size[0], path))
    counts = {
        "products": 1,
        "images": spec.views + 1,
        "unreadable_images": int(trouble.file in UNREADABLE),
        "broken_rows": int(trouble.broken_row),
        "second_domains": int(trouble.second_domain),
        "repeated_rows": int(trouble.repeated_row),
        "listings_without_image": int(trouble.no_main_image),
        "unlisted_images": int(trouble.unlisted_image),
    }
    lines = _lines(seed, index, trouble)
    counts["listings"] = len(lines)
    return Drawn(images, lines, counts)


def _lines(seed: int, index: int, trouble: Trouble) -> list[tuple[int, bytes]]:
    spec, shard = sample_spec(seed, index), index % len(SHARDS)
    listing = listing_of(spec)
    if trouble.no_main_image:
        del listing["main_image_id"]
    line = msgspec.json.encode(listing)
    if trouble.broken_row:
        line = line[: len(line) * 3 // 5]
    lines = [(shard, line + b"\n")]
    if trouble.repeated_row:
        lines.append((shard, line + b"\n"))
    if trouble.second_domain:
        second = listing_of(spec, other_domain=True)
        lines.append(((shard * 7 + 3) % len(SHARDS), msgspec.json.encode(second) + b"\n"))
    return lines


def encode(picture: Image.Image, file: str) -> tuple[bytes, tuple[int, int]]:
    """Encode a picture as one kind of file (see `Trouble.file`); return its bytes and its stored width and height."""
    exif = Image.Exif()
    if file == "grey":
        picture = picture.convert("L")
    elif file == "cmyk":
        picture = picture.convert("CMYK")
    elif file == "turned":
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif[_EXIF_ORIENTATION] = _EXIF_TURNED
    buffer = io.BytesIO()
    if file == "turned":
        picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, exif=exif)
    else:
        picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    data = buffer.getvalue()
    spoiled = {"truncated": data[: len(data) // 3], "empty": b"", "html": _HTML}
    return spoiled.get(file, data), picture.size


def _write_gzip(path: Path, lines: list[bytes]) -> None:
    """Write lines, without a name or a time in the header."""
    partial_path = path.with_name(path.name + ".partial")
    with partial_path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        packed.writelines(lines)
    partial_path.replace(path)
