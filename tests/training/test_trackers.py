"""Curves in TensorBoard, Weights & Biases and MLflow; those that are not installed are played by fakes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shelfqa.errors import ConfigError, UserError
from shelfqa.training import trackers
from shelfqa.training.trackers import TRACKERS, Tracked, Tracker, Trackers, tracker_names
from shelfqa.training.trainer import Trainer
from training_runs import trainer

needs_tensorboard = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs tensorboard")


class Fake(Tracker):
    """Notes what it is told; breaks at step 4 if its run's settings say so."""

    package = "fake-tracker"
    modules = ("json",)

    def __init__(self, run: Tracked) -> None:
        self.file = run.folder / f"{run.run_id}.jsonl"
        self.breaks = bool(run.settings.get("breaks"))
        self.tell({"settings": dict(run.settings)})

    def tell(self, what: Any) -> None:
        with self.file.open("a") as stream:
            stream.write(json.dumps(what) + "\n")

    def log(self, step: int, values: Any) -> None:
        if self.breaks and step == 4:
            raise OSError("the net is down\nsince noon")
        self.tell([step, dict(values)])

    def close(self) -> None:
        self.tell("closed")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS._entries, "fake", f"{__name__}:Fake")


def told(folder: Path) -> list[Any]:
    (file,) = folder.glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def rows(*steps: int) -> list[dict[str, Any]]:
    return [{"step": step, "train_loss": 1 / (step + 1), "validation_loss": None, "epoch": 0.0} for step in steps]


@pytest.mark.usefixtures("fake")
def test_a_resumed_run_goes_on_with_its_curves(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    first = Trackers(["fake"], tmp_path, work, {"rank": 4})
    for row in rows(0, 2, 4):
        first.log(row)
    again = Trackers(["fake"], tmp_path, work, {"rank": 4})
    for row in rows(0, 2, 4, 6):
        again.log(row)
    again.close()
    assert [one[0] for one in told(tmp_path) if isinstance(one, list)] == [0, 2, 4, 6]
    assert told(tmp_path)[1] == [0, {"train/loss": 1.0, "train/epoch": 0.0}]
    assert told(tmp_path)[-1] == "closed"


@pytest.mark.usefixtures("fake")
def test_a_tracker_that_fails_does_not_stop_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracked = Trackers(["fake"], tmp_path, tmp_path, {"breaks": True})
    for row in rows(0, 2, 4, 6):
        tracked.log(row)
    tracked.close()
    assert [one[0] for one in told(tmp_path) if isinstance(one, list)] == [0, 2]
    said = capsys.readouterr().err
    assert said == "Tracking by fake has stopped (the net is down since noon); training goes on.\n"


def test_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tensorboard'"):
        tracker_names(["tensorbord"])
    monkeypatch.setattr(trackers, "_is_installed", lambda module: module == "tensorboardX")
    assert tracker_names(["tensorboard", "tensorboard"]) == ["tensorboard"]
    with pytest.raises(UserError, match=r"--track wandb needs the package wandb: pip install wandb\."):
        tracker_names(["tensorboard,wandb"])
    with pytest.raises(UserError, match="pip install mlflow"):
        tracker_names(["mlflow"])
    assert tracker_names([]) == []


@needs_tensorboard
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_one_curve_of_a_run_and_its_resumption(
    checkpoint_folder: Path, pictures: list[Path], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    work = tmp_path / "work"
    run = trainer(checkpoint_folder, pictures, work, checkpoint_every=2, evaluate_every=2)
    stop_after(run, 4)
    with pytest.raises(KeyboardInterrupt):
        run.run(Trackers(["tensorboard"], tmp_path, work, {"rank": 4}))
    run = trainer(checkpoint_folder, pictures, work, checkpoint_every=2, evaluate_every=2)
    tracked = Trackers(["tensorboard"], tmp_path, work, {"rank": 4})
    history = run.run(tracked).history
    tracked.close()
    (folder,) = (tmp_path / "tensorboard").iterdir()
    found = EventAccumulator(str(folder)).Reload()
    curve = found.Scalars("validation/exact_match")
    expected = [row for row in history if row["validation_exact_match"] is not None]
    assert [one.step for one in curve] == [row["step"] for row in expected] == [0, 2, 4, 6]
    assert [one.value for one in curve] == pytest.approx([row["validation_exact_match"] for row in expected])
    assert [one.step for one in found.Scalars("train/loss")] == [row["step"] for row in history[1:]]
    assert len(list(folder.iterdir())) == 2


def stop_after(run: Trainer, steps: int) -> None:
    """Let a run be broken off after so many steps."""
    plain = run._step

    def step(batches: Sequence[Sequence[int]]) -> float:
        if run.state["step"] > steps:
            raise KeyboardInterrupt
        return plain(batches)

    run._step = step  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")
@pytest.mark.enable_socket
@pytest.mark.filterwarnings("ignore")
def test_wandb_takes_the_curve_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for steps in ((0, 2), (0, 2, 4)):
        tracked = Trackers(["wandb"], tmp_path, tmp_path, {"rank": 4})
        for row in rows(*steps):
            tracked.log(row)
        tracked.close()
    logs = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(logs) == 2
    assert len({log.name for log in logs}) == 1
    assert [log.read_bytes().count(b"train/loss") > 0 for log in logs] == [True, True]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs mlflow")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_takes_the_curve_into_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for steps in ((0, 2), (0, 2, 4)):
        tracked = Trackers(["mlflow"], tmp_path, tmp_path, {"rank": 4, "targets": ["language"]})
        for row in rows(*steps):
            tracked.log(row)
        tracked.close()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("shelfqa")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["rank"] == "4"
    assert [one.step for one in client.get_metric_history(run.info.run_id, "train/loss")] == [0, 2, 4]
