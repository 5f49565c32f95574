"""`shelfqa demo-catalogue` and `shelfqa curate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shelfqa.catalogue.demo import DemoConfig
from shelfqa.catalogue.settings import CurateConfig
from shelfqa.cli.options import ARTIFACT, config_from, config_options, json_option, out_option, show_manifest
from shelfqa.stages import curate as curate_stage
from shelfqa.stages import demo_catalogue as demo_stage


@click.command(epilog="Example:  shelfqa demo-catalogue --out catalogue --products 200")
@out_option
@config_options(DemoConfig)
@json_option
def demo_catalogue(out: Path, as_json: bool, **options: Any) -> None:
    """Draw a synthetic catalogue of household products in the layout of Amazon Berkeley Objects.

    Pictures, multilingual listings, and the usual trouble: missing fields, duplicates, unreadable images. The same
    seed gives the same bytes.
    """
    show_manifest(demo_stage.demo_catalogue(out, config_from(DemoConfig, options)), out, as_json)


@click.command(epilog="Example:  shelfqa curate catalogue --out curated")
@click.argument("catalogue", type=ARTIFACT)
@out_option
@click.option("--images", type=ARTIFACT, help="Folder of the pictures; for an ABO folder its own unless given.")
@config_options(CurateConfig)
@json_option
def curate(catalogue: Path, out: Path, images: Path | None, as_json: bool, **options: Any) -> None:
    """Turn a CATALOGUE into a clean table of products, each with a usable picture.

    CATALOGUE is a folder in the layout of Amazon Berkeley Objects; a CSV, Parquet or JSONL file, or an export of
    Shopify or Amazon, with --images; or a folder of pictures alone. Listings are dropped step by step, as a preset or
    --steps say; every one is counted and listed with its reason in dropped.parquet, and card.html shows what is left.
    """
    config = config_from(CurateConfig, options)
    show_manifest(curate_stage.curate(catalogue, out, config, images=images), out, as_json)
