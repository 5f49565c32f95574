"""`shelfqa models convert`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from shelfqa.cli.options import ARTIFACT, json_option, out_option

_KINDS = ("ofa", "vilbert")


@click.command(
    short_help="Make published OFA or ViLBERT weights loadable.",
    epilog="Example:  shelfqa models convert multi_task_model.bin --kind vilbert "
    "--config bert_base_6layer_6conect.json --answers trainval_label2ans.json --out vilbert",
)
@click.argument("checkpoint", type=ARTIFACT)
@click.option("--kind", type=click.Choice(_KINDS), required=True, help="Whose checkpoint it is.")
@out_option
@click.option("--config", type=ARTIFACT, help="The authors' JSON file of sizes; ViLBERT needs it.")
@click.option("--answers", type=ARTIFACT, help="ViLBERT's answers in the order of its outputs: .txt, .json or a table.")
@click.option("--tokenizer", help="A folder, a hub name or a vocab.txt. [default: that of the authors, from the hub]")
@click.option("--fresh-head", is_flag=True, help="Draw ViLBERT's answer head anew, for pretrained_model.bin.")
@json_option
def convert(checkpoint: Path, kind: Any, out: Path, as_json: bool, **options: Any) -> None:
    """Turn a published CHECKPOINT of OFA or ViLBERT into a folder that `--model` takes.

    Torch's pickled files are read here, and nowhere else without asking; no code in them runs.
    """
    from shelfqa.models.conversion import convert as convert_checkpoint
    from shelfqa.models.loading import require_extras

    require_extras()
    weights = convert_checkpoint(checkpoint, out, kind, **options)
    if as_json:
        click.echo(json.dumps({"kind": kind, "weights": weights, "out": str(out)}))
    else:
        click.echo(f"{weights:,} weights -> {out}. Next:  shelfqa predict --model {shlex.quote(str(out))} …")
