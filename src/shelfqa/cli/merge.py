"""`shelfqa merge`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from shelfqa.cli.options import (
    ARTIFACT,
    config_from,
    config_options,
    device_option,
    images_option,
    json_option,
    manifest_line,
    out_option,
)
from shelfqa.errors import ConfigError
from shelfqa.machine import processors
from shelfqa.progress import say
from shelfqa.stages import merge as merge_stage


class _Push(NamedTuple):
    """Where the results go, and whether they really do."""

    merged: str | None
    adapter: str | None
    public: bool
    dry: bool

    @property
    def targets(self) -> list[str]:
        return [name for name in (self.merged, self.adapter) if name is not None]


@click.command(
    short_help="Merge an adapter into a full checkpoint.",
    epilog="Example:  shelfqa merge trained/adapter --questions split --out merged",
)
@click.argument("adapter", type=ARTIFACT)
@out_option
@click.option(
    "--questions",
    type=ARTIFACT,
    help="What the parity gate asks: a folder of `split` or `generate`, or a file. [default: those of the training]",
)
@images_option
@device_option
@config_options(merge_stage.MergeConfig)
@click.option("--push-to", metavar="OWNER/NAME", help="Upload the merged checkpoint to this repository of the hub.")
@click.option("--push-adapter-to", metavar="OWNER/NAME", help="Upload the adapter, once the gate is passed.")
@click.option("--public", is_flag=True, help="Let anyone read a repository that is made for this. [default: private]")
@click.option("--push-dry-run", is_flag=True, help="Check and list what would be uploaded, and upload nothing.")
@json_option
def merge(
    adapter: Path,
    out: Path,
    questions: Path | None,
    images: Path | None,
    device: str,
    push_to: str | None,
    push_adapter_to: str | None,
    public: bool,
    push_dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Add ADAPTER into the weights of its base model, for a checkpoint that needs no adapter.

    The parity gate asks 200 questions of base and adapter, of the merged weights, and of the checkpoint as it is read
    back. If the answers differ, the command fails and leaves no checkpoint.
    """
    push = _Push(push_to, push_adapter_to, public, push_dry_run)
    if (public or push_dry_run) and not push.targets:
        raise ConfigError("--public and --push-dry-run go with --push-to or --push-adapter-to: give one of these, too.")
    if not push_dry_run:
        _check(push.targets)
    config = config_from(merge_stage.MergeConfig, options)
    manifest = merge_stage.merge(
        adapter, out, config, questions=questions, images=images, device=device, workers=min(processors(), 8)
    )
    pushed = _pushed(push, out, adapter, manifest.details["base"])
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(manifest) | {"pushed": pushed}))
        return
    click.echo(manifest_line(manifest, out))
    for address in pushed.values():
        click.echo(address)


def _check(repositories: Sequence[str]) -> None:
    """Raise one line if a push could not succeed, before the work is done."""
    from shelfqa.hub import check_push

    for repository in repositories:
        check_push(repository)


def _pushed(push: _Push, out: Path, adapter: Path, base: str) -> dict[str, str]:
    """Upload, or say what would be; return the addresses by repository."""
    from shelfqa.models.adapter_folder import adapter_folder
    from shelfqa.models.publishing import copy_for_hub

    private = [path for path in (Path(base), out, adapter) if path.exists()]
    addresses = {}
    if push.merged is not None:
        addresses[push.merged] = _upload(push, out, push.merged, private)
    if push.adapter is not None:
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "adapter"
            copy_for_hub(adapter_folder(adapter), copy)
            addresses[push.adapter] = _upload(push, copy, push.adapter, private)
    return {name: address for name, address in addresses.items() if address is not None}


def _upload(push: _Push, folder: Path, repository: str, private: Sequence[Path]) -> str | None:
    from shelfqa.hub import files_to_push
    from shelfqa.hub import push as push_folder

    if not push.dry:
        return push_folder(folder, repository, public=push.public, private_paths=private)
    files = files_to_push(folder, private)
    say(f"{repository} would get {len(files)} files:")
    for file in files:
        say(f"  {file.path}  {file.size:,} bytes")
    return None
