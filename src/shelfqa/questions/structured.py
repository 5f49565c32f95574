"""The pairs in the text of a model's reply, and the JSON schema that a reply is asked to follow.

Schema and validation are made from the same fields. A reply that departs from the schema is mended only where no
word of it can be lost, moved or made up; what was mended is told in `ReplyRead.repairs`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from shelfqa.questions.rules import Proposed, Rules

_Value = str | int | bool
_MAX_CHARACTERS, _MAX_BRACKETS = 32_768, 400
"""Longer replies are not given to json_repair, whose time grows with the square of the brackets."""
_TOLD = 3
"""So many broken pairs are told one by one."""


class ReplyRead(NamedTuple):
    """What a reply holds."""

    pairs: list[Proposed]
    """The valid ones, in their order, also where others are broken."""
    repairs: tuple[str, ...]
    """What was mended, each kind once: `around` (text around the JSON), `code-fence`, `bare-list`, `wrapped`,
    `other-name` (of the list), `loose-pairs` (no list), `extra-keys`, `type` (a number as text or the like),
    `spelling` (of a task), `syntax` (of the JSON), `cut` (a reply that ends early, of which whole pairs were taken)."""
    problem: str | None
    """What is wrong, in one line for the model and the user; None where all is well."""


class _Field(NamedTuple):
    """A property of a pair."""

    name: str
    kind: Literal["string", "integer", "boolean"]
    description: str
    allowed: tuple[_Value, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        allowed = {"enum": list(self.allowed)} if self.allowed else {}
        return {"type": self.kind, "description": self.description, **allowed}

    @property
    def expected(self) -> str:
        if self.allowed:
            return f"one of {', '.join(map(str, self.allowed))}"
        return {"string": "text", "integer": "a whole number", "boolean": "true or false"}[self.kind]


def reply_schema(rules: Rules) -> dict[str, Any]:
    """Return the JSON schema of a reply: within what the strict modes of hosted models take.

    All properties are required and no others allowed; there is no `$ref`, and since some modes refuse it no bound on
    the number of pairs.

    >>> list(reply_schema(Rules(difficulty=(0, 1)))["properties"]["pairs"]["items"]["properties"])
    ['question', 'answer', 'difficulty']
    """
    fields = _fields(rules)
    pair = {
        "type": "object",
        "properties": {field.name: field.schema for field in fields},
        "required": [field.name for field in fields],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"pairs": {"type": "array", "description": "The question-answer pairs.", "items": pair}},
        "required": ["pairs"],
        "additionalProperties": False,
    }


def _fields(rules: Rules) -> list[_Field]:
    answer = "The answer, a single word." if rules.answers == "one-word" else "The answer."
    if rules.json_tasks:
        answer += f" For {', '.join(rules.json_tasks)}: a JSON object, as text."
    fields = [_Field("question", "string", "The question."), _Field("answer", "string", answer)]
    if rules.tasks:
        fields.insert(0, _Field("task", "string", "The task that the pair belongs to.", rules.tasks))
    if rules.difficulty:
        fields.append(_Field("difficulty", "integer", "How difficult the question is.", rules.difficulty))
    if rules.metadata_flag:
        fields.append(_Field("used_metadata", "boolean", "Whether it took the listing's text to find the answer."))
    return fields


def read_reply(text: str, rules: Rules, *, cut: bool = False) -> ReplyRead:
    """Return the pairs in a reply, what was mended, and what is wrong; no reply makes it raise.

    Of several replies in one text the last counts. Of a reply that ends early only whole pairs are taken. Wrong
    syntax (trailing commas, single quotes, quotes within quotes) is mended by json_repair, where it is installed, and
    only if what it makes of the reply has the same keys and texts in the same order and leaves nothing out. More
    pairs than `rules.most` are no problem here.

    Args:
        text: the reply.
        rules: what was asked for.
        cut: whether the provider says that the reply ended at its longest length.

    >>> read_reply('```json\\n[{"question": "What is it?", "answer": "mug"}]\\n```', Rules(least=1))
    ReplyRead(pairs=[Proposed(question='What is it?', answer='mug', difficulty=None, used_metadata=None, task=None)], \
repairs=('code-fence', 'bare-list'), problem=None)
    """
    if not text.strip():
        return ReplyRead([], (), "empty reply")
    found = _find(text, [field.name for field in _fields(rules)], cut)
    pairs: list[Proposed] = []
    repairs, problems = list(found.repairs), []
    for number, item in enumerate(found.items):
        try:
            pair, mended = _pair(item, rules)
        except _BrokenPair as broken:
            problems.append(f"pairs[{number}]{broken}")
        else:
            pairs.append(pair)
            repairs += mended
    told = [found.problem] if found.problem else []
    told += problems[:_TOLD]
    if len(problems) > _TOLD:
        told.append(_counted(len(problems) - _TOLD, "more broken pair"))
    if len(found.items) < rules.least and (found.items or not told):
        expected = rules.least if rules.least == rules.most else f"{rules.least} to {rules.most}"
        early = "the reply ends early: " if "cut" in repairs else ""
        told.append(f"{early}{_counted(len(found.items), 'pair')}, expected {expected}")
    return ReplyRead(pairs, tuple(dict.fromkeys(repairs)), "; ".join(told) or None)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class _BrokenPair(Exception):
    """What is wrong with a pair, in words that follow its number."""


def _pair(item: Any, rules: Rules) -> tuple[Proposed, list[str]]:
    if not isinstance(item, _Object):
        raise _BrokenPair(f" is {_shown(item)}: expected an object")
    values: dict[str, Any] = {}
    repairs: list[str] = []
    for field in _fields(rules):
        if field.name in item.repeated:
            raise _BrokenPair(f" has {field.name} twice")
        if field.name not in item:
            raise _BrokenPair(f".{field.name} is missing")
        value = item[field.name]
        is_json = field.name == "answer" and values.get("task") in rules.json_tasks
        read = _as_json(value) if is_json and isinstance(value, _Object) else _read(field, value)
        if read is None or (isinstance(read, str) and _SURROGATE.search(read)):
            raise _BrokenPair(f".{field.name} is {_shown(value)}: expected {field.expected}")
        if read != value:
            repairs.append("spelling" if field.name == "task" else "type")
        values[field.name] = read
    if item.keys() - values.keys():
        repairs.append("extra-keys")
    return Proposed(**values), repairs


def _read(field: _Field, value: Any) -> _Value | None:
    """Return the value of a field in its type, or None where it is not certain."""
    if not isinstance(value, str | int | _Float):
        return None
    if field.kind == "boolean":
        return {"true": True, "false": False}.get(str(value).strip().casefold())
    if isinstance(value, bool):
        return None
    read: _Value | None = value.text if isinstance(value, _Float) else str(value)
    if field.kind == "integer":
        number = re.fullmatch(r"\s*(-?[0-9]{1,9})(?:\.0+)?\s*", str(read))
        read = int(number[1]) if number else None
    if field.allowed and read is not None and read not in field.allowed:
        return {str(allowed).casefold(): allowed for allowed in field.allowed}.get(str(read).strip().casefold())
    return read


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = value.text if isinstance(value, _Float) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_SURROGATE = re.compile("[\ud800-\udfff]")


def _as_json(value: _Object) -> str | None:
    try:
        return None if value.repeated else json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None


class _Object(dict[str, Any]):
    """An object, and which of its keys stand there more than once."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        counts = Counter(name for name, _ in members) if len(self) < len(members) else {}
        self.repeated = frozenset(name for name, count in counts.items() if count > 1)


class _Float(float):
    """A number, and how it is written."""

    text: str

    def __new__(cls, text: str) -> _Float:
        number = super().__new__(cls, text)
        number.text = text
        return number


def _integer(text: str) -> int | _Float:
    return int(text) if len(text) <= 18 else _Float(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_float=_Float, parse_int=_integer)


class _Found(NamedTuple):
    items: list[Any]
    repairs: tuple[str, ...] = ()
    problem: str | None = None


def _find(text: str, names: list[str], cut: bool) -> _Found:
    """Return the items of the last reply in the text, else those objects in it that look like pairs."""
    parts, error = _scan(text)
    for part in reversed(parts):
        reply = _reply(part.value)
        if reply is not None:
            around = (text[: part.start] + text[part.end :]).strip()
            fence = bool(re.fullmatch(r"(?:```\w*\s*)+", around))
            return reply._replace(repairs=(*(["code-fence" if fence else "around"] if around else []), *reply.repairs))
    loose = [part.value for part in parts if isinstance(part.value, _Object) and "question" in part.value]
    if error is None:
        if loose:
            return _Found(loose, ("loose-pairs",))
        return _Found([], (), 'no list of pairs found: expected {"pairs": [...]}' if parts else "no JSON object found")
    opening, end = _OPENING.search(text), max(text.rfind("]"), text.rfind("}")) + 1
    region = text[opening.start() if opening else 0 : end]
    if not loose and not _REPLY_LIKE.search(text):
        return _Found([], (), "no JSON object found")
    if cut or not _CLOSED.search(re.sub(r"[\s,]+", "", region[-500:])) or _REPLY_LIKE.search(text, end):
        return _Found(loose, ("cut",), None if loose else "the reply ends early: no whole pair")
    place = f"line {error.lineno}, column {error.colno}"
    return _mended(region, names) or _Found(loose, (), f"not valid JSON ({place}: {error.msg})")


_OPENING = re.compile(r"[\[{]")
_CLOSED = re.compile(r"\}\]\}*$")
_REPLY_LIKE = re.compile(r"""[{,]\s*["'“”]?(?:pairs|question|answer|task)["'“”]?\s*:""")


class _Part(NamedTuple):
    value: Any
    start: int
    end: int


def _scan(text: str) -> tuple[list[_Part], json.JSONDecodeError | None]:
    """Return all objects and lists in the text, the outermost that are whole, and the error that came furthest."""
    parts: list[_Part] = []
    furthest: json.JSONDecodeError | None = None
    position, budget = 0, 4 * len(text) + 20_000
    while budget > 0 and (opening := _OPENING.search(text, position)):
        start = opening.start()
        try:
            value, position = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            if furthest is None or error.pos > furthest.pos:
                furthest = error
            position = start + 1
            budget -= 100 + error.pos - start + error.pos // 100
        except RecursionError:
            furthest = furthest or json.JSONDecodeError("nested too deeply", text, start)
            position = start + 1
            budget -= 100 + len(text) // 8
        else:
            parts.append(_Part(value, start, position))
    return parts, furthest


def _reply(value: Any) -> _Found | None:
    """Return the items of a value that is a reply or nearly one."""
    if _is_list_of_pairs(value):
        return _Found(value, ("bare-list",))
    if not isinstance(value, _Object):
        return None
    if "pairs" in value.repeated:
        return _Found([], (), "the reply has pairs twice")
    if isinstance(value.get("pairs"), list):
        return _Found(value["pairs"], ("extra-keys",) if len(value) > 1 else ())
    if len(value) != 1:
        return None
    (inner,) = value.values()
    if _is_list_of_pairs(inner):
        return _Found(inner, ("other-name",))
    if isinstance(inner, _Object) and isinstance(inner.get("pairs"), list) and not inner.repeated:
        return _Found(inner["pairs"], ("wrapped",))
    return None


def _is_list_of_pairs(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, _Object) and "question" in item for item in value)


def _mended(region: str, names: list[str]) -> _Found | None:
    """Return the items of a reply of wrong syntax, or None where it is not certain what was meant."""
    if len(region) > _MAX_CHARACTERS or len(_OPENING.findall(region)) > _MAX_BRACKETS:
        return None
    try:
        from json_repair import repair_json

        value = _DECODER.decode(repair_json(region, skip_json_loads=True))
        certain = _says_the_same(region, value)
    except Exception:  # json_repair is not there, or fails in a way of its own on what is no JSON at all
        return None
    reply = _reply(value) if certain else None
    if reply is None or any(isinstance(item, _Object) and item.keys() - set(names) for item in reply.items):
        return None
    return reply._replace(repairs=("syntax", *reply.repairs))


_QUOTE = "[\"'“”‘’]"
_BETWEEN = re.compile(r"[\s,\[\]{}]*")
_KEY = re.compile(rf"{_QUOTE}\w+{_QUOTE}\s*:")
"""In a text, a sign that it swallowed what stands behind it."""
_NEVER = "(?!)"


def _says_the_same(region: str, value: Any) -> bool:
    """Return whether the keys and texts of `value`, in their order and between quotes, are all that `region` holds."""
    position = 0
    for pattern in _patterns(value):
        begin = _BETWEEN.match(region, position)
        found = re.compile(pattern).match(region, begin.end() if begin else position)
        if found is None:
            return False
        position = found.end()
    return _BETWEEN.fullmatch(region, position) is not None


def _patterns(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield rf"{_QUOTE}?{re.escape(name)}{_QUOTE}?\s*:"
            yield from _patterns(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _patterns(inner)
    elif isinstance(value, str):
        ways = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
        ways |= set() if "\\" in value else {value, value.replace("'", "\\'")}
        yield _NEVER if _KEY.search(value) else f"{_QUOTE}(?:{'|'.join(map(re.escape, ways))}){_QUOTE}"
    else:
        yield re.escape(_shown(value)) + r"(?![\w.])"
