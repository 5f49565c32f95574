"""A whole recipe on a small drawn catalogue and a tiny random model: unbroken, and killed at random moments."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shelfqa.artifacts import read_table
from tiny_models import mini_checkpoint

RECIPE = """
seed: 3
demo_catalogue: {products: 70}
train:
  model: MODEL
  preset: mini-lora
  epochs: 2
  batch_size: 32
  checkpoint_every: 2
score: {resamples: 200}
"""
CONTENDERS = {
    "majority", "majority-per-type", "question-only", "zero-shot", "zero-shot-shuffled", "tuned", "tuned-shuffled",
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    path = folder / "small.yaml"
    path.write_text(RECIPE.replace("MODEL", str(mini_checkpoint(folder / "model"))))
    return path


def start(recipe: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "shelfqa.cli", "run", str(recipe), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def unbroken(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, float]:
    """The run's folder, what it printed, and how long it took."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    started = time.monotonic()
    process = start(recipe, out)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return out, stdout, time.monotonic() - started


def content(out: Path) -> dict[str, object]:
    """What a run made, without times."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.suffix == ".parquet":
            table = read_table(path, path.stem)
            found[name] = table.drop_columns([c for c in ("seconds",) if c in table.column_names]).to_pylist()
        elif path.suffix in (".safetensors", ".jpg", ".gz") or path.name in ("summary.json", "adapter_config.json"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.is_file() and path.name not in ("manifest.json", "index.html", "results.json"):
            found[name] = None
    return found


def test_ends_with_table_and_report(unbroken: tuple[Path, str, float]) -> None:
    out, stdout, _ = unbroken
    page = out / "report" / "index.html"
    assert stdout.rstrip().endswith(f"Report: {page}")
    assert {path.name for path in (out / "scores").iterdir()} == CONTENDERS
    assert "tuned" in stdout.lower()
    html = page.read_text(encoding="utf-8")
    assert 'src="http' not in html
    assert 'href="http' not in html
    results = json.loads((page.parent / "results.json").read_text(encoding="utf-8"))
    assert {model["name"] for model in results["models"]} >= CONTENDERS


def test_every_row_is_accounted_for(unbroken: tuple[Path, str, float]) -> None:
    out, _, _ = unbroken
    for stage in ("curated", "questions", "split"):
        counts = json.loads((out / stage / "manifest.json").read_text(encoding="utf-8"))["counts"]
        assert counts["read"] == counts["kept"] + sum(counts["dropped"].values()), stage
    audit = json.loads((out / "split" / "manifest.json").read_text(encoding="utf-8"))["details"]["leakage"]
    assert audit


def test_a_second_run_does_nothing(recipe: Path, unbroken: tuple[Path, str, float]) -> None:
    out, stdout, _ = unbroken
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    process = start(recipe, out)
    again, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert again == stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_killed_at_random_moments_ends_as_if_never_killed(
    recipe: Path, unbroken: tuple[Path, str, float], tmp_path: Path
) -> None:
    whole, _, seconds = unbroken
    out = tmp_path / "run"
    chance = random.Random(11)
    killed = 0
    for _ in range(6):
        process = start(recipe, out)
        try:
            process.communicate(timeout=chance.uniform(0.25, 0.8) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
        else:
            break
    process = start(recipe, out)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert killed >= 1
    assert content(out) == content(whole)
