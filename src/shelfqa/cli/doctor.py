"""`shelfqa doctor`: what this machine has, what it lacks, and which models it can run."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

import shelfqa
from shelfqa.cli.options import json_option

_T = TypeVar("_T")
_PACKAGES = ("torch", "transformers", "accelerate", "peft", "huggingface_hub")
_MODELS_EXTRA = "models"


@click.command(epilog="Example:  shelfqa doctor --no-network")
@click.option("--no-network", is_flag=True, help="Do not ask the model hub whether it answers.")
@json_option
def doctor(no_network: bool, as_json: bool) -> None:
    """Say what this machine has, which extras are missing, and which models fit.

    It only informs: the exit code is 0 whatever it finds. Of keys and tokens it says whether they are set, never what
    they are. Memory is what is free now; a model that fits has its weights, activations and caches counted.
    """
    report = diagnose(network=not no_network)
    if as_json:
        click.echo(json.dumps(report))
        return
    from shelfqa.cli.doctor_view import print_report

    print_report(report)


def diagnose(*, network: bool) -> dict[str, Any]:
    """Return all findings as plain data; a check that fails stands under `failed` with its reason.

    Args:
        network: whether to ask the hub if it answers.

    """
    failed: dict[str, str] = {}

    def check(name: str, find: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return find()
        except Exception as error:
            told = " ".join(str(error).split())[:200]
            failed[name] = f"{type(error).__name__}: {told}" if told else type(error).__name__
            return otherwise

    nothing: dict[str, Any] = {}
    none: list[dict[str, Any]] = []
    report: dict[str, Any] = {
        "shelfqa": shelfqa.__version__,
        "python": platform.python_version(),
        "system": check("system", lambda: f"{platform.system()} {platform.release()} {platform.machine()}", ""),
        "machine": check("machine", _machine, nothing),
        "packages": check("packages", _packages, nothing),
        "extras": check("extras", _extras, nothing),
        "optional": check("optional", _optional, nothing),
        "keys": check("keys", _keys, nothing),
        "hub": check("hub", lambda: _hub(network), nothing),
        "gpus": check("gpus", _gpus, none),
    }
    report["disk"] = check("disk", lambda: _disk(report["hub"].get("cache")), nothing)
    report["models"] = check("models", lambda: _models(report), none)
    return report | {"failed": failed}


def _machine() -> dict[str, Any]:
    from shelfqa import machine

    return {
        "processors": machine.processors(),
        "memory_mb": machine.memory_mb(),
        "memory_available_mb": machine.available_memory_mb(),
        "memory_limit_mb": machine.memory_limit_mb(),
    }


def _disk(cache: str | None) -> dict[str, Any]:
    from shelfqa.machine import disk_free_mb

    found: dict[str, Any] = {"here": {"path": str(Path.cwd()), "free_mb": disk_free_mb(Path.cwd())}}
    if cache is not None:
        found["hub_cache"] = {"path": cache, "free_mb": disk_free_mb(Path(cache))}
    return found


def _packages() -> dict[str, str | None]:
    from shelfqa.installation import version_of

    return {package: version_of(package) for package in _PACKAGES}


def _extras() -> dict[str, Any]:
    from shelfqa.installation import extras

    return {name: {"missing": list(extra.missing), "install": extra.install} for name, extra in extras().items()}


def _optional() -> dict[str, Any]:
    from shelfqa.installation import version_of
    from shelfqa.metrics.wordnet import find_wordnet

    wordnet = find_wordnet()
    return {
        "flash_attention": importlib.util.find_spec("flash_attn") is not None,
        "rapidocr": version_of("rapidocr"),
        "wordnet": None if wordnet is None else str(wordnet),
    }


def _keys() -> dict[str, Any]:
    """Return of each provider which environment variables may hold its key, and which does; never a key itself."""
    from shelfqa.providers.base import PROVIDERS

    found = {}
    for name in PROVIDERS:
        variables = getattr(PROVIDERS.load(name), "keys", None)
        if isinstance(variables, tuple):
            found[name] = {
                "variables": list(variables),
                "set": next((each for each in variables if os.environ.get(each, "").strip()), None),
            }
    return found


def _hub(network: bool) -> dict[str, Any]:
    from shelfqa.hub import hub_state
    from shelfqa.installation import version_of

    if version_of("huggingface_hub") is None:
        return {}
    state = hub_state(ask=network)
    return state._asdict() | {"cache": str(state.cache)}


def _gpus() -> list[dict[str, Any]]:
    from shelfqa.models.fitting import gpus

    return [gpu._asdict() for gpu in gpus()]


def _models(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return of each preset what it needs, where it would run, and what has to be had first."""
    from shelfqa.models.fitting import Gpu, fit
    from shelfqa.models.presets import PRESETS

    accelerators = [Gpu(**gpu) for gpu in report["gpus"]]
    free_mb = report["machine"].get("memory_available_mb") or report["machine"].get("memory_mb")
    lacking = report["extras"].get(_MODELS_EXTRA, {}).get("missing", [])
    found = []
    for name, preset in PRESETS.items():
        where = fit(preset, accelerators, None if free_mb is None else free_mb / 1000)
        found.append(
            {
                "name": name,
                "family": preset.defaults.family,
                "runs_on": where.place,
                "dtype": where.dtype,
                "parameters": preset.parameters,
                "needs_gb": round(where.needs_gb, 3),
                "flags": where.flags,
                "weights": _weights(preset.source, has_client=bool(report["hub"])),
                "gated": preset.gated,
                "pickled": preset.pickled,
                "extra": _MODELS_EXTRA,
                "extra_installed": not lacking,
            }
        )
    return found


def _weights(source: str, *, has_client: bool) -> str:
    """Return `bundled`, `cached`, `hub` or `convert`: where the weights come from."""
    if source == "bundled":
        return source
    if not source:
        return "convert"
    if not has_client:
        return "hub"
    from shelfqa.hub import in_cache

    return "cached" if in_cache(source) else "hub"
