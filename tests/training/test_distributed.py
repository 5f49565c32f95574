"""Two processes on this machine, by gloo: the same curve as one process at equal global batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from shelfqa.artifacts import read_manifest, read_table
from shelfqa.training.data import Sample, share_of
from tiny_models import blip_checkpoint, mini_checkpoint, questions_artifact

SCRIPT = Path(__file__).with_name("paired_run.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of finished and failed runs; `codes.json` has the exit codes of their processes."""
    folder = tmp_path_factory.mktemp("runs")
    questions, model = questions_artifact(folder / "data", broken=(2,)), blip_checkpoint(folder / "blip")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(questions), str(folder), str(model)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    codes: dict[str, list[list[int]]] = {}
    for line in done.stdout.splitlines():
        name, *numbers = line.split()
        codes.setdefault(name, []).append([int(number) for number in numbers])
    (folder / "codes.json").write_text(json.dumps(codes))
    return folder


def codes_of(runs: Path, name: str) -> Any:
    return json.loads((runs / "codes.json").read_text())[name]


def curve(runs: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(runs / name, "history").drop_columns(["seconds"]).to_pylist()
    return rows


def weights(runs: Path, name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(runs / name / "adapter" / "adapter_model.safetensors")
    return found


@pytest.mark.parametrize("name", ["ddp", "unlike", "fsdp", "broken", "shards"])
def test_the_curve_is_that_of_one_process(runs: Path, name: str) -> None:
    one, two = curve(runs, "one"), curve(runs, name)
    assert len(one) == len(two) > 8
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, abs=1e-3)
    for key, weight in weights(runs, "one").items():
        assert torch.allclose(weight, weights(runs, name)[key], atol=1e-3), key


@pytest.mark.parametrize("name", ["few-ddp", "few-fsdp"])
def test_a_process_that_has_nothing_to_do_waits_for_the_other(runs: Path, name: str) -> None:
    """Batches of one question."""
    for row, other in zip(curve(runs, "few"), curve(runs, name), strict=True):
        assert other == pytest.approx(row, abs=1e-3)


def test_only_the_first_process_writes_and_speaks(runs: Path) -> None:
    for name in ("ddp", "fsdp"):
        assert codes_of(runs, name)[0][:2] == [0, 0]
        assert (runs / f"{name}-1.txt").read_text() == ""
        manifest = read_manifest(runs / name)
        assert manifest is not None
        assert manifest.counts == read_manifest(runs / "one").counts  # type: ignore[union-attr]
        card = json.loads((runs / name / "run_card.json").read_text())
        assert (card["device"]["processes"], card["device"]["parallel"]) == (2, name)


def test_a_process_that_is_killed_stops_the_other_and_the_run_goes_on(runs: Path) -> None:
    (first, second, _), resumed = codes_of(runs, "broken")
    assert (first, second) == (2, -9)
    assert resumed[:2] == [0, 0]
    for key, weight in weights(runs, "ddp").items():
        assert torch.equal(weight, weights(runs, "broken")[key]), key


def test_shards_go_on_in_another_number_of_processes(runs: Path) -> None:
    (first, second, _), resumed = codes_of(runs, "shards")
    assert second == -9
    assert first == 2
    assert resumed[0] == 0


def test_a_fault_in_one_process_stops_all_and_is_told_once(runs: Path) -> None:
    ((first, second, seconds),) = codes_of(runs, "at-fault")
    assert (first, second) == (2, 3)
    assert seconds < 20
    assert "Process 1 of 2 stopped. RuntimeError: a fault of ours" in (runs / "at-fault-0.txt").read_text()
    ((first, second, seconds),) = codes_of(runs, "mistaken")
    assert (first, second) == (2, 2)
    assert seconds < 20
    assert "Process 1 of 2 stopped. picture 7 is gone." in (runs / "mistaken-0.txt").read_text()
    assert (runs / "mistaken-1.txt").read_text() == ""


LAUNCHERS = {
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"],
    "torchrun": ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29417"],
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_launchers_start_them(launcher: str, tmp_path: Path) -> None:
    questions, model = questions_artifact(tmp_path / "data"), mini_checkpoint(tmp_path / "mini")
    options = ["--model", str(model), "--max-steps", "3", "--device", "cpu", "--out", str(tmp_path / "out")]
    program = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "shelfqa.cli", "train", str(questions), *options]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("40 read, 40 kept") == 1
    assert json.loads((tmp_path / "out" / "run_card.json").read_text())["device"]["processes"] == 2


SAMPLES = [Sample(f"{image}-{n}", "what?", "red", image) for image in range(6) for n in range(1 + image % 3)]


@pytest.mark.parametrize("number", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("batches", [1, 2, 4])
def test_shares_are_all_of_a_step_and_about_equal(number: int, batches: int) -> None:
    step = [list(range(start, len(SAMPLES), batches)) for start in range(batches)]
    shares = [share_of(SAMPLES, step, rank=rank, number=number) for rank in range(number)]
    assert sorted(row for share in shares for part in share for row in part) == list(range(len(SAMPLES)))
    assert all(part for share in shares for part in share)
    assert max(map(len, shares)) == len(shares[0])
    if batches % number == 0:
        assert sorted(map(len, shares)) == [batches // number] * number


def test_a_picture_stays_in_one_process_where_it_can() -> None:
    samples = [Sample(f"{image}-{n}", "what?", "red", image) for image in range(3) for n in range(4)]
    shares = [share_of(samples, [list(range(12))], rank=rank, number=3) for rank in range(3)]
    assert [{samples[row].image for part in share for row in part} for share in shares] == [{0}, {1}, {2}]
    shares = [share_of(samples[:4], [list(range(4))], rank=rank, number=2) for rank in range(2)]
    assert [len(part) for share in shares for part in share] == [2, 2]
