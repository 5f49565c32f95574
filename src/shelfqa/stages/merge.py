"""The stage `merge`: an adapter in, a full checkpoint out that was seen to answer as base and adapter do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from shelfqa.artifacts import Manifest, StageRun, begun, build, read_manifest, write_atomically
from shelfqa.config import Config
from shelfqa.errors import GateFailure, InputError
from shelfqa.models.adapter_folder import TrainedBy, adapter_folder, base_noted, trained_by
from shelfqa.models.answer_lists import AnswerList, answer_list, read_answers
from shelfqa.models.answering import Asked, Found, Pace, Search, answer_in_parts
from shelfqa.models.asking import folder_of_pictures, of_splits, read_questions
from shelfqa.models.cards import README, merged_card
from shelfqa.models.parity import Answerer, Item, Limits, Parity, gate, sampled
from shelfqa.models.presets import source_of
from shelfqa.models.settings import Dtype, PickledWeights, RemoteCode
from shelfqa.models.wording import Wording
from shelfqa.progress import say

if TYPE_CHECKING:
    import torch

    from shelfqa.models.base import VqaModel
    from shelfqa.models.merging import Merger, Written

__all__ = ["MergeConfig", "merge"]

PARITY_FILE = "parity.json"
_SPLITS = ("test", "validation", "train")
"""Which questions the gate takes by default: those of the first of these splits that has some."""
_TOLERANCE = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.05}
"""How far apart probabilities may be, by the type that is written; of 16 bits, 11 or 8 are a weight's digits."""
_TOLERANCE_INT8 = 0.1
"""Where the base was of 8 bits: its layers also rounded what they read."""

_Share = Annotated[float, Meta(ge=0, le=1)]


class MergeConfig(Config, frozen=True):
    """Settings of `merge`."""

    model: Annotated[
        str | None, Meta(description="The base model; by default the one that the adapter was trained on.")
    ] = None
    dtype: Annotated[Dtype, Meta(description="Type of the merged weights; auto is the base checkpoint's.")] = "auto"
    parity_items: Annotated[
        int, Meta(description="Questions that the parity gate asks at most; 0 turns it off.", ge=0)
    ] = 200
    parity_tolerance: Annotated[
        _Share | None,
        Meta(
            description="How far apart two probabilities of an answer may be; by default 0.001, more where weights of "
            "16 or 8 bits are on the way."
        ),
    ] = None
    parity_different: Annotated[
        _Share, Meta(description="Share of the gate's questions whose best answer may be another.")
    ] = 0.0
    splits: Annotated[
        list[str] | None,
        Meta(description="Splits that the gate asks about; by default test, else validation, else train."),
    ] = None
    seed: Annotated[int, Meta(description="Seed of the draw of questions.")] = 0
    answers: Annotated[
        str | None,
        Meta(description="File that names a classifier's outputs in their order; by default as in training."),
    ] = None
    regions: Annotated[
        str | None, Meta(description="Where LXMERT and ViLBERT take regions from; by default as in training.")
    ] = None
    remote_code: RemoteCode = False
    pickled_weights: PickledWeights = False


class _Sources(NamedTuple):
    """What is merged, and where the gate's questions are."""

    adapter: Path
    base: str
    questions: Path | None
    images: Path | None
    chosen: bool
    """Whether the user named the questions: then it is an error if they cannot be read."""
    why_no_gate: str = ""


class _Gated(NamedTuple):
    """What the gate asks."""

    items: list[Item]
    candidates: AnswerList | None = None
    """For models that need some."""
    why_none: str = ""


def merge(
    adapter: Path,
    out: Path,
    config: MergeConfig,
    *,
    questions: Path | None = None,
    images: Path | None = None,
    device: str = "auto",
    workers: int = 2,
) -> Manifest:
    """Add an adapter into the weights of its base; `out` then is a checkpoint like any other, with a card.

    The parity gate asks the same questions of base and adapter, of the merged weights, and of the checkpoint as it is
    read back. `parity.json` holds the outcome. Where the answers differ, nothing but that file is left.

    Args:
        adapter: a folder in PEFT's format, or the run of `train` that holds one.
        out: the folder to make.
        config: the settings.
        questions: a folder or file of questions, as `predict` takes it; by default those of the adapter's training.
        images: the folder that image paths are relative to; by default the one that the questions name.
        device: where to run.
        workers: threads that decode pictures.

    Raises:
        UserError: for an adapter or a base that cannot be used, or if the adapter was made for another base.
        GateFailure: if the merged checkpoint does not answer as base and adapter do.

    """
    folder = adapter_folder(adapter)
    base = config.model or base_noted(folder)
    trained = trained_by(folder)
    config = _as_trained(config, trained)
    sources = _with_questions(_Sources(folder, base, questions, images, questions is not None), config, trained)
    _check_place(out, folder, base)
    inputs = {"adapter": folder}
    inputs |= {"questions": sources.questions} if sources.questions is not None else {}
    inputs |= {"images": images} if images is not None else {}
    for role, place in {"model": source_of(base), "answers": config.answers, "regions": config.regions}.items():
        if place is not None and Path(place).exists():
            inputs[role] = Path(place)
    return build("merge", out, config, inputs, lambda run: _merge(run, config, sources, device, workers))


def _as_trained(config: MergeConfig, trained: TrainedBy) -> MergeConfig:
    """Return the settings, with what training was told of the base model where they say nothing."""
    said: Mapping[str, Any] = {name: trained.settings.get(name) for name in ("answers", "regions")}
    changed: MergeConfig = msgspec.structs.replace(
        config,
        answers=config.answers or said["answers"],
        regions=config.regions or said["regions"],
        pickled_weights=config.pickled_weights or bool(trained.settings.get("pickled_weights")),
    )
    return changed


def _with_questions(sources: _Sources, config: MergeConfig, trained: TrainedBy) -> _Sources:
    """Return the sources with the questions of the gate, or with the reason why it does not run."""
    if config.parity_items == 0:
        return sources._replace(questions=None, why_no_gate="it is turned off")
    if sources.questions is not None:
        return sources
    if trained.questions is None:
        return sources._replace(why_no_gate="no questions are given, and beside the adapter none are named")
    if not trained.questions.exists():
        return sources._replace(why_no_gate=f"the questions of training, {str(trained.questions)!r}, are gone")
    return sources._replace(questions=trained.questions, images=sources.images or trained.images)


def _check_place(out: Path, adapter: Path, base: str) -> None:
    """Refuse a folder that holds something else than a merge, over which a checkpoint's files would be written."""
    for other in (adapter, Path(source_of(base))):
        if other.exists() and out.resolve().is_relative_to(other.resolve()):
            raise InputError(f"{str(out)!r} is itself what is to be merged, or lies in it: give another --out.")
    last = read_manifest(out, missing_ok=True) or begun(out)
    merged = last is not None and last.stage == "merge"
    if not merged and out.is_dir() and any(file.name != PARITY_FILE for file in out.iterdir()):
        raise InputError(f"{str(out)!r} holds other files, which would be written over: give another --out.")


def _merge(run: StageRun, config: MergeConfig, sources: _Sources, device: str, workers: int) -> None:
    for name in ("finished", "parity"):  # of a run that was broken off
        shutil.rmtree(run.work / name, ignore_errors=True)
    run.finished.mkdir()
    gated = _gated(run, config, sources)

    from shelfqa.models.loading import require_extras, resolve_device

    require_extras()

    from shelfqa.models.base import Loading
    from shelfqa.models.merging import Merger, types_for

    place = resolve_device(device)
    loading = Loading(
        remote_code=config.remote_code,
        pickled_weights=config.pickled_weights,
        answers=read_answers(Path(config.answers)) if config.answers is not None else (),
        regions=config.regions,
    )
    merger = Merger(sources.base, sources.adapter, place, types_for(sources.base, config.dtype, place), loading)
    parity: Parity | None = None
    if gated.items:
        written, parity = _through_gate(run, config, gated, merger, workers)
    else:
        written = merger.write(run.finished)
        say(
            f"The parity gate did not run: {gated.why_none}. Give --questions to see whether the answers stay the same."
        )
    _describe(run, sources, merger, written, parity, gated.why_none)


def _gated(run: StageRun, config: MergeConfig, sources: _Sources) -> _Gated:
    """Return the questions of the gate, each about one picture, as models are trained on."""
    if sources.questions is None:
        return _Gated([], why_none=sources.why_no_gate)
    try:
        table = read_questions(run, sources.questions)
        present = {row["split"] for row in table}
        wanted = config.splits or [split for split in _SPLITS if split in present][:1]
        rows = [row for row in of_splits(table, wanted or None, None, sources.questions) if row["question"].strip()]
        folder = folder_of_pictures(rows, sources.questions, sources.images)
    except InputError as error:
        if sources.chosen or config.splits:
            raise
        return _Gated([], why_none=f"the questions of training cannot be asked again ({str(error).rstrip('.')})")
    rows = [row for row in rows if row["image_paths"]]
    items = [
        Item(row["question_id"], Asked(row["question"], (folder / row["image_paths"][0],)))
        for row in (rows[place] for place in sampled(rows, config.parity_items, seed=config.seed))
    ]
    solved = [(row["question"], row["answer"]) for row in table if row["split"] == "train" and row["answer"]]
    return _Gated(items, answer_list("all" if solved else "common", solved), "no question names a picture")


def _through_gate(
    run: StageRun, config: MergeConfig, gated: _Gated, merger: Merger, workers: int
) -> tuple[Written, Parity]:
    """Write the checkpoint between the second and the third form of the gate.

    Raises:
        GateFailure: if a form answers differently; then only the report is left in the stage's folder.

    """
    written: list[Written] = []

    def reloaded() -> VqaModel:
        written.append(merger.write(run.finished))
        return merger.reloaded(run.finished)

    makers = {"adapter": merger.with_adapter, "merged": merger.merged, "reloaded": reloaded}
    forms = {name: _answerer(run.work / "parity" / name, maker, gated, workers) for name, maker in makers.items()}
    report = run.out / PARITY_FILE
    try:
        parity = gate(gated.items, forms, Limits(_tolerance(config, merger), config.parity_different), report)
    except GateFailure:
        note = begun(run.out)
        for name in set(note.earlier if note is not None else ()) - {PARITY_FILE}:
            left = run.out / name
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        shutil.rmtree(run.work)
        raise
    report.replace(run.finished / PARITY_FILE)
    return written[0], parity


def _answerer(folder: Path, make: Callable[[], VqaModel], gated: _Gated, workers: int) -> Answerer:
    """Return what answers as `predict` does by default, with the model that `make` makes."""

    def answer(asked: Sequence[Asked]) -> Sequence[Found]:
        found = answer_in_parts(
            asked,
            make,
            folder,
            wording=Wording(),
            search=Search(),
            pace=Pace(workers=workers),
            needed_candidates=gated.candidates,
        )
        assert found is not None  # as of the only process
        return found

    return answer


def _tolerance(config: MergeConfig, merger: Merger) -> float:
    if config.parity_tolerance is not None:
        return config.parity_tolerance
    return max(_TOLERANCE[_name_of(merger.types.stored)], _TOLERANCE_INT8 if merger.bits == "int8" else 0.0)


def _describe(
    run: StageRun, sources: _Sources, merger: Merger, written: Written, parity: Parity | None, why_none: str
) -> None:
    """Write the checkpoint's card, and what the manifest keeps."""
    dtype = _name_of(merger.types.stored)
    notes = []
    if merger.dequantized is not None:
        notes.append(
            f"The adapter was trained on weights of {merger.dequantized}. These here are what those stand for, in "
            f"{dtype}, with the adapter added; they are not the weights that the base model was published with."
        )
        say(f"The base's weights of {merger.dequantized} are written as {dtype}: larger, and rounded no further.")
    told = parity.told() if parity is not None else "not measured"
    card = merged_card(written.base, dtype=dtype, parity=told, notes=notes, adapter_card=sources.adapter / README)
    write_atomically(run.finished / README, card.encode())
    run.details = {
        "base": sources.base,
        "family": written.base.family,
        "parameters": written.parameters,
        "dtype": dtype,
        "dequantized": merger.dequantized,
        "parity": parity.summary() if parity is not None else {"passed": None, "why": why_none},
    }


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
