"""The stage `predict`: questions and pictures in, the k best answers to each out, failures among them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from shelfqa.artifacts import Manifest, StageRun, assist, build, image_folder
from shelfqa.config import Config
from shelfqa.errors import ConfigError
from shelfqa.machine import cache_folder, process_share
from shelfqa.models.answering import Asked, Found, Pace, Search, alternatives, answer_in_parts
from shelfqa.models.asking import folder_of_pictures, of_splits, read_questions, shuffled
from shelfqa.models.hosted import hosted_name
from shelfqa.models.presets import source_of
from shelfqa.models.wording import AnswerForm, Wording

if TYPE_CHECKING:
    import pyarrow as pa

    from shelfqa.models.base import Loading, VqaModel
    from shelfqa.providers.base import Provider


class PredictConfig(Config, frozen=True):
    """Settings of `predict`."""

    model: Annotated[
        str,
        Meta(
            description="A preset of `shelfqa models`, a hub name, a folder, a hosted model as PROVIDER:NAME, or a "
            "blind baseline: majority, majority-per-type, question-only."
        ),
    ] = "mini"
    splits: Annotated[
        list[str] | None, Meta(description="Splits to answer; by default test where rows have a split, else all.")
    ] = None
    top_k: Annotated[int, Meta(description="How many answers to keep for each question.")] = 5
    batch_size: Annotated[
        int | None, Meta(description="Questions at once; by default as many as the memory holds.")
    ] = None
    shuffle_images: Annotated[
        bool, Meta(description="Ask each question of another product's picture: what is left is guessed blindly.")
    ] = False
    seed: Annotated[int, Meta(description="Seed of the shuffling and of the choice of examples.")] = 0
    limit: Annotated[int | None, Meta(description="Answer the first so many questions only.")] = None
    use_images: Annotated[
        Literal["all", "first"], Meta(description="Which pictures of a row are shown; several are numbered.")
    ] = "all"
    prompt: Annotated[
        str | None,
        Meta(
            description="Template with {question}, and {ocr} where texts on the picture go; by default the model's own."
        ),
    ] = None
    answer_form: Annotated[
        AnswerForm,
        Meta(
            description="raw keeps replies as they are; short and word reduce them by rule, the full reply is kept "
            "beside; auto is short for models that chat."
        ),
    ] = "auto"
    one_word: Annotated[bool, Meta(description="Stop writing as soon as a second word begins.")] = False
    max_new_tokens: Annotated[int, Meta(description="Longest answer in tokens.")] = 20
    beams: Annotated[
        int | None, Meta(description="Beams where the model writes; 1 takes the likeliest token each time.")
    ] = None
    candidates: Annotated[
        str | None,
        Meta(
            description="Answers to choose from: common, all (of the training split), per-type (of it, by question "
            "type), or a file (.txt, .json, .csv). Dual encoders need them: by default all, or common without a "
            "training split."
        ),
    ] = None
    examples: Annotated[
        str | None, Meta(description="Solved examples to show: same-type (of the training split), or a file.")
    ] = None
    shots: Annotated[int, Meta(description="How many examples to show.")] = 4
    ocr: Annotated[bool, Meta(description="Read the texts on the pictures and put them into the prompt.")] = False
    answers: Annotated[
        str | None,
        Meta(description="File that names a classifier's outputs in their order, where the checkpoint does not."),
    ] = None
    regions: Annotated[
        str | None,
        Meta(
            description="Where LXMERT and ViLBERT take regions from: a ResNet's folder or hub name, or precomputed "
            "features."
        ),
    ] = None
    image_side_px: Annotated[
        int | None, Meta(description="Resolution that pictures are scaled to; by default the checkpoint's.")
    ] = None
    split_images: Annotated[
        bool | None, Meta(description="Whether large pictures are cut into tiles, where the model knows tiles.")
    ] = None
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Meta(description="Type of the weights; auto is bfloat16 on a GPU that has it, else float32."),
    ] = "auto"
    attention: Annotated[
        Literal["sdpa", "flash_attention_2", "eager"] | None,
        Meta(description="Implementation of attention; by default what transformers chooses."),
    ] = None
    remote_code: Annotated[bool, Meta(description="Run code that comes with the checkpoint: read it first.")] = False
    pickled_weights: Annotated[
        bool, Meta(description="Also load weights from .bin files, by torch's restricted unpickler.")
    ] = False


class _Where(NamedTuple):
    """What the stage was called with beside its settings."""

    questions: Path
    images: Path | None
    adapter: Path | None
    device: str
    workers: int


def predict(
    questions: Path,
    out: Path,
    config: PredictConfig,
    *,
    images: Path | None = None,
    adapter: Path | None = None,
    device: str = "auto",
    workers: int = 2,
) -> Manifest:
    """Answer questions about pictures; writes `predictions.parquet`, one row a question in the input's order.

    A picture that cannot be read or an empty question gives a row without prediction and with the error. Parts that
    are finished when the run is killed are not computed again. Of several processes that `accelerate launch` started
    the first calls this and the others `predict_share`.

    Args:
        questions: a folder with questions.parquet, or a CSV, JSON-lines or Parquet file with the columns `question`
            and `image_path`, `image` or `path`; all others of the predictions' columns are taken on if there.
        out: the folder to make.
        config: the settings.
        images: the folder that image paths are relative to; by default the one that the artifact names.
        adapter: a LoRA adapter for the model.
        device: where to run.
        workers: threads that decode pictures.

    Raises:
        UserError: for input, settings or a model that cannot be used.

    """
    where = _Where(questions, images, adapter, device, workers)
    return build("predict", out, config, _inputs(config, where), lambda run: _predict(run, config, where))


def predict_share(
    questions: Path,
    out: Path,
    config: PredictConfig,
    *,
    images: Path | None = None,
    adapter: Path | None = None,
    device: str = "auto",
    workers: int = 2,
) -> None:
    """Answer this process's share of the questions of a `predict` with the same arguments in the first process.

    Raises:
        UserError: as `predict` does, or if the first process does not begin.

    """
    where = _Where(questions, images, adapter, device, workers)
    assist("predict", out, config, _inputs(config, where), lambda run: _predict(run, config, where))


def _inputs(config: PredictConfig, where: _Where) -> dict[str, Path]:
    """Check the settings and return what the stage reads, by role."""
    for name in ("top_k", "batch_size", "limit", "max_new_tokens", "beams", "shots", "image_side_px"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"predict.{name} is {value!r}: expected 1 or more.")
    Wording(config.prompt).checked()
    inputs = {"questions": where.questions}
    inputs |= {"images": where.images} if where.images is not None else {}
    inputs |= {"adapter": where.adapter} if where.adapter is not None else {}
    source = None if hosted_name(config.model) else Path(source_of(config.model))
    if source is not None and source.is_dir():
        inputs["model"] = source
    for role, path in (("candidates", config.candidates), ("examples", config.examples), ("answers", config.answers)):
        if path is not None and Path(path).is_file():
            inputs[role] = Path(path)
    return inputs


def _predict(run: StageRun, config: PredictConfig, where: _Where) -> None:
    from shelfqa.models.blind import BLIND_BASELINES

    table = read_questions(run, where.questions)
    rows = of_splits(table, config.splits, config.limit, where.questions)
    found: list[Found] | None
    if config.model in BLIND_BASELINES:
        if where.questions.is_dir():
            run.images = image_folder(where.questions, where.images) if where.images else None
        found = _answer_blindly(table, rows, config) if process_share().rank == 0 else None
    else:
        run.images = folder_of_pictures(rows, where.questions, where.images)
        found = _answer_by_model(run, _asked(table, rows, run.images, config), config, where)
    if found is None:
        return
    failures = Counter(one.error.split(":")[0] for one in found if one.error is not None)
    run.counts.read = len(rows) + sum(run.counts.dropped.values())
    run.counts.kept = len(rows)
    run.details = {
        "questions": len(rows),
        "pictures": len({path for row in rows for path in row["image_paths"]}),
        "failures": dict(sorted(failures.items())),
    }
    run.write_table("predictions", _predictions(rows, found, _label(config, where.adapter)))


def _label(config: PredictConfig, adapter: Path | None) -> str:
    tuned = f"{config.model} + LoRA" if adapter is not None else config.model
    shown = f"{tuned}, {config.shots} examples" if config.examples is not None else tuned
    return f"{shown}, shuffled pictures" if config.shuffle_images else shown


def _asked(table: list[dict[str, Any]], rows: list[dict[str, Any]], folder: Path, config: PredictConfig) -> list[Asked]:
    """Return what is asked, with examples, candidates and texts on the pictures where these are wanted."""
    from shelfqa.models.examples import examples_from

    training = [row for row in table if row["split"] == "train"]
    examples = (
        examples_from(config.examples, config.shots, training, folder, seed=config.seed) if config.examples else None
    )
    candidates = _candidates(training, config)
    pictures = shuffled(rows, seed=config.seed) if config.shuffle_images else [row["image_paths"] for row in rows]
    if config.use_images == "first":
        pictures = [paths[:1] for paths in pictures]
    shown = [tuple(folder / path for path in paths) for paths in pictures]
    texts: dict[Path, tuple[str, ...]] = {}
    if config.ocr:
        from shelfqa.models.ocr import read_texts

        folder_of_cache = cache_folder()
        cache = folder_of_cache / "ocr.jsonl" if folder_of_cache is not None else None
        texts = read_texts(list(dict.fromkeys(path for paths in shown for path in paths)), cache=cache)
    return [
        Asked(
            row["question"],
            paths,
            examples(row) if examples is not None else (),
            candidates(row["question"]) if candidates is not None else (),
            tuple(text for path in paths for text in texts.get(path, ())),
        )
        for row, paths in zip(rows, shown, strict=True)
    ]


def _candidates(training: list[dict[str, Any]], config: PredictConfig) -> Any:
    """Return what maps a question to its candidates, or None where the model may say anything."""
    from shelfqa.models.answer_lists import answer_list
    from shelfqa.models.presets import MODEL_TYPES, model_type_of

    solved = [(row["question"], row["answer"]) for row in training if row["answer"]]
    name = config.candidates
    known = MODEL_TYPES.get(model_type_of(config.model) or "")
    if name is None and known is not None and known.family == "dual-encoder":
        name = "all" if solved else "common"
    return None if name is None else answer_list(name, solved)


def _answer_blindly(table: list[dict[str, Any]], rows: list[dict[str, Any]], config: PredictConfig) -> list[Found]:
    from shelfqa.models.blind import BLIND_BASELINES

    seen = [row for row in table if row["split"] == "train" and row["question"].strip() and row["answer"]]
    baseline = BLIND_BASELINES.load(config.model)()
    started = time.monotonic()
    baseline.fit([row["question"] for row in seen], [row["answer"] for row in seen])
    answers = baseline.answer([row["question"] for row in rows], top_k=config.top_k)
    share = (time.monotonic() - started) / len(rows)
    return [Found(found, None, share) for found in answers]


def _answer_by_model(run: StageRun, asked: list[Asked], config: PredictConfig, where: _Where) -> list[Found] | None:
    wording = Wording(config.prompt, config.answer_form)
    search = Search(config.top_k, config.beams, config.max_new_tokens, config.one_word)
    hosted = hosted_name(config.model)
    if hosted is not None:
        return _answer_by_provider(run, asked, hosted, wording, search)

    def load() -> VqaModel:
        from shelfqa.models.loading import load_model, require_extras, resolve_device

        require_extras()
        device = str(resolve_device(where.device, process_share().rank_on_machine))
        return load_model(config.model, adapter=where.adapter, device=device, loading=_loading(config, device))

    pace = Pace(config.batch_size, where.workers, process_share())
    return answer_in_parts(asked, load, run.work / "parts", wording=wording, search=search, pace=pace)


def _answer_by_provider(
    run: StageRun, asked: list[Asked], hosted: tuple[str, str], wording: Wording, search: Search
) -> list[Found] | None:
    from shelfqa.models.hosted import answer_hosted
    from shelfqa.providers.base import PROVIDERS

    if process_share().rank > 0:
        return None  # what limits a hosted model is its own rate

    def load() -> Provider:
        provider: Provider = PROVIDERS.load(hosted[0])(hosted[1])
        return provider

    file = run.work / "replies.jsonl"
    return answer_hosted(asked, load, file, name=":".join(hosted), wording=wording, search=search)


def _loading(config: PredictConfig, device: str) -> Loading:
    import torch

    from shelfqa.models.answer_lists import read_answers
    from shelfqa.models.base import Loading
    from shelfqa.models.loading import resolve_dtype

    return Loading(
        dtype=resolve_dtype(config.dtype, torch.device(device)),
        attention=config.attention,
        remote_code=config.remote_code,
        pickled_weights=config.pickled_weights,
        image_side_px=config.image_side_px,
        split_images=config.split_images,
        answers=read_answers(Path(config.answers)) if config.answers is not None else (),
        regions=config.regions,
    )


def _predictions(rows: list[dict[str, Any]], found: list[Found], model: str) -> pa.Table:
    import pyarrow as pa

    from shelfqa.records import PREDICTION_COLUMNS

    values = [
        {
            **row,
            "model": model,
            "prediction": one.answers[0].text if one.answers else None,
            "error": one.error,
            "reply": one.reply,
            "alternatives": alternatives(one),
            "seconds": one.seconds,
        }
        for row, one in zip(rows, found, strict=True)
    ]
    return pa.Table.from_pylist(values, schema=PREDICTION_COLUMNS)
