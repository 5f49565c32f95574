from __future__ import annotations

import gc
import json
import os
import signal
import weakref
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from PIL import Image

from predicting import forked, shelfqa
from shelfqa.artifacts import Manifest, StageRun, build, read_manifest, read_table
from shelfqa.errors import ConfigError, StorageError, UserError
from shelfqa.models.adapters.mini import MiniVqa
from shelfqa.models.loading import load_model
from shelfqa.stages.sweep import planned_trials, sweep
from shelfqa.stages.train import train
from shelfqa.training.settings import TrainConfig, resolve
from shelfqa.training.sweeps import Sweep, read_sweep
from tiny_models import blip_checkpoint, questions_artifact

SETTINGS: dict[str, Any] = {
    "preset": "lora", "learning_rate": 0.01, "batch_size": 8, "epochs": 2, "checkpoint_every": 2
}  # fmt: skip
GRID = {
    "settings": SETTINGS,
    "grid": {"rank": [2, 4], "targets": {"words": ["language"], "both": ["connector", "language"]}},
}
NAMES = ["rank=2,targets=words", "rank=2,targets=both", "rank=4,targets=words", "rank=4,targets=both"]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions_artifact(tmp_path_factory.mktemp("data"), products=24)


def plan(folder: Path, content: dict[str, Any], given: dict[str, Any] | None = None) -> Sweep:
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_sweep(str(file), given)


class Trials:
    """Stands for `train`: notes what it is asked for, and says that a rank near 20 is right the more often."""

    def __init__(self, questions: Path) -> None:
        self.inputs = {"questions": questions}
        self.ran: list[str] = []
        self.problems: dict[str, BaseException] = {}

    def __call__(self, folder: Path, config: TrainConfig, features: Path) -> Manifest:
        def body(run: StageRun) -> None:
            self.ran.append(folder.name)
            if folder.name in self.problems:
                raise self.problems[folder.name]
            rank = config.rank or 20
            (run.finished / "adapter").mkdir()
            match = max(0, 50 - abs(rank - 20)) / 50
            rows = [
                {"step": step, "validation_exact_match": mean, "validation_exact_match_low": mean and mean - 0.02,
                 "validation_exact_match_high": mean and mean + 0.03, "seconds": 0.25 * step}
                for step, mean in [(0, 0.1), (6, None), (6, match), (12, 0.0)]
            ]  # fmt: skip
            run.write_table("history", pa.Table.from_pylist(rows))
            run.details = {
                "trainable_parameters": {"language": 100 * rank, "total": 100 * rank},
                "steps": 12,
                "best_step": 6,
                "validation_exact_match": {"before": 0.1, "best": match},
                "samples": {"train": 40, "validation": 50, "measured": 50},
            }

        return build("train", folder, resolve(config, "mini-lora"), self.inputs, body)


@pytest.fixture
def trials(questions: Path) -> Trials:
    return Trials(questions)


def test_trials_are_compared_best_first(questions: Path, tmp_path: Path, trials: Trials) -> None:
    out = tmp_path / "out"
    manifest = sweep(questions, out, plan(tmp_path, {"grid": {"rank": [4, 18, 22, 40]}}), trials)
    rows = read_table(out, "trials").to_pylist()
    assert [row["trial"] for row in rows] == ["rank=18", "rank=22", "rank=4", "rank=40"]  # of equals the smaller one
    assert (rows[0]["exact_match"], rows[0]["low"], rows[0]["high"]) == (0.96, 0.94, 0.99)
    assert [rows[0][name] for name in ("trainable_parameters", "steps", "seconds", "questions", "error")] == [
        *(1800, 12, 3.0, 50, None)
    ]  # fmt: skip
    assert json.loads(rows[0]["settings"]) == {"rank": 18}

    told = json.loads((out / "trials.json").read_text())
    assert [row["trial"] for row in told["trials"]] == [row["trial"] for row in rows]
    best = json.loads((out / "best.json").read_text())
    assert best == told["best"] == manifest.details["best"]
    assert (best["trial"], best["adapter"]) == ("rank=18", "trials/rank=18/adapter")
    assert (out / best["folder"] / "manifest.json").is_file()
    lines = (out / "trials.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:6]] == [row["trial"] for row in rows]
    assert "Best: rank=18, on 50 validation questions. The intervals of 1 other meet its own." in lines
    with Image.open(out / "trials.png") as picture:
        assert picture.width > 1000


def test_a_failed_trial_is_a_row_and_is_tried_again(questions: Path, tmp_path: Path, trials: Trials) -> None:
    wanted = plan(tmp_path, {"grid": {"rank": [4, 18, 22]}})
    trials.problems["rank=18"] = UserError("Training broke down at step 3.")
    manifest = sweep(questions, tmp_path / "out", wanted, trials)
    assert (manifest.counts.read, manifest.counts.kept, manifest.counts.dropped) == (3, 2, {"failed": 1})
    last = read_table(tmp_path / "out", "trials").to_pylist()[-1]
    assert (last["trial"], last["error"], last["exact_match"]) == ("rank=18", "Training broke down at step 3.", None)
    assert "Failed: rank=18: Training broke down at step 3." in (tmp_path / "out" / "trials.md").read_text()

    trials.problems.clear()
    trials.ran.clear()
    assert sweep(questions, tmp_path / "out", wanted, trials).details["best"]["trial"] == "rank=18"
    assert trials.ran == ["rank=18"]


def test_a_trial_without_enough_memory_fails_alone(questions: Path, tmp_path: Path, trials: Trials) -> None:
    trials.problems["rank=18"] = torch.OutOfMemoryError("CUDA out of memory.")
    manifest = sweep(questions, tmp_path / "out", plan(tmp_path, {"grid": {"rank": [18, 22]}}), trials)
    assert manifest.details["errors"] == {
        "rank=18": "Not enough memory for a step: give a smaller batch_size (and more accumulation)."
    }
    trials.problems["rank=18"] = RuntimeError("a fault of ours")
    with pytest.raises(RuntimeError, match="a fault of ours"):
        sweep(questions, tmp_path / "out", plan(tmp_path, {"grid": {"rank": [18, 22]}}), trials)


def test_a_trial_leaves_nothing_in_memory(questions: Path, tmp_path: Path, trials: Trials) -> None:
    class Model:
        """Refers to itself, so that counting references does not end it."""

        def __init__(self) -> None:
            self.own = self

    left: list[weakref.ref[Model]] = []

    def train_trial(folder: Path, config: TrainConfig, features: Path) -> Manifest:
        assert [model() for model in left] == [None] * len(left)
        left.append(weakref.ref(Model()))
        return trials(folder, config, features)

    gc.disable()
    try:
        sweep(questions, tmp_path / "out", plan(tmp_path, {"grid": {"rank": [4, 18, 22]}}), train_trial)
    finally:
        gc.enable()
    assert len(left) == 3


def test_more_values_add_trials_and_keep_those_there(questions: Path, tmp_path: Path, trials: Trials) -> None:
    sweep(questions, tmp_path / "out", plan(tmp_path, {"grid": {"rank": [4, 18]}}), trials)
    trials.ran.clear()
    manifest = sweep(questions, tmp_path / "out", plan(tmp_path, {"grid": {"rank": [4, 18, 20]}}), trials)
    assert trials.ran == ["rank=20"]
    assert manifest.details["best"]["trial"] == "rank=20"


def test_no_trial_that_came_to_an_end_is_told(questions: Path, tmp_path: Path, trials: Trials) -> None:
    trials.problems = {f"rank={rank}": UserError(f"rank {rank} is bad") for rank in (4, 18)}
    with pytest.raises(UserError, match=r"None of the 2 trials came to an end .*: rank 4 is bad"):
        sweep(questions, tmp_path / "out", plan(tmp_path, {"grid": {"rank": [4, 18]}}), trials)
    assert len(read_table(tmp_path / "out", "trials")) == 2
    assert not (tmp_path / "out" / "best.json").exists()


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), StorageError("No space left while writing.")])
def test_what_stops_a_sweep_leaves_its_trials(
    questions: Path, tmp_path: Path, trials: Trials, problem: BaseException
) -> None:
    wanted = plan(tmp_path, {"grid": {"rank": [4, 18, 22]}})
    trials.problems["rank=18"] = problem
    with pytest.raises(type(problem)):
        sweep(questions, tmp_path / "out", wanted, trials)
    assert trials.ran == ["rank=4", "rank=18"]
    trials.problems.clear()
    assert sweep(questions, tmp_path / "out", wanted, trials).counts.kept == 3
    assert trials.ran == ["rank=4", "rank=18", "rank=18", "rank=22"]


def test_settings_out_of_range_are_told_before_any_trial(questions: Path, tmp_path: Path, trials: Trials) -> None:
    with pytest.raises(ConfigError, match=r"trial 'rank=0': train.rank is 0: expected a number above 0"):
        sweep(questions, tmp_path / "out", plan(tmp_path, {"grid": {"rank": [4, 0]}}), trials)
    pytest.importorskip("optuna")
    space = {"n_trials": 2, "fields": {"dropout": {"low": 0.0, "high": 1.0}}}
    with pytest.raises(ConfigError, match=r"dropout is 1.0: expected a share"):
        sweep(questions, tmp_path / "out", plan(tmp_path, {"optuna": space}), trials)
    assert trials.ran == []


def test_several_processes_are_refused(
    questions: Path, tmp_path: Path, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError, match="in one process"):
        sweep(questions, tmp_path / "out", plan(tmp_path, {"grid": {"rank": [4]}}), trials)


def test_what_is_planned_names_steps_and_what_is_done(questions: Path, tmp_path: Path, model: str) -> None:
    content = {"settings": {"preset": "lora", "epochs": 2}, "grid": {"batch_size": [8, 32], "max_steps": [None, 3]}}
    wanted = plan(tmp_path, content, {"model": model})
    found = planned_trials(questions, tmp_path / "out", wanted)
    assert [(one.steps, one.state) for one in found] == [(8, "to do"), (3, "to do"), (2, "to do"), (2, "to do")]
    assert found[1].settings == {"batch_size": 8, "max_steps": 3}


def test_what_is_done_on_other_questions_is_to_do(questions: Path, tmp_path: Path, trials: Trials) -> None:
    wanted = plan(tmp_path, {"grid": {"rank": [4]}})
    sweep(questions, tmp_path / "out", wanted, trials)
    others = questions_artifact(tmp_path / "others", products=12)
    states = [planned_trials(some, tmp_path / "out", wanted)[0].state for some in (questions, others)]
    assert states == ["done", "to do"]


SPACE = {"n_trials": 6, "n_startup_trials": 2, "fields": {"rank": {"low": 1, "high": 200, "log": True}}}


class TestSearch:
    @pytest.fixture(autouse=True)
    def _optuna(self) -> None:
        pytest.importorskip("optuna")

    def rows(self, out: Path) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = read_table(out, "trials").to_pylist()
        return rows

    def test_a_search_that_was_broken_off_ends_like_an_unbroken_one(
        self, questions: Path, tmp_path: Path, trials: Trials
    ) -> None:
        wanted = plan(tmp_path, {"optuna": SPACE})
        sweep(questions, tmp_path / "whole", wanted, trials)
        order = list(trials.ran)
        trials.ran.clear()
        for stopped in order[1:]:
            trials.problems = {stopped: KeyboardInterrupt()}
            with pytest.raises(KeyboardInterrupt):
                sweep(questions, tmp_path / "broken", wanted, trials)
        trials.problems = {}
        sweep(questions, tmp_path / "broken", wanted, trials)
        assert trials.ran == [order[0], *(name for name in order[1:] for _ in range(2))]
        assert self.rows(tmp_path / "broken") == self.rows(tmp_path / "whole")

    def test_it_goes_on_for_longer_where_more_trials_are_asked_for(
        self, questions: Path, tmp_path: Path, trials: Trials
    ) -> None:
        sweep(questions, tmp_path / "out", plan(tmp_path, {"optuna": SPACE | {"n_trials": 3}}), trials)
        assert len(trials.ran) == 3
        wanted = plan(tmp_path, {"optuna": SPACE})
        assert [one.state for one in planned_trials(questions, tmp_path / "out", wanted)] == ["done"] * 3
        fewer = plan(tmp_path, {"optuna": SPACE | {"n_trials": 2}})
        assert len(planned_trials(questions, tmp_path / "out", fewer)) == 2
        sweep(questions, tmp_path / "out", wanted, trials)
        assert len(trials.ran) == len(set(trials.ran)) == 6
        whole = Trials(questions)
        sweep(questions, tmp_path / "whole", wanted, whole)
        assert whole.ran == trials.ran


def train_arguments(questions: Path, out: Path, model: str, file: str, *more: object) -> tuple[object, ...]:
    return ("train", questions, "--model", model, "--sweep", file, "--device", "cpu", "--out", out, *more)


def test_a_grid_goes_on_after_a_kill_and_ends_the_same(
    questions: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plan(tmp_path, GRID)
    file = str(tmp_path / "own.yaml")
    assert shelfqa(*train_arguments(questions, tmp_path / "whole", model, file)) == 0
    printed = capfd.readouterr().out
    assert f"Best adapter: {tmp_path / 'whole' / 'trials'}" in printed
    assert all(name in printed for name in NAMES)

    plain, calls = MiniVqa.loss, [0]

    def dying(self: MiniVqa, *arguments: Any, **more: Any) -> Any:
        calls[0] += any((tmp_path / "killed" / "trials" / NAMES[1] / ".work").glob("*.pt"))
        if calls[0] == 6:  # steps after the first checkpoint
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(MiniVqa, "loss", dying)
        child = forked(*train_arguments(questions, tmp_path / "killed", model, file))
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    folders = [tmp_path / "killed" / "trials" / name for name in NAMES]
    assert [(folder / "manifest.json").exists() for folder in folders] == [True, False, False, False]
    assert (folders[1] / ".work").is_dir()
    made = (folders[0] / "manifest.json").stat().st_mtime_ns
    capfd.readouterr()
    assert shelfqa(*train_arguments(questions, tmp_path / "killed", model, file, "--dry-run")) == 0
    listed = capfd.readouterr().out.splitlines()
    assert [line.split()[:3] for line in listed[1:5]] == [
        [name, "8", state] for name, state in zip(NAMES, ("done", "begun", "to", "to"), strict=True)
    ]
    assert listed[5] == "4 trials, 3 to run, about 24 steps"

    assert shelfqa(*train_arguments(questions, tmp_path / "killed", model, file)) == 0
    assert (folders[0] / "manifest.json").stat().st_mtime_ns == made
    for name in NAMES:
        one, other = (tmp_path / run / "trials" / name / "adapter" / "adapter_model.safetensors" for run in
                      ("whole", "killed"))  # fmt: skip
        assert one.read_bytes() == other.read_bytes()
    alone = TrainConfig(model=model, rank=4, targets=["connector", "language"], **SETTINGS)
    train(questions, tmp_path / "alone", alone, device="cpu")
    assert (tmp_path / "alone" / "adapter" / "adapter_model.safetensors").read_bytes() == one.read_bytes()
    tables = [read_table(tmp_path / run, "trials").drop_columns(["seconds"]) for run in ("whole", "killed")]
    assert tables[0].equals(tables[1])


def test_a_wrong_target_fails_its_trial_alone(
    questions: Path, model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = [{"name": "good", "targets": ["language"]}, {"name": "bad", "targets": ["langage"]}]
    plan(tmp_path, {"settings": SETTINGS, "trials": listed})
    file = str(tmp_path / "own.yaml")
    assert shelfqa(*train_arguments(questions, tmp_path / "out", model, file, "--max-steps", 2, "--json")) == 0
    told = json.loads(capfd.readouterr().out)
    assert [row["trial"] for row in told["trials"]] == ["good", "bad"]
    assert "Did you mean 'language'" in told["trials"][1]["error"]
    assert told["trials"][0]["steps"] == 2
    manifest = read_manifest(tmp_path / "out" / "trials" / "good")
    assert manifest is not None
    assert manifest.config["learning_rate"] == 0.01


def test_pictures_are_encoded_once_for_all_trials(
    questions: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, encoded = MiniVqa.encode, [0]

    def counted(self: MiniVqa, pictures: Any) -> Any:
        encoded[0] += len(pictures)
        return plain(self, pictures)

    monkeypatch.setattr(MiniVqa, "encode", counted)
    plan(tmp_path, {"settings": SETTINGS | {"max_steps": 1}, "grid": {"rank": [2, 3, 4]}})
    arguments = train_arguments(questions, tmp_path / "out", model, str(tmp_path / "own.yaml"), "--no-trial-steps")
    assert shelfqa(*arguments) == 0
    pictures = 20  # of 24 products, 4 are for testing
    assert pictures <= encoded[0] < 2 * pictures
    assert not (tmp_path / "out" / ".work").exists()


def test_the_targets_of_the_table_are_modules_of_blip(tmp_path: Path) -> None:
    module = load_model(str(blip_checkpoint(tmp_path / "blip")), device="cpu").module
    layers = [name for name, part in module.named_modules() if isinstance(part, torch.nn.Linear)]
    found = {}
    for point in read_sweep("blip-lora-table").points:
        targets = point.values["targets"]
        per_target = {target: [name for name in layers if f".{target}." in f".{name}."] for target in targets}
        assert all(per_target.values()), per_target
        found[point.labels["targets"]] = {name for names in per_target.values() for name in names}
    assert found["query-value"] < found["query-key-value"]
    assert found["query-value"] < found["query-value-out"] < found["query-value-dense"]
