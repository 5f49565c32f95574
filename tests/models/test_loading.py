from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from shelfqa.errors import InputError, UserError
from shelfqa.models import loading
from shelfqa.models.base import Loading, VqaModel
from shelfqa.models.fitting import weights_gb
from shelfqa.models.loading import FAMILIES, load_model, resolve_device, weights_fingerprint
from shelfqa.models.presets import source_of, training_preset_of
from tiny_models import blip_checkpoint


def test_every_family_loads() -> None:
    for name in FAMILIES:
        assert issubclass(FAMILIES.load(name), VqaModel)


def test_presets_need_no_torch() -> None:
    names = ("models.presets", "models.replies", "models.ocr", "stages.train", "stages.predict")
    code = f"import sys, {', '.join(f'shelfqa.{name}' for name in names)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_presets_name_their_training() -> None:
    assert source_of("blip-vqa-base") == "Salesforce/blip-vqa-base"
    assert training_preset_of("Salesforce/blip-vqa-base") == "blip-lora-r16"
    assert training_preset_of("mini") == "mini-lora"
    assert training_preset_of("somewhere/else") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-owner/no-such-model", "neither a folder here nor in the cache"),
        ("blip-vqa-base", "hub cannot be reached"),
        ("what is this/", "no-such|what is this"),
    ],
)
def test_what_cannot_be_had_is_one_line(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=message) as caught:
        load_model(name, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_vqa_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json"):
        load_model(str(tmp_path), device="cpu")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="It is an adapter"):
        load_model(str(tmp_path), device="cpu")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    with pytest.raises(InputError, match=r"BertModel.*no visual question answering model"):
        load_model(str(tmp_path), device="cpu")
    config = {"model_type": "blip", "architectures": ["BlipForConditionalGeneration"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="no visual question answering model"):
        load_model(str(tmp_path), device="cpu")


def test_other_weight_formats_are_refused(tmp_path: Path) -> None:
    blip_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        load_model(str(tmp_path), device="cpu")


def test_missing_extras_name_the_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    with pytest.raises(UserError, match=r"pip install 'shelfqa\[models\]'"):
        loading.require_extras()


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="Unknown device 'cpuu'"):
        resolve_device("cpuu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no usable 'cuda'"):
            resolve_device("cuda")


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="no GPU 9: give cuda:0 to cuda:1"):
        resolve_device("cuda:9")


def test_the_fingerprint_tells_weights_and_ignores_their_type() -> None:
    torch.manual_seed(0)
    one, other = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
    assert weights_fingerprint(one) != weights_fingerprint(other)
    assert weights_fingerprint(one) == weights_fingerprint(one.to(torch.bfloat16))


def test_weights_that_cannot_fit_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blip_checkpoint(tmp_path)
    file = tmp_path / "model.safetensors"
    assert weights_gb(str(tmp_path), 4) == pytest.approx(file.stat().st_size / 1e9)
    assert weights_gb(str(tmp_path), 2) == pytest.approx(file.stat().st_size / 2e9)
    assert weights_gb("no-such-owner/no-such-model", 4) is None
    monkeypatch.setattr(loading, "available_memory_mb", lambda: 0)
    with pytest.raises(UserError, match=r"does not fit into the memory of 'cpu': try --dtype bfloat16"):
        load_model(str(tmp_path), device="cpu")
    monkeypatch.setattr(loading, "available_memory_mb", lambda: None)
    assert load_model(str(tmp_path), device="cpu").name == str(tmp_path)


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"split_images": False}, "--split-images"),
        ({"regions": "microsoft/resnet-50"}, "--regions"),
        ({"answers": ("red", "blue")}, "--answers"),
    ],
)
def test_options_that_a_model_has_no_place_for_are_refused(options: dict[str, Any], flag: str, tmp_path: Path) -> None:
    blip_checkpoint(tmp_path)
    with pytest.raises(UserError, match=f"has no place for {flag}: leave it out"):
        load_model(str(tmp_path), device="cpu", loading=Loading(**options))
    with pytest.raises(UserError, match="has no place for --image-side-px"):
        load_model("mini", device="cpu", loading=Loading(image_side_px=320))
