"""`shelfqa generate` and `shelfqa split`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shelfqa.cli.options import (
    ARTIFACT,
    config_from,
    config_options,
    images_option,
    json_option,
    out_option,
    show_manifest,
)
from shelfqa.stages import generate as generate_stage
from shelfqa.stages import split as split_stage


@click.command(epilog="Example:  shelfqa generate curated --provider metadata --out questions")
@click.argument("curated", type=ARTIFACT)
@out_option
@config_options(generate_stage.GenerateConfig)
@json_option
def generate(curated: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Write question-answer pairs about the products in CURATED.

    The provider `metadata` asks about listing fields that give one unambiguous, visible answer; `file` takes
    questions from labelled files. Every pair says where it came from.
    """
    config = config_from(generate_stage.GenerateConfig, options)
    show_manifest(generate_stage.generate(curated, out, config), out, as_json)


@click.command(epilog="Example:  shelfqa split questions --out split")
@click.argument("questions", type=ARTIFACT)
@out_option
@images_option
@config_options(split_stage.SplitConfig)
@json_option
def split(questions: Path, out: Path, images: Path | None, as_json: bool, **options: Any) -> None:
    """Deal QUESTIONS into train, validation and test so that nothing leaks.

    Products that share a picture, or whose pictures are near-duplicates, stay together. The leakage audit is in
    the manifest.
    """
    config = config_from(split_stage.SplitConfig, options)
    show_manifest(split_stage.split(questions, out, config, images=images), out, as_json)
