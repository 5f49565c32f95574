"""Shelfqa's curation beside the notebooks' way with pandas: the same job, in one run, and how many times as fast.

Both sides run as processes of their own, one after the other, on the same files; the run fails if they keep different
images, if shelfqa is less than `--bar` times as fast, or if it takes more memory than `--memory-bar-mb`.

    python benchmarks/curate.py
    python benchmarks/curate.py --catalogue ../shared/abo --preset all
    python benchmarks/curate.py --only-shelfqa --growth
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import scale_catalogue
from measured import CommandFailedError, Measured, measure
from scale_words import LISTINGS_IN_TABLE

PRESETS = ("score-and-cap", "balanced-sample", "main-image-descriptions")
_HERE = Path(__file__).resolve().parent
_CACHE = _HERE.parent / "runs" / "bench"
_BAR = 4.0
_MEMORY_BAR_MB = 1000.0
_GROWTH_MEMORY_BAR_MB = 4000.0
_GROWTH = 10
_SHOWN = 5
_BUSY_LOAD = 0.7


class Kept(NamedTuple):
    """What a side read and kept: of each image path, the product id and the description where one is given."""

    listings: int
    images: dict[str, tuple[str, str]]


class Side(NamedTuple):
    """One side's runs; `seconds` and `cpu_seconds` are medians, `peak_mb` is the highest."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    kept: Kept


def cached_catalogue(listings: int, seed: int = 0) -> Path:
    """Return a generated catalogue in the cache, made now if it is not there or was made otherwise."""
    folder = _CACHE / f"abo-{listings}-seed{seed}"
    options = scale_catalogue.Options(listings=listings, images=scale_catalogue.images_for(listings), seed=seed)
    if not scale_catalogue.is_generated(folder, options):
        print(f"generating {listings:,} listings in {folder} …", file=sys.stderr)
        scale_catalogue.generate(folder, options)
    return folder


def run_shelfqa(catalogue: Path, preset: str, runs: int) -> Side:
    """Return the median of `runs` runs of `shelfqa curate`."""
    measured: list[Measured] = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="bench-", dir=_scratch()) as scratch:
            out = Path(scratch) / "curated"
            command = [sys.executable, "-m", "shelfqa.cli", "curate", str(catalogue), "--out", str(out)]
            measured.append(measure([*command, "--preset", preset, "--check-images", "none"]))
            kept = _kept_by_shelfqa(out, preset)
    return _side("shelfqa", measured, kept)


def run_pandas(catalogue: Path, preset: str) -> Side:
    """Return one run of the notebooks' way."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_scratch()) as scratch:
        out = Path(scratch) / "kept.csv"
        command = [sys.executable, str(_HERE / "notebooks.py"), preset, str(catalogue), "--out", str(out)]
        measured = measure(command)
        with out.open(encoding="utf-8", newline="") as file:
            images = {row["path"]: (row["product_id"], row["description"]) for row in csv.DictReader(file)}
    said = next(line for line in measured.messages.splitlines() if line.endswith(" listings read"))
    return _side("pandas", [measured], Kept(int(said.split()[0]), images))


def _scratch() -> Path:
    _CACHE.mkdir(parents=True, exist_ok=True)
    return _CACHE


def _side(name: str, measured: list[Measured], kept: Kept) -> Side:
    seconds = statistics.median(run.seconds for run in measured)
    cpu_seconds = statistics.median(run.cpu_seconds for run in measured)
    return Side(name, seconds, cpu_seconds, max(run.peak_mb for run in measured), kept)


def _kept_by_shelfqa(out: Path, preset: str) -> Kept:
    import pyarrow.parquet as pq

    counts: dict[str, Any] = json.loads((out / "manifest.json").read_text("utf-8"))["counts"]
    table = pq.read_table(out / "products.parquet", columns=["image_path", "product_id", "description"])
    described = preset == "main-image-descriptions"
    images = {
        row["image_path"]: (row["product_id"], (row["description"] or "") if described else "")
        for row in table.to_pylist()
    }
    return Kept(counts["read"], images)


def warm(catalogue: Path) -> None:
    """Read all files once, so that no side pays for a cold disk."""
    for path in sorted(catalogue.glob("*/metadata/*")):
        with path.open("rb") as file:
            while file.read(1 << 22):
                pass


def compare(catalogue: Path, preset: str, args: argparse.Namespace) -> tuple[float, bool]:
    """Run both sides and print what they did; return the ratio of their times, and whether all is as it should be."""
    ours, theirs = run_shelfqa(catalogue, preset, args.runs), run_pandas(catalogue, preset)
    print(f"\n{preset} on {catalogue}")
    _print_table([ours, theirs])
    ratio = theirs.seconds / ours.seconds
    good = _print_differences(ours.kept.images, theirs.kept.images)
    if ours.peak_mb > args.memory_bar_mb:
        print(f"too much memory: shelfqa took {ours.peak_mb:,.0f} MB, the bar is {args.memory_bar_mb:,.0f} MB")
        good = False
    if ratio < args.bar:
        print(f"too slow: {ratio:.2f} times, the bar is {args.bar:g} times")
        good = False
    return ratio, good


def _print_table(sides: list[Side]) -> None:
    print(f"{'side':<14}{'seconds':>9}{'CPU s':>9}{'peak MB':>10}{'read':>13}{'images kept':>13}")
    for side in sides:
        print(
            f"{side.name:<14}{side.seconds:>9.2f}{side.cpu_seconds:>9.2f}{side.peak_mb:>10,.0f}"
            f"{side.kept.listings:>13,}{len(side.kept.images):>13,}"
        )


def _print_differences(ours: dict[str, tuple[str, str]], theirs: dict[str, tuple[str, str]]) -> bool:
    """Say whether both sides keep the same images, and the same product for each; return whether they do."""
    only_ours, only_theirs = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    others = sorted(path for path in ours.keys() & theirs.keys() if ours[path] != theirs[path])
    if not (only_ours or only_theirs or others):
        print("the same images, and the same product for each")
        return True
    for name, paths in (("shelfqa", only_ours), ("pandas", only_theirs)):
        if paths:
            print(f"{len(paths):,} images are kept by {name} alone, such as {', '.join(paths[:_SHOWN])}")
    for path in others[:_SHOWN]:
        print(f"{path}: shelfqa keeps {ours[path][0]}, pandas {theirs[path][0]} (or another description)")
    if others:
        print(f"{len(others):,} images are kept with another product or description")
    return False


def grow(preset: str, listings: int, args: argparse.Namespace) -> bool:
    """Run shelfqa on a catalogue and on one ten times as large; return whether time and memory stay in bounds."""
    small_catalogue, large_catalogue = cached_catalogue(listings), cached_catalogue(listings * _GROWTH)
    warm(small_catalogue)
    small = run_shelfqa(small_catalogue, preset, args.runs)
    warm(large_catalogue)
    large = run_shelfqa(large_catalogue, preset, 1)
    print(f"\n{preset}, {listings:,} and {listings * _GROWTH:,} listings")
    _print_table([small, large])
    growth = large.seconds / small.seconds
    print(f"growth: {growth:.1f} times the time for {_GROWTH} times the listings")
    good = growth <= _GROWTH
    if not good:
        print(f"time grows faster than the size: {growth:.1f} times")
    bar = args.memory_bar_mb if args.memory_bar_mb is not None else _GROWTH_MEMORY_BAR_MB
    if large.peak_mb > bar:
        print(f"too much memory: {large.peak_mb:,.0f} MB, the bar is {bar:,.0f} MB")
        good = False
    return good


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time shelfqa's curation beside the notebooks' way with pandas.")
    parser.add_argument("--catalogue", type=Path, help="a folder in ABO's layout; a generated one if not given")
    parser.add_argument("--listings", type=int, default=LISTINGS_IN_TABLE, help="size to generate")
    parser.add_argument("--preset", choices=[*PRESETS, "all"], default=PRESETS[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of shelfqa, of which the median counts")
    parser.add_argument(
        "--bar",
        type=float,
        help=f"how many times as fast shelfqa must be; {_BAR:g} for score-and-cap at the full size, else none",
    )
    parser.add_argument(
        "--memory-bar-mb",
        type=float,
        help=f"the most that shelfqa may take; {_MEMORY_BAR_MB:g}, with --growth {_GROWTH_MEMORY_BAR_MB:g}",
    )
    parser.add_argument("--only-shelfqa", action="store_true", help="without pandas; prints time and memory")
    parser.add_argument(
        "--growth", action="store_true", help="with --only-shelfqa: at this size and at ten times of it"
    )
    args = parser.parse_args()
    if args.growth and (args.catalogue is not None or not args.only_shelfqa):
        parser.error("--growth goes with --only-shelfqa and a generated catalogue")
    if args.runs < 1:
        parser.error("--runs must be 1 or more")
    return args


def main() -> int:
    """Run what the options ask for; 1 where a bar is missed or the sides differ."""
    args = _arguments()
    busy = os.getloadavg()[0]
    if busy > _BUSY_LOAD:
        print(f"the machine is busy with other things (load {busy:.1f}): times will be off", file=sys.stderr)
    presets = PRESETS if args.preset == "all" else (args.preset,)
    try:
        return _run(args, presets)
    except CommandFailedError as error:
        print(error, file=sys.stderr)
        return 2


def _run(args: argparse.Namespace, presets: tuple[str, ...]) -> int:
    if args.growth:
        grown = [grow(preset, args.listings, args) for preset in presets]
        return 0 if all(grown) else 1
    catalogue = args.catalogue or cached_catalogue(args.listings)
    warm(catalogue)
    if args.only_shelfqa:
        sides = [run_shelfqa(catalogue, preset, args.runs) for preset in presets]
        for preset, side in zip(presets, sides, strict=True):
            print(f"\n{preset} on {catalogue}")
            _print_table([side])
        bar = args.memory_bar_mb
        return 1 if bar is not None and any(side.peak_mb > bar for side in sides) else 0
    if args.memory_bar_mb is None:
        args.memory_bar_mb = _MEMORY_BAR_MB
    if args.bar is None:
        full = args.catalogue is None and args.listings >= LISTINGS_IN_TABLE
        args.bar = _BAR if full and args.preset == "score-and-cap" else 0.0
    compared = [compare(catalogue, preset, args) for preset in presets]
    print(f"ratio: {min(ratio for ratio, _ in compared):.1f} times")
    return 0 if all(good for _, good in compared) else 1


if __name__ == "__main__":
    sys.exit(main())
