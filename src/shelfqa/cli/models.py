"""`shelfqa train`, `shelfqa predict` and `shelfqa models`."""

from __future__ import annotations

import json
import sys
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
from shelfqa.errors import GateFailure
from shelfqa.machine import process_share, processors
from shelfqa.models.settings import PredictConfig
from shelfqa.providers.settings import ClientConfig
from shelfqa.stages import predict as predict_stage
from shelfqa.stages import train as train_stage
from shelfqa.training.findings import OVERFIT_STEPS
from shelfqa.training.settings import preset_descriptions

_TRAIN_SECTIONS = {
    "What is trained": (
        "model",
        "preset",
        "list_presets",
        "method",
        "init",
        "quantize",
        "rank",
        "alpha",
        "dropout",
        "targets",
        "full",
        "min_answer_count",
        "retain",
        "answers",
        "regions",
        "pickled_weights",
    ),
    "How it learns": (
        "learning_rate",
        "full_learning_rate",
        "weight_decay",
        "batch_size",
        "accumulation",
        "epochs",
        "max_steps",
        "warmup_ratio",
        "schedule",
        "evaluate_every",
        "patience",
        "max_validation",
        "max_grad_norm",
        "precision",
        "gradient_checkpointing",
        "seed",
    ),
    "Look before the run": ("dry_run", "trial_steps", "overfit_steps"),
    "The run": ("out", "images", "device", "sweep", "parallel", "track", "checkpoint_every"),
}

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
        "explain",
    ),
    "How fast": ("device", "dtype", "attention", "batch_size", "workers"),
    "Hosted models (--model PROVIDER:NAME)": (*CLIENT_OPTIONS, "retry_failed"),
    "Other": ("as_json",),
}


def _list_presets(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        described = preset_descriptions()
        for name, about in described.items():
            click.echo(f"{name:<{max(map(len, described))}}  {about}")
        context.exit()


@click.command(
    cls=SectionedCommand,
    sections=_TRAIN_SECTIONS,
    epilog="Example:  shelfqa train split --model mini --preset mini-lora --out trained",
)
@click.argument("questions", type=ARTIFACT)
@click.option("--out", type=ARTIFACT, help="Folder to write; a dry run needs none.")
@images_option
@device_option
@click.option(
    "--sweep",
    metavar="NAME|FILE.yaml",
    help="Train with many settings and compare: blip-lora-table, modules, or a file with grid, trials or optuna.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Train and write nothing: print parameters, tokens, memory, time, and whether a few pairs can be learned.",
)
@click.option(
    "--trial-steps/--no-trial-steps",
    default=True,
    help="Whether a run begins with steps on trial, for memory, time and faults; tokens are always counted.",
)
@click.option(
    "--overfit-steps",
    type=click.IntRange(1),
    default=OVERFIT_STEPS,
    show_default=True,
    help="Most steps of trying to learn a few pairs by heart: in a dry run always, else if short against the run.",
)
@click.option(
    "--track",
    multiple=True,
    metavar="NAME[,NAME]",
    help="Show the curves in tensorboard, wandb or mlflow, too. Repeat for several.",
)
@click.option(
    "--parallel",
    type=click.Choice(train_stage.PARALLEL),
    default="auto",
    show_default=True,
    help="How several processes train: each with all weights (ddp) or a shard of them (fsdp); auto: as launched.",
)
@config_options(train_stage.TrainConfig)
@click.option(
    "--list-presets",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_presets,
    help="Show the training presets, each with a line on what it is for, and end.",
)
@json_option
def train(
    questions: Path,
    out: Path | None,
    images: Path | None,
    device: str,
    sweep: str | None,
    dry_run: bool,
    trial_steps: bool,
    overfit_steps: int,
    track: tuple[str, ...],
    parallel: train_stage.Parallel,
    as_json: bool,
    **options: Any,
) -> None:
    """Fine-tune a model with LoRA on the training split of QUESTIONS.

    The adapter is written in PEFT's format. A killed run goes on where it was and ends with the same weights. What a
    dry run finds is looked for before every run; an error (exit code 1 of a dry run, 2 of a run) stops it. Several
    GPUs: accelerate launch --num_processes N -m shelfqa.cli train …
    """
    config = config_from(train_stage.TrainConfig, options)
    if dry_run and sweep is None:
        if process_share().rank > 0:
            return
        from shelfqa.cli.preflight_view import show_preflight

        found = train_stage.dry_run(questions, config, images=images, device=device, overfit_steps=overfit_steps)
        show_preflight(found, as_json=as_json)
        if found.errors:
            sys.exit(GateFailure.exit_code)
        return
    if out is None and not dry_run:
        raise click.UsageError("Missing option '--out'.")
    way = train_stage.Way(images, device, trial_steps, overfit_steps, track=track, parallel=parallel)
    if sweep is not None:
        from shelfqa.cli.sweep_view import given_settings, run_sweep

        run_sweep(sweep, given_settings(config, options), questions, out, way, dry_run=dry_run, as_json=as_json)
        return
    assert out is not None
    if process_share().rank > 0:
        train_stage.train_share(questions, out, config, way)
    else:
        show_manifest(train_stage.train(questions, out, config, **way._asdict()), out, as_json)


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
