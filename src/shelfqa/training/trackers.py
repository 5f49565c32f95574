"""The curves of a run in TensorBoard, Weights & Biases or MLflow, where their packages are installed.

A resumed run goes on with the same curves. What has been told is noted beside the checkpoint and not told again: since
resumption is exact, what is computed once more is what it was. Importing this module imports none of the packages.
"""

from __future__ import annotations

import importlib.util
import json
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from shelfqa.artifacts import write_atomically
from shelfqa.errors import UserError
from shelfqa.progress import say
from shelfqa.registry import Registry

TRACKERS = Registry(
    "tracker",
    {
        "tensorboard": "shelfqa.training.trackers:TensorBoard",
        "wandb": "shelfqa.training.trackers:WeightsAndBiases",
        "mlflow": "shelfqa.training.trackers:MLflow",
    },
)
_NOTE = "trackers.json"
_PROJECT = "shelfqa"
_CURVES = {
    "train_loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "epoch": "train/epoch",
    "seconds": "train/seconds",
    "validation_loss": "validation/loss",
    "validation_exact_match": "validation/exact_match",
}
"""What is told of a row of the history, and the name of its curve."""


class Tracked(NamedTuple):
    """What a tracker is told of a run before it begins."""

    run_id: str
    """The same for a run and its resumptions."""
    folder: Path
    """That of the run's result; what a tracker keeps on this machine goes there."""
    settings: Mapping[str, Any]


class Tracker(ABC):
    """Takes numbers by step and curve."""

    package: ClassVar[str]
    """What to install."""
    modules: ClassVar[tuple[str, ...]]
    """Of which one has to be there."""

    @abstractmethod
    def __init__(self, run: Tracked) -> None:
        """Begin the record of a run, or go on with it."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of curves at a step."""

    @abstractmethod
    def close(self) -> None:
        """End the record."""


class TensorBoard(Tracker):
    """Writes event files to FOLDER/tensorboard; show them with `tensorboard --logdir FOLDER/tensorboard`."""

    package = "tensorboard"
    modules = ("tensorboard", "tensorboardX")

    def __init__(self, run: Tracked) -> None:
        """Begin another event file; TensorBoard joins those of a folder."""
        if _is_installed("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        else:
            from tensorboardX import SummaryWriter
        folder = run.folder / "tensorboard" / run.run_id
        resumed = folder.is_dir()
        self._writer = SummaryWriter(str(folder))
        if not resumed:
            settings = "".join(f"    {key}: {value}\n" for key, value in run.settings.items())
            self._writer.add_text("settings", settings, 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write them down at once."""
        for curve, value in values.items():
            self._writer.add_scalar(curve, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class WeightsAndBiases(Tracker):
    """Logs to the project that WANDB_PROJECT names, by default `shelfqa`; WANDB_MODE=offline keeps all here."""

    package = "wandb"
    modules = ("wandb",)

    def __init__(self, run: Tracked) -> None:
        """Begin a run, or go on with that of the same id."""
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run.folder.resolve().name,
            id=run.run_id,
            resume="allow",
            dir=str(run.folder),
            config=dict(run.settings),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send them."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Send the rest."""
        self._run.finish()


class MLflow(Tracker):
    """Logs where MLFLOW_TRACKING_URI says, by default to FOLDER/mlflow.db."""

    package = "mlflow"
    modules = ("mlflow",)

    def __init__(self, run: Tracked) -> None:
        """Begin a run, or go on with the one that bears the same id as a tag."""
        from mlflow import MlflowClient

        here = f"sqlite:///{run.folder.resolve() / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", here))
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment is not None else self._client.create_experiment(name)
        known = self._client.search_runs([number], f"tags.shelfqa_run = '{run.run_id}'")
        if known:
            self._run = known[0].info.run_id
            return
        began = self._client.create_run(number, tags={"shelfqa_run": run.run_id}, run_name=run.folder.resolve().name)
        self._run = began.info.run_id
        for key, value in run.settings.items():
            self._client.log_param(self._run, key, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send them."""
        for curve, value in values.items():
            self._client.log_metric(self._run, curve, value, step=step)

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run)


def tracker_names(given: Sequence[str]) -> list[str]:
    """Return the trackers that are asked for, each name or comma-separated list of names, checked.

    Raises:
        ConfigError: for an unknown name.
        UserError: if the package of one is not installed.

    """
    names = list(dict.fromkeys(name for some in given for name in some.replace(",", " ").split()))
    for name in names:
        kind: type[Tracker] = TRACKERS.load(name)
        if not any(map(_is_installed, kind.modules)):
            raise UserError(f"--track {name} needs the package {kind.package}: pip install {kind.package}.")
    return names


class Trackers:
    """All trackers of a run; one that fails is left behind, and training goes on."""

    def __init__(self, names: Sequence[str], folder: Path, work: Path, settings: Mapping[str, Any]) -> None:
        """Open them.

        Args:
            names: from `tracker_names`; none in all processes but the first.
            folder: where the run's result will be.
            work: a folder that survives a kill.
            settings: of the run.

        """
        self._note_file = work / _NOTE
        self._note: dict[str, Any] = {"run": uuid.uuid4().hex[:12], "told": {}}
        with suppress(OSError, ValueError):  # where a run begins there is none
            self._note = json.loads(self._note_file.read_text(encoding="utf-8"))
        self._open: dict[str, Tracker] = {}
        run = Tracked(self._note["run"], folder, settings)
        if names:
            self._write_note()
        for name in names:
            try:
                self._open[name] = TRACKERS.load(name)(run)
            except Exception as error:  # a tracker fails in its own ways
                self._leave(name, error)

    def log(self, row: Mapping[str, Any]) -> None:
        """Tell a row of the history, unless a tracker was told of its step before."""
        step = row["step"]
        values = {curve: float(row[name]) for name, curve in _CURVES.items() if row.get(name) is not None}
        for name, tracker in list(self._open.items()):
            if step <= self._note["told"].get(name, -1):
                continue
            try:
                tracker.log(step, values)
            except Exception as error:
                self._leave(name, error)
            self._note["told"][name] = step
        if self._open:
            self._write_note()

    def close(self) -> None:
        """End the records of a finished run."""
        for name, tracker in list(self._open.items()):
            try:
                tracker.close()
            except Exception as error:
                self._leave(name, error)

    def _leave(self, name: str, error: Exception) -> None:
        self._open.pop(name, None)
        say(f"Tracking by {name} has stopped ({' '.join(str(error).split())[:200]}); training goes on.")

    def _write_note(self) -> None:
        write_atomically(self._note_file, json.dumps(self._note).encode())


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
