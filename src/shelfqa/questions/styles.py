"""Styles of question sets: versioned templates of the prompt in which a language model is asked for pairs.

A style is a YAML file of the fields of `Style`; those that shelfqa brings lie in `style_files`. The templates are
Jinja2, run in a sandbox, and see these names:

    data        what the shop and its customers say about the product, fenced and introduced as data
    sight       whether there are pictures to look at, and what to do without
    ground      the rules that hold for every question
    reply       the form of the reply, in words
    shown, compared, feedback    whether pictures go along, a second product is there, customers said something
    rules, tasks, examples       the style's own; `tasks` without comparison where there is no second product
    yes_or_no   "yes" or "no", by the product: what a lone yes/no question should have for an answer

What a shop or a customer wrote reaches a template in `data` only, so that no template can forget the fence.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from shelfqa.config import Config, from_mapping, read_yaml
from shelfqa.digests import digest_of, file_digest
from shelfqa.errors import ConfigError, did_you_mean
from shelfqa.questions.pairs import digest
from shelfqa.questions.rules import Rules

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

STYLE_FOLDER = Path(__file__).resolve().parent / "style_files"
SHARED_WORDING = STYLE_FOLDER / "shared.jinja"
STYLES: tuple[str, ...] = tuple(sorted(path.stem for path in STYLE_FOLDER.glob("*.yaml")))
COMPARISON = "comparison"
"""The task that needs a second product."""

_FENCE_MARKS = str.maketrans("<>＜＞﹤﹥", "‹›‹›‹›")
_ASIDE = re.compile(
    r"(?:.*_)?(?:ids?|sku|asin|ean|upc|gtin|barcode|urls?|prices?|costs?|stock|inventory|tax|seo|status|published)(?:_.*)?"
    r"|(?:model|part)_number|country|marketplace|domain|node|color_code|variants|number_of_(?:variants|items_text)"
)
"""Names of attributes of which no picture of the product tells."""

_MADE_UP = {"product_id": "made-up", "product_type": "mug", "name": "Blue mug", "attributes": "{}"}
_VARIABLES = frozenset(
    ("data", "sight", "ground", "reply", "shown", "compared", "feedback", "rules", "tasks", "examples", "yes_or_no")
)


class Style(Config, frozen=True):
    """How pairs are asked for."""

    name: Annotated[str, Meta(description="Name of the style; a file's stem unless given.")]
    version: Annotated[
        str,
        Meta(
            description="Stands in each question's source; a file's stem and digest unless given. New with each change."
        ),
    ]
    prompt: Annotated[str, Meta(description="Jinja2 template of the prompt; it shows `data` and ends in `reply`.")]
    about: Annotated[str, Meta(description="What the style asks for, in one line.")] = ""
    rules: Annotated[Rules, Meta(description="What is asked of a reply.")] = Rules()
    system: Annotated[str, Meta(description="Jinja2 template of what the model is told before the prompt.")] = ""
    max_tokens: Annotated[int, Meta(ge=1, description="Longest reply, thoughts included.")] = 2048
    compares: Annotated[
        bool, Meta(description="Whether a second product is shown where there is one, for the task comparison.")
    ] = False
    examples: Annotated[
        tuple[dict[str, Any], ...], Meta(description="Worked examples, in any shape that the templates make use of.")
    ] = ()


class Prompt(NamedTuple):
    """What a model is asked: `system` before `prompt`."""

    system: str
    prompt: str


def load_style(name_or_path: str) -> Style:
    """Return a style that shelfqa brings, or the one in a user's YAML file.

    Args:
        name_or_path: one of `STYLES`, or a path that ends in `.yaml` or `.yml`.

    Raises:
        ConfigError: for an unknown name, unknown keys, rules that contradict each other, or a template that cannot be
            rendered; the message names the file and, where one is unknown, the variable.
        InputError: if the file is missing or unreadable.

    """
    path = Path(name_or_path)
    if name_or_path in STYLES:
        path = STYLE_FOLDER / f"{name_or_path}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        known = did_you_mean(name_or_path, STYLES)
        raise ConfigError(f"Unknown style of questions {name_or_path!r}.{known} Or give the path of a YAML file.")
    values = read_yaml(path)
    wording = digest_of((file_digest(path), file_digest(SHARED_WORDING)))
    named = {"name": path.stem, "version": f"{path.stem}-{wording[:8]}"}
    style = from_mapping(Style, named | values, where=str(path))
    _check_rules(style.rules, str(path))
    _check_templates(style, str(path))
    return style


def rules_for(style: Style, *, compared: bool) -> Rules:
    """Return the style's rules for a prompt with a second product, or without one and so without comparison."""
    if compared or not style.compares:
        return style.rules
    tasks = tuple(task for task in style.rules.tasks if task != COMPARISON)
    json_tasks = tuple(task for task in style.rules.json_tasks if task != COMPARISON)
    return msgspec.structs.replace(style.rules, tasks=tasks, json_tasks=json_tasks)


def render(
    style: Style,
    product: Mapping[str, Any],
    *,
    shown: bool,
    feedback: Sequence[str] = (),
    other: Mapping[str, Any] | None = None,
) -> Prompt:
    """Return the prompt in which pairs about a product are asked for.

    Args:
        style: what to ask for.
        product: a row of `products`.
        shown: whether pictures go along: those of the product first, then those of the other one.
        feedback: what customers said about the product, already redacted.
        other: a second product to compare with; passed over unless the style compares.

    """
    other = other if style.compares else None
    told = _within((f"- {text}" for text in map(_said, feedback) if text), 1500, longest=300)
    shared = _shared_wording(_environment())
    second = listing_text(other, tag="second_listing", budget=2000) if other is not None else ""
    rules = rules_for(style, compared=other is not None)
    switches = {"shown": shown, "compared": other is not None, "feedback": bool(told)}
    lean = "yes" if int(digest("yes-or-no", product.get("product_id")), 16) % 2 else "no"
    variables = switches | {
        "data": shared.data(listing_text(product), second, _fenced("feedback", told) if told else "").strip(),
        "sight": shared.sight(switches).strip(),
        "ground": shared.ground(rules, lean).strip(),
        "reply": shared.reply(rules).strip(),
        "rules": rules,
        "tasks": rules.tasks,
        "examples": style.examples,
        "yes_or_no": lean,
    }
    return Prompt(*(_plain(_template(text).render(variables)) for text in (style.system, style.prompt)))


def listing_text(product: Mapping[str, Any], *, tag: str = "listing", budget: int = 4000) -> str:
    """Return what a listing says, a fact a line in single blanks, in at most about `budget` characters, in a fence.

    No line can end the fence: `<` and `>` are put as ‹ and ›, and characters that do not show are taken out. Empty
    fields, facts said before, and fields that no picture shows (codes, prices, other variants) are left out.
    """
    said: dict[str, str] = {}
    lines: list[str] = []
    for facts, most, longest in _facts(product):
        texts = ((label, _said(value)) for label, value in facts)
        fresh = (
            f"{label}: {text}" for label, text in texts if text and said.setdefault(text.casefold(), label) == label
        )
        lines += _within(fresh, min(most, budget - len("\n".join(lines))), longest=longest)
    return _fenced(tag, lines)


def _facts(product: Mapping[str, Any]) -> Iterator[tuple[Iterable[tuple[str, Any]], int, int]]:
    """Yield groups of facts with their labels, the weightiest first; how long a group may be, and a fact in it."""
    names = {"product_type": "type"}
    yield ((names.get(key, key), product.get(key)) for key in ("name", *names, "brand", "color", "material")), 700, 300
    given = product.get("attributes") or {}
    attributes = (json.loads(given) or {}) if isinstance(given, str) else given
    keys = [key for key in sorted(attributes) if not _ASIDE.fullmatch(key.lower())]
    yield ((_said(key.replace("_", " ")), attributes[key]) for key in keys), 700, 150
    yield (("point", point) for point in product.get("bullet_points") or ()), 1200, 300
    yield [("description", product.get("description"))], 1500, 1500
    yield [("keywords", product.get("keywords"))], 400, 400


def _within(lines: Iterable[str], most: int, *, longest: int) -> list[str]:
    """Return the first lines that fit into `most` characters, each cut to `longest`."""
    kept: list[str] = []
    for line in lines:
        room = min(most, longest)
        if room < 20:
            break
        if len(line) > room:
            head, _, tail = line[: room - 1].rpartition(" ")
            line = (head if len(head) > room // 2 else head + " " + tail).strip() + "…"
        kept.append(line)
        most -= len(line) + 1
    return kept


def _fenced(tag: str, lines: Sequence[str]) -> str:
    return "\n".join((f"<{tag}>", *(lines or ("(nothing)",)), f"</{tag}>"))


def _said(value: Any, depth: int = 3) -> str:
    """Return a value in words on one line, without characters that do not show."""
    if value is None or depth == 0:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        if value.keys() <= {"value", "unit"}:
            return _said(f"{value.get('value')} {value.get('unit') or ''}")
        return ", ".join(f"{_said(key)} {text}" for key, item in value.items() if (text := _said(item, depth - 1)))
    if isinstance(value, (list, tuple)):
        return ", ".join(text for item in value if (text := _said(item, depth - 1)))
    text = str(value)[:8000].translate(_FENCE_MARKS)
    shown = (char for char in text if char.isspace() or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co"))
    return " ".join("".join(shown).split())


def _plain(text: str) -> str:
    """Return the text without the blank lines that left-out parts leave behind."""
    return re.sub(r"\n{3,}", "\n\n", text).strip()


@functools.cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.autoescape = False  # prompts are no HTML
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment


@functools.lru_cache(maxsize=32)
def _template(text: str) -> Template:
    return _environment().from_string(text)


@functools.cache
def _shared_wording(environment: SandboxedEnvironment) -> Any:
    return environment.from_string(SHARED_WORDING.read_text(encoding="utf-8")).module


def _check_rules(rules: Rules, where: str) -> None:
    if rules.least > rules.most:
        raise ConfigError(f"{where}: rules.least is {rules.least}: expected at most rules.most, {rules.most}.")
    for task in rules.json_tasks:
        if task not in rules.tasks:
            raise ConfigError(f"{where}: rules.json_tasks: {task!r} is no task.{did_you_mean(task, rules.tasks)}")
    if rules.tasks == (COMPARISON,):
        raise ConfigError(f"{where}: rules.tasks: name one that needs no second product beside {COMPARISON!r}.")


def _check_templates(style: Style, where: str) -> None:
    """Render the templates on a made-up product in every way that they will be."""
    for field in ("system", "prompt"):
        _check_names(getattr(style, field), f"{where}: {field}")
    for shown, feedback, other in itertools.product((True, False), ((), ("Nice blue.",)), (None, _MADE_UP)):
        try:
            system, prompt = render(style, _MADE_UP, shown=shown, feedback=feedback, other=other)
        except Exception as error:  # a user's template can raise anything
            raise ConfigError(f"{where}: the templates cannot be rendered: {_one_line(error)}.") from None
    if listing_text(_MADE_UP) not in system + prompt:
        raise ConfigError(f"{where}: prompt: the product is never shown. Put {{{{ data }}}} where it should stand.")
    if '{"pairs":' not in prompt:
        raise ConfigError(f"{where}: prompt: the form of the reply is never told. End it in {{{{ reply }}}}.")


def _check_names(text: str, where: str) -> None:
    """Refuse what is no Jinja2, and variables that there are none of, be they in branches seldom taken."""
    from jinja2 import TemplateError, TemplateSyntaxError, meta

    try:
        unknown = meta.find_undeclared_variables(_environment().parse(text)) - _VARIABLES
        _template(text)
    except TemplateSyntaxError as error:
        raise ConfigError(f"{where}, line {error.lineno}: {_one_line(error)}.") from None
    except TemplateError as error:
        raise ConfigError(f"{where}: {_one_line(error)}.") from None
    for name in sorted(unknown):
        raise ConfigError(f"{where}: no variable {name!r}.{did_you_mean(name, _VARIABLES)}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).removesuffix(".") or type(error).__name__
