"""Split: every question gets its place in train, validation or test, and the manifest says that nothing leaks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta

from shelfqa import artifacts
from shelfqa.artifacts import Manifest, StageRun
from shelfqa.config import Config
from shelfqa.errors import ConfigError, GateFailure, InputError, did_you_mean
from shelfqa.images import HASH_BITS, fingerprint_files
from shelfqa.near_duplicates import NEAR_DUPLICATE_BITS
from shelfqa.progress import progress
from shelfqa.questions.from_file import held_out_pictures
from shelfqa.questions.splitting import SPLITS, Asked, Groups, assign, audit_leakage, find_groups
from shelfqa.records import QUESTION_COLUMNS

_LEAKS = ("products", "image_files", "near_duplicate_images")
_NO_TYPE = "none"


class SplitConfig(Config, frozen=True, kw_only=True):
    """Settings of `split`."""

    seed: Annotated[int, Meta(ge=0, description="Seed of the assignment of groups.")] = 0
    train: Annotated[float, Meta(ge=0, le=1, description="Share of the questions to train on.")] = 0.8
    validation: Annotated[float, Meta(ge=0, le=1, description="Share of the questions for early stopping.")] = 0.1
    test: Annotated[float, Meta(ge=0, le=1, description="Share of the questions to report on.")] = 0.1
    near_duplicate_bits: Annotated[
        int,
        Meta(
            ge=0,
            le=HASH_BITS,
            description="Pictures whose 256-bit hashes differ in at most so many bits stay together.",
        ),
    ] = NEAR_DUPLICATE_BITS
    held_out_rows: Annotated[
        bool,
        Meta(description="Rows that a file marks as test stay test, with their whole group; only the rest is dealt."),
    ] = False
    held_out_pictures: Annotated[
        str | None,
        Meta(
            description="Table (CSV, TSV, JSON lines, Parquet) of pictures, such as a published test set: questions "
            "about those that its column `split` calls test (all if it has none) are test, with their whole group."
        ),
    ] = None
    only: Annotated[
        tuple[str, ...],
        Meta(description="After splitting, keep only rows of these sources (source.model); none given: all."),
    ] = ()


def split(questions: Path, out: Path, config: SplitConfig, *, images: Path | None = None, workers: int = 2) -> Manifest:
    """Deal the questions and write them with `split` filled; the leakage audit is in `details["leakage"]`.

    Args:
        questions: a folder that `generate` wrote, or a Parquet file with its columns.
        out: the folder to write.
        config: the settings.
        images: the folder that image paths are relative to, if not the one that the input names.
        workers: threads that decode pictures whose hash is not at hand.

    Raises:
        ConfigError: if the shares do not add up to one, or `only` names an unknown source.
        InputError: if the questions or the held-out pictures are missing, or pictures have no hash and their folder is
            not known.
        GateFailure: if the audit finds a leak.

    """
    total = config.train + config.validation + config.test
    if abs(total - 1) > 1e-6:
        raise ConfigError(f"split: train, validation and test add up to {total:g}, not to 1: change one of them.")
    holds_out = config.held_out_rows or config.held_out_pictures is not None
    if holds_out and config.train + config.validation <= 0:
        raise ConfigError("split: with held_out_rows or held_out_pictures, train or validation must be above 0.")
    given = artifacts.read_manifest(questions, missing_ok=True)
    root = images or (Path(given.images) if given is not None and given.images is not None else None)
    inputs = {"questions": questions} | ({"images": images} if images is not None else {})
    if config.held_out_pictures is not None:
        inputs["held_out_pictures"] = Path(config.held_out_pictures)
    return artifacts.build("split", out, config, inputs, lambda run: _split(run, questions, config, root, workers))


def _split(run: StageRun, questions: Path, config: SplitConfig, root: Path | None, workers: int) -> None:
    table = artifacts.read_table(questions, "questions", QUESTION_COLUMNS.names)
    if not table.num_rows:
        raise InputError(f"{str(questions)!r} holds no questions: see the drops in its manifest.json.")
    sources = pc.struct_field(table["source"], "model").to_pylist()
    for name in config.only:
        if name not in sources:
            raise ConfigError(f"split.only: no question is from {name!r}.{did_you_mean(name, set(sources) - {None})}")
    known = _known_images(questions)
    asked = table.select(["product_id", "image_paths", "product_type", "split"]).to_pylist()
    held_out = _held_out_pictures(asked, config)
    rows = [
        Asked(
            row["product_id"],
            row["image_paths"],
            row["product_type"] or _NO_TYPE,
            (config.held_out_rows and row["split"] == "test") or not held_out.isdisjoint(row["image_paths"]),
        )
        for row in asked
    ]
    if config.held_out_rows and not any(row["split"] == "test" for row in asked):
        raise ConfigError("split.held_out_rows: no question is marked as test: leave it out, and test rows are dealt.")
    hashes = _hashes(rows, known, root, workers)
    products = {path: image["product_ids"] or () for path, image in known.items() if "product_ids" in image}
    groups = find_groups(rows, hashes, products, max_bits=config.near_duplicate_bits)
    fractions = {"train": config.train, "validation": config.validation, "test": config.test}
    assigned = assign(rows, groups, fractions, config.seed)
    column = table.column_names.index("split")
    table = table.set_column(column, "split", pa.array(assigned, pa.string()))
    keep = [not config.only or source in config.only for source in sources]
    table = table.filter(pa.array(keep))

    finished = table.select(["product_id", "product_type", "image_paths", "question", "answer", "split"]).to_pylist()
    run.details = _details(rows, groups, finished)
    run.details["leakage"] = audit_leakage(finished, hashes, max_bits=config.near_duplicate_bits)
    for pair, shared in run.details["leakage"].items():
        for what in _LEAKS:
            if shared[what]:
                raise GateFailure(f"split: {pair} share {shared[what]} {what.replace('_', ' ')}: please report this.")
    run.images = root
    run.write_table("questions", table)
    if known:
        run.write_table("images", artifacts.read_table(questions, "images"))
    run.counts.read = len(rows)
    run.counts.kept = table.num_rows
    run.drop("other-source", len(rows) - table.num_rows)


def _held_out_pictures(asked: Sequence[Mapping[str, Any]], config: SplitConfig) -> set[str]:
    if config.held_out_pictures is None:
        return set()
    return held_out_pictures(Path(config.held_out_pictures), {path for row in asked for path in row["image_paths"]})


def _known_images(questions: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of `images.parquet` beside the questions by path; none if there is no such table."""
    if not (questions / "images.parquet").is_file():
        return {}
    table = artifacts.read_table(questions, "images", ["image_path", "perceptual_hash", "error"])
    return {row["image_path"]: row for row in table.to_pylist()}


def _hashes(
    rows: Sequence[Asked], known: Mapping[str, Mapping[str, Any]], root: Path | None, workers: int
) -> dict[str, bytes]:
    """Return the perceptual hash of each picture that is asked about and can be read."""
    wanted = sorted({path for row in rows for path in row.image_paths})
    hashes = {path: known[path]["perceptual_hash"] for path in wanted if path in known}
    unknown = [path for path in wanted if hashes.get(path) is None and not known.get(path, {}).get("error")]
    if unknown and root is None:
        raise InputError(f"The picture {unknown[0]!r} has no hash yet: give the folder of the pictures with --images.")
    if unknown and root is not None:
        with progress("hashing images", len(unknown)) as tick:
            found = fingerprint_files([root / path for path in unknown], workers=workers, progress=tick)
        hashes.update({path: print_.perceptual_hash for path, print_ in zip(unknown, found, strict=True)})
    return {path: value for path, value in hashes.items() if value is not None}


def _details(rows: Sequence[Asked], groups: Groups, finished: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    largest, rows_in_largest = Counter(groups.of_row.tolist()).most_common(1)[0]
    in_largest = {row.product_id for row, group in zip(rows, groups.of_row.tolist(), strict=True) if group == largest}
    products: dict[str, set[str]] = defaultdict(set)
    images: dict[str, set[str]] = defaultdict(set)
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    for row in finished:
        products[row["split"]].add(row["product_id"])
        images[row["split"]].update(row["image_paths"])
        by_type[row["product_type"] or _NO_TYPE][row["split"]] += 1
    counts = Counter(row["split"] for row in finished)
    return {
        "rows": {name: counts[name] for name in SPLITS},
        "products": {name: len(products[name]) for name in SPLITS},
        "images": {name: len(images[name]) for name in SPLITS},
        "groups": groups.size,
        "largest_group": {"rows": rows_in_largest, "products": len(in_largest)},
        "by_product_type": {
            name: {split: by_type[name][split] for split in SPLITS}
            for name in sorted(by_type, key=lambda name: (-by_type[name].total(), name))
        },
    }
