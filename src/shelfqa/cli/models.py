"""`shelfqa train`, `shelfqa predict` and `shelfqa models`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from shelfqa.cli.convert import convert
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
from shelfqa.machine import process_share, processors
from shelfqa.models.settings import PredictConfig
from shelfqa.providers.settings import ClientConfig
from shelfqa.stages import predict as predict_stage
from shelfqa.stages import train as train_stage

_PREDICT_SECTIONS = {
    "Questions and answers": ("questions", "out", "images", "splits", "limit", "use_images", "shuffle_images", "seed"),
    "Model": ("model", "adapter", "answers", "regions", "remote_code", "pickled_weights"),
    "How a question is put": ("prompt", "ocr", "examples", "shots", "image_side_px", "split_images"),
    "How answers are found": (
        "top_k",
        "candidates",
        "beams",
        "max_new_tokens",
        "one_word",
        "answer_form",
        "unanswerable_below",
    ),
    "How fast": ("device", "dtype", "attention", "batch_size", "workers"),
    "Hosted models (--model PROVIDER:NAME)": (*CLIENT_OPTIONS, "retry_failed"),
    "Other": ("as_json",),
}


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


@click.command(
    cls=SectionedCommand,
    sections=_PREDICT_SECTIONS,
    epilog="Example:  shelfqa predict --model mini --questions split --out predictions",
)
@click.option("--questions", type=ARTIFACT, required=True, help="A folder of `split` or `generate`, or a file.")
@out_option
@images_option
@click.option("--adapter", type=ARTIFACT, help="Folder of a LoRA adapter, as `shelfqa train` writes it.")
@device_option
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=min(processors(), 8),
    help="Threads that decode pictures. [default: one a processor, at most 8]",
)
@config_options(PredictConfig)
@config_options(ClientConfig)
@retry_failed_option
@json_option
def predict(
    questions: Path,
    out: Path,
    images: Path | None,
    adapter: Path | None,
    device: str,
    workers: int,
    retry_failed: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Answer questions about pictures, with the k best answers and their probabilities.

    A picture that cannot be read, or a question that cannot be asked, is recorded as a failure; the rest goes on. A
    killed run goes on where it was. Several GPUs: accelerate launch --num_processes N -m shelfqa.cli predict …
    """
    config = config_from(PredictConfig, options)
    client = config_from(ClientConfig, options)
    where = predict_stage.Where(questions, images, adapter, device, workers, client, retry_failed)
    if process_share().rank > 0:
        predict_stage.predict_share(out, config, where)
    else:
        show_manifest(predict_stage.predict_where(out, config, where), out, as_json)


@click.group(invoke_without_command=True, epilog="Example:  shelfqa models --json")
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models that shelfqa knows by name; any other hub name or folder of their families works too.

    `shelfqa doctor` says which of them this machine can run.
    """
    if context.invoked_subcommand is not None:
        return
    from shelfqa.cli.model_table import print_presets
    from shelfqa.models.presets import PRESETS

    if as_json:
        click.echo(json.dumps({name: preset.as_dict() for name, preset in PRESETS.items()}))
    else:
        print_presets(PRESETS)


models.add_command(convert)
