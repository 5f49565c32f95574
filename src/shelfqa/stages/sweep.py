"""The stage `sweep`: many runs of `train` with different settings, each an artifact of its own, and a table of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shelfqa.artifacts import (
    Manifest,
    StageRun,
    build,
    fingerprint,
    read_manifest,
    read_table,
    write_atomically,
)
from shelfqa.config import to_builtins
from shelfqa.digests import digest_of
from shelfqa.errors import ConfigError, StorageError, UserError
from shelfqa.machine import process_share
from shelfqa.models.adapter_folder import ADAPTER_FOLDER, MODEL_FOLDER
from shelfqa.models.presets import training_preset_of
from shelfqa.progress import say
from shelfqa.records import Interval
from shelfqa.report.sweep_figures import trials_png
from shelfqa.report.sweep_table import TrialRow, best_first, markdown_table
from shelfqa.training.search import Tried, propose, require_optuna
from shelfqa.training.settings import Settings, TrainConfig, resolve
from shelfqa.training.sweeps import Choices, Point, Search, Sweep, label

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TABLE", "Planned", "planned_trials", "sweep", "trial_folder"]

TABLE = "trials.md"
TRIALS = "trials.json"
BEST = "best.json"
PICTURE = "trials.png"
RESULTS = (ADAPTER_FOLDER, MODEL_FOLDER)
"""The folders of a trial of which one holds what was trained."""
_SEARCH = "search.json"
_MATCH = "validation_exact_match"

TrainTrial = Callable[[Path, TrainConfig, Path], Manifest]
"""Writes the folder of a trial as the stage `train` does, or finds it written; the last path is that of a folder for
vision features, which trials share."""


class Planned(NamedTuple):
    """A trial before it is run."""

    trial: str
    settings: dict[str, Any]
    """The value of each setting that varies."""
    steps: int
    """About: what turns out to be unusable makes them fewer, and batches by length are filled a little differently."""
    state: str
    """`done`, `begun` or `to do`."""


class _Recorded(msgspec.Struct, frozen=True):
    """The trials that a search has proposed, in order, and what tells the search from others."""

    key: str
    points: list[Point]


def trial_folder(out: Path, trial: str) -> Path:
    """Return the folder of a trial of the sweep in `out`."""
    return out / "trials" / trial


def sweep(questions: Path, out: Path, plan: Sweep, train_trial: TrainTrial) -> Manifest:
    """Run the trials of a sweep and tell how they compare; trials that are done are not run again.

    Writes `trials/NAME/` as `train` does, a table of the trials (`trials.parquet`, `.json`, `.md`), a picture of it
    (`trials.png`) and `best.json`, which names the trial with the highest exact match on validation, of equals the one
    with the fewest trainable parameters. A trial that fails is a row with its error; it is tried again when the sweep
    is.

    Args:
        questions: the folder that `split` wrote.
        out: the folder to make.
        plan: the trials.
        train_trial: runs one.

    Raises:
        ConfigError: for settings out of range, before any trial is run.
        StorageError: if the disk is full: the same call goes on.
        UserError: if no trial came to an end, or Optuna is needed and missing.

    """
    if process_share().processes > 1:
        raise UserError("A sweep runs its trials in one process: start it without `accelerate launch` or torchrun.")
    _check(plan)
    manifest = build(
        "sweep",
        out,
        plan,
        {"questions": questions},
        lambda run: _run(run, questions, plan, train_trial),
        again=True,  # a trial's folder may be gone, and one that failed may pass now; those that are done cost nothing
    )
    if not manifest.counts.kept:
        first = next(iter(manifest.details["errors"].values()))
        raise UserError(f"None of the {manifest.counts.read} trials came to an end (see {str(out / TABLE)!r}): {first}")
    return manifest


def planned_trials(questions: Path, out: Path | None, plan: Sweep) -> list[Planned]:
    """Return the trials that `sweep` with the same arguments would go through, without running any.

    Of a search, these are the trials that it has proposed so far. Without `out`, nothing has been begun.

    Raises:
        ConfigError: for settings out of range.
        InputError: if there are no questions to train on.

    """
    from shelfqa.training.data import epoch_batches
    from shelfqa.training.questions import read_rows

    _check(plan)
    points = plan.points
    if plan.search is not None and out is not None:
        points = _recorded(out, _search_key(questions, plan, plan.search))[: plan.search.n_trials]
    samples = read_rows(StageRun(Path(), Path()), questions).train
    data = fingerprint(questions)

    @cache
    def batches(size: int, seed: int, epoch: int) -> int:
        return len(epoch_batches(samples, size, seed=seed, epoch=epoch))

    found = []
    for point in points:
        settings = _settings(plan, point)
        steps = sum(
            -(-batches(settings.batch_size, settings.seed, epoch) // settings.accumulation)
            for epoch in range(settings.epochs)
        )
        steps = min(steps, settings.max_steps or steps)
        state = "to do" if out is None else _state(trial_folder(out, point.name), settings, data)
        found.append(Planned(point.name, _varied(plan, settings), steps, state))
    return found


def _state(folder: Path, settings: Settings, data: str) -> str:
    """Return how far a trial with these settings has come on questions with the fingerprint `data`."""
    done = read_manifest(folder, missing_ok=True)
    if done is not None and done.config == to_builtins(settings) and done.inputs.get("questions") == data:
        return "done"
    return "begun" if (folder / ".work").is_dir() else "to do"


def _check(plan: Sweep) -> None:
    """Check all settings before hours are spent on some; of a search, its corners."""
    if plan.search is None:
        for point in plan.points:
            _settings(plan, point)
        return
    require_optuna()
    for end in (0, -1):
        values = {
            field: one.values[end] if isinstance(one, Choices) else _bound(one.low if end == 0 else one.high, one.whole)
            for field, one in plan.search.space.items()
        }
        _settings(plan, Point(name="at an end of its ranges", values=values, labels={}))


def _bound(number: float, whole: bool) -> float:
    return int(number) if whole else number


def _settings(plan: Sweep, point: Point) -> Settings:
    config = plan.config(point.values)
    try:
        return resolve(config, training_preset_of(config.model))
    except ConfigError as error:
        raise ConfigError(f"sweep {plan.name!r}, trial {point.name!r}: {error}") from None


def _varied(plan: Sweep, settings: Settings) -> dict[str, Any]:
    every = to_builtins(settings)
    return {field: every[field] for field in plan.fields}


def _run(run: StageRun, questions: Path, plan: Sweep, train_trial: TrainTrial) -> None:
    rows: list[TrialRow] = []
    total = plan.search.n_trials if plan.search is not None else len(plan.points)
    for point in _points(run, questions, plan, rows):
        say(f"trial {len(rows) + 1} of {total}: {point.name}")
        rows.append(_trial(run, plan, point, train_trial))
        gc.collect()  # a model whose trainer refers to itself would stay in the device's memory beside the next one
        _tell(rows)
    ordered = best_first(rows)
    run.counts.read = len(rows)
    run.counts.kept = sum(row.error is None for row in rows)
    run.drop("failed", run.counts.read - run.counts.kept)
    best = _best(run.out, plan, ordered[0])
    run.details = {"best": best, "errors": {row.trial: row.error for row in rows if row.error is not None}}
    run.write_table("trials", _table(ordered))
    run.write_text(TRIALS, _json({"sweep": plan.name, "best": best, "trials": [_as_dict(row) for row in ordered]}))
    run.write_text(TABLE, markdown_table(rows))
    if best is not None:
        run.write_text(BEST, _json(best))
    picture = trials_png(rows)
    if picture is not None:
        write_atomically(run.finished / PICTURE, picture)


def _trial(run: StageRun, plan: Sweep, point: Point, train_trial: TrainTrial) -> TrialRow:
    """Run one trial and return its row."""
    settings = _settings(plan, point)
    varied = _varied(plan, settings)
    labels = {field: point.labels.get(field) or label(value) for field, value in varied.items()}
    folder = trial_folder(run.out, point.name)
    try:
        details = train_trial(folder, plan.config(point.values), run.work / "features").details
    except StorageError:
        raise  # the trials that follow would meet it, too
    except UserError as error:
        return TrialRow(point.name, labels, varied, None, error=str(error))
    except (RuntimeError, MemoryError) as error:
        from shelfqa.models.batching import out_of_memory

        if not out_of_memory(error):
            raise
        told = "Not enough memory for a step: give a smaller batch_size (and more accumulation)."
        return TrialRow(point.name, labels, varied, None, error=told)
    history = read_table(folder, "history").to_pylist()
    best = next(row for row in history if row["step"] == details["best_step"] and row[_MATCH] is not None)
    return TrialRow(
        point.name,
        labels,
        varied,
        Interval(*(best[_MATCH + bound] for bound in ("", "_low", "_high"))),
        exact_match_before=details["validation_exact_match"]["before"],
        questions=details["samples"]["measured"],
        trainable_parameters=details["trainable_parameters"]["total"],
        best_step=details["best_step"],
        steps=details["steps"],
        seconds=history[-1]["seconds"],
    )


def _tell(rows: Sequence[TrialRow]) -> None:
    row = rows[-1]
    if row.exact_match is None:
        say(f"  failed: {row.error}")
        return
    mean, low, high = row.exact_match
    best = best_first(rows)[0]
    beside = "the best so far" if best is row else f"best so far: {best.trial}"
    say(f"  exact match {mean:.3f} [{low:.3f}, {high:.3f}], {row.trainable_parameters:,} trainable; {beside}")


def _points(run: StageRun, questions: Path, plan: Sweep, rows: Sequence[TrialRow]) -> Iterator[Point]:
    """Yield the trials one by one; a search goes by `rows`, which holds the rows of those before by then."""
    if plan.search is None:
        yield from plan.points
        return
    key = _search_key(questions, plan, plan.search)
    points = _recorded(run.out, key)[: plan.search.n_trials]
    while len(rows) < plan.search.n_trials:
        if len(rows) == len(points):
            matches = (None if row.exact_match is None else row.exact_match.mean for row in rows)
            point = propose(plan.search, [Tried(*pair) for pair in zip(points, matches, strict=True)])
            if point is None:
                say(f"The search finds nothing new after {len(rows)} trials: it ends here.")
                return
            points.append(point)
            write_atomically(run.out / _SEARCH, msgspec.json.encode(_Recorded(key, points)))
        yield points[len(rows)]


def _search_key(questions: Path, plan: Sweep, search: Search) -> str:
    """Return what tells a search from others, but for how many trials it is to make."""
    same = msgspec.structs.replace(plan, name="", about="", search=msgspec.structs.replace(search, n_trials=0))
    return digest_of([msgspec.json.encode(same).decode(), fingerprint(questions)])


def _recorded(out: Path, key: str) -> list[Point]:
    """Return the trials that the search of this key has proposed in `out`."""
    try:
        found = msgspec.json.decode((out / _SEARCH).read_bytes(), type=_Recorded)
    except (OSError, msgspec.DecodeError):
        return []
    return found.points if found.key == key else []


def _best(out: Path, plan: Sweep, row: TrialRow) -> dict[str, Any] | None:
    """Return what `best.json` holds; paths are relative to its folder."""
    if row.exact_match is None:
        return None
    folder = trial_folder(out, row.trial)
    results = {kind: folder / kind for kind in RESULTS if (folder / kind).is_dir()}
    return {
        "trial": row.trial,
        **{kind: path.relative_to(out).as_posix() for kind, path in {"folder": folder, **results}.items()},
        "exact_match": row.exact_match._asdict(),
        "settings": plan.settings | dict(row.settings),
    }


def _as_dict(row: TrialRow) -> dict[str, Any]:
    return row._asdict() | {"exact_match": None if row.exact_match is None else row.exact_match._asdict()}


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _table(rows: Sequence[TrialRow]) -> pa.Table:
    import pyarrow as pa

    columns: list[tuple[str, Any]] = [
        ("trial", pa.string()),
        ("settings", pa.string()),  # a JSON object: what varies may be numbers, names or lists
        ("exact_match", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("exact_match_before", pa.float64()),
        ("questions", pa.int64()),
        ("trainable_parameters", pa.int64()),
        ("best_step", pa.int64()),
        ("steps", pa.int64()),
        ("seconds", pa.float64()),
        ("error", pa.string()),
    ]
    written = []
    for row in rows:
        mean, low, high = row.exact_match or (None, None, None)
        cells = {"exact_match": mean, "low": low, "high": high, "settings": msgspec.json.encode(row.settings).decode()}
        written.append(row._asdict() | cells)
    return pa.Table.from_pylist(written, schema=pa.schema(columns))
