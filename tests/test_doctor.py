"""`shelfqa doctor` and `shelfqa models`: what a person and a program can read."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from shelfqa import hub
from shelfqa.cli import doctor as doctor_module
from shelfqa.cli import doctor_view, model_table
from shelfqa.cli.doctor import diagnose, doctor
from shelfqa.cli.doctor_view import print_report
from shelfqa.cli.models import models
from shelfqa.models import fitting
from shelfqa.models.fitting import Gpu
from shelfqa.models.presets import PRESETS

SECRET = "sk-this-must-not-show"


def said(*arguments: str) -> str:
    result = CliRunner().invoke(doctor, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def shown(report: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, width: int, terminal: bool = False) -> str:
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, force_terminal=terminal, markup=False, highlight=False)
    monkeypatch.setattr(doctor_view, "screen", lambda: console)
    print_report(report)
    return buffer.getvalue()


def test_it_says_what_the_machine_can_run() -> None:
    told = said("--no-network")
    for words in ("processors", "memory", "disk", "GPU", "extras", "model hub", "mini", "bundled", "Ready now: mini"):
        assert words in told
    assert "\x1b" not in told
    assert "check failed" not in told


def test_json_has_every_model_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    told = said("--no-network", "--json")
    report = json.loads(told)
    assert SECRET not in told
    assert report["keys"]["openai"]["set"] == "OPENAI_API_KEY"
    assert report["hub"]["token"] is True
    assert report["hub"]["reachable"] is None
    assert [model["name"] for model in report["models"]] == list(PRESETS)
    assert report["failed"] == {}
    assert SECRET not in said("--no-network")


def test_a_check_that_fails_is_a_line_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("driver\nmismatch")

    for check in ("_machine", "_packages", "_extras", "_optional", "_keys", "_disk", "_gpus"):
        monkeypatch.setattr(doctor_module, check, lambda *_: broken())
    monkeypatch.setattr(doctor_module, "_hub", lambda network: broken())
    told = said("--no-network")
    assert "check failed: gpus (RuntimeError: driver mismatch)" in told
    assert "mini" in told
    monkeypatch.setattr(doctor_module, "_models", lambda report: broken())
    assert "could not be found out" in said("--no-network")


def test_a_gpu_is_named_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "gpus", lambda: [Gpu("cuda:0", "NVIDIA Test", 24.0, 23.5, True, "8.9")])
    report = diagnose(network=False)
    where = {model["name"]: model for model in report["models"]}
    assert where["llava-1.5-7b"]["runs_on"] == "gpu"
    assert where["llava-1.5-7b"]["dtype"] == "bfloat16"
    assert where["llava-1.5-13b"]["runs_on"] != "gpu"
    told = shown(report, monkeypatch, width=100)
    assert "cuda:0 NVIDIA Test, 24.0 GB, 23.5 GB free, compute capability 8.9, bfloat16" in told


def test_missing_extras_come_with_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    report = diagnose(network=False)
    lacking = {"missing": ["torch", "peft"], "install": "pip install 'shelfqa[models]'"}
    report["extras"] = report["extras"] | {"models": lacking}
    for model in report["models"]:
        model["extra_installed"] = False
    report["packages"] = dict.fromkeys(report["packages"])
    report["hub"] = {}
    told = shown(report, monkeypatch, width=100)
    assert "models lacks torch, peft: pip install 'shelfqa[models]'" in told
    assert "No model runs before the extra is installed: pip install 'shelfqa[models]'" in told
    assert "unknown without torch" in told


@pytest.mark.parametrize("width", [80, 100])
def test_it_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(diagnose(network=False), monkeypatch, width=width, terminal=True)
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in told.splitlines()]
    assert max(map(len, lines)) <= width
    assert all(any(name in line for line in lines) for name in PRESETS)


def test_a_hub_that_is_silent_or_offline_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert hub.hub_state(ask=True)[3:] == (None, "")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    class Api:
        def model_info(self, *_: object, **__: object) -> None:
            raise TimeoutError

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert hub.hub_state(ask=True)[3:] == (False, "TimeoutError")
    Api.model_info = lambda *_, **__: None  # type: ignore[method-assign]
    assert hub.hub_state(ask=True)[3:] == (True, "")
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    monkeypatch.setattr(threading.Thread, "join", lambda self, timeout: None)
    assert hub.hub_state(ask=True)[3:] == (False, "no answer in 2 s")


def test_a_model_is_cached_when_all_of_its_weights_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    found: dict[str, object] = {}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda source, name: found.get(source))
    assert not hub.in_cache("some/model")
    config = tmp_path / "config.json"
    found["some/model"] = str(config)
    assert not hub.in_cache("some/model")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model-1.safetensors").touch()
    assert not hub.in_cache("some/model")
    (tmp_path / "model-2.safetensors").touch()
    assert hub.in_cache("some/model")
    (tmp_path / "model.safetensors.index.json").write_text("broken")
    assert not hub.in_cache("some/model")
    (tmp_path / "pytorch_model.bin").touch()
    assert hub.in_cache("some/model")


def test_it_runs_where_no_model_can(tmp_path: Path) -> None:
    """Without torch and the hub's client, without a network, in a folder of its own."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as metadata\n"
        "from importlib.machinery import PathFinder\n"
        "find, version = PathFinder.find_spec, metadata.version\n"
        "absent = ('torch', 'transformers', 'peft', 'accelerate', 'huggingface_hub')\n"
        "def found(name, path=None, target=None):\n"
        "    return None if name.partition('.')[0] in absent else find(name, path, target)\n"
        "def told(name):\n"
        "    if name in absent:\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return version(name)\n"
        "PathFinder.find_spec, metadata.version = found, told\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "shelfqa.cli", "doctor"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "check failed" not in result.stdout
    assert "pip install 'shelfqa[models]'" in result.stdout
    assert "unknown without huggingface_hub" in result.stdout


def test_models_are_listed_by_family(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(models, [])
    assert result.exit_code == 0
    assert all(name in result.output for name in PRESETS)
    assert "gated" in result.output
    assert "\x1b" not in result.output
    told = json.loads(CliRunner().invoke(models, ["--json"]).output)
    assert set(told) == set(PRESETS)
    assert told["blip-vqa-base"]["memory_gb"]["float32"] == pytest.approx(2.35, abs=0.01)
    assert told["paligemma-3b-pt-224"]["gated"] is True
    buffer = io.StringIO()
    monkeypatch.setattr(model_table, "screen", lambda: Console(file=buffer, width=100, markup=False, highlight=False))
    model_table.print_presets(PRESETS)
    assert max(map(len, buffer.getvalue().splitlines())) <= 100
