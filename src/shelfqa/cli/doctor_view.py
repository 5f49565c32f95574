"""The findings of `shelfqa doctor`, for people: what is missing stands out, with the command that mends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from shelfqa.cli.screen import columns, heading, screen

_GOOD, _BAD, _SO_SO = "green", "red", "yellow"
_SHORT_TYPE = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_PLACES = {"gpu": ("GPU", _GOOD), "cpu": ("CPU", _GOOD), "nowhere": ("too large", _BAD)}
_WEIGHTS = {
    "bundled": ("bundled", _GOOD),
    "cached": ("cached", _GOOD),
    "hub": ("download", ""),
    "convert": ("convert", ""),
}
_DEVELOPERS = ("benchmarks", "dev", "mini", "all")
"""Extras that are named only where they are complete: few need them, and `all` says nothing new."""

_SLOW_PARAMETERS = 1_000_000_000
"""Models of more than this take many seconds a question on a CPU."""

_LABEL_WIDTH = 12


def print_report(report: Mapping[str, Any]) -> None:
    """Print the findings of `diagnose`."""
    console = screen()
    console.print(heading(f"shelfqa {report['shelfqa']}", f"Python {report['python']}, {report['system']}"))
    _print_lines(console, _machine_lines(report))
    console.print()
    console.print(heading("installed"))
    _print_lines(console, _installed_lines(report))
    console.print()
    console.print(heading("network and keys"))
    _print_lines(console, _network_lines(report))
    if report["models"]:
        console.print()
        console.print(heading("models", "memory for answering against what is free now"))
        _print_models(console, report["models"])
    for name, reason in report["failed"].items():
        console.print(Text(f"check failed: {name} ({reason})", style=_SO_SO))
    console.print()
    console.print(_verdict(report))


def _print_lines(console: Console, lines: Iterator[tuple[str, Text]]) -> None:
    table = columns(header=("", ""), wrapped=1)
    table.columns[0].min_width = _LABEL_WIDTH
    for label, text in lines:
        table.add_row(Text(label, style="dim"), text)
    console.print(table)


def _machine_lines(report: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    machine = report["machine"]
    if machine:
        yield "processors", Text(str(machine["processors"]))
        memory = f"{_gb(machine['memory_mb'])}, {_gb(machine['memory_available_mb'])} free"
        if machine["memory_limit_mb"] is not None:
            memory += f"; limited to {_gb(machine['memory_limit_mb'])} here"
        yield "memory", Text(memory)
    disk = report["disk"]
    if disk:
        free = f"{_gb(disk['here']['free_mb'])} free in this folder"
        if "hub_cache" in disk:
            free += f", {_gb(disk['hub_cache']['free_mb'])} for the hub's cache"
        yield "disk", Text(free)
    for gpu in report["gpus"]:
        text = f"{gpu['device']} {gpu['name']}, {gpu['total_gb']:.1f} GB, {gpu['free_gb']:.1f} GB free"
        capability = f", compute capability {gpu['capability']}" if gpu["capability"] else ""
        yield "GPU", Text(f"{text}{capability}, {'bfloat16' if gpu['bf16'] else 'no bfloat16'}", style=_GOOD)
    if not report["gpus"] and "gpus" not in report["failed"]:
        yield "GPU", Text("none that torch can use" if report["packages"].get("torch") else "unknown without torch")


def _installed_lines(report: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    packages = report["packages"]
    there = [f"{name} {version}" for name, version in packages.items() if version is not None]
    absent = [name for name, version in packages.items() if version is None]
    if there:
        yield "packages", Text(", ".join(there))
    if absent:
        yield "", Text(f"not installed: {', '.join(absent)}", style=_SO_SO)
    complete = [name for name, extra in report["extras"].items() if not extra["missing"]]
    if report["extras"]:
        yield "extras", Text(", ".join(complete) or "none", style=_GOOD if complete else "")
    for name, extra in report["extras"].items():
        if extra["missing"] and name not in _DEVELOPERS:
            lack = Text(f"{name} lacks {', '.join(extra['missing'])}: ", style=_SO_SO)
            yield "", lack.append(extra["install"], style="bold")
    optional = report["optional"]
    if optional:
        yield "flash-attn", Text("yes" if optional["flash_attention"] else "no: sdpa is used, which suits most models")
        yield "rapidocr", Text(optional["rapidocr"] or "no: needed to show printed text to a model")
        yield "WordNet", Text(optional["wordnet"] or "no: needed by METEOR and WUPS (apt install wordnet-base)")


def _network_lines(report: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    hub = report["hub"]
    if not hub:
        yield "model hub", Text("unknown without huggingface_hub", style=_SO_SO)
    else:
        if hub["offline"]:
            state = Text("not asked: HF_HUB_OFFLINE is set", style=_SO_SO)
        elif hub["reachable"] is None:
            state = Text("not asked")
        elif hub["reachable"]:
            state = Text("answers", style=_GOOD)
        else:
            state = Text(f"cannot be reached ({hub['why']}): only bundled and cached models load", style=_BAD)
        yield "model hub", state
        yield "hub token", Text("set" if hub["token"] else "none: gated models need one (hf auth login)")
        yield "hub cache", Text(hub["cache"])
    for name, key in report["keys"].items():
        place = f"{key['set']} is set" if key["set"] else f"no key in {' or '.join(key['variables'])}"
        yield name, Text(place, style=_GOOD if key["set"] else "")


def _print_models(console: Console, models: list[Mapping[str, Any]]) -> None:
    table = columns(header=("name", "needs", "runs on", "weights", "note"), right=(1,), wrapped=4)
    for model in models:
        place, colour = _PLACES[model["runs_on"]]
        if model["runs_on"] == "cpu" and model["parameters"] > _SLOW_PARAMETERS:
            place, colour = "CPU, slowly", _SO_SO
        weights, weights_colour = _WEIGHTS[model["weights"]]
        notes = [model["flags"], "gated" if model["gated"] else ""]
        if model["pickled"] and model["weights"] == "hub":
            notes.append("pickled")
        table.add_row(
            Text(model["name"], style="bold"),
            f"{model['needs_gb']:.1f} GB {_SHORT_TYPE[model['dtype']]}",
            Text(place, style=colour),
            Text(weights, style=weights_colour),
            Text(", ".join(filter(None, notes)), style=_SO_SO),
        )
    console.print(table)


def _verdict(report: Mapping[str, Any]) -> Text:
    models = report["models"]
    if not models:
        return Text("Which models fit could not be found out.", style=_SO_SO)
    if not all(model["extra_installed"] for model in models):
        text = Text("No model runs before the extra is installed: ", style=_SO_SO)
        return text.append(report["extras"]["models"]["install"], style="bold")
    fitting = [model for model in models if model["runs_on"] != "nowhere"]
    ready = [model["name"] for model in fitting if model["weights"] in ("bundled", "cached")]
    named = f" Ready now: {', '.join(ready)}." if ready else ""
    return Text(f"{len(fitting)} of {len(models)} named models fit this machine.{named}")


def _gb(megabytes: int | None) -> str:
    return "unknown" if megabytes is None else f"{megabytes / 1000:.1f} GB"
