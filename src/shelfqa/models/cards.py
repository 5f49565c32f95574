"""Model cards as the hub expects them: README.md of adapters, tuned models and merged checkpoints.

Nothing private stands in a card: a base model that is a folder here is told by the folder's last name alone.
Importing this module imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import shelfqa
from shelfqa.artifacts import read_manifest
from shelfqa.models.presets import preset_of

README = "README.md"

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_LICENCES = {
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "BSD-3-Clause": "bsd-3-clause",
    "Gemma Terms of Use": "gemma",
    "Llama 2 Community": "llama2",
}
"""What the hub calls the licences of the presets; any other is `other` with its own name."""
_TASKS = {"chat": "image-text-to-text"}
"""The hub's name of what a family does, where it is not the following."""
_TASK = "visual-question-answering"
_NOT_IN_TRANSFORMERS = "The class of the model, {}, is none of transformers' own."
_ABO_LAYOUT = Path("images", "metadata", "images.csv.gz")
_PARENTS = 3
"""How far above the pictures their catalogue may begin."""


class Base(NamedTuple):
    """The model that was tuned."""

    name: str
    """What the user called it: a preset, a hub name or a folder."""
    family: str
    model_class: str
    """Name of the class of its weights."""
    in_transformers: bool
    """Whether transformers has that class, so that it loads without shelfqa and without code from elsewhere."""


class Tuning(NamedTuple):
    """What training was, and how it went."""

    preset: str
    method: str
    """In words: what was trained, and how."""
    full: bool
    """Whether the weights themselves were trained, so that there is no adapter."""
    questions: int
    validation: int
    """Questions that exact match was measured on."""
    step: int
    """The step whose weights these are."""
    steps: int
    exact_match: tuple[float, float]
    """On validation, before and after; each in 0..1."""
    answers_added: int
    """Answers that a classifier's table was extended by."""
    credit: str | None = None
    """Whose pictures and texts it learned from, where that is known."""


def base_of(model: Any) -> Base:
    """Return what a card says of a loaded `models.base.VqaModel`."""
    kind = type(model.module)
    return Base(model.name, model.family, kind.__name__, kind.__module__.partition(".")[0] == "transformers")


def hub_name(name: str) -> str | None:
    """Return what the hub calls a model, None where it is a folder or bundled.

    >>> hub_name("blip-vqa-base"), hub_name("mini")
    ('Salesforce/blip-vqa-base', None)
    """
    preset = preset_of(name)
    source = preset.source if preset is not None else name
    return source if _HUB_NAME.fullmatch(source) and not Path(source).exists() else None


def public_name(name: str) -> str:
    """Return the name of a model as anyone may read it: of a folder the last part.

    >>> public_name("/home/me/models/blip-of-2025")
    'blip-of-2025'
    """
    return hub_name(name) or Path(name).name


def licence_of(name: str) -> dict[str, str]:
    """Return what a card's front matter says of a model's licence, nothing where it is not known.

    A folder's licence is what its own card says.
    """
    preset = preset_of(name)
    if preset is not None:
        known = _LICENCES.get(preset.licence)
        return {"license": known} if known else {"license": "other", "license_name": preset.licence}
    said = front_matter(Path(name) / README)
    return {key: str(said[key]) for key in ("license", "license_name", "license_link") if said.get(key)}


def front_matter(card: Path) -> dict[str, Any]:
    """Return the YAML that a card begins with, empty where there is none."""
    try:
        found = _FRONT_MATTER.match(card.read_text(encoding="utf-8"))
        said = yaml.safe_load(found[1]) if found else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return said if isinstance(said, dict) else {}


def credit_of(images: Path | None) -> str | None:
    """Return whose catalogue the folder of pictures belongs to, as far as its layout tells."""
    for folder in (images, *images.resolve().parents[:_PARENTS]) if images is not None else ():
        manifest = read_manifest(folder, missing_ok=True)
        if manifest is not None and manifest.stage == "demo-catalogue":
            return "drawn by shelfqa (`shelfqa demo-catalogue`); no photographs, no real products"
        if (folder / _ABO_LAYOUT).is_file():
            return "Amazon Berkeley Objects (arXiv 2110.06199), images and listings (c) Amazon.com, CC BY 4.0"
    return None


def tuning_card(base: Base, tuning: Tuning) -> str:
    """Return the card of an adapter or, after full fine-tuning, of the tuned model."""
    before, after = tuning.exact_match
    facts = {
        "Base model": _described(base.name),
        "Training preset": tuning.preset,
        "Method": tuning.method,
        "Weights": f"of step {tuning.step:,} of {tuning.steps:,}",
        "Questions": f"{tuning.questions:,} for training, {tuning.validation:,} for validation",
        "Exact match on validation": f"{before:.4f} before, {after:.4f} after",
    }
    title = public_name(base.name)
    if tuning.full:
        head = _front_matter(base, "transformers" if base.in_transformers else "shelfqa", "finetune")
        return "\n\n".join(
            [head, f"# {title}, tuned by shelfqa", _list(facts), _use_whole(base), _data(tuning.credit), _licence(base)]
        )
    head = _front_matter(base, "peft", "adapter")
    use = _use_adapter(base, tuning.answers_added)
    return "\n\n".join(
        [head, f"# Adapter for {title}, made by shelfqa", _list(facts), use, _data(tuning.credit), _licence(base)]
    )


def merged_card(base: Base, *, dtype: str, parity: str, notes: Sequence[str], adapter_card: Path) -> str:
    """Return the card of a checkpoint that an adapter was merged into.

    Args:
        base: the model, as loaded.
        dtype: the type of its weights.
        parity: what the gate found, in a sentence.
        notes: what else to know, such as that quantised weights were turned into floats.
        adapter_card: the adapter's own README.md, whose facts are taken on.

    """
    own = _facts_in(adapter_card)
    facts = {
        "Base model": _described(base.name),
        "Weights": f"{dtype}, an adapter merged in",
        "Parity": parity,
        **{("Adapter" if name == "Weights" else name): fact for name, fact in own.items() if name != "Base model"},
    }
    head = _front_matter(base, "transformers" if base.in_transformers else "shelfqa", "merge")
    parts = [head, f"# {public_name(base.name)} with an adapter of shelfqa's merged in", _list(facts), *notes]
    credit = _section(adapter_card, "Data")
    return "\n\n".join([*parts, _use_whole(base), credit or _data(None), _licence(base)])


def _front_matter(base: Base, library: str, relation: str) -> str:
    values: dict[str, Any] = {"library_name": library, "pipeline_tag": _TASKS.get(base.family, _TASK)}
    hub = hub_name(base.name)
    if hub is not None:
        values |= {"base_model": hub, "base_model_relation": relation}
    values |= licence_of(base.name)
    values |= {"metrics": ["exact_match"], "tags": ["shelfqa", "vqa", *(["lora"] if library == "peft" else [])]}
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---"


def _described(name: str) -> str:
    hub = hub_name(name)
    if hub is not None:
        return f"[{hub}](https://huggingface.co/{hub})"
    preset = preset_of(name)
    if preset is not None:
        return f"`{name}`, which comes with shelfqa"
    return f"`{public_name(name)}`, a checkpoint that its maker had in a folder"


def _use_adapter(base: Base, answers_added: int) -> str:
    name = hub_name(base.name) or ("BASE_FOLDER" if preset_of(base.name) is None else base.name)
    ours = (
        f"## Use\n\nWith shelfqa {shelfqa.__version__}:\n\n"
        f"    shelfqa predict --model {name} --adapter THIS_FOLDER --questions FILE --out OUT\n"
        f"    shelfqa merge THIS_FOLDER --model {name} --out MERGED"
    )
    if not base.in_transformers:
        return f"{ours}\n\n{_NOT_IN_TRANSFORMERS.format(base.model_class)}"
    if answers_added:
        return (
            f"{ours}\n\nIts answer head has {answers_added} more outputs than the base: the answers in `added_answers` "
            "of shelfqa.json, in their order, after those of the base. shelfqa adds them before it loads the weights; "
            "plain PEFT does not and refuses the head's shape. Where shelfqa is not at hand, use the merged checkpoint."
        )
    return (
        f"{ours}\n\nWith PEFT alone, whose model then takes what transformers' own takes:\n\n"
        f"    from peft import PeftModel\n    from transformers import {base.model_class}\n\n"
        f'    base = {base.model_class}.from_pretrained("{name}")\n'
        '    model = PeftModel.from_pretrained(base, "THIS_FOLDER")'
    )


def _use_whole(base: Base) -> str:
    command = "shelfqa predict --model THIS_FOLDER --questions FILE --out OUT"
    ours = f"## Use\n\nWith shelfqa {shelfqa.__version__}:\n\n    {command}"
    if not base.in_transformers:
        return f"{ours}\n\n{_NOT_IN_TRANSFORMERS.format(base.model_class)}"
    return (
        f"{ours}\n\nWith transformers:\n\n    from transformers import {base.model_class}\n\n"
        f'    model = {base.model_class}.from_pretrained("THIS_FOLDER")'
    )


def _data(credit: str | None) -> str:
    if credit is None:
        return (
            "## Data\n\nPictures and questions are from a catalogue whose owner is not recorded: name it here, and the "
            "terms of its use, before this is published."
        )
    return f"## Data\n\nPictures and texts: {credit}."


def _licence(base: Base) -> str:
    known = licence_of(base.name)
    if not known:
        return "## Licence\n\nThat of the base model, which is not known here: look it up before this is published."
    name = known.get("license_name") or known["license"]
    return f"## Licence\n\nThat of the base model, {name}: its terms hold for these weights, too.\n"


def _list(facts: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


def _facts_in(card: Path) -> dict[str, str]:
    """Return the facts that `tuning_card` listed, none where the card is missing or another's."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    if "shelfqa" not in (front_matter(card).get("tags") or ()):
        return {}
    listed = text.partition("\n## ")[0]
    return dict(re.findall(r"^- ([^:\n]+): (.+)$", listed, re.MULTILINE))


def _section(card: Path, title: str) -> str | None:
    """Return a section of a card, its heading with it."""
    try:
        found = re.search(rf"^## {title}\n.*?(?=\n+## |\Z)", card.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return None
    return found[0] if found else None
