"""Generate: question-answer pairs about the curated products, each with where it comes from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from shelfqa import artifacts
from shelfqa.artifacts import Manifest, StageRun
from shelfqa.config import Config
from shelfqa.errors import ConfigError, did_you_mean
from shelfqa.questions.from_file import questions_from_files
from shelfqa.questions.from_metadata import FIELDS, questions_from_metadata
from shelfqa.questions.pairs import Made, questions_table
from shelfqa.records import PRODUCT_COLUMNS


class GenerateConfig(Config, frozen=True, kw_only=True):
    """Settings of `generate`."""

    provider: Annotated[
        Literal["metadata", "file"],
        Meta(description="Where questions come from: listing fields, or labelled files."),
    ] = "metadata"
    seed: Annotated[int, Meta(ge=0, description="Seed of the choice of wordings.")] = 0
    per_product: Annotated[int, Meta(ge=1, description="Most questions about one product, of `metadata`.")] = 5
    fields: Annotated[tuple[str, ...], Meta(description="Listing fields that `metadata` asks about.")] = FIELDS
    files: Annotated[
        tuple[str, ...], Meta(description="Labelled files of `file`: CSV, TSV, JSON lines or Parquet.")
    ] = ()
    columns: Annotated[
        dict[str, str],
        Meta(description="For `file`: image, question, answer, split, difficulty, used_metadata -> your column."),
    ] = field(default_factory=dict)


def generate(curated: Path, out: Path, config: GenerateConfig) -> Manifest:
    """Write `questions` about the products in the folder `curated`, `dropped`, and `images` as curated.

    Raises:
        ConfigError: for an unknown field, or a provider `file` without files.
        InputError: if an input is missing or lacks a column.

    """
    for name in config.fields:
        if name not in FIELDS:
            raise ConfigError(f"generate.fields: unknown field {name!r}.{did_you_mean(name, FIELDS)}")
    if config.provider == "file" and not config.files:
        raise ConfigError("generate: the provider 'file' needs --files FILE (in a recipe: generate.files: [FILE]).")
    if config.provider != "file" and config.files:
        raise ConfigError("generate: --files is read by --provider file only; add that, or leave the files out.")
    inputs = {"curated": curated} | {f"file:{name}": Path(name) for name in config.files}
    return artifacts.build("generate", out, config, inputs, lambda run: _generate(run, curated, config))


def _generate(run: StageRun, curated: Path, config: GenerateConfig) -> None:
    products = artifacts.read_table(curated, "products", PRODUCT_COLUMNS.names)
    made: Made
    if config.provider == "file":
        made = questions_from_files(products, map(Path, config.files), config.columns)
    else:
        made = questions_from_metadata(products, config.fields, per_product=config.per_product, seed=config.seed)
    table = questions_table(made.pairs)
    run.write_table("questions", table)
    run.drop_rows(made.drops)
    if (curated / "images.parquet").is_file():
        run.write_table("images", artifacts.read_table(curated, "images"))
    manifest = artifacts.read_manifest(curated, missing_ok=True)
    run.images = Path(manifest.images) if manifest is not None and manifest.images is not None else None
    run.counts.read = made.read
    run.counts.kept = len(made.pairs)
    run.details = {
        "by_task": _by_count(table["task"].to_pylist()),
        "by_source": _by_count([pair.source.model for pair in made.pairs]),
        "by_field": _by_count([pair.source.field or "none" for pair in made.pairs]),
        "by_given_split": _by_count([pair.split or "none" for pair in made.pairs]),
        "products": len({pair.product_id for pair in made.pairs}),
        "images": len({path for pair in made.pairs for path in pair.image_paths}),
    }


def _by_count(values: list[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
