from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from hub_server import hub_server
from merging import adapter_of
from predicting import assert_same_answers, rows_of, shelfqa
from shelfqa.artifacts import StageRun, build, read_manifest
from shelfqa.errors import GateFailure, InputError, UserError
from shelfqa.models import full_tuning, lora, merging
from shelfqa.models.base import VqaModel
from shelfqa.models.dequantization import dequantize
from shelfqa.models.loading import load_model
from shelfqa.models.settings import PredictConfig
from shelfqa.stages.merge import MergeConfig, merge
from shelfqa.stages.predict import predict
from tiny_chat import qwen2_5_vl
from tiny_models import Named, blip_checkpoint, mini_checkpoint, questions_artifact
from tiny_pretrained import vilt_checkpoint

ADDED = ("green", "black", "1", "2")


class Case(NamedTuple):
    """A model, its adapter, and questions about pictures, one of which is broken."""

    base: Path
    adapter: Path
    questions: Path


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("mini")
    base = mini_checkpoint(folder / "base")
    (base / "LICENSE.txt").write_text("Do as you like.")
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    adapter = adapter_of(base, folder / "adapter", answers=ADDED)
    return Case(base, adapter, questions_artifact(folder / "data", broken=(20,)))


def merged(case: Case, out: Path, **given: Any) -> dict[str, Any]:
    config = MergeConfig(**given)
    return dict(merge(case.adapter, out, config, questions=case.questions, device="cpu").details)


def test_the_merged_checkpoint_answers_as_base_and_adapter_do(mini: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"
    details = merged(mini, out)
    parity = json.loads((out / "parity.json").read_text())
    assert parity == details["parity"] | {"differences": []}
    assert parity["passed"] is True
    assert parity["forms"] == ["adapter", "merged", "reloaded"]
    assert (parity["items"], parity["pictures"], parity["unanswered"]) == (8, 4, 2)  # the split `test`
    assert parity["tolerance"] == 1e-3
    assert {one["different"] for one in parity["distances"].values()} == {0}
    assert details["base"] == str(mini.base)
    assert details["dtype"] == "float32"
    assert (out / "LICENSE.txt").read_text() == "Do as you like."

    predict(mini.questions, tmp_path / "one", PredictConfig(model=str(mini.base)), adapter=mini.adapter, device="cpu")
    predict(mini.questions, tmp_path / "two", PredictConfig(model=str(out)), device="cpu")
    assert_same_answers(rows_of(tmp_path / "two"), rows_of(tmp_path / "one"))
    untuned = tmp_path / "untuned"
    predict(mini.questions, untuned, PredictConfig(model=str(mini.base)), device="cpu")
    assert [row["alternatives"] for row in rows_of(untuned)] != [
        row["alternatives"] for row in rows_of(tmp_path / "one")
    ]

    card = (out / "README.md").read_text()
    assert "license: mit" in card
    assert "- Exact match on validation: 0.2500 before, 0.7500 after" in card
    assert "answer 8 questions alike" in card
    assert str(mini.base) not in card

    before = read_manifest(out)
    assert merge(mini.adapter, out, MergeConfig(), questions=mini.questions, device="cpu") == before
    with pytest.raises(InputError, match="was trained on"):
        load_model(str(out), adapter=mini.adapter, device="cpu")


def scaled_after(real: Any) -> Any:
    """A merge that leaves the answer head wrong."""

    def wrong(model: VqaModel, peft_model: Any) -> None:
        real(model, peft_model)
        with torch.no_grad():
            model.module.answer_head.weight.neg_()

    return wrong


def test_another_answer_of_the_merged_weights_fails(
    mini: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    merged(mini, out)  # an earlier merge, which passed
    monkeypatch.setattr(merging, "merge", scaled_after(lora.merge))
    code = shelfqa(
        "merge", mini.adapter, "--questions", mini.questions, "--out", out, "--splits", "train", "--device", "cpu"
    )
    assert code == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "The parity gate failed" in message
    assert "of merged differ from those of adapter" in message
    assert "0-what ('what color is it?')" in message or "('how many?')" in message
    assert [file.name for file in out.iterdir()] == ["parity.json"]
    report = json.loads((out / "parity.json").read_text())
    assert report["passed"] is False
    assert report["distances"]["merged"]["different"] > 0
    first = report["differences"][0]["given"]
    assert first["adapter"]["answer"] != first["merged"]["answer"]
    with pytest.raises(InputError):
        load_model(str(out), device="cpu")


def test_another_answer_of_the_reloaded_checkpoint_fails(
    mini: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = full_tuning.save_model

    def forgetful(model: VqaModel, folder: Path, card: str) -> None:
        with torch.no_grad():
            model.module.answer_head.weight.neg_()
        real(model, folder, card)

    monkeypatch.setattr(merging, "save_model", forgetful)
    with pytest.raises(GateFailure, match=r"0 of 8 answers of merged .*, [1-8] of 8 answers of reloaded differ"):
        merged(mini, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["parity.json"]
    monkeypatch.undo()
    merged(mini, tmp_path / "out")  # nothing of the failed run is in the way, or is used again
    assert merged(mini, tmp_path / "lenient", parity_different=1.0, parity_tolerance=1.0)["parity"]["passed"] is True


def test_without_questions_the_gate_says_that_it_did_not_run(
    mini: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = merge(mini.adapter, tmp_path / "out", MergeConfig(), device="cpu").details
    assert details["parity"] == {"passed": None, "why": "no questions are given, and beside the adapter none are named"}
    assert "The parity gate did not run: no questions are given" in capsys.readouterr().err
    assert not (tmp_path / "out" / "parity.json").exists()
    assert "not measured" in (tmp_path / "out" / "README.md").read_text()
    details = merged(mini, tmp_path / "off", parity_items=0)
    assert details["parity"] == {"passed": None, "why": "it is turned off"}


def test_the_questions_of_training_are_asked_by_default(
    mini: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"

    def trained(questions: Path) -> None:
        def body(stage: StageRun) -> None:
            shutil.copytree(mini.adapter, stage.finished / "adapter")
            stage.images = mini.questions.parent / "images"
            stage.details = {"questions": str(questions)}

        build("train", run, Named(name=str(questions)), {}, body)

    trained(mini.questions)
    details = merge(run, tmp_path / "out", MergeConfig(parity_items=3), device="cpu").details
    assert details["parity"]["items"] == 3
    assert details["parity"]["pictures"] == 3
    trained(tmp_path / "gone")
    details = merge(run / "adapter", tmp_path / "other", MergeConfig(), device="cpu").details
    assert details["parity"]["passed"] is None
    assert "are gone" in details["parity"]["why"]
    (tmp_path / "empty.csv").write_text("something,else\n1,2\n")
    trained(tmp_path / "empty.csv")
    details = merge(run / "adapter", tmp_path / "third", MergeConfig(), device="cpu").details
    assert "cannot be asked again" in details["parity"]["why"]
    assert str(tmp_path) not in (tmp_path / "third" / "README.md").read_text()
    with pytest.raises(InputError, match="lacks the column 'question'"):
        merge(run, tmp_path / "fourth", MergeConfig(), questions=tmp_path / "empty.csv", device="cpu")
    trained(mini.questions)
    with pytest.raises(InputError, match="has no questions of split tset"):
        merge(run, tmp_path / "fifth", MergeConfig(splits=["tset"]), device="cpu")


def test_a_merge_that_was_broken_off_can_be_begun_again(
    mini: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    merged(mini, out)

    def killed(model: VqaModel, folder: Path, card: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(merging, "save_model", killed)
    with pytest.raises(KeyboardInterrupt):
        merged(mini, out, seed=1)
    assert not (out / "manifest.json").exists()
    monkeypatch.undo()
    assert merged(mini, out, seed=1)["parity"]["passed"] is True
    assert not (out / ".work").exists()
    load_model(str(out), device="cpu")


def test_what_cannot_be_merged_is_told(mini: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(adapter: Path, match: str, target: Path = out, **given: Any) -> None:
        with pytest.raises(InputError, match=match) as error:
            merge(adapter, target, MergeConfig(**given), device="cpu")
        assert "\n" not in str(error.value)

    other = mini_checkpoint(tmp_path / "other", seed=1)
    refused(mini.adapter, f"was trained on .*not on '{other}'", model=str(other))
    refused(tmp_path, r"holds no adapter_config\.json")
    refused(mini.base, "holds a full checkpoint, which needs no merging")
    refused(mini.adapter, "is itself what is to be merged", target=mini.base)
    refused(mini.adapter, "is itself what is to be merged", target=mini.adapter)
    refused(mini.adapter, "or lies in it", target=mini.adapter / "merged")
    refused(mini.adapter, "holds other files", target=other)
    assert (other / "config.json").exists()

    moved = tmp_path / "moved"
    shutil.copytree(mini.adapter, moved)
    for file, values in {
        "shelfqa.json": {"base_model": "/nowhere/model"},
        "adapter_config.json": {"base_model_name_or_path": None},
    }.items():
        (moved / file).write_text(json.dumps(json.loads((moved / file).read_text()) | values))
    refused(moved, "'/nowhere/model' is not here: say where it is with --model")
    (moved / "shelfqa.json").unlink()
    refused(moved, "does not name its base model")


def test_a_broken_adapter_is_not_merged(mini: Case, tmp_path: Path) -> None:
    broken = adapter_of(mini.base, tmp_path / "broken", spread=float("inf"))
    with pytest.raises(InputError, match=r"is not finite: the adapter in .* is broken"):
        merge(broken, tmp_path / "out", MergeConfig(), device="cpu")
    assert not (tmp_path / "out" / "config.json").exists()


def test_weights_of_16_bits_have_a_wider_tolerance(mini: Case, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    details = merged(mini, tmp_path / "out", dtype="bfloat16", parity_different=1.0)
    assert details["dtype"] == "bfloat16"
    assert details["parity"]["tolerance"] == 0.05
    assert details["parity"]["distances"]["reloaded"]["largest"] > details["parity"]["distances"]["merged"]["largest"]
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in weights.values() if weight.is_floating_point()} == {torch.bfloat16}


def test_by_default_weights_are_stored_as_the_base_is(tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    base = qwen2_5_vl(tmp_path / "base")
    module = AutoModelForImageTextToText.from_pretrained(base).to(torch.bfloat16)
    module.save_pretrained(base)
    adapter = adapter_of(base, tmp_path / "adapter", spread=0.02)
    questions = questions_artifact(tmp_path / "data", products=6)
    manifest = merge(adapter, tmp_path / "out", MergeConfig(parity_different=1.0), questions=questions, device="cpu")
    assert manifest.details["dtype"] == "bfloat16"
    assert manifest.details["family"] == "chat"
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights["lm_head.weight"].dtype == torch.bfloat16
    AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    AutoTokenizer.from_pretrained(tmp_path / "out")


def test_weights_that_are_stored_quantised_by_others_are_refused(mini: Case) -> None:
    model = load_model(str(mini.base), device="cpu")
    assert dequantize(model) is None
    model.module.config.quantization_config = {"quant_method": "gptq"}
    with pytest.raises(InputError, match="give the unquantised checkpoint"):
        dequantize(model)


@pytest.mark.parametrize(
    ("bits", "make", "tolerance"), [("nf4", blip_checkpoint, 1e-3), ("int8", vilt_checkpoint, 0.1)]
)
def test_quantised_weights_become_the_floats_that_they_stand_for(
    bits: str, make: Callable[[Path], Path], tolerance: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bitsandbytes")
    base = make(tmp_path / "base")
    adapter = adapter_of(base, tmp_path / "adapter", quantize=bits)
    questions = questions_artifact(tmp_path / "data", products=6)
    manifest = merge(adapter, tmp_path / "out", MergeConfig(splits=["train"]), questions=questions, device="cpu")
    assert manifest.details["dequantized"] == bits
    assert manifest.details["parity"]["passed"] is True
    assert manifest.details["parity"]["tolerance"] == tolerance
    assert f"trained on weights of {bits}" in (tmp_path / "out" / "README.md").read_text()
    assert "written as float32" in capsys.readouterr().err
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_an_adapter_does_not_fit_the_weights_that_were_rounded(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    base = vilt_checkpoint(tmp_path / "base")
    adapter = adapter_of(base, tmp_path / "adapter", quantize="nf4")
    questions = questions_artifact(tmp_path / "data", products=6)
    for quantize in ("nf4", "none"):
        note = json.loads((adapter / "shelfqa.json").read_text())
        (adapter / "shelfqa.json").write_text(json.dumps(note | {"quantize": quantize}))
        merge(adapter, tmp_path / quantize, MergeConfig(parity_items=0), device="cpu")
        asked = PredictConfig(model=str(tmp_path / quantize), splits=["train"])
        predict(questions, tmp_path / f"{quantize}-answers", asked, device="cpu")
    found = [rows_of(tmp_path / f"{quantize}-answers") for quantize in ("nf4", "none")]
    apart = [
        abs(one["alternatives"][0]["probability"] - other["alternatives"][0]["probability"])
        for one, other in zip(*found, strict=True)
    ]
    assert max(apart) > 1e-3


def test_an_adapter_of_quantised_weights_needs_them(
    mini: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(mini.adapter, adapter)
    note = json.loads((adapter / "shelfqa.json").read_text())
    (adapter / "shelfqa.json").write_text(json.dumps(note | {"quantize": "nf4"}))
    monkeypatch.setattr(merging, "hindrance", lambda device: "no bitsandbytes here.")
    with pytest.raises(UserError, match="trained on weights of nf4 and fits no others: no bitsandbytes here"):
        merge(adapter, tmp_path / "out", MergeConfig(), device="cpu")


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_what_passed_the_gate_can_be_pushed(
    mini: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ("merge", mini.adapter, "--questions", mini.questions, "--out", out, "--device", "cpu")
    pushing = ("--push-to", "me/shop", "--push-adapter-to", "me/shop-lora")
    assert shelfqa(*asked, *pushing, "--push-dry-run") == 0
    told = capsys.readouterr().err
    assert "me/shop would get" in told
    assert "  model.safetensors  " in told
    assert "me/shop-lora would get 4 files:" in told
    with hub_server(monkeypatch) as hub:
        assert shelfqa(*asked, *pushing, "--json") == 0
        pushed = json.loads(capsys.readouterr().out)["pushed"]
        assert {name: address.rpartition("/")[2] for name, address in pushed.items()} == {
            "me/shop": "shop",
            "me/shop-lora": "shop-lora",
        }
        files = hub.repositories["me/shop"]
        assert files["model.safetensors"] == (out / "model.safetensors").read_bytes()
        assert not {"manifest.json", "parity.json"} & files.keys()
        adapter = hub.repositories["me/shop-lora"]
        assert adapter["adapter_model.safetensors"] == (mini.adapter / "adapter_model.safetensors").read_bytes()
        for content in (*files.values(), *adapter.values()):
            assert str(mini.base).encode() not in content
        hub.requests.clear()
        assert shelfqa("merge", tmp_path / "nowhere", "--out", tmp_path / "new", "--push-to", "me") == 2
        assert "give OWNER/NAME" in capsys.readouterr().err
        assert hub.requests == []
    assert shelfqa(*asked, "--push-dry-run") == 2
    assert "go with --push-to" in capsys.readouterr().err
