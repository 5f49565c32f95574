"""The stage `train`: questions with a split in, a LoRA adapter and its learning curve out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shelfqa.artifacts import Manifest, StageRun, build, image_folder, read_table
from shelfqa.errors import InputError
from shelfqa.models.presets import source_of, training_preset_of
from shelfqa.models.wording import Wording
from shelfqa.text import normalize_answer
from shelfqa.training.settings import Settings, TrainConfig, resolve

if TYPE_CHECKING:
    import pyarrow as pa

    from shelfqa.models.base import VqaModel
    from shelfqa.training.data import Sample
    from shelfqa.training.trainer import Result

__all__ = ["TrainConfig", "train"]

_NEEDED = ("question_id", "image_paths", "question", "answer", "split")


def train(
    questions: Path, out: Path, config: TrainConfig, *, images: Path | None = None, device: str = "auto"
) -> Manifest:
    """Fine-tune a model with LoRA on the rows of split `train`; keep what does best on `validation`.

    Writes `adapter/` (PEFT's format) and `history.parquet`. A killed run goes on from its last checkpoint when it is
    started again and, on a CPU, ends with the same bytes.

    Args:
        questions: the folder that `split` wrote.
        out: the folder to make.
        config: the settings; what it leaves open is taken from the training preset.
        images: the folder that image paths are relative to; by default the one that `questions` names.
        device: where to run.

    Raises:
        UserError: for input, settings or a model that cannot be used, or if training diverges.

    """
    settings = resolve(config, training_preset_of(config.model))
    inputs = {"questions": questions} | ({"images": images} if images is not None else {})
    source = Path(source_of(config.model))
    if source.is_dir():
        inputs["model"] = source
    if settings.answers is not None and Path(settings.answers).is_file():
        inputs["answers"] = Path(settings.answers)
    return build("train", out, settings, inputs, lambda run: _train(run, questions, settings, images, device))


class _Rows(NamedTuple):
    """Samples of the two splits, and the pictures that they are about."""

    train: list[Sample]
    validation: list[Sample]
    images: list[str]


def _train(run: StageRun, questions: Path, settings: Settings, images: Path | None, device: str) -> None:
    folder = image_folder(questions, images)
    run.images = folder
    rows = _read(run, questions)

    from shelfqa.models.loading import load_model, require_extras

    require_extras()
    import torch

    from shelfqa.models.answer_lists import read_answers
    from shelfqa.models.base import Loading
    from shelfqa.models.lora import LoraSettings, attach, save_adapter, trainable_parameters
    from shelfqa.training.data import validation_subset
    from shelfqa.training.features import feature_source
    from shelfqa.training.trainer import Trainer

    loading = Loading(
        dtype=torch.float32,
        pickled_weights=settings.pickled_weights,
        answers=read_answers(Path(settings.answers)) if settings.answers is not None else (),
        regions=settings.regions,
    )
    model = load_model(settings.model, device=device, loading=loading)
    counts = Counter(normalize_answer(sample.answer) for sample in rows.train)
    frequent = Counter({text: count for text, count in counts.items() if count >= settings.min_answer_count})
    added = model.prepare_for_training(frequent)
    torch.manual_seed(settings.seed)
    adapter = attach(
        model,
        LoraSettings(settings.rank, settings.alpha, settings.dropout, tuple(settings.targets), tuple(settings.full)),
    )
    model.module.to(model.device)
    parameters = trainable_parameters(model)
    model.module.eval()
    source = feature_source(
        model, [folder / path for path in rows.images], run.work, trains_vision="vision" in parameters
    )
    wording = Wording().resolved(model.name, model.module.config.model_type, model.family)
    rows = rows._replace(train=_worded(rows.train, wording), validation=_worded(rows.validation, wording))
    training = _usable(run, model, rows.train, source.errors, "train", learnable_only=True)
    validation = _usable(run, model, rows.validation, source.errors, "validation", learnable_only=False)
    measured = validation_subset(validation, settings.max_validation, seed=settings.seed)
    torch.manual_seed(settings.seed)
    result = Trainer(model, source, training, measured, settings, run.work).run()
    save_adapter(model, adapter, run.finished / "adapter", _card(settings, result, len(training)))
    run.write_table("history", _history(result))
    run.counts.kept = len(training) + len(validation)
    cut = model.truncation([sample.question for sample in training], [sample.answer for sample in training])
    run.details = {
        "trainable_parameters": parameters,
        "steps": result.steps,
        "best_step": result.best_step,
        "stopped_early": result.stopped_early,
        "validation_exact_match": {"before": result.first_exact_match, "best": result.best_exact_match},
        "samples": {"train": len(training), "validation": len(validation), "measured": len(measured)},
        "pictures": {"all": len(rows.images), "unreadable": len(source.errors)},
        "unreadable_pictures": {rows.images[image]: why for image, why in sorted(source.errors.items())[:100]},
        "answers_added": added,
        "truncated": cut._asdict(),
        "device": str(model.device),
    }


def _read(run: StageRun, questions: Path) -> _Rows:
    """Return the rows of both splits that have a picture, a question and an answer; drop the others, counted."""
    from shelfqa.training.data import Sample

    table = read_table(questions, "questions", _NEEDED)
    places: dict[str, int] = {}
    samples: dict[str, list[Sample]] = {"train": [], "validation": []}
    for row in table.select(list(_NEEDED)).to_pylist():
        if row["split"] not in samples:
            continue
        run.counts.read += 1
        paths, question, answer = row["image_paths"], row["question"], row["answer"]
        if not paths:
            run.drop("no picture")
        elif not (question or "").strip():
            run.drop("empty question")
        elif not normalize_answer(answer or ""):
            run.drop("empty answer")
        else:
            image = places.setdefault(paths[0], len(places))
            samples[row["split"]].append(Sample(row["question_id"], question, answer, image))
    for name, found in samples.items():
        if not found:
            raise InputError(
                f"{str(questions)!r} has no usable rows of split {name!r} (column 'split'): run `shelfqa split` on it."
            )
    return _Rows(samples["train"], samples["validation"], list(places))


def _worded(samples: list[Sample], wording: Wording) -> list[Sample]:
    """Return the samples with their questions put as `predict` puts them to the model by default."""
    return [sample._replace(question=wording.words(sample.question)) for sample in samples]


def _usable(
    run: StageRun, model: VqaModel, samples: list[Sample], errors: dict[int, str], split: str, *, learnable_only: bool
) -> list[Sample]:
    """Return the samples that can be used, and drop the others with their reason."""
    readable = [sample for sample in samples if sample.image not in errors]
    run.drop(f"unreadable picture ({split})", len(samples) - len(readable))
    usable = readable
    if learnable_only:
        learnable = model.learnable([sample.answer for sample in readable])
        usable = [sample for sample, yes in zip(readable, learnable, strict=True) if yes]
        run.drop("answer not in the model's table", len(readable) - len(usable))
    if not usable:
        raise InputError(
            f"Of {len(samples)} rows of split {split!r} none is usable: "
            f"{len(samples) - len(readable)} have an unreadable picture ({next(iter(errors.values()), 'none')}), "
            f"{len(readable) - len(usable)} an answer that is not in the model's table (lower min_answer_count)."
        )
    return usable


def _history(result: Result) -> pa.Table:
    import pyarrow as pa

    columns = {
        "step": pa.int64(),
        "epoch": pa.float64(),
        "train_loss": pa.float64(),
        "learning_rate": pa.float64(),
        "validation_loss": pa.float64(),
        "validation_exact_match": pa.float64(),
        "seconds": pa.float64(),
    }
    return pa.Table.from_pylist(result.history, schema=pa.schema(columns))


def _card(settings: Settings, result: Result, samples: int) -> str:
    facts: dict[str, Any] = {
        "Base model": settings.model,
        "Training preset": settings.preset,
        "LoRA": f"rank {settings.rank}, alpha {settings.alpha:g}, dropout {settings.dropout:g}, "
        f"on {', '.join(settings.targets)}; trained whole: {', '.join(settings.full) or 'nothing'}",
        "Questions": f"{samples:,}",
        "Weights": f"of step {result.best_step:,} of {result.steps:,}",
        "Exact match on validation": f"{result.first_exact_match:.4f} before, {result.best_exact_match:.4f} after",
    }
    lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return (
        f"---\nlibrary_name: peft\nbase_model: {settings.model}\npipeline_tag: visual-question-answering\n---\n\n"
        f"# Adapter for {settings.model}, made by shelfqa\n\n{lines}\n\n"
        f"    shelfqa predict --model {settings.model} --adapter THIS_FOLDER --questions FILE --out OUT\n"
    )
