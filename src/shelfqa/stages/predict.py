"""The stage `predict`: questions and pictures in, the k best answers to each out, failures among them."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shelfqa.artifacts import Manifest, StageRun, assist, build, image_folder
from shelfqa.errors import ConfigError, did_you_mean
from shelfqa.machine import cache_folder, process_share
from shelfqa.models.answering import Asked, Found, Pace, Search, alternatives, answer_in_parts
from shelfqa.models.asking import folder_of_pictures, of_splits, read_questions, shuffled
from shelfqa.models.hosted import hosted_name
from shelfqa.models.presets import source_of
from shelfqa.models.settings import PredictConfig
from shelfqa.models.unanswerable import with_unanswerable
from shelfqa.models.wording import Wording
from shelfqa.providers.settings import ClientConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from shelfqa.models.answer_lists import AnswerList
    from shelfqa.models.base import Loading, VqaModel
    from shelfqa.providers.base import Provider


class Where(NamedTuple):
    """What the stage is called with beside its settings, as `predict` explains it."""

    questions: Path
    images: Path | None = None
    adapter: Path | None = None
    device: str = "auto"
    workers: int = 2
    client: ClientConfig = ClientConfig()
    retry_failed: bool = False


def predict(
    questions: Path,
    out: Path,
    config: PredictConfig,
    *,
    images: Path | None = None,
    adapter: Path | None = None,
    device: str = "auto",
    workers: int = 2,
    client: ClientConfig | None = None,
    retry_failed: bool = False,
) -> Manifest:
    """Answer questions about pictures; writes `predictions.parquet`, one row a question in the input's order.

    Of a model that tells where it looked, `attention.parquet` lies beside it, one row an answer in the same order.
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
        client: limits and money, where the model is a hosted one.
        retry_failed: whether to ask a hosted model again what it did not answer in a finished run.

    Raises:
        UserError: for input, settings or a model that cannot be used.

    """
    where = Where(questions, images, adapter, device, workers, client or ClientConfig(), retry_failed)
    return predict_where(out, config, where)


def predict_where(out: Path, config: PredictConfig, where: Where) -> Manifest:
    """Do what `predict` does with the same arguments."""
    again = where.retry_failed and hosted_name(config.model) is not None
    return build("predict", out, config, _inputs(config, where), lambda run: _predict(run, config, where), again=again)


def predict_share(out: Path, config: PredictConfig, where: Where) -> None:
    """Answer this process's share of the questions of a `predict` with the same arguments in the first process.

    Raises:
        UserError: as `predict` does, or if the first process does not begin.

    """
    assist("predict", out, config, _inputs(config, where), lambda run: _predict(run, config, where))


def _inputs(config: PredictConfig, where: Where) -> dict[str, Path]:
    """Check the settings and return what the stage reads, by role."""
    for name in ("top_k", "batch_size", "limit", "max_new_tokens", "beams", "shots", "image_side_px"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"predict.{name} is {value!r}: expected 1 or more.")
    Wording(config.prompt).checked()
    _check_model(config, where)
    inputs = {"questions": where.questions}
    inputs |= {"images": where.images} if where.images is not None else {}
    inputs |= {"adapter": where.adapter} if where.adapter is not None else {}
    source = None if hosted_name(config.model) else Path(source_of(config.model))
    if source is not None and source.is_dir():
        inputs["model"] = source
    for role in ("candidates", "examples", "answers", "regions"):
        path = getattr(config, role)
        if path is not None and (Path(path).is_file() or (role == "regions" and Path(path).is_dir())):
            inputs[role] = Path(path)
    return inputs


def _check_model(config: PredictConfig, where: Where) -> None:
    """Raise one line if nothing of that name could answer, or has no place for an adapter."""
    from shelfqa.models.blind import BLIND_BASELINES
    from shelfqa.providers.base import PROVIDERS

    hosted = hosted_name(config.model)
    provider = re.match(r"([A-Za-z][\w-]+):", config.model)  # a drive has one letter
    if hosted is None and provider is not None and not Path(config.model).exists():
        hint = " The model's name follows it." if provider[1] in PROVIDERS else did_you_mean(provider[1], PROVIDERS)
        raise ConfigError(f"predict.model is {config.model!r}: expected PROVIDER:NAME.{hint}")
    if where.adapter is not None and (hosted is not None or config.model in BLIND_BASELINES):
        raise ConfigError(f"The model {config.model!r} takes no adapter: leave out --adapter.")


def _predict(run: StageRun, config: PredictConfig, where: Where) -> None:
    from shelfqa.models.blind import BLIND_BASELINES

    table = read_questions(run, where.questions)
    rows = of_splits(table, config.splits, config.limit, where.questions)
    found: list[Found] | None
    shots = 0
    if config.model in BLIND_BASELINES:
        if where.questions.is_dir():
            run.images = image_folder(where.questions, where.images) if where.images else None
        found = _answer_blindly(table, rows, config) if process_share().rank == 0 else None
    else:
        run.images = folder_of_pictures(rows, where.questions, where.images)
        asked = _asked(table, rows, run.images, config)
        shots = max(len(one.examples) for one in asked)
        found = _answer_by_model(run, table, asked, config, where)
    if found is None:
        return
    found, unanswerable = with_unanswerable(found, config.unanswerable_below)
    run.counts.read = len(rows) + sum(run.counts.dropped.values())
    run.counts.kept = len(rows)
    run.details = {
        "questions": len(rows),
        "pictures": len({path for row in rows for path in row["image_paths"]}),
        "failures": dict(sorted(Counter(one.error.split(":")[0] for one in found if one.error is not None).items())),
    } | ({"unanswerable": unanswerable} if config.unanswerable_below is not None else {})
    run.write_table("predictions", _predictions(rows, found, _label(config, where.adapter, shots)))
    seen = _attention(rows, found)
    if seen is not None:
        run.write_table("attention", seen)


def _label(config: PredictConfig, adapter: Path | None, shots: int) -> str:
    """Return what tells these predictions from others; `shots` is how many examples were shown at most."""
    tuned = f"{config.model} + LoRA" if adapter is not None else config.model
    shown = f"{tuned}, {shots} example{'s' * (shots > 1)}" if shots else tuned
    seen = f"{shown}, shuffled pictures" if config.shuffle_images else shown
    return seen if config.unanswerable_below is None else f"{seen}, unanswerable below {config.unanswerable_below:g}"


def _asked(table: list[dict[str, Any]], rows: list[dict[str, Any]], folder: Path, config: PredictConfig) -> list[Asked]:
    """Return what is asked, with examples, candidates and texts on the pictures where these are wanted."""
    from shelfqa.models.examples import examples_from

    training = [row for row in table if row["split"] == "train"]
    examples = (
        examples_from(config.examples, config.shots, training, folder, seed=config.seed) if config.examples else None
    )
    candidates = _candidates(table, config.candidates) if config.candidates is not None else None
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


def _candidates(table: list[dict[str, Any]], name: str | None) -> AnswerList:
    """Return what maps a question to its candidates; without a name, what suits models that cannot do without."""
    from shelfqa.models.answer_lists import answer_list

    solved = [(row["question"], row["answer"]) for row in table if row["split"] == "train" and row["answer"]]
    return answer_list(name or ("all" if solved else "common"), solved)


def _answer_blindly(table: list[dict[str, Any]], rows: list[dict[str, Any]], config: PredictConfig) -> list[Found]:
    from shelfqa.models.blind import BLIND_BASELINES

    seen = [row for row in table if row["split"] == "train" and row["question"].strip() and row["answer"]]
    baseline = BLIND_BASELINES.load(config.model)()
    started = time.monotonic()
    baseline.fit([row["question"] for row in seen], [row["answer"] for row in seen])
    answers = baseline.answer([row["question"] for row in rows], top_k=config.top_k)
    share = (time.monotonic() - started) / len(rows)
    return [Found(found, None, share) for found in answers]


def _answer_by_model(
    run: StageRun, table: list[dict[str, Any]], asked: list[Asked], config: PredictConfig, where: Where
) -> list[Found] | None:
    wording = Wording(config.prompt, config.answer_form)
    search = Search(config.top_k, config.beams, config.max_new_tokens, config.one_word)
    hosted = hosted_name(config.model)
    if hosted is not None:
        return _answer_by_provider(run, asked, hosted, wording, search, where)

    def load() -> VqaModel:
        from shelfqa.models.loading import load_model, require_extras, resolve_device

        require_extras()
        device = str(resolve_device(where.device, process_share().rank_on_machine))
        return load_model(config.model, adapter=where.adapter, device=device, loading=_loading(config, device))

    pace = Pace(config.batch_size, where.workers, process_share())
    folder = run.work / "parts"
    needed = _candidates(table, None)
    return answer_in_parts(
        asked,
        load,
        folder,
        wording=wording,
        search=search,
        pace=pace,
        needed_candidates=needed,
        explain=config.explain and not config.shuffle_images,  # a map of another picture than the row's misleads
    )


def _answer_by_provider(
    run: StageRun, asked: list[Asked], hosted: tuple[str, str], wording: Wording, search: Search, where: Where
) -> list[Found] | None:
    from shelfqa.models.hosted import answer_hosted
    from shelfqa.providers.base import PROVIDERS
    from shelfqa.providers.client import Client
    from shelfqa.providers.store import open_store

    if process_share().rank > 0:
        return None  # what limits a hosted model is its own rate
    settings = where.client
    provider: Provider = PROVIDERS.load(hosted[0])(
        hosted[1], base_url=settings.base_url or "", timeout_s=settings.timeout_s
    )
    with open_store(settings.store, beside=run.out) as store:
        store.forget_failures(run.key)  # of a run that was broken off: they may pass this time
        client = Client(provider, settings, store, run=run.key)
        return answer_hosted(asked, client, name=":".join(hosted), wording=wording, search=search)


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


def _attention(rows: list[dict[str, Any]], found: list[Found]) -> pa.Table | None:
    """Return where the model looked for each answer, or None if it does not tell."""
    import numpy as np
    import pyarrow as pa

    from shelfqa.records import attention_columns

    told = [
        (row["question_id"], one.attention) for row, one in zip(rows, found, strict=True) if one.attention is not None
    ]
    if not told:
        return None
    height, width = told[0][1].shape
    # Digits beyond half precision's are worth nothing here, and would double the file.
    halved = np.stack([seen for _, seen in told]).astype(np.float16).astype(np.float32)
    columns = [
        pa.array([name for name, _ in told], type=pa.string()),
        pa.array([height] * len(told)),
        pa.array([width] * len(told)),
        pa.FixedSizeListArray.from_arrays(pa.array(halved.ravel()), height * width),
    ]
    return pa.table(columns, schema=attention_columns(height * width))
