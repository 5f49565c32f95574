"""What is said of the models known by name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from shelfqa.errors import InputError
from shelfqa.models.fitting import Gpu, fit
from shelfqa.models.presets import (
    BYTES_A_WEIGHT,
    FAMILIES_TOLD,
    MODEL_TYPES,
    PRESETS,
    memory_gb,
    model_type_of,
    prompt_of,
    source_of,
    training_preset_of,
)
from shelfqa.training.settings import TrainConfig, resolve

GPU = Gpu("cuda:0", "Any", 24.0, 23.0, True, "8.6")
OLD_GPU = Gpu("cuda:0", "Old", 16.0, 15.5, False, "7.5")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_complete(name: str) -> None:
    preset = PRESETS[name]
    assert preset.model_type in MODEL_TYPES
    assert preset.defaults.family in FAMILIES_TOLD
    assert preset.defaults.prompt.count("{question}") == 1
    assert preset.source in ("", "bundled") or re.fullmatch(r"[\w.-]+/[\w.-]+", preset.source)
    assert preset.licence
    assert preset.note
    assert preset.arxiv == "" if name == "mini" else re.fullmatch(r"\d{4}\.\d{5}", preset.arxiv)
    assert preset.memory_gb("float32") > preset.memory_gb("bfloat16") > preset.parameters * 2 / 1e9
    told = preset.as_dict()
    assert set(told["memory_gb"]) == set(BYTES_A_WEIGHT)
    assert json.loads(json.dumps(told)) == told
    resolve(TrainConfig(model=name), training_preset_of(name))


def test_sources_are_distinct() -> None:
    sources = [preset.source for preset in PRESETS.values()]
    assert len(sources) == len(set(sources))


def test_every_family_of_local_models_has_a_preset() -> None:
    assert {preset.defaults.family for preset in PRESETS.values()} == set(FAMILIES_TOLD) - {"hosted"}


def test_the_size_of_mini_is_that_of_its_checkpoint() -> None:
    header = Path(source_of("mini"), "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    tensors = json.loads(header[8 : 8 + length])
    weights = 0
    for name, tensor in tensors.items():
        if name != "__metadata__":
            size = 1
            for side in tensor["shape"]:
                size *= side
            weights += size
    assert weights == PRESETS["mini"].parameters


def test_memory_is_weights_and_an_allowance() -> None:
    assert memory_gb(1_000_000_000, "float32") == pytest.approx(4 * 1.2 + 0.5)
    assert memory_gb(1_000_000_000, "bfloat16") == pytest.approx(2 * 1.2 + 0.5)


def test_prompts_go_by_name_then_folder_then_type(tmp_path: Path) -> None:
    assert prompt_of("llava-1.5-7b").endswith("\nAnswer the question using a single word or phrase.")
    assert prompt_of("llava-hf/llava-1.5-7b-hf") == prompt_of("llava-1.5-7b")
    assert prompt_of("ofa-base") == "{question}"
    assert prompt_of("google/paligemma-3b-pt-224") == "answer en {question}"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blip-2"}))
    assert prompt_of(str(tmp_path)) == "Question: {question} Short answer:"
    assert prompt_of("someone/tuned", "blip") == "{question}"
    assert "{question}" in prompt_of("someone/tuned", "new_chat_model")
    assert prompt_of("someone/tuned").startswith("{question}\n")


@pytest.mark.parametrize("content", ["not JSON", "[]", '{"model_type": 3}', "{}"])
def test_a_folder_that_says_nothing_has_no_type(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert model_type_of(str(tmp_path)) is None
    assert training_preset_of(str(tmp_path)) is None


def test_weights_that_must_be_converted_say_so() -> None:
    with pytest.raises(InputError, match="shelfqa models convert"):
        source_of("vilbert")
    assert training_preset_of("vilt") == "lora"
    assert model_type_of("") is None


def test_models_go_where_they_fit() -> None:
    small, large = PRESETS["blip-vqa-base"], PRESETS["llava-1.5-13b"]
    assert fit(small, [], 8.0)[:2] == ("cpu", "float32")
    assert fit(small, [GPU], 8.0)[:2] == ("gpu", "bfloat16")
    assert fit(small, [OLD_GPU], 8.0)[:2] == ("gpu", "float32")
    assert fit(PRESETS["blip2-opt-2.7b"], [OLD_GPU], 8.0) == (
        "gpu", "float16", PRESETS["blip2-opt-2.7b"].memory_gb("float16"), "--dtype float16",
    )  # fmt: skip
    assert fit(large, [], 40.0).flags == "--dtype bfloat16"
    assert fit(large, [GPU], 80.0).flags == "--device cpu"
    assert fit(large, [GPU], 40.0).flags == "--device cpu --dtype bfloat16"
    assert fit(large, [GPU], 16.0).place == "nowhere"
    assert fit(large, [], None).place == "cpu"
