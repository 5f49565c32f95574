"""`shelfqa ask`: what it prints, how soon, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shelfqa.cli import main
from shelfqa.cli.ask import short_share
from shelfqa.models.mini import runtime
from tiny_models import blip_checkpoint, mini_checkpoint

pytest.importorskip("onnxruntime")

COLOUR, SHAPE = "What color is the mug?", "What is this product?"


@pytest.fixture
def mug(tmp_path: Path) -> Path:
    picture = Image.new("RGB", (512, 384), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((300, 120, 420, 260), outline=(200, 20, 25), width=26)
    pen.rounded_rectangle((160, 70, 350, 330), 24, fill=(200, 20, 25))
    picture.save(tmp_path / "mug.png")
    return tmp_path / "mug.png"


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run the command in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["shelfqa", "ask", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code))


def test_one_question_prints_its_answer(
    mug: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(monkeypatch, mug, COLOUR) == 0
    assert capsys.readouterr() == ("red\n", "")


def test_several_questions_have_a_line_each(
    mug: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(monkeypatch, mug, COLOUR, SHAPE, "--top-k", "2") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{COLOUR}  red, ")
    assert second.startswith(f"{SHAPE}  ")
    assert first.count(";") == second.count(";") == 1


def test_json_tells_all(mug: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(monkeypatch, mug, COLOUR, SHAPE, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["runtime"], told["photo"]) == ("mini", "onnxruntime", str(mug))
    assert 0 < told["seconds"] < 60
    first = told["answers"][0]
    assert (first["question"], first["answer"], first["unanswerable"]) == (COLOUR, "red", False)
    shares = [one["probability"] for one in first["alternatives"]]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert first["probability"] == shares[0]


def test_explain_draws_where_it_looked(
    mug: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen.png"
    assert asked(monkeypatch, mug, COLOUR, SHAPE, "What is it made of?", SHAPE, "--explain", out) == 0
    with Image.open(out) as picture:
        wide, high = picture.size
        colours = picture.convert("RGB").getcolors(1 << 24) or []
    assert wide > 2 * 560
    assert high > 2 * 420
    assert len(colours) > 1000  # photograph and heat, not a blank page
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_below_its_threshold_it_does_not_know(
    mug: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = unsure_checkpoint(tmp_path)
    assert asked(monkeypatch, mug, "red mug?", "--model", folder) == 0
    by_torch = capsys.readouterr().out
    assert by_torch.startswith("I do not know (best guess: ")
    pytest.importorskip("onnx")
    from shelfqa.models.mini.graphs import export_graphs

    export_graphs(folder)
    assert asked(monkeypatch, mug, "red mug?", "--model", folder) == 0
    assert capsys.readouterr().out == by_torch
    assert asked(monkeypatch, mug, "red mug?", "--model", folder, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runtime"] == "onnxruntime"
    assert told["answers"][0]["unanswerable"]


def unsure_checkpoint(folder: Path) -> Path:
    checkpoint = mini_checkpoint(folder / "unsure")
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    (checkpoint / "config.json").write_text(json.dumps(config | {"temperature": 9.0, "unanswerable_below": 0.9}))
    return checkpoint


def test_a_model_without_graphs_answers_by_torch(
    mug: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mini_checkpoint(tmp_path / "plain")
    assert asked(monkeypatch, mug, "red mug?", "blue?", "--model", folder, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runtime"] == "torch"
    assert [len(one["alternatives"]) for one in told["answers"]] == [3, 3]


def test_explain_draws_what_an_adapter_looks_at(mug: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mini_checkpoint(tmp_path / "plain")
    adapter = random_adapter(folder, tmp_path / "adapter")
    pictures = []
    for options in ([], ["--adapter", str(adapter)]):
        out = tmp_path / "seen.png"
        assert asked(monkeypatch, mug, "red mug?", "--model", folder, *options, "--explain", out) == 0
        with Image.open(out) as picture:
            pictures.append(np.asarray(picture.convert("RGB"))[28:448].astype(int))  # the photograph alone
    assert pictures[0].shape == pictures[1].shape
    assert np.abs(pictures[0] - pictures[1]).max() > 10


def random_adapter(checkpoint: Path, out: Path) -> Path:
    """An adapter of random weights on all of the language side and the connector."""
    import torch

    from shelfqa.models.loading import load_model
    from shelfqa.models.lora import LoraSettings, attach, save_adapter

    model = load_model(str(checkpoint), device="cpu")
    settings = LoraSettings(rank=4, alpha=8, dropout=0.0, targets=("connector", "language"), full=())
    adapter = attach(model, settings)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in adapter.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    save_adapter(model, adapter, out, "made by a test")
    return out


def test_a_model_that_does_not_tell_where_it_looks_is_named(
    mug: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = blip_checkpoint(tmp_path / "blip"), tmp_path / "seen.png"
    assert asked(monkeypatch, mug, "red?", "--model", folder, "--explain", out) == 2
    said = capsys.readouterr().err.splitlines()
    assert "does not tell where it looks" in said[-1]
    assert "--model mini" in said[-1]
    assert not out.exists()


def test_without_onnxruntime_torch_answers_and_without_both_a_command_helps(
    mug: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "_PACKAGES", ("a_runtime_that_is_not_there",))
    assert asked(monkeypatch, mug, COLOUR, "--json", "--explain", tmp_path / "seen.png") == 0
    assert (tmp_path / "seen.png").stat().st_size > 1000
    told = json.loads(capsys.readouterr().out)
    assert (told["runtime"], told["answers"][0]["answer"]) == ("torch", "red")
    monkeypatch.setattr("shelfqa.cli.ask._TORCH_PACKAGES", ("torch_that_is_not_there",))
    assert asked(monkeypatch, mug, COLOUR) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png", "What?"], "no file at 'nowhere.png'"),
        (["PAGE", "What?"], "is no picture"),
        (["BROKEN", "What?"], "cannot be used"),
        (["MUG", " "], "empty question"),
        (["MUG"], "Missing argument 'QUESTIONS"),
        (["MUG", "What?", "--top-k", "0"], "--top-k"),
        (["MUG", "What?", "--explain", "seen.txt"], "ends in .png"),
        (["MUG", "What?", "--explain", "nowhere/seen.png"], "no folder 'nowhere'"),
        (["MUG", "What?", "--model", "majority"], "use `shelfqa predict`"),
        (["MUG", "What?", "--model", "gemini:some"], "use `shelfqa predict`"),
        (["MUG", "What?", "--adapter", "nowhere"], "adapter"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    mug: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    (tmp_path / "broken.png").write_bytes(mug.read_bytes()[:300])
    files = {"MUG": mug, "PAGE": tmp_path / "page.jpg", "BROKEN": tmp_path / "broken.png"}
    monkeypatch.chdir(tmp_path)
    assert asked(monkeypatch, *(files.get(word, word) for word in arguments)) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert "internal error" not in said.err
    assert said.out == ""


def test_probabilities_are_short() -> None:
    assert [short_share(one) for one in (0.0, 0.214, 0.996, 1.0)] == [".00", ".21", "1.00", "1.00"]


def test_it_starts_without_torch_and_soon(mug: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from shelfqa.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n"
        "    heavy = {'torch', 'transformers', 'matplotlib', 'scipy', 'pyarrow', 'msgspec'} & set(sys.modules)\n"
        "    print(ended.code, sorted(heavy), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, "ask", str(mug), COLOUR, "--explain", str(tmp_path / "seen.png")]
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
        seconds.append(time.monotonic() - started)
        assert (done.stdout, done.stderr) == ("red\n", "0 []\n")
    assert min(seconds) < 5  # 0.5 seconds on two idle cores


def test_help_is_quick() -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "shelfqa.cli", "ask", "--help"], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - started < 3
    assert 'Example:  shelfqa ask mug.jpg "What colour is it?"' in done.stdout
