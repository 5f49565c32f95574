"""A made-up catalogue of any size in the layout and the shape of Amazon Berkeley Objects, to time curation on.

Long-tailed product types with a giant first, several languages, products under several domains, exact duplicates,
listings without a usable image, broken lines. The same options give the same bytes, on any number of processes;
what a listing says depends on the seed and its number alone. `generated.json` counts what was made.

    python benchmarks/scale_catalogue.py --out runs/bench/big --listings 1477020
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scale_listing import Maker, image_id, image_path, mixed
from scale_words import LISTINGS_IN_TABLE

VERSION = 1
"""Raised whenever the same options give other bytes, so that catalogues in caches are made anew."""

IMAGES_IN_TABLE = 398_212
BROKEN_KINDS = ("cut-off", "bare-array", "invalid-utf-8", "control-character", "empty-object")
_LINES_PER_WRITE = 256
_LEVEL = 6
_GZIP_WINDOW_BITS = 31


@dataclass(frozen=True, kw_only=True)
class Options:
    """What decides the bytes of a catalogue."""

    listings: int = LISTINGS_IN_TABLE
    images: int = IMAGES_IN_TABLE
    shards: int = 16
    seed: int = 0
    broken_every: int = 5000
    pictures: int = 0
    truncate_last: bool = False


class _Shard(NamedTuple):
    path: Path
    first: int
    end: int
    options: Options


def images_for(listings: int) -> int:
    """Return how many images that many listings have, in proportion to the real archive."""
    return -(-listings * IMAGES_IN_TABLE // LISTINGS_IN_TABLE)


def generate(out: Path, options: Options, processes: int = 2) -> dict[str, Any]:
    """Write the catalogue into the folder `out` and return what `generated.json` says about it."""
    listings, images = out / "listings" / "metadata", out / "images" / "metadata"
    for folder in (listings, images, out / "images" / "small"):
        folder.mkdir(parents=True, exist_ok=True)
    (out / "generated.json").unlink(missing_ok=True)
    for stale in listings.glob("listings_*.json.gz"):
        stale.unlink()
    shards = _shards(listings, options)
    if processes > 1:
        with ProcessPoolExecutor(processes) as pool:
            table = pool.submit(_write_image_table, images / "images.csv.gz", options.images)
            counts = list(pool.map(_write_shard, shards))
            table.result()
    else:
        _write_image_table(images / "images.csv.gz", options.images)
        counts = [_write_shard(shard) for shard in shards]
    report = _report(options, counts)
    if options.truncate_last:
        report["truncated"] = _truncate(shards[-1].path)
    _draw_pictures(out / "images" / "small", options.pictures)
    (out / "generated.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return report


def is_generated(out: Path, options: Options) -> bool:
    """Return whether `out` holds the whole catalogue of these options, made by this version."""
    try:
        report = json.loads((out / "generated.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(report.get("version") == VERSION and report.get("options") == asdict(options))


def _shards(folder: Path, options: Options) -> list[_Shard]:
    width = max(len(f"{options.shards - 1:x}"), 1)
    bounds = [options.listings * place // options.shards for place in range(options.shards + 1)]
    return [
        _Shard(folder / f"listings_{place:0{width}x}.json.gz", bounds[place], bounds[place + 1], options)
        for place in range(options.shards)
    ]


def _write_shard(shard: _Shard) -> Counter[str]:
    """Write one shard and return its counts; memory does not grow with its size."""
    counts: Counter[str] = Counter()
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP_WINDOW_BITS)
    with shard.path.open("wb") as file:
        block: list[bytes] = []
        for line in _lines(shard, counts):
            block.append(line)
            if len(block) == _LINES_PER_WRITE:
                file.write(packer.compress(b"\n".join(block) + b"\n"))
                block.clear()
        file.write(packer.compress(b"".join(line + b"\n" for line in block)))
        file.write(packer.flush())
    counts["gzip_bytes"] = shard.path.stat().st_size
    return counts


def _lines(shard: _Shard, counts: Counter[str]) -> Iterator[bytes]:
    """Yield the lines of a shard without line ends, broken ones in between, and count them."""
    options = shard.options
    maker = Maker(options.seed)
    for number in range(shard.first, shard.end):
        made = maker.listing(number)
        line = made.line.encode()
        kind = _broken_before(options, number)
        if kind is not None:
            broken = _break(line, kind)
            counts[f"broken {kind}"] += 1
            counts["bytes"] += len(broken) + 1
            yield broken
        counts[f"role {made.role}"] += 1
        counts[f"type {made.product_type}"] += 1
        if made.main_image >= options.images:
            counts["no image not-in-table"] += 1
        elif made.no_image:
            counts[f"no image {made.no_image}"] += 1
        counts["bytes"] += len(line) + 1
        counts["listing_bytes"] += len(line) + 1
        yield line


def _broken_before(options: Options, number: int) -> str | None:
    """Return how the extra line before listing `number` is broken, if there is one."""
    if not options.broken_every:
        return None
    turn, place = divmod(number, options.broken_every)
    if place != mixed(options.seed, 10, turn) % options.broken_every:
        return None
    return BROKEN_KINDS[turn % len(BROKEN_KINDS)]


def _break(line: bytes, kind: str) -> bytes:
    if kind == "cut-off":
        return line[: len(line) * 2 // 3]
    if kind == "bare-array":
        return b"[" + line + b"]"
    if kind == "empty-object":
        return b"{}"
    wrong = b"\xc3\x28\xff" if kind == "invalid-utf-8" else b"\x01\x0b"
    return line.replace(b'"value": "', b'"value": "' + wrong, 1)


def _write_image_table(path: Path, images: int) -> None:
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP_WINDOW_BITS)
    with path.open("wb") as file:
        file.write(packer.compress(b"image_id,height,width,path\n"))
        for start in range(0, images, _LINES_PER_WRITE):
            rows = [
                f"{image_id(number)},{700 + number * 37 % 1800},{700 + number * 53 % 1800},{image_path(number)}\n"
                for number in range(start, min(start + _LINES_PER_WRITE, images))
            ]
            file.write(packer.compress("".join(rows).encode()))
        file.write(packer.flush())


def _report(options: Options, shards: list[Counter[str]]) -> dict[str, Any]:
    """Return the counts of everything generated; `lines` is with the broken ones."""
    total: Counter[str] = Counter()
    for counts in shards:
        total.update(counts)

    def group(name: str) -> dict[str, int]:
        found = {key.removeprefix(name): count for key, count in total.items() if key.startswith(name)}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    broken, roles, no_image, types = group("broken "), group("role "), group("no image "), group("type ")
    return {
        "version": VERSION,
        "options": asdict(options),
        "seed": options.seed,
        "listings": options.listings,
        "lines": options.listings + sum(broken.values()),
        "broken_lines": {kind: broken.get(kind, 0) for kind in BROKEN_KINDS},
        "exact_duplicates": roles.get("exact", 0),
        "repeated_products": roles.get("repeat", 0),
        "other_image_leads_to_another_main_image": roles.get("leads", 0),
        "without_usable_image": sum(no_image.values()),
        "without_usable_image_by_kind": no_image,
        "images": options.images,
        "product_types": len(types) - ("" in types),
        "listings_by_product_type": types,
        "json_bytes": total["bytes"],
        "json_bytes_per_listing": round(total["listing_bytes"] / max(options.listings, 1), 1),
        "gzip_bytes": total["gzip_bytes"],
    }


def _truncate(path: Path) -> dict[str, Any]:
    """Cut the last third off a shard; return what is left of it."""
    data = path.read_bytes()
    data = data[: len(data) * 2 // 3]
    path.write_bytes(data)
    lines = zlib.decompressobj(_GZIP_WINDOW_BITS).decompress(data).count(b"\n")
    return {"file": path.name, "bytes_left": len(data), "whole_lines_left": lines}


def _draw_pictures(folder: Path, pictures: int) -> None:
    """Draw tiny pictures for the first rows of the image table."""
    if not pictures:
        return
    from PIL import Image, ImageDraw

    for number in range(pictures):
        color = ((number * 67) % 200 + 40, (number * 131) % 200 + 40, (number * 29) % 200 + 40)
        image = Image.new("RGB", (32, 32), "white")
        ImageDraw.Draw(image).ellipse((number % 7 + 2, number % 5 + 2, 28 - number % 11, 29 - number % 3), fill=color)
        path = folder / image_path(number)
        path.parent.mkdir(exist_ok=True)
        image.save(path, quality=80)


def main() -> int:
    """Read the options, generate, print one line."""
    parser = argparse.ArgumentParser(description="Write a made-up catalogue of any size in ABO's layout and shape.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--listings", type=int, default=LISTINGS_IN_TABLE)
    parser.add_argument(
        "--images", type=int, help="rows of the image table; in proportion to the listings if not given"
    )
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="changes the speed, not the bytes")
    parser.add_argument("--broken-every", type=int, default=5000, help="one broken line in so many; 0 for none")
    parser.add_argument("--pictures", type=int, default=0, help="draw tiny JPEGs for the first rows of the image table")
    parser.add_argument("--truncate-last", action="store_true", help="break the last shard off, as a download may")
    args = parser.parse_args()
    if args.listings < 1 or args.shards < 1 or args.processes < 1:
        parser.error("--listings, --shards and --processes must be 1 or more")
    options = Options(
        listings=args.listings,
        images=images_for(args.listings) if args.images is None else args.images,
        shards=args.shards,
        seed=args.seed,
        broken_every=args.broken_every,
        pictures=args.pictures,
        truncate_last=args.truncate_last,
    )
    start = time.perf_counter()
    report = generate(args.out, options, args.processes)
    print(
        f"{args.out}: {report['listings']:,} listings on {report['lines']:,} lines, {report['images']:,} images, "
        f"{report['gzip_bytes'] / 1e6:.1f} MB packed, {report['json_bytes_per_listing']:,.0f} bytes a listing, "
        f"in {time.perf_counter() - start:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
