"""Several processes answer together, as `accelerate launch` starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from predicting import assert_same_answers, forked, rows_of, shelfqa, table
from shelfqa import artifacts
from shelfqa.artifacts import StageRun, assist, write_parquet
from shelfqa.errors import UserError
from shelfqa.models import answering
from tiny_models import Named, mini_checkpoint, questions_artifact


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return mini_checkpoint(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions_artifact(tmp_path_factory.mktemp("data"), products=24)


def of_process(rank: int, processes: int = 2) -> dict[str, str]:
    """What `accelerate launch` tells each process."""
    return {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank)}


def part_numbers(out: Path) -> list[int]:
    return sorted(int(file.stem.split("-")[1]) for file in (out / ".work" / "parts").glob("*.parquet"))


def large_run(folder: Path, model: Path) -> list[str]:
    """The arguments for five parts of questions about four pictures."""
    images = questions_artifact(folder, products=4).parent / "images"
    file = table(folder, [(f"{number % 4}.png", f"how many {number}?") for number in range(640)])
    return ["--questions", str(file), "--images", str(images), "--model", str(model), "--device", "cpu"]


def test_each_process_answers_its_share(model: Path, tmp_path: Path) -> None:
    options = large_run(tmp_path, model)
    assert shelfqa("predict", *options, "--out", tmp_path / "one") == 0
    program = [sys.executable, "-m", "shelfqa.cli", "predict", *options, "--out", str(tmp_path / "two")]

    def start(rank: int) -> subprocess.Popen[str]:
        variables = os.environ | of_process(rank)
        return subprocess.Popen(program, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    with start(0) as first:
        while part_numbers(tmp_path / "two") != [0, 2, 4]:
            assert first.poll() is None
            assert set(part_numbers(tmp_path / "two")) <= {0, 2, 4}
            time.sleep(0.01)
        with start(1) as second:
            told = [process.communicate(timeout=60) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert told[0][0].startswith("640 read, 640 kept")
    assert told[1] == ("", "")
    assert_same_answers(rows_of(tmp_path / "two"), rows_of(tmp_path / "one"))


@pytest.mark.slow
def test_accelerate_starts_them(model: Path, tmp_path: Path) -> None:
    options = large_run(tmp_path, model)
    assert shelfqa("predict", *options, "--out", tmp_path / "one") == 0
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m"]
    program = [*launcher, "shelfqa.cli", "predict", *options, "--out", str(tmp_path / "two")]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("640 read, 640 kept") == 1
    assert_same_answers(rows_of(tmp_path / "two"), rows_of(tmp_path / "one"))


def test_when_one_dies_the_parts_of_all_are_kept(
    model: Path, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(answering, "PART_QUESTIONS", 4)
    monkeypatch.setattr(answering, "_SILENCE_S", 1.0)
    options = ["--questions", questions, "--model", model, "--device", "cpu", "--splits", "train"]
    assert shelfqa("predict", *options, "--out", tmp_path / "one") == 0
    out = tmp_path / "two"

    def die_at_the_second(path: Path, values: Any) -> None:
        if path.name == "part-000003.parquet":
            os.kill(os.getpid(), signal.SIGKILL)
        write_parquet(path, values)

    with monkeypatch.context() as patched:
        patched.setattr(answering, "write_parquet", die_at_the_second)
        second = forked("predict", *options, "--out", out, **of_process(1))
    with monkeypatch.context() as patched:
        for name, value in of_process(0).items():
            patched.setenv(name, value)
        capsys.readouterr()
        assert shelfqa("predict", *options, "--out", out) == 2
    assert os.WIFSIGNALED(os.waitpid(second, 0)[1])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "have answered nothing for 1 seconds" in said
    assert "run the same command again" in said
    assert part_numbers(out) == [0, 1, 2, 4, 6]

    children = [forked("predict", *options, "--out", out, **of_process(rank)) for rank in (1, 0)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert_same_answers(rows_of(out), rows_of(tmp_path / "one"))

    manifest = (out / "manifest.json").read_bytes()
    children = [forked("predict", *options, "--out", out, **of_process(rank)) for rank in (1, 0)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert (out / "manifest.json").read_bytes() == manifest
    assert not (out / ".work").exists()


def test_more_processes_than_parts_and_other_numbers_later(
    model: Path, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--questions", questions, "--model", model, "--device", "cpu"]
    assert shelfqa("predict", *options, "--out", tmp_path / "one") == 0
    children = [forked("predict", *options, "--out", tmp_path / "four", **of_process(rank, 4)) for rank in (3, 2, 1, 0)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    assert_same_answers(rows_of(tmp_path / "four"), rows_of(tmp_path / "one"))


def test_a_process_without_a_first_one_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def body(run: StageRun) -> None:
        raise AssertionError("there is nothing to help with")

    monkeypatch.setattr(artifacts, "_POLL_S", 0.01)
    with pytest.raises(UserError, match=r"first process has not begun to write '.*out' in 0 seconds\.$"):
        assist("predict", tmp_path / "out", Named(), {}, body, patience_s=0.05)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("rank", "processes"), [("2", "2"), ("-1", "2"), ("one", "2"), ("0", "0")])
def test_variables_that_are_no_share_are_told(
    rank: str, processes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", processes)
    assert shelfqa("predict", "--questions", tmp_path, "--out", tmp_path / "out") == 2
    assert "start with `accelerate launch`, or unset them" in capsys.readouterr().err
