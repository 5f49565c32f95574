from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shelfqa(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shelfqa.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )


def test_help_is_quick_and_lists_every_command() -> None:
    from shelfqa.cli import _COMMANDS

    seconds = []
    for _ in range(3):
        started = time.monotonic()
        result = shelfqa("--help")
        seconds.append(time.monotonic() - started)
    assert result.returncode == 0
    assert all(name in result.stdout for name in _COMMANDS)
    assert min(seconds) < 0.5


def test_every_command_has_help_with_an_example() -> None:
    from shelfqa.cli import _COMMANDS

    for name in _COMMANDS:
        result = shelfqa(name, "--help")
        assert result.returncode == 0, result.stderr
        assert "Usage: shelfqa" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["traim"], "Did you mean 'train'?"),
        (["curate", "nowhere", "--out", "OUT"], "nowhere"),
        (["curate", "--out", "OUT"], "Missing argument"),
        (["run", "nowhere.yaml"], "No file at 'nowhere.yaml'"),
        (["curate", ".", "--out", "OUT", "--preset", "product"], "Did you mean 'products'?"),
        (["curate", ".", "--out", "OUT", "--steps", "{step: cup, per_type: 3}"], "Did you mean 'cap'?"),
        (["curate", ".", "--out", "OUT", "--steps", "{step: cap, per_typ: 3}"], "Did you mean 'per_type'?"),
        (["curate", ".", "--out", "OUT", "--steps", "{step: cap, per_type: x}"], "steps[0].per_type: expected `int`"),
        (["curate", ".", "--out", "OUT", "--steps", "{step: cap"], "expected YAML"),
        (["curate", ".", "--out", "OUT", "--steps", "cap"], "steps[0]: expected `object`, got `str`"),
        (["curate", ".", "--out", "OUT", "--steps", "{step: required-fields, fields: [nam]}"], "Did you mean 'name'?"),
        (["split", "nowhere", "--out", "OUT"], "nowhere"),
        (["predict", "--questions", "nowhere", "--out", "OUT"], "nowhere"),
        (["score", "nowhere.csv", "--out", "OUT"], "nowhere.csv"),
        (["report", "nowhere", "--out", "OUT"], "nowhere"),
        (["run", "recipes/demo.yaml", "--set", "train.epoch=3"], "Did you mean 'epochs'?"),
        (["run", "recipes/demo.yaml", "--set", "train.epochs=many"], "train.epochs: expected `int"),
    ],
)
def test_mistakes_are_one_line_without_traceback(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = shelfqa(*[str(tmp_path / "out") if word == "OUT" else word for word in arguments])
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr


def test_the_light_base_needs_no_torch(tmp_path: Path) -> None:
    """Curation, questions, split, blind baselines and scores run where torch and transformers cannot be imported."""
    (tmp_path / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "def found(name, path=None, target=None):\n"
        "    absent = name.partition('.')[0] in ('torch', 'transformers', 'peft', 'accelerate')\n"
        "    return None if absent else find(name, path, target)\n"
        "PathFinder.find_spec = found\n"
    )
    steps = [
        ["demo-catalogue", "--products", "60", "--out", "catalogue"],
        ["curate", "catalogue", "--out", "curated"],
        ["generate", "curated", "--out", "questions"],
        ["split", "questions", "--out", "split"],
        ["predict", "--model", "majority", "--questions", "split", "--out", "predictions"],
        ["score", "predictions", "--out", "scores"],
        ["report", "scores", "--out", "report"],
        ["models"],
        ["metrics"],
    ]
    for step in steps:
        result = shelfqa(*step, cwd=tmp_path, PYTHONPATH=str(tmp_path))
        assert result.returncode == 0, (step, result.stderr)
    assert (tmp_path / "report" / "index.html").exists()
    result = shelfqa("predict", "--questions", "split", "--out", "p2", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    assert "shelfqa[models]" in result.stderr


def test_steps_are_given_one_by_one(tmp_path: Path) -> None:
    rows = "".join(f"{number},{number}.png,mug\n" for number in range(5))
    (tmp_path / "shop.csv").write_text(f"sku,image,category\n{rows}")
    steps = ["--steps", "{step: one-per-image}", "--steps", "{step: cap, per_type: 3}"]
    result = shelfqa("curate", "shop.csv", "--out", "out", "--check-images", "none", *steps, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "5 read, 3 kept (dropped: over-cap 2)" in result.stdout


def test_every_option_of_predict_stands_in_one_section_of_its_help() -> None:
    from shelfqa.cli.models import _PREDICT_SECTIONS, predict

    named = [name for names in _PREDICT_SECTIONS.values() for name in names]
    assert sorted(named) == sorted(str(param.name) for param in predict.params)
