"""The stage `train`: questions with a split in, an adapter (or a tuned checkpoint) and its learning curve out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import msgspec

from shelfqa.artifacts import Manifest, StageRun, assist, build, fingerprint, image_folder, write_atomically
from shelfqa.config import to_builtins
from shelfqa.errors import ConfigError
from shelfqa.machine import process_share
from shelfqa.models.adapter_folder import ADAPTER_FOLDER, MODEL_FOLDER
from shelfqa.models.presets import source_of, training_preset_of
from shelfqa.models.wording import Wording
from shelfqa.progress import say
from shelfqa.text import normalize_answer
from shelfqa.training.findings import OVERFIT_STEPS, Preflight
from shelfqa.training.questions import read_rows, usable, worded
from shelfqa.training.run_card import RUN_CARD, as_json, history_table, method_in_words, readme_part, run_card
from shelfqa.training.settings import Settings, TrainConfig, resolve
from shelfqa.training.trackers import Trackers, tracker_names

if TYPE_CHECKING:
    from peft import PeftModel

    from shelfqa.models.base import VqaModel
    from shelfqa.training.data import Sample
    from shelfqa.training.distributed import Processes
    from shelfqa.training.features import FeatureSource
    from shelfqa.training.trainer import Result, Trainer

__all__ = ["PARALLEL", "TrainConfig", "dry_run", "train"]

Parallel = Literal["auto", "ddp", "fsdp"]
PARALLEL: tuple[Parallel, ...] = get_args(Parallel)


def train(
    questions: Path,
    out: Path,
    config: TrainConfig,
    *,
    images: Path | None = None,
    device: str = "auto",
    trial_steps: bool = True,
    overfit_steps: int = OVERFIT_STEPS,
    features: Path | None = None,
    track: Sequence[str] = (),
    parallel: Parallel = "auto",
) -> Manifest:
    """Fine-tune a model on the rows of split `train`; keep what does best on `validation`.

    Writes `adapter/` (PEFT's format), or after full fine-tuning `model/`, and `history.parquet`. A killed run goes on
    from its last checkpoint when it is started again and, on a CPU, ends with the same bytes.

    Args:
        questions: the folder that `split` wrote.
        out: the folder to make.
        config: the settings; what it leaves open is taken from the training preset.
        images: the folder that image paths are relative to; by default the one that `questions` names.
        device: where to run.
        trial_steps: whether the preflight of a run that begins takes steps on trial; it always counts tokens.
        overfit_steps: most steps of its overfit check, which is made where it is short against the run.
        features: a folder in which several runs keep the vision features that they share.
        track: where the curves go, too: tensorboard, wandb, mlflow.
        parallel: how several processes train together: each with all weights (ddp) or with a shard of them (fsdp);
            auto does what `accelerate launch` was told.

    Raises:
        UserError: for input, settings or a model that cannot be used, if the preflight finds an error, or if training
            diverges.

    """
    way = Way(images, device, trial_steps, overfit_steps, features, tuple(track), parallel)
    settings, inputs, body = _plan(questions, config, way)
    return build("train", out, settings, inputs, body)


class Way(NamedTuple):
    """What only changes how a run is made: the arguments of `train` that have a default."""

    images: Path | None = None
    device: str = "auto"
    trial_steps: bool = True
    overfit_steps: int = OVERFIT_STEPS
    features: Path | None = None
    track: tuple[str, ...] = ()
    parallel: Parallel = "auto"


def train_share(questions: Path, out: Path, config: TrainConfig, way: Way) -> None:
    """Train beside another process that runs `train` with the same arguments; this one writes nothing.

    Raises:
        UserError: as `train` does, or if the first process does not begin.

    """
    settings, inputs, body = _plan(questions, config, way)
    assist("train", out, settings, inputs, body)


def _plan(
    questions: Path, config: TrainConfig, way: Way
) -> tuple[Settings, dict[str, Path], Callable[[StageRun], None]]:
    """Return the settings, what the stage reads by role, and its body."""
    settings = resolve(config, training_preset_of(config.model))
    inputs = {"questions": questions} | ({"images": way.images} if way.images is not None else {})
    source = Path(source_of(config.model))
    if source.is_dir():
        inputs["model"] = source
    for role in ("answers", "regions"):
        place = getattr(settings, role)
        if place is not None and Path(place).exists():
            inputs[role] = Path(place)
    way = way._replace(track=tuple(tracker_names(way.track)))
    if way.parallel not in PARALLEL:
        raise ConfigError(f"parallel is {way.parallel!r}: expected one of {', '.join(PARALLEL)}.")
    return settings, inputs, lambda run: _train(run, questions, settings, way)


def dry_run(
    questions: Path,
    config: TrainConfig,
    *,
    images: Path | None = None,
    device: str = "auto",
    overfit_steps: int = OVERFIT_STEPS,
) -> Preflight:
    """Return what is found before a run that `train` with the same arguments would begin; writes nothing.

    Raises:
        UserError: for input, settings or a model that cannot be used.

    """
    settings = resolve(config, training_preset_of(config.model))
    run = StageRun(Path(), Path())

    from shelfqa.training.distributed import ALONE

    ready = _make_ready(run, questions, settings, Way(images, device), _Loop(ALONE), writes=False)

    from shelfqa.training.preflight import Wanted, preflight

    wanted = Wanted(overfit_steps=overfit_steps, dry=True)
    return preflight(ready.trainer, ready.measured, ready.parameters, run.counts.dropped, wanted)


class _Loop(NamedTuple):
    """What the loop is to know of the processes that train together."""

    processes: Processes
    shards: bool = False


class _Tuned(NamedTuple):
    """The model that is trained."""

    model: VqaModel
    adapter: PeftModel | None
    added: int
    """Answers of the training rows that its table lacked."""


class _Ready(NamedTuple):
    """All that a run begins with."""

    tuned: _Tuned
    parameters: dict[str, int]
    source: FeatureSource
    images: list[str]
    """The pictures by their relative paths, in the order of the source."""
    training: list[Sample]
    validation: list[Sample]
    measured: list[Sample]
    """Those of validation that are evaluated on."""
    trainer: Trainer


def _train(run: StageRun, questions: Path, settings: Settings, way: Way) -> None:
    from shelfqa.models.loading import require_extras, resolve_device

    require_extras()

    from shelfqa.training.distributed import meet

    device = resolve_device(way.device, process_share().rank_on_machine)
    with meet(device) as processes:
        _train_together(run, questions, settings, way._replace(device=str(device)), processes)


def _train_together(run: StageRun, questions: Path, settings: Settings, way: Way, processes: Processes) -> None:
    """Train in one of several processes, of which the first writes."""
    from shelfqa.training.distributed import launched_for_fsdp

    shards = way.parallel == "fsdp" or (way.parallel == "auto" and launched_for_fsdp())
    loop = _Loop(processes, shards and not processes.alone)
    with processes.together():
        ready = _make_ready(run, questions, settings, way, loop)
    with processes.together():
        found = _preflight(run, ready, way, loop) if processes.leads else None
    trackers = Trackers(way.track if processes.leads else (), run.out, run.work, to_builtins(settings))
    result = ready.trainer.run(trackers)
    with processes.together():
        if found is not None:
            _write(run, questions, settings, ready, found, result, loop)
    trackers.close()


def _write(
    run: StageRun, questions: Path, settings: Settings, ready: _Ready, found: Preflight, result: Result, loop: _Loop
) -> None:
    """Write what was trained, its history and its card."""
    card = _card(settings, ready, result, run.images).rstrip()
    told = readme_part(to_builtins(settings), fingerprint(questions), result)
    _save(ready.tuned, run.finished, f"{card}\n\n{told}")
    run.write_table("history", history_table(result))
    about = run_card(
        result,
        run=run.key,
        device=str(ready.tuned.model.device),
        processes=loop.processes.number,
        parallel="none" if loop.processes.alone else "fsdp" if loop.shards else "ddp",
        precision=ready.trainer.arithmetic.precision,
        padding_share=ready.trainer.padding_share(),
    )
    run.write_text(RUN_CARD, as_json(about))
    run.counts.kept = len(ready.training) + len(ready.validation)
    errors = ready.source.errors
    run.details = {
        "questions": str(questions.resolve()),
        "trainable_parameters": ready.parameters,
        "steps": result.steps,
        "best_step": result.best_step,
        "stopped_early": result.stopped_early,
        "validation_exact_match": {"before": result.first_exact_match, "best": result.best_exact_match},
        "samples": {
            "train": len(ready.training),
            "validation": len(ready.validation),
            "measured": len(ready.measured),
        },
        "pictures": {"all": len(ready.images), "unreadable": len(errors)},
        "unreadable_pictures": {ready.images[image]: why for image, why in sorted(errors.items())[:100]},
        "answers_added": ready.tuned.added,
        "preflight": found.as_dict(),
        "device": str(ready.tuned.model.device),
    }


def _preflight(run: StageRun, ready: _Ready, way: Way, loop: _Loop) -> Preflight:
    """Return what is found before the run begins, or was found before it was broken off; tell warnings.

    No step is tried where the weights are going to lie in shards: as a whole they may be too large for a device.

    Raises:
        UserError: if something is found that stops the run.

    """
    from shelfqa.training.preflight import Wanted, preflight

    file = run.work / "preflight.json"
    with suppress(OSError, msgspec.DecodeError):  # where a run begins there is none
        return msgspec.json.decode(file.read_bytes(), type=Preflight)
    wanted = Wanted(way.trial_steps and not loop.shards, way.overfit_steps)
    found = preflight(ready.trainer, ready.measured, ready.parameters, run.counts.dropped, wanted)
    for finding in found.findings:
        if finding.level == "warning":
            say(f"Warning: {finding.line()}")
    found.require()
    write_atomically(file, msgspec.json.encode(found))
    return found


def _make_ready(
    run: StageRun, questions: Path, settings: Settings, way: Way, loop: _Loop, *, writes: bool = True
) -> _Ready:
    """Read the rows, load the model, attach what is trained, and make the pictures' features.

    Args:
        run: counts the rows that are left out.
        questions: the folder that `split` wrote.
        settings: of the run.
        way: where the pictures are, on which device to run, and where features are shared.
        loop: the processes that train together.
        writes: whether features may be kept on disk.

    """
    folder = image_folder(questions, way.images)
    run.images = folder
    rows = read_rows(run, questions)

    from shelfqa.models.loading import require_extras

    require_extras()
    import torch

    from shelfqa.models.lora import trainable_parameters
    from shelfqa.training.data import validation_subset
    from shelfqa.training.trainer import Trainer

    tuned = _tuned(rows.train, settings, way.device)
    model = tuned.model
    parameters = trainable_parameters(model)
    source = _source(run, model, [folder / path for path in rows.images], settings, way, loop, writes=writes)
    words = Wording().resolved(model.name, model.module.config.model_type, model.family).words
    training = usable(run, model, worded(rows.train, words), source.errors, "train", learnable_only=True)
    validation = usable(run, model, worded(rows.validation, words), source.errors, "validation", learnable_only=False)
    measured = validation_subset(validation, settings.max_validation, seed=settings.seed)
    torch.manual_seed(settings.seed)
    trainer = Trainer(model, source, training, measured, settings, run.work, **loop._asdict())
    return _Ready(tuned, parameters, source, rows.images, training, validation, measured, trainer)


def _tuned(samples: Sequence[Sample], settings: Settings, device: str) -> _Tuned:
    """Load the model, give it the answers of `samples`, and make ready what is to be trained; in evaluation mode."""
    import torch

    from shelfqa.models.answer_lists import read_answers
    from shelfqa.models.base import Loading
    from shelfqa.models.loading import load_model

    loading = Loading(
        dtype=torch.float32,
        pickled_weights=settings.pickled_weights,
        answers=read_answers(Path(settings.answers)) if settings.answers is not None else (),
        regions=settings.regions,
        quantize=settings.quantize,
    )
    model = load_model(settings.model, device=device, loading=loading)
    counts = Counter(normalize_answer(sample.answer) for sample in samples)
    frequent = Counter({text: count for text, count in counts.items() if count >= settings.min_answer_count})
    added = model.prepare_for_training(frequent)
    torch.manual_seed(settings.seed)
    adapter = _begin_tuning(model, settings)
    model.module.to(model.device)
    model.module.eval()
    return _Tuned(model, adapter, added)


def _source(
    run: StageRun, model: VqaModel, paths: Sequence[Path], settings: Settings, way: Way, loop: _Loop, *, writes: bool
) -> FeatureSource:
    """Return the features of the pictures: kept on disk where they do not change, anew in each step else."""
    from shelfqa.training.features import changes_with_training, feature_source
    from shelfqa.training.preview import PreviewFeatures
    from shelfqa.training.shared_features import shared_folder

    trains_vision = changes_with_training(model, paths)
    if not writes:
        return PreviewFeatures(model, paths, trains_vision=trains_vision)
    kept = run.work if way.features is None else shared_folder(way.features, model, paths, settings)
    return feature_source(model, paths, kept, trains_vision=trains_vision, processes=loop.processes)


def _begin_tuning(model: VqaModel, settings: Settings) -> PeftModel | None:
    """Make ready what is to be trained: the adapter that is returned or, without one, the model's own weights."""
    from shelfqa.models.full_tuning import free
    from shelfqa.models.lora import LoraSettings, attach

    targets, full = tuple(settings.targets), tuple(settings.full)
    if settings.method == "full":
        free(model, (*targets, *full))
        return None
    size = LoraSettings(
        settings.rank, settings.alpha, settings.dropout, targets, full, method=settings.method, init=settings.init
    )
    return attach(model, size)


def _save(tuned: _Tuned, folder: Path, card: str) -> None:
    """Write what was trained: `adapter/`, or the checkpoint `model/`."""
    from shelfqa.models.full_tuning import save_model
    from shelfqa.models.lora import save_adapter

    if tuned.adapter is None:
        save_model(tuned.model, folder / MODEL_FOLDER, card)
    else:
        save_adapter(tuned.model, tuned.adapter, folder / ADAPTER_FOLDER, card)


def _card(settings: Settings, ready: _Ready, result: Result, images: Path | None) -> str:
    from shelfqa.models.cards import Tuning, base_of, credit_of, tuning_card

    tuning = Tuning(
        preset=Path(settings.preset).name,
        method=method_in_words(settings),
        full=settings.method == "full",
        questions=len(ready.training),
        validation=len(ready.measured),
        step=result.best_step,
        steps=result.steps,
        exact_match=(result.first_exact_match, result.best_exact_match),
        answers_added=ready.tuned.added,
        credit=credit_of(images),
    )
    return tuning_card(base_of(ready.tuned.model), tuning)
