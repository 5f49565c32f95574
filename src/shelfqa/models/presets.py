"""Models that shelfqa knows by name, and what suits each `model_type`; other hub names and folders work too.

Importing this module imports no torch. Sizes are counted from the published configurations, or stated by the
authors (OFA); GB are 10^9 bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from shelfqa.errors import InputError

Family = Literal["seq2seq", "chat", "classifier", "dual-encoder", "hosted"]
DType = Literal["float32", "bfloat16", "float16"]

FAMILIES_TOLD: Mapping[Family, str] = {
    "classifier": "chooses from a fixed list of answers, which training extends",
    "seq2seq": "writes a short answer; made for visual question answering",
    "chat": "follows instructions in words; most need a GPU",
    "dual-encoder": "scores each answer of a list that the questions bring",
    "hosted": "runs elsewhere, behind an API",
}
"""Each family in a few words, in the order in which tables show them."""

BYTES_A_WEIGHT: Mapping[DType, int] = {"float32": 4, "bfloat16": 2, "float16": 2}

OVERHEAD_SHARE = 0.2
OVERHEAD_GB = 0.5
"""What running takes beside the weights: this share of them for activations and caches of small batches, and this
much for the runtime. An allowance, not a measurement: long prompts, tiled pictures and large batches take more."""

_BRIEF = "{question}\nGive a very brief answer."
_PHRASE = "{question}\nAnswer the question using a single word or phrase."
_QWEN = "{question}\nPlease try to answer the question with short words or phrases if possible."
_SHORT = "Question: {question} Short answer:"


class TypeDefaults(NamedTuple):
    """What suits all checkpoints of one `model_type`."""

    family: Family
    prompt: str = "{question}"
    """What the model is asked, with `{question}` in it; of a chat model the user's turn, without its chat template."""
    dtype: DType = "bfloat16"
    training_preset: str = "lora"


MODEL_TYPES: Mapping[str, TypeDefaults] = {
    "shelfqa-mini": TypeDefaults("classifier", dtype="float32", training_preset="mini-lora"),
    "vilt": TypeDefaults("classifier", dtype="float32"),
    "lxmert": TypeDefaults("classifier", dtype="float32", training_preset="region-lora"),
    "vilbert": TypeDefaults("classifier", dtype="float32", training_preset="region-lora"),
    "blip": TypeDefaults("seq2seq", dtype="float32", training_preset="blip-lora-r16"),
    "blip-2": TypeDefaults("seq2seq", _SHORT),
    "instructblip": TypeDefaults("seq2seq", _SHORT),
    "ofa": TypeDefaults("seq2seq", dtype="float32"),
    "llava": TypeDefaults("chat", _PHRASE),
    "llava_next": TypeDefaults("chat", _PHRASE),
    "llava_onevision": TypeDefaults("chat", _PHRASE),
    "internvl": TypeDefaults("chat", _PHRASE),
    "paligemma": TypeDefaults("chat", "answer en {question}"),
    "idefics2": TypeDefaults("chat", _BRIEF),
    "idefics3": TypeDefaults("chat", _BRIEF),
    "smolvlm": TypeDefaults("chat", _BRIEF),
    "qwen2_vl": TypeDefaults("chat", _QWEN),
    "qwen2_5_vl": TypeDefaults("chat", _QWEN),
    "qwen3_vl": TypeDefaults("chat", _QWEN),
    "clip": TypeDefaults("dual-encoder", dtype="float32"),
    "siglip": TypeDefaults("dual-encoder", dtype="float32"),
    "siglip2": TypeDefaults("dual-encoder", dtype="float32"),
}
"""By the `model_type` of a checkpoint's config.json.

Where the prompts are from: BLIP-2 and InstructBLIP, LAVIS's evaluation and arXiv 2305.06500; OFA, arXiv 2202.03052;
LLaVA-1.5, arXiv 2310.03744, section 3; PaliGemma, arXiv 2407.07726; Idefics, SmolVLM and Qwen, what their makers gave
to the evaluation suite VLMEvalKit.
"""

_UNKNOWN_CHAT = TypeDefaults("chat", _PHRASE)
"""For chat models that the table does not name: LLaVA's request, which many were tuned on."""


class ModelPreset(NamedTuple):
    """A name, what it stands for, and what to know before use."""

    source: str
    """A hub name, `bundled` for the checkpoint inside the package, or empty where the hub has none."""
    model_type: str
    parameters: int
    licence: str
    """SPDX identifier, or the licence's own name; of the weights, not of this package."""
    note: str
    arxiv: str = ""
    gated: bool = False
    """Whether the hub hands the weights out only after its terms were accepted there."""
    pickled: bool = False
    """Whether the hub's main branch has no safetensors: `--pickled-weights` reads what is there."""

    @property
    def defaults(self) -> TypeDefaults:
        """What suits its `model_type`."""
        return MODEL_TYPES[self.model_type]

    def memory_gb(self, dtype: DType | None = None) -> float:
        """Return the memory that answering takes, in GB, with weights of `dtype` (by default the recommended one)."""
        return memory_gb(self.parameters, dtype or self.defaults.dtype)

    def as_dict(self) -> dict[str, Any]:
        """Return all there is to know, for programs; `memory_gb` by type of the weights."""
        memory = {dtype: round(self.memory_gb(dtype), 2) for dtype in BYTES_A_WEIGHT}
        return self._asdict() | self.defaults._asdict() | {"memory_gb": memory}


_BLIP, _BLIP2, _IBLIP, _OFA = "2201.12086", "2301.12597", "2305.06500", "2202.03052"
_LLAVA, _PALI, _SMOL, _QWEN25 = "2310.03744", "2407.07726", "2504.05299", "2502.13923"
_LLAMA2 = "Llama 2 Community"
_GEMMA = "Gemma Terms of Use"

PRESETS: dict[str, ModelPreset] = {
    "mini": ModelPreset(
        "bundled", "shelfqa-mini", 19_086_568, "Apache-2.0", "bundled, for product photographs"
    ),
    "vilt": ModelPreset(
        "dandelin/vilt-b32-finetuned-vqa", "vilt", 117_588_537, "Apache-2.0", "fine-tuned on VQA v2",
        "2102.03334", pickled=True,
    ),
    "lxmert": ModelPreset(
        "unc-nlp/lxmert-vqa-uncased", "lxmert", 213_930_297, "MIT",
        "regions from microsoft/resnet-50; needs --answers", "1908.07490", pickled=True,
    ),
    "vilbert": ModelPreset(
        "", "vilbert", 237_813_250, "MIT", "not on the hub: `shelfqa models convert`", "1912.02315"
    ),
    "blip-vqa-base": ModelPreset(
        "Salesforce/blip-vqa-base", "blip", 384_672_572, "BSD-3-Clause", "ViT-B, fine-tuned on VQA v2", _BLIP
    ),
    "blip-vqa-capfilt-large": ModelPreset(
        "Salesforce/blip-vqa-capfilt-large", "blip", 384_672_572, "BSD-3-Clause",
        "pretrained on cleaner captions", _BLIP,
    ),
    "ofa-base": ModelPreset(
        "OFA-Sys/ofa-base", "ofa", 182_000_000, "Apache-2.0", "knows VQA v2 from pretraining", _OFA, pickled=True
    ),
    "ofa-large": ModelPreset("OFA-Sys/ofa-large", "ofa", 472_000_000, "Apache-2.0", "larger", _OFA, pickled=True),
    "ofa-huge": ModelPreset("OFA-Sys/ofa-huge", "ofa", 930_000_000, "Apache-2.0", "largest", _OFA, pickled=True),
    "blip2-opt-2.7b": ModelPreset(
        "Salesforce/blip2-opt-2.7b", "blip-2", 3_744_761_856, "MIT", "on OPT, whose licence is for research",
        _BLIP2,
    ),
    "blip2-flan-t5-xl": ModelPreset(
        "Salesforce/blip2-flan-t5-xl", "blip-2", 3_942_446_592, "MIT", "on FLAN-T5", _BLIP2
    ),
    "instructblip-flan-t5-xl": ModelPreset(
        "Salesforce/instructblip-flan-t5-xl", "instructblip", 4_022_968_320, "MIT", "tuned on VQA instructions", _IBLIP
    ),
    "instructblip-vicuna-7b": ModelPreset(
        "Salesforce/instructblip-vicuna-7b", "instructblip", 7_913_209_856, "Vicuna (non-commercial)",
        "tuned on VQA instructions", _IBLIP,
    ),
    "smolvlm-256m": ModelPreset(
        "HuggingFaceTB/SmolVLM-256M-Instruct", "idefics3", 256_484_928, "Apache-2.0", "the smallest chat model", _SMOL
    ),
    "smolvlm-500m": ModelPreset(
        "HuggingFaceTB/SmolVLM-500M-Instruct", "idefics3", 507_482_304, "Apache-2.0", "runs on a CPU", _SMOL
    ),
    "smolvlm-2.2b": ModelPreset(
        "HuggingFaceTB/SmolVLM-Instruct", "idefics3", 2_246_272_880, "Apache-2.0", "cuts pictures into tiles", _SMOL
    ),
    "paligemma-3b-pt-224": ModelPreset(
        "google/paligemma-3b-pt-224", "paligemma", 2_923_466_480, _GEMMA, "meant to be tuned", _PALI,
        gated=True,
    ),
    "paligemma-3b-mix-224": ModelPreset(
        "google/paligemma-3b-mix-224", "paligemma", 2_923_466_480, _GEMMA, "pictures at 224 px",
        _PALI, gated=True,
    ),
    "paligemma-3b-mix-448": ModelPreset(
        "google/paligemma-3b-mix-448", "paligemma", 2_924_351_216, _GEMMA, "pictures at 448 px",
        _PALI, gated=True,
    ),
    "qwen2.5-vl-3b": ModelPreset(
        "Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl", 3_754_622_976, "Qwen Research (non-commercial)",
        "reads small print", _QWEN25,
    ),
    "qwen2.5-vl-7b": ModelPreset(
        "Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", 8_292_166_656, "Apache-2.0", "reads small print", _QWEN25
    ),
    "llava-1.5-7b": ModelPreset(
        "llava-hf/llava-1.5-7b-hf", "llava", 7_063_427_072, _LLAMA2, "on Vicuna 1.5", _LLAVA
    ),
    "llava-1.5-13b": ModelPreset(
        "llava-hf/llava-1.5-13b-hf", "llava", 13_351_494_656, _LLAMA2, "on Vicuna 1.5, larger", _LLAVA
    ),
    "idefics2-8b": ModelPreset(
        "HuggingFaceM4/idefics2-8b", "idefics2", 8_402_768_112, "Apache-2.0", "the base of VIT-Pro", "2405.02246"
    ),
    "idefics3-8b": ModelPreset(
        "HuggingFaceM4/Idefics3-8B-Llama3", "idefics3", 8_462_086_384, "Apache-2.0", "on Llama 3.1, whose terms apply",
        "2408.12637",
    ),
    "clip-vit-b32": ModelPreset(
        "openai/clip-vit-base-patch32", "clip", 151_277_313, "MIT", "pictures at 224 px", "2103.00020", pickled=True
    ),
    "clip-vit-l14-336": ModelPreset(
        "openai/clip-vit-large-patch14-336", "clip", 427_944_193, "MIT", "pictures at 336 px", "2103.00020",
        pickled=True,
    ),
    "siglip-base": ModelPreset(
        "google/siglip-base-patch16-224", "siglip", 203_155_970, "Apache-2.0", "pictures at 224 px", "2303.15343"
    ),
}  # fmt: skip


def memory_gb(parameters: int, dtype: DType) -> float:
    """Return the memory that answering takes, in GB: the weights, and `OVERHEAD_SHARE` of them and `OVERHEAD_GB` more.

    >>> round(memory_gb(7_000_000_000, "bfloat16"), 1)
    17.3
    """
    return parameters * BYTES_A_WEIGHT[dtype] * (1 + OVERHEAD_SHARE) / 1e9 + OVERHEAD_GB


def source_of(name: str) -> str:
    """Return the folder or hub name that `name` stands for.

    Raises:
        InputError: if the name's weights are not on the hub and must be converted first.

    """
    if name == "mini":
        from shelfqa.models.mini import checkpoint_dir

        return str(checkpoint_dir())
    preset = PRESETS.get(name)
    if preset is None:
        return name
    if not preset.source:
        raise InputError(
            f"The weights of {name!r} are not on the hub: get its authors' checkpoint (arXiv {preset.arxiv}), turn it "
            "into a folder with `shelfqa models convert`, and give that folder as the model."
        )
    return preset.source


def preset_of(name: str) -> ModelPreset | None:
    """Return the preset that a name or the hub name behind it stands for."""
    named = (each for each in PRESETS.values() if "/" in each.source and each.source == name)
    return PRESETS.get(name) or next(named, None)


def model_type_of(name: str) -> str | None:
    """Return the `model_type` of a preset, a preset's hub name or a folder, None where only the hub could tell."""
    preset = preset_of(name)
    if preset is not None:
        return preset.model_type
    try:
        model_type = json.loads((Path(name) / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return model_type if isinstance(model_type, str) else None


def prompt_of(name: str, model_type: str | None = None) -> str:
    """Return the template, with `{question}` in it, that suits a preset, or any other checkpoint by its `model_type`.

    >>> prompt_of("blip2-opt-2.7b"), prompt_of("someone/finetuned", "paligemma")
    ('Question: {question} Short answer:', 'answer en {question}')
    """
    return MODEL_TYPES.get(model_type_of(name) or model_type or "", _UNKNOWN_CHAT).prompt


def training_preset_of(name: str) -> str | None:
    """Return the name of the training preset that suits a model, None where its `model_type` is not known."""
    defaults = MODEL_TYPES.get(model_type_of(name) or "")
    return defaults.training_preset if defaults is not None else None
