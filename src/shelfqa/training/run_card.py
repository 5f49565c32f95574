"""What is worth knowing of a run afterwards: versions, device, curves and cost.

Settings, seed, fingerprints of the data and counts stand in the manifest beside it, every point of the curves in
`history.parquet`; the card names these files. Importing this module imports no torch.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfqa.artifacts import MANIFEST
from shelfqa.installation import version_of
from shelfqa.machine import processors

if TYPE_CHECKING:
    import pyarrow as pa

    from shelfqa.training.settings import Settings
    from shelfqa.training.trainer import Result

RUN_CARD = "run_card.json"
_PACKAGES = ("shelfqa", "torch", "transformers", "peft", "accelerate", "bitsandbytes", "tokenizers", "numpy")
_PATHS = ("model", "preset", "answers", "regions")
"""Settings that may name a folder of this machine, which is nobody's business."""
_ROWS_SHOWN = 12


def peak_memory_bytes() -> int:
    """Return the most memory that was taken: of the GPU by torch, or of the process; 0 where the system is silent."""
    torch = sys.modules.get("torch")
    taken = int(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_available() else 0
    return taken or peak_resident_bytes() or 0


def peak_resident_bytes() -> int | None:
    """Return the most memory that the process has had so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_name(device: str) -> str:
    """Return what a device is called, for example `NVIDIA H100` or `x86_64, 16 processors`."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()}, {processors()} processors"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that have a part in the result."""
    found = {name: version_of(name) for name in _PACKAGES}
    return {"python": platform.python_version()} | {name: said for name, said in found.items() if said is not None}


def run_card(
    result: Result,
    *,
    run: str,
    device: str,
    processes: int,
    parallel: str,
    precision: str,
    padding_share: float | None,
) -> dict[str, Any]:
    """Return the card.

    Args:
        result: of the run.
        run: what tells its settings and data from all others.
        device: where it ran, of the first process.
        processes: how many trained together.
        parallel: in which way.
        precision: the arithmetic that was used.
        padding_share: of the tokens of the batches, where the model writes.

    """
    cost = result.cost
    training = cost.seconds - cost.evaluation_seconds
    return {
        "run": run,
        "settings_and_data": MANIFEST,
        "versions": versions(),
        "device": {
            "name": device_name(device),
            "device": device,
            "system": platform.platform(terse=True),
            "processes": processes,
            "parallel": parallel,
            "precision": precision,
        },
        "curves": {
            "table": "history.parquet",
            "steps": result.steps,
            "best_step": result.best_step,
            "stopped_early": result.stopped_early,
            **{name: _summary(result.history, name) for name in ("train_loss", "validation_loss")},
            "validation_exact_match": _summary(result.history, "validation_exact_match"),
        },
        "cost": cost._asdict()
        | {
            "samples_a_second": round(cost.samples / training, 2) if training > 0 else None,
            "padding_share": None if padding_share is None else round(padding_share, 4),
        },
    }


def _summary(history: Sequence[Mapping[str, Any]], name: str) -> dict[str, float] | None:
    values = [row[name] for row in history if row[name] is not None]
    if not values:
        return None
    return {"first": values[0], "last": values[-1], "lowest": min(values), "highest": max(values)}


def as_json(card: Mapping[str, Any]) -> str:
    """Return the card as the text of its file."""
    return json.dumps(card, indent=2, ensure_ascii=False) + "\n"


def readme_part(settings: Mapping[str, Any], data: str, result: Result) -> str:
    """Return a section for the README of what was trained; the same for equal runs, so without times.

    Args:
        settings: of the run.
        data: fingerprint of the questions.
        result: of the run.

    """
    evaluated = [row for row in result.history if row["validation_exact_match"] is not None]
    if len(evaluated) > _ROWS_SHOWN:
        kept = {round(place * (len(evaluated) - 1) / (_ROWS_SHOWN - 1)) for place in range(_ROWS_SHOWN)}
        evaluated = [row for place, row in enumerate(evaluated) if place in kept or row["step"] == result.best_step]
    curve = "".join(
        f"| {row['step']:,} | {_shown(row['train_loss'])} | {_shown(row['validation_loss'])} "
        f"| {row['validation_exact_match']:.4f} |\n"
        for row in evaluated
    )
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    told = {name: Path(value).name if name in _PATHS and value else value for name, value in settings.items()}
    values = "".join(f"    {name}: {json.dumps(value)}\n" for name, value in told.items())
    return (
        "## How it was trained\n\n"
        "| step | training loss | validation loss | exact match |\n| ---: | ---: | ---: | ---: |\n"
        f"{curve}\nQuestions with the fingerprint `{data}`; {packages}.\n\n{values}"
    )


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def history_table(result: Result) -> pa.Table:
    """Return the history as a table, a row for each point of the curves."""
    import pyarrow as pa

    columns = {
        "step": pa.int64(),
        "epoch": pa.float64(),
        "train_loss": pa.float64(),
        "learning_rate": pa.float64(),
        "validation_loss": pa.float64(),
        "validation_exact_match": pa.float64(),
        "validation_exact_match_low": pa.float64(),
        "validation_exact_match_high": pa.float64(),
        "seconds": pa.float64(),
    }
    return pa.Table.from_pylist(result.history, schema=pa.schema(columns))


def method_in_words(settings: Settings) -> str:
    """Return in words what was trained, and how."""
    targets, full = ", ".join(settings.targets), ", ".join(settings.full) or "nothing"
    if settings.method == "full":
        return f"full, of {targets} and {full}"
    name = {"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA"}[settings.method]
    begun = ", begun as PiSSA" if settings.init == "pissa" else ""
    held = f", on weights of {settings.quantize}" if settings.quantize != "none" else ""
    return (
        f"{name}{begun}{held}, rank {settings.rank}, alpha {settings.alpha:g}, dropout {settings.dropout:g}, "
        f"on {targets}; trained whole: {full}"
    )
