"""`shelfqa train --dry-run`: what it prints, that it writes nothing, and that runs heed the same findings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from shelfqa.artifacts import read_table, write_parquet
from shelfqa.cli import app
from shelfqa.errors import UserError
from shelfqa.stages.train import TrainConfig, dry_run, train
from tiny_models import blip_checkpoint, questions_artifact


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    return str(blip_checkpoint(tmp_path_factory.mktemp("blip")))


@pytest.fixture(scope="module")
def mini(checkpoint_folder: Path) -> str:
    return str(checkpoint_folder)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions_artifact(tmp_path_factory.mktemp("data"), broken=(2,))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an answer of 300 words and a question of 1,000."""
    folder = questions_artifact(tmp_path_factory.mktemp("faulty"))

    def edit(row: dict[str, Any]) -> dict[str, Any]:
        if row["question_id"] == "3-what":
            return row | {"answer": "blue " * 300}
        return row | {"question": "what color " * 500} if row["question_id"] == "5-what" else row

    table = read_table(folder, "questions")
    write_parquet(folder / "questions.parquet", pa.Table.from_pylist(list(map(edit, table.to_pylist())), table.schema))
    return folder


def config(model: str, **given: object) -> TrainConfig:
    return TrainConfig(model=model, **({"preset": "lora", "batch_size": 8, "epochs": 2} | given))  # type: ignore[arg-type]


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run `shelfqa train …`; return exit code and what it printed."""
    code = 0
    try:
        app(["train", *map(str, arguments)], standalone_mode=False, prog_name="shelfqa")
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr().out


def test_it_tells_what_a_run_takes_and_writes_nothing(
    mini: str, questions: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    before = {path: path.stat().st_mtime_ns for path in questions.parent.rglob("*")}
    code, told = command(capsys, questions, "--model", mini, "--preset", "lora", "--dry-run", "--device", "cpu")
    assert code == 0
    told = " ".join(told.split())
    for wanted in (
        r"questions +32 for train, 8 for validation",
        r"trained +[\d,]+ of [\d,]+ parameters \(\d+\.\d\d%\): .*head [\d,]+",
        r"memory +\d+\.\d\d GB for a step at the longest batch \(\d+ questions, \d+ tokens with padding\)",
        r"steps +5, which is 5 epochs",
        r"time +\d+ s at most: training",
        r"by heart +\d of \d pairs learned in \d+ steps",
        r"question +\d+ +\d+ +\d+",
        r"warning +pictures +Pictures that cannot be read .* Questions: 2-what, 2-how\.",
        r"note +overfit +\d pairs were learned by heart",
    ):
        assert re.search(wanted, told), wanted
    assert list(tmp_path.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in questions.parent.rglob("*")} == before


def test_json_says_the_same_in_numbers(blip: str, faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = command(
        capsys, faulty, "--model", blip, "--batch-size", 8, "--epochs", 2, "--dry-run", "--json", "--overfit-steps", 20
    )
    assert code == 1
    found = json.loads(told)
    assert found["samples"] == {"train": 32, "validation": 8}
    assert found["tokens"]["answer"]["longest"] == 301
    assert found["tokens"]["longest"] == ["5-what", "3-what", *found["tokens"]["longest"][2:]]
    assert found["duration"]["steps"] == 8
    assert found["overfit"]["steps"] <= 20
    (error,) = [finding for finding in found["findings"] if finding["level"] == "error"]
    assert (error["check"], error["question_ids"], error["count"]) == ("answers", ["3-what"], 1)
    (cut,) = [finding for finding in found["findings"] if finding["check"] == "tokens"]
    assert (cut["level"], cut["question_ids"]) == ("warning", ["5-what"])


def test_an_error_stops_a_run_before_its_first_step(
    blip: str, faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shelfqa.training.trainer import Trainer

    monkeypatch.setattr(Trainer, "run", None)
    with pytest.raises(UserError, match=r"1 answer is longer than the 19 tokens .* Questions: 3-what\.") as caught:
        train(faulty, tmp_path / "out", config(blip), device="cpu")
    assert caught.value.exit_code == 2
    assert "Warning: 1 question is longer than" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("name", ["mini", "blip"])
def test_a_run_ends_with_the_same_bytes_with_trial_steps_and_without(
    name: str, request: pytest.FixtureRequest, questions: Path, tmp_path: Path
) -> None:
    settings = config(request.getfixturevalue(name), dropout=0.1, learning_rate=0.01)
    manifests = [
        train(questions, tmp_path / name, settings, device="cpu", **given)
        for name, given in (
            ("tried", {"overfit_steps": 1}),
            ("plain", {"trial_steps": False}),
        )
    ]
    tried, plain = (manifest.details["preflight"] for manifest in manifests)
    assert tried["memory"] is not None
    assert tried["duration"]["steps"] == 8
    assert (plain["memory"], plain["duration"], plain["overfit"]) == (None, None, None)
    assert plain["tokens"] == tried["tokens"]
    for file in sorted((tmp_path / "plain" / "adapter").iterdir()):
        assert file.read_bytes() == (tmp_path / "tried" / "adapter" / file.name).read_bytes(), file.name


def test_a_run_that_goes_on_is_not_looked_at_again(
    mini: str, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shelfqa.training.trainer import Trainer

    plain: Callable[..., Any] = Trainer.run

    def broken_off(self: Trainer, *given: Any) -> None:
        plain(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "run", broken_off)
    with pytest.raises(KeyboardInterrupt):
        train(questions, tmp_path, config(mini), device="cpu")
    monkeypatch.setattr(Trainer, "run", plain)
    monkeypatch.setattr("shelfqa.training.preflight.preflight", None)
    found = train(questions, tmp_path, config(mini), device="cpu").details["preflight"]
    assert found["duration"]["steps"] == 8


def test_a_dry_run_needs_no_folder_and_a_run_does(mini: str, questions: Path) -> None:
    import click

    assert dry_run(questions, config(mini), device="cpu", overfit_steps=1).samples["train"] == 32
    with pytest.raises(click.UsageError, match="--out"):
        app(["train", str(questions), "--model", mini], standalone_mode=False)
    assert pq.read_schema(questions / "questions.parquet").names
