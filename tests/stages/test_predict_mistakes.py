"""What cannot be done ends in one line that says what to do, through the command line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file

from predicting import shelfqa, table
from shelfqa.models.adapters.blip import BlipVqa
from tiny_models import COLOURS, blip_checkpoint, mini_checkpoint, picture
from tiny_pretrained import clip_checkpoint, vilt_checkpoint


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Told:
    """Runs `predict` in a folder with one picture and returns the line that it ends with."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        picture(COLOURS["red"]).save(folder / "red.png")
        self._where = [
            "--questions",
            table(folder, [("red.png", "what?")]),
            "--images",
            folder,
            "--out",
            folder / "out",
        ]

    def __call__(self, *options: object) -> str:
        self._capsys.readouterr()
        assert shelfqa("predict", *self._where, "--device", "cpu", *options) == 2
        said = self._capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("shelfqa: error: ")
        assert said.err.count("\n") == 1
        return said.err.strip()


@pytest.fixture
def told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(tmp_path, capsys)


@pytest.fixture
def blip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    return blip_checkpoint(tmp_path / "blip")


@pytest.mark.parametrize("name", ["blip-vqa-bas", "no-such/model", "Salesforce/blip-vqa-base", "blip-vqa-base"])
def test_models_that_no_network_can_fetch(name: str, told: Told) -> None:
    said = told("--model", name)
    assert "the hub cannot be reached: check the name and the network, or use `mini`, which needs neither." in said
    assert said.endswith("Did you mean 'blip-vqa-base'?") == (name == "blip-vqa-bas")


ANSWER: Any = SimpleNamespace(headers={}, request=None)


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (RepositoryNotFoundError("404", response=ANSWER), "There is no model 'blip-vqa-bas' here or on the hub."),
        (GatedRepoError("403", response=ANSWER), "is gated: accept its terms on its hub page, then `hf auth login`."),
        (LocalEntryNotFoundError("none"), "the hub cannot be reached: check the name and the network"),
    ],
    ids=["404", "gated", "no network"],
)
def test_what_the_hub_says(cause: Exception, message: str, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import PretrainedConfig

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("x is not a local folder and is not a valid model identifier\nlisted on the hub") from cause

    monkeypatch.setattr(PretrainedConfig, "get_config_dict", refuse)
    said = told("--model", "blip-vqa-bas")
    assert message in said
    assert "gated" in said or said.endswith("Did you mean 'blip-vqa-base'?")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
    ids=["GPU", "CPU", "Python"],
)
def test_a_model_that_does_not_fit(error: Exception, blip: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr(BlipVqa, "from_pretrained", full)
    said = told("--model", blip)
    assert "does not fit into the memory of 'cpu': try --dtype bfloat16, --device cpu, or a smaller model" in said


def test_folders_that_are_no_whole_model(tmp_path: Path, blip: Path, told: Told) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no config.json, so no model. `shelfqa models` lists" in told("--model", tmp_path / "empty")
    weights = blip / "model.safetensors"
    data = weights.read_bytes()
    for length in (5, 1000, len(data) - 100):
        weights.write_bytes(data[:length])
        said = told("--model", blip)
        assert f"The weights of {str(blip)!r} are broken" in said
        assert said.endswith("fetch or write the checkpoint again.")
    weights.write_bytes(data)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        (blip / name).unlink()
    assert "its tokenizer is missing. Put the tokenizer's files beside its weights." in told("--model", blip)
    (blip / "config.json").write_text("{")
    assert "is not a valid JSON file" in told("--model", blip)


def test_pickled_weights_are_read_on_request(tmp_path: Path, blip: Path, told: Told) -> None:
    torch.save(load_file(blip / "model.safetensors"), blip / "pytorch_model.bin")
    (blip / "model.safetensors").unlink()
    assert "read what there is with --pickled-weights" in told("--model", blip)
    where = ["--questions", tmp_path / "questions.csv", "--images", tmp_path, "--out", tmp_path / "out"]
    assert shelfqa("predict", *where, "--model", blip, "--pickled-weights", "--device", "cpu") == 0


def test_code_that_comes_along_runs_on_request_only(tmp_path: Path, told: Told) -> None:
    auto_map = {"AutoConfig": "fancy.Config", "AutoModelForImageTextToText": "fancy.Model"}
    config = {"model_type": "fancy", "architectures": ["FancyModel"], "auto_map": auto_map}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "fancy.py").write_text("raise SystemExit('run')")
    assert "Its own code runs with --remote-code only." in told("--model", tmp_path)


def test_attention_and_types_that_are_not_there(
    blip: Path, told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "flash_attn" else found(name))
    said = told("--model", blip, "--attention", "flash_attention_2")
    assert said.endswith("pip install flash-attn, or give --attention sdpa.")
    assert shelfqa("predict", "--questions", tmp_path, "--out", tmp_path / "out", "--dtype", "int8") == 2
    assert "'int8' is not one of 'auto', 'float32', 'bfloat16', 'float16'" in capsys.readouterr().err
    monkeypatch.setattr("shelfqa.models.loading.resolve_device", lambda *_: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert told("--model", blip, "--dtype", "bfloat16").endswith("give --dtype float16 or float32.")


def test_answers_that_do_not_fit_the_outputs(tmp_path: Path, told: Told) -> None:
    model = vilt_checkpoint(tmp_path / "vilt", labels=None)
    (tmp_path / "two.txt").write_text("red\nblue\n")
    assert "give them with --answers FILE" in told("--model", model)
    said = told("--model", model, "--answers", tmp_path / "two.txt")
    assert "has 8 outputs and --answers FILE names 2 answers: give exactly 8" in said
    assert "no file at" in told("--model", model, "--answers", tmp_path / "gone.txt")


def test_files_and_options_that_do_not_fit_the_model(tmp_path: Path, told: Told) -> None:
    mini, clip = mini_checkpoint(tmp_path / "mini"), clip_checkpoint(tmp_path / "clip")
    assert "no file at" in told("--model", mini, "--candidates", tmp_path / "gone.txt")
    assert "Did you mean 'common'?" in told("--model", mini, "--candidates", "comon")
    (tmp_path / "examples.csv").write_text("question,answer\nwhat?,red\n")
    for model in (mini, clip):
        said = told("--model", model, "--examples", tmp_path / "examples.csv")
        assert said.endswith("takes no examples: leave out --examples.")
    assert "no file at" in told("--model", mini, "--examples", tmp_path / "gone.csv")
    assert "expected same-type, or a table" in told("--model", mini, "--examples", "sametype")
    assert told("--model", "majority", "--adapter", mini).endswith("takes no adapter: leave out --adapter.")
    assert told("--model", "openai:gpt", "--adapter", mini).endswith("takes no adapter: leave out --adapter.")


def test_hosted_names_that_nobody_serves(told: Told) -> None:
    assert told("--model", "opnai:gpt").endswith("expected PROVIDER:NAME. Did you mean 'openai'?")
    assert told("--model", "openai:").endswith("expected PROVIDER:NAME. The model's name follows it.")
