"""The models known by name, as a table for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from shelfqa.cli.screen import columns, heading, screen
from shelfqa.models.presets import FAMILIES_TOLD, OVERHEAD_GB, OVERHEAD_SHARE, ModelPreset

_SHORT_TYPE = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def print_presets(presets: Mapping[str, ModelPreset]) -> None:
    """Print all presets, by family and size, with a legend."""
    console = screen()
    width = max(map(len, presets))
    for family, told in FAMILIES_TOLD.items():
        named = {name: preset for name, preset in presets.items() if preset.defaults.family == family}
        if not named:
            continue
        console.print(heading(family, told))
        table = columns(header=("",) * 4, right=(1, 2), wrapped=3)
        for place, least in enumerate((width, len("19.1 M"), len("32.5 GB bf16"))):
            table.columns[place].min_width = least
        for name, preset in named.items():
            name_text = Text(name, style="bold")
            table.add_row(name_text, parameters_text(preset.parameters), memory_text(preset), _described(preset))
        console.print(table)
        console.print()
    console.print(
        f"Memory is for answering with the type of weights shown: the weights, {OVERHEAD_SHARE:.0%} of them and "
        f"{OVERHEAD_GB:g} GB for activations and caches. gated: accept the terms on the model's hub page, then "
        "`hf auth login`. pickled: the hub has no safetensors, see --pickled-weights. Second lines: the name on the "
        "hub, and the prompt where a question is not put as it stands (⏎ a new line). `--json` says more."
    )


def parameters_text(parameters: int) -> str:
    """Return a number of weights as people say it.

    >>> parameters_text(19_086_568), parameters_text(7_063_427_072)
    ('19 M', '7.1 B')
    """
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.0f} M"


def memory_text(preset: ModelPreset) -> str:
    """Return the memory of a model in its recommended type, such as `2.3 GB fp32`."""
    return f"{preset.memory_gb():.1f} GB {_SHORT_TYPE[preset.defaults.dtype]}"


def _described(preset: ModelPreset) -> Text:
    text = Text(preset.licence)
    if preset.gated:
        text.append(", gated", style="yellow")
    if preset.pickled:
        text.append(", pickled", style="yellow")
    text.append(f": {preset.note}", style="dim")
    prompt = preset.defaults.prompt.replace("\n", " ⏎ ")
    put = f"  {prompt}" if prompt != "{question}" else ""
    return text.append(f"\n{preset.source or '(a folder)'}{put}", style="dim")
