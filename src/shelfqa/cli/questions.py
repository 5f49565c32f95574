"""`shelfqa generate` and `shelfqa split`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shelfqa.cli.estimate_view import show_estimate
from shelfqa.cli.options import (
    ARTIFACT,
    CLIENT_OPTIONS,
    SectionedCommand,
    config_from,
    config_options,
    device_option,
    images_option,
    json_option,
    out_option,
    retry_failed_option,
    show_manifest,
)
from shelfqa.providers.settings import ClientConfig
from shelfqa.questions.settings import GenerateConfig
from shelfqa.stages import generate as generate_stage
from shelfqa.stages import split as split_stage

_GENERATE_SECTIONS = {
    "Where questions come from": ("out", "provider", "seed"),
    "From listing fields (metadata) and labelled files (file)": ("fields", "per_product", "files", "columns"),
    "From a model": (
        *("model", "style", "text_only", "feedback", "image_side_px", "yes_share", "limit", "device"),
        *("dry_run", "retry_failed"),
    ),
    "Limits and money of hosted models": CLIENT_OPTIONS,
    "Other": ("as_json",),
}


@click.command(
    cls=SectionedCommand,
    sections=_GENERATE_SECTIONS,
    epilog="Example:  shelfqa generate curated --provider gemini --model gemini-2.5-flash --dry-run --out questions",
)
@click.argument("curated", type=ARTIFACT)
@out_option
@config_options(GenerateConfig)
@click.option("--dry-run", is_flag=True, help="Ask nothing: print requests, tokens, price and time at the limits.")
@retry_failed_option
@device_option
@config_options(ClientConfig)
@json_option
def generate(
    curated: Path, out: Path, dry_run: bool, retry_failed: bool, device: str, as_json: bool, **options: Any
) -> None:
    """Write question-answer pairs about the products in CURATED.

    The provider `metadata` asks about listing fields that give one unambiguous, visible answer; `file` takes
    questions from labelled files; the others let a model write them. Every pair says where it came from, and every
    reply of a model is kept: a run that is broken off goes on with the same command and pays for nothing twice.
    """
    config = config_from(GenerateConfig, options)
    client = config_from(ClientConfig, options)
    if dry_run:
        show_estimate(generate_stage.estimated(curated, out, config, client=client), client, as_json=as_json)
        return
    manifest = generate_stage.generate(curated, out, config, client=client, device=device, retry_failed=retry_failed)
    show_manifest(manifest, out, as_json)


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
