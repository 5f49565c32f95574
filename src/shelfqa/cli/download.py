"""`shelfqa download`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import msgspec

from shelfqa.cli.options import config_from, config_options, json_option, out_option
from shelfqa.errors import UserError, did_you_mean
from shelfqa.stages.download import DownloadConfig, Downloaded, download_abo

_DATASETS = {"abo": download_abo}


def _known(_ctx: click.Context, _parameter: click.Parameter, name: str) -> str:
    if name not in _DATASETS:
        raise UserError(f"No data set {name!r} to download.{did_you_mean(name, _DATASETS)}")
    return name


@click.command(epilog="Example:  shelfqa download abo --out abo --images small")
@click.argument("dataset", metavar="abo", callback=_known, is_eager=True)
@out_option
@config_options(DownloadConfig)
@json_option
def download(dataset: str, out: Path, as_json: bool, **options: Any) -> None:
    """Fetch the archives of Amazon Berkeley Objects and unpack them into a folder that `curate` reads.

    The listings take about 83 MB, the small pictures 3 GB, the original ones 110 GB. A download or an unpacking that
    was broken off goes on when the same command is run again; what is finished is not fetched again. Proxies are
    taken from https_proxy. Where the network says no, put the archives into the folder by other means: they are then
    unpacked from there.
    """
    config = config_from(DownloadConfig, options)
    done = _DATASETS[dataset](out, config)
    if as_json:
        click.echo(msgspec.json.encode(done).decode())
        return
    click.echo(_line(done))
    click.echo(f"{done.credit} Next:  {_next(out, config)}")


def _line(done: Downloaded) -> str:
    files = sum(archive.files for archive in done.archives)
    refused = sum(sum(archive.refused.values()) for archive in done.archives)
    left_out = f" ({refused:,} refused)" if refused else ""
    there = ", nothing to fetch" if not done.unpacked else ""
    return f"{files:,} files in {len(done.archives)} archives{left_out}{there}, {done.seconds:.1f} s -> {done.out}"


def _next(out: Path, config: DownloadConfig) -> str:
    if config.images == "none":
        return f"shelfqa download abo --out {shlex.quote(str(out))} --images small"
    return f"shelfqa curate {shlex.quote(str(out))} --out curated"
