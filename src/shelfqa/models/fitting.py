"""Which models this machine can run: its accelerators, and the memory that a preset takes against what is free."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from shelfqa.models.presets import DType, ModelPreset

Place = Literal["gpu", "cpu", "nowhere"]


class Gpu(NamedTuple):
    """An accelerator as torch sees it; GB are 10^9 bytes."""

    device: str
    """What `--device` calls it."""
    name: str
    total_gb: float
    free_gb: float
    bf16: bool
    """Whether it computes with bfloat16."""
    capability: str = ""
    """CUDA's compute capability, such as `9.0`."""


class Fit(NamedTuple):
    """Where a model runs by default, and with which type of weights."""

    place: Place
    dtype: DType
    """The type that is used by default, or the smaller one that makes it fit."""
    needs_gb: float
    flags: str = ""
    """What has to be given for it to fit, such as `--dtype bfloat16`."""


def gpus() -> list[Gpu]:
    """Return the accelerators that torch can use; none where torch is not installed."""
    try:
        import torch
    except ImportError:
        return []
    found = []
    if torch.cuda.is_available():
        for place in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(place)
            major, minor = torch.cuda.get_device_capability(place)
            with torch.cuda.device(place):
                bf16 = torch.cuda.is_bf16_supported()
            name = torch.cuda.get_device_name(place)
            found.append(Gpu(f"cuda:{place}", name, total / 1e9, free / 1e9, bf16, f"{major}.{minor}"))
    elif torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory()
        free = total - torch.mps.driver_allocated_memory()
        found.append(Gpu("mps", "Apple GPU", total / 1e9, free / 1e9, bf16=False))
    return found


def weights_gb(source: str, bytes_a_weight: int) -> float | None:
    """Return the memory that a checkpoint's weights take once loaded, None where its files are not here yet.

    Args:
        source: a folder or a hub name.
        bytes_a_weight: of the type that they are loaded as.

    """
    folder = _local_folder(source)
    if folder is None:
        return None
    files = list(folder.glob("*.safetensors")) or list(folder.glob("*.bin"))
    stored = str(_config(folder).get("dtype") or _config(folder).get("torch_dtype") or "float32")
    return sum(file.stat().st_size for file in files) * bytes_a_weight / (2 if "16" in stored else 4) / 1e9


def _local_folder(source: str) -> Path | None:
    """Return the folder of a checkpoint that is here, among it what the hub's client keeps."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(source, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def fit(preset: ModelPreset, accelerators: Sequence[Gpu], memory_gb: float | None) -> Fit:
    """Return where answering with a model would run: on the first accelerator, else in memory, with what flags.

    Args:
        preset: the model.
        accelerators: from `gpus`; the first is what `--device auto` takes.
        memory_gb: free memory of the machine, None where that is not known, which then counts as enough.

    """
    if accelerators:
        first = accelerators[0]
        wanted: tuple[DType, ...] = ("bfloat16",) if first.bf16 else ("float32", "float16")
        for place, dtype in enumerate(wanted):
            if preset.memory_gb(dtype) <= first.free_gb:
                return Fit("gpu", dtype, preset.memory_gb(dtype), f"--dtype {dtype}" if place else "")
    on_cpu = ["--device cpu"] if accelerators else []
    for dtype in ("float32", "bfloat16"):
        if memory_gb is None or preset.memory_gb(dtype) <= memory_gb:
            flags = [*on_cpu, *(["--dtype bfloat16"] if dtype == "bfloat16" else [])]
            return Fit("cpu", dtype, preset.memory_gb(dtype), " ".join(flags))
    return Fit("nowhere", "bfloat16", preset.memory_gb("bfloat16"))
