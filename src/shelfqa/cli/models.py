"""`shelfqa train`, `shelfqa predict` and `shelfqa models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shelfqa.cli.options import (
    ARTIFACT,
    config_from,
    config_options,
    device_option,
    images_option,
    json_option,
    out_option,
    show_manifest,
)
from shelfqa.stages import predict as predict_stage
from shelfqa.stages import train as train_stage


@click.command(epilog="Example:  shelfqa train split --model mini --preset mini-lora --out trained")
@click.argument("questions", type=ARTIFACT)
@out_option
@images_option
@device_option
@config_options(train_stage.TrainConfig)
@json_option
def train(questions: Path, out: Path, images: Path | None, device: str, as_json: bool, **options: Any) -> None:
    """Fine-tune a model with LoRA on the training split of QUESTIONS.

    The adapter is written in PEFT's format. A killed run goes on where it was and ends with the same weights.
    """
    config = config_from(train_stage.TrainConfig, options)
    show_manifest(train_stage.train(questions, out, config, images=images, device=device), out, as_json)


@click.command(epilog="Example:  shelfqa predict --model mini --questions split --out predictions")
@click.option("--questions", type=ARTIFACT, required=True, help="A folder of `split` or `generate`, or a file.")
@out_option
@images_option
@click.option("--adapter", type=ARTIFACT, help="Folder of a LoRA adapter, as `shelfqa train` writes it.")
@device_option
@config_options(predict_stage.PredictConfig)
@json_option
def predict(
    questions: Path,
    out: Path,
    images: Path | None,
    adapter: Path | None,
    device: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Answer questions about pictures, with the k best answers and their probabilities.

    A picture that cannot be read, or a question that cannot be asked, is recorded as a failure; the rest goes on.
    """
    config = config_from(predict_stage.PredictConfig, options)
    manifest = predict_stage.predict(questions, out, config, images=images, adapter=adapter, device=device)
    show_manifest(manifest, out, as_json)


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the models that shelfqa knows by name; any other hub name or folder works too."""
    import json

    from shelfqa.models.presets import PRESETS

    if as_json:
        click.echo(json.dumps({name: preset._asdict() for name, preset in PRESETS.items()}))
        return
    width = max(map(len, PRESETS))
    for name, preset in PRESETS.items():
        click.echo(f"{name:<{width}}  {preset.family:<10}  {preset.parameters:>5}  {preset.licence:<12}  {preset.note}")
