"""What can be set about training: the user's wishes (`TrainConfig`) over a preset make the `Settings`.

Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shelfqa.config import Config, from_mapping, read_yaml
from shelfqa.errors import ConfigError, did_you_mean
from shelfqa.models.settings import GROUPS, Answers, PickledWeights, Quantize, Regions

Method = Literal["lora", "rslora", "dora", "full"]
Init = Literal["default", "pissa"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Schedule = Literal["cosine", "linear", "constant"]

_PRESET_FOLDER = Path(__file__).resolve().parent / "presets"
GENERAL_PRESET = "lora"
_ABOUT = "about"
"""The key of a preset that says in a line what it is for."""


class Settings(Config, frozen=True):
    """Every setting of a training run with its value; `TrainConfig` documents them."""

    model: str
    preset: str
    method: Method
    init: Init
    quantize: Quantize
    rank: int
    alpha: float
    dropout: float
    targets: list[str]
    full: list[str]
    learning_rate: float
    full_learning_rate: float
    weight_decay: float
    batch_size: int
    accumulation: int
    epochs: int
    max_steps: int | None
    warmup_ratio: float
    schedule: Schedule
    evaluate_every: int | None
    patience: int
    max_validation: int
    max_grad_norm: float
    gradient_checkpointing: bool
    min_answer_count: int
    retain: float
    precision: Precision
    checkpoint_every: int
    seed: int
    answers: str | None = None
    regions: str | None = None
    pickled_weights: bool = False


class TrainConfig(Config, frozen=True):
    """Settings of `train`; what is left out is taken from the preset."""

    model: Annotated[str, Meta(description="A preset of `shelfqa models`, a hub name or a folder.")] = "mini"
    preset: Annotated[
        str | None,
        Meta(description="A training preset (--list-presets shows them) or a YAML file; by default by the model."),
    ] = None
    method: Annotated[
        Method | None,
        Meta(
            description="lora, rslora (scaled by alpha / sqrt(rank)) or dora (also learns the length of each row of a "
            "weight) train an adapter; full trains what `targets` and `full` mean, and saves a checkpoint in model/."
        ),
    ] = None
    init: Annotated[
        Init | None,
        Meta(description="What LoRA's matrices begin with: noise and zero, or (pissa) the largest singular values."),
    ] = None
    quantize: Annotated[
        Quantize | None,
        Meta(description="What the weights under the adapter are rounded to, by bitsandbytes (QLoRA)."),
    ] = None
    rank: Annotated[int | None, Meta(description="Rank of the LoRA matrices.")] = None
    alpha: Annotated[float | None, Meta(description="LoRA's scale; the update is scaled by alpha / rank.")] = None
    dropout: Annotated[float | None, Meta(description="Dropout before the LoRA matrices.")] = None
    targets: Annotated[
        list[str] | None,
        Meta(
            description="What gets LoRA, or is trained with method full: vision, connector, language, all, or names of "
            "layers or modules such as query."
        ),
    ] = None
    full: Annotated[
        list[str] | None, Meta(description="Module groups that are trained whole; those a model lacks are passed over.")
    ] = None
    learning_rate: Annotated[float | None, Meta(description="Highest learning rate of the LoRA matrices.")] = None
    full_learning_rate: Annotated[
        float | None, Meta(description="Highest learning rate of what is trained whole, such as the answer head.")
    ] = None
    weight_decay: Annotated[float | None, Meta(description="AdamW's weight decay; none on norms and biases.")] = None
    batch_size: Annotated[int | None, Meta(description="Questions a batch, those of a picture together.")] = None
    accumulation: Annotated[
        int | None,
        Meta(description="Batches a step; the loss is averaged over all their answers. Processes share the batches."),
    ] = None
    epochs: Annotated[int | None, Meta(description="Passes over the training questions.")] = None
    max_steps: Annotated[int | None, Meta(description="Stop after this many steps, whatever `epochs` says.")] = None
    warmup_ratio: Annotated[float | None, Meta(description="Share of the steps in which the rate rises.")] = None
    schedule: Annotated[Schedule | None, Meta(description="How the rate falls after the warm-up.")] = None
    evaluate_every: Annotated[int | None, Meta(description="Steps between evaluations; by default an epoch.")] = None
    patience: Annotated[int | None, Meta(description="Stop after this many evaluations without a better one.")] = None
    max_validation: Annotated[int | None, Meta(description="Validation questions to evaluate on, at most.")] = None
    max_grad_norm: Annotated[float | None, Meta(description="Gradients are scaled down to this norm.")] = None
    gradient_checkpointing: Annotated[
        bool | None, Meta(description="Compute activations again for the gradients: less memory, a third more time.")
    ] = None
    min_answer_count: Annotated[
        int | None, Meta(description="Add an answer to a classifier's table if it occurs this often in training.")
    ] = None
    retain: Annotated[
        float | None,
        Meta(
            description="Hold a classifier at what it knew: weight of how far its answers to general questions about "
            "the training pictures move; 1 holds well, 0 not at all."
        ),
    ] = None
    precision: Annotated[
        Precision | None, Meta(description="Arithmetic: auto is bf16 (else fp16) on a GPU and fp32 on a CPU.")
    ] = None
    checkpoint_every: Annotated[int | None, Meta(description="Steps between checkpoints of an unfinished run.")] = None
    seed: Annotated[int, Meta(description="Seed of the adapter, the order of the data and the dropout.")] = 0
    answers: Answers = None
    regions: Regions = None
    pickled_weights: PickledWeights = False


def preset_names() -> list[str]:
    """Return the names of the training presets that shelfqa brings."""
    return sorted(path.stem for path in _PRESET_FOLDER.glob("*.yaml"))


def preset_descriptions() -> dict[str, str]:
    """Return what each training preset is for, in a line, by its name."""
    return {name: str(read_yaml(_PRESET_FOLDER / f"{name}.yaml")[_ABOUT]) for name in preset_names()}


def resolve(config: TrainConfig, default_preset: str | None) -> Settings:
    """Return `config` with the preset's values where it says nothing, checked.

    Args:
        config: the user's wishes.
        default_preset: the preset that suits the model, if one is known.

    Raises:
        ConfigError: for an unknown preset or a value out of range.

    """
    name = config.preset or default_preset or GENERAL_PRESET
    values: dict[str, Any] = _read_preset(GENERAL_PRESET)
    if name != GENERAL_PRESET:
        values |= _read_preset(name)
    given = {key: value for key, value in msgspec.structs.asdict(config).items() if value is not None}
    values |= given | {"preset": name}
    if "full_learning_rate" not in given and "learning_rate" in given:
        values["full_learning_rate"] = config.learning_rate
    settings = from_mapping(Settings, values, where=f"training preset {name!r}")
    _check(settings)
    _check_method(settings, given)
    return settings


def _read_preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset."""
    if not name.endswith((".yaml", ".yml")) and name not in preset_names():
        raise ConfigError(f"Unknown training preset {name!r}.{did_you_mean(name, preset_names())}")
    path = Path(name) if name.endswith((".yaml", ".yml")) else _PRESET_FOLDER / f"{name}.yaml"
    return {key: value for key, value in read_yaml(path).items() if key != _ABOUT}


def _check(settings: Settings) -> None:
    positive = (
        "rank", "alpha", "learning_rate", "full_learning_rate", "batch_size", "accumulation", "epochs", "patience",
        "max_validation", "max_grad_norm", "min_answer_count", "checkpoint_every",
    )  # fmt: skip
    for name in positive:
        value = getattr(settings, name)
        if not value > 0:
            raise ConfigError(f"train.{name} is {value!r}: expected a number above 0.")
    for name in ("max_steps", "evaluate_every"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ConfigError(f"train.{name} is {value!r}: expected 1 or more.")
    for name in ("dropout", "warmup_ratio"):
        value = getattr(settings, name)
        if not 0 <= value < 1:
            raise ConfigError(f"train.{name} is {value!r}: expected a share from 0 to below 1.")
    for name in ("weight_decay", "retain", "seed"):
        value = getattr(settings, name)
        if not value >= 0:
            raise ConfigError(f"train.{name} is {value!r}: expected 0 or more.")
    for name in settings.full:
        if name not in GROUPS:
            raise ConfigError(f"train.full names {name!r}, which is no module group.{did_you_mean(name, GROUPS)}")


def _check_method(settings: Settings, given: Collection[str]) -> None:
    """Refuse what a method has no place for; of the adapter's settings only those that the user has `given`."""
    if settings.init == "pissa" and settings.quantize != "none":
        raise ConfigError(
            f"train.init is 'pissa', which changes the weights, and train.quantize is {settings.quantize!r}, which "
            "fixes them: leave one of them out."
        )
    if settings.method != "full":
        return
    if settings.quantize != "none":
        raise ConfigError(
            f"train.method is 'full' and train.quantize is {settings.quantize!r}: quantised weights cannot be trained, "
            "only an adapter on them (--method lora)."
        )
    for name in ("rank", "alpha", "dropout", "init", "full_learning_rate"):
        if name in given:
            raise ConfigError(f"train.{name} is a setting of adapters, and train.method is 'full': leave {name} out.")
