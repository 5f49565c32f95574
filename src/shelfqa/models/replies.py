"""Reducing a chat model's reply to the short answer in it, by rules and without a model.

`short` answers yes/no questions with yes or no, and counts with digits up to ten (larger number words stay words, as
in published answers); of other replies it keeps what follows the first verb (`The color of the mug is red.` becomes
`red`). `word` goes on to a single word, as published answers have: what stands before `and`; no word that the question
has already named (`bunk bed` of a type of bed is `bunk`); of what is left the first word of printed text, shapes and
numbers, else the last, the head of an English noun phrase. Of the 897 answers of several words that five published
models gave about Amazon Berkeley Objects it makes 225 equal to the reference; always the first word, 144; always the
last, 137; as they are, 8. Made for English: what no rule knows is returned as it is, and a reply that says something
never becomes empty.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from shelfqa.models import reply_patterns as patterns
from shelfqa.question_types import question_type

Form = Literal["raw", "short", "word"]

_EDGES = " \t\r\n\"'`*_“”‘’«».,;:!"
_ENDS_CHARACTERS = 500
"""Of longer replies only the beginning and the end are read: the answer, or the one after `Final answer:`."""


@lru_cache(maxsize=1 << 16)
def reduce_reply(reply: str, question: str, form: Form) -> str:
    """Return the answer that a reply holds; reducing twice changes nothing.

    >>> reduce_reply("The color of the mug is **dark blue**.", "What color is the mug?", "short")
    'dark blue'
    >>> reduce_reply("There are two legs.", "How many legs?", "short"), reduce_reply("Red and white.", "Color?", "word")
    ('2', 'Red')
    """
    stripped = reply.strip()
    if form == "raw" or not stripped:
        return stripped
    text = stripped
    for _ in range(len(stripped) + 1):
        shorter = _short(text, question) or text
        if form == "word":
            shorter = _one_word(shorter, question)
        if shorter == text:
            break
        text = shorter
    return text


def _short(text: str, question: str) -> str:
    said = _first_sentence(_plain(text))
    if not said:
        return text.strip(_EDGES)
    if patterns.UNSURE.search(said):
        return _trim(said)
    if patterns.YES_NO_QUESTION.search(question) and not re.search(r"\bor\b", question):
        verdict = _yes_or_no(said)
        if verdict is not None:
            return verdict
    said = _without(patterns.FILLER, said)
    if patterns.COUNT_QUESTION.search(question):
        count = _count(said)
        if count is not None:
            return count
    return _phrase(said, question)


def _plain(text: str) -> str:
    """Return the reply without thoughts, special tokens, role names, labels and markup."""
    text = patterns.SPECIAL.sub("\n", patterns.THOUGHT.sub("\n", text)).strip()
    if len(text) > 2 * _ENDS_CHARACTERS:
        text = f"{text[:_ENDS_CHARACTERS]}\n{text[-_ENDS_CHARACTERS:]}"
    answer = re.search(r"<answer>(.*?)</answer>", text, re.DOTALL | re.IGNORECASE)
    text = answer[1] if answer else text
    labelled = [match.end() for match in patterns.LABEL.finditer(text) if text[match.end() :].strip(_EDGES)]
    text = text[labelled[-1] :] if labelled else text
    return re.sub(r"\*\*|__|`+|^\s*#+\s*", "", text, flags=re.MULTILINE).strip()


def _first_sentence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip(_EDGES + "-•")]
    if not lines:
        return ""
    items = [_trim(patterns.LIST_ITEM.sub("", line)) for line in lines[1:] if patterns.LIST_ITEM.match(line)]
    if lines[0].endswith(":") and items:
        return ", ".join(items)
    line = patterns.LIST_ITEM.sub("", lines[0]) or lines[0]
    sentences = [each for each in patterns.SENTENCE_END.split(line) if each and each.strip(_EDGES)]
    told = [each for each in sentences if not patterns.OPINION.fullmatch(each.strip(_EDGES))]
    return (told or sentences or [line])[0].strip()


def _yes_or_no(said: str) -> str | None:
    said = _without(patterns.FILLER, said)
    if patterns.YES.match(said):
        return "yes"
    if patterns.NO.match(said):
        return "no"
    if not patterns.STATEMENT.search(said) or len(said.split()) < 3:
        return None
    return "no" if patterns.NEGATION.search(said) else "yes"


def _count(said: str) -> str | None:
    found = patterns.NUMBER.search(said)
    if found is not None:
        return patterns.COUNT_VALUES.get(found[0].casefold(), found[0].replace(",", ""))
    return "1" if patterns.ONE_OF_IT.search(said) else None


def _phrase(said: str, question: str) -> str:
    """Return the words that answer, from a sentence or what is left of one."""
    if patterns.TEXT_QUESTION.search(question):
        quoted = patterns.QUOTED.findall(said)
        if quoted and (len(quoted) == 1 or said[:1] not in "\"'“‘"):
            return _trim(next(filter(None, quoted[-1])))
    rest = _answer_part(said, question)
    if rest != said or not patterns.TEXT_QUESTION.search(question):  # `Simply` may be the beginning of a brand
        rest = _repeatedly(patterns.AFTER_VERB, rest)
    rest = _kept(patterns.CLAUSE.split(rest, maxsplit=1)[0], rest)
    rest = _kept(patterns.TRAILING_PLACE.sub("", rest), rest)
    rest = _repeatedly(patterns.LEADING_PREPOSITION, rest)
    rest = _trim(
        _repeatedly(patterns.ARTICLE, _without(patterns.MEASURE_NOUN, _repeatedly(patterns.ARTICLE, _trim(rest))))
    )
    rest = _kept(_trim(_without_attribute(rest, question)), rest)
    return patterns.NUMBER_VALUES.get(rest.casefold(), rest) or _trim(said)


def _answer_part(said: str, question: str) -> str:
    """Return what follows the verb, or what stands before it where the rest only repeats the question."""
    for lead in (patterns.THERE_IS, patterns.MADE_OF, patterns.VERB):
        found = lead.search(said)
        if found is not None and _trim(said[found.end() :]):
            before, after = said[: found.start()], said[found.end() :]
            repeated = _content_stems(after) <= _content_stems(question) and _content_stems(before)
            return before if repeated and not _content_stems(before) <= _content_stems(question) else after
    asked = patterns.ASKED_VERB.match(question)
    if asked is not None:
        found = re.search(rf"(?<=\w)\s+{re.escape(asked[1])}s?\s+(?:the|its?|an?|this)\b", said, re.IGNORECASE)
        if found is not None:
            return said[: found.start()]
    return said


def _content_stems(text: str) -> set[str]:
    return {_stem(word) for word in re.findall(r"[\w'-]+", text) if word.casefold() not in patterns.SMALL_WORDS}


def _without_attribute(rest: str, question: str) -> str:
    """Return `red` for `red color` and `in color`, where the question has named the attribute."""
    pattern = patterns.ATTRIBUTE_NOUNS.get(question_type(question))
    return pattern.sub("", rest) if pattern is not None else rest


def _one_word(short: str, question: str) -> str:
    kind = question_type(question)
    part = short if kind == "pattern" else patterns.FIRST_PART.split(short, maxsplit=1)[0]
    words = _words(part) or _words(short)
    if len(words) < 2:
        return words[0] if words else short
    asked = {_stem(word) for word in re.findall(r"[\w'-]+", question)}
    left = [word for word in words if _stem(word) not in asked] or words
    left = [word for word in left if not patterns.ARTICLE.fullmatch(f"{word} ")] or left
    text = patterns.TEXT_QUESTION.search(question) and not re.match(
        r"\W*(?:where|what colou?r)\b", question, re.IGNORECASE
    )
    if text or kind in ("shape", "count", "yes/no") or left[0].replace(".", "").isdigit():
        return left[0]
    return left[-1]


def _words(text: str) -> list[str]:
    return [word for word in map(_trim, text.split()) if word]


def _stem(word: str) -> str:
    return word.casefold().removesuffix("s")


def _trim(text: str) -> str:
    """Return the text without quotes, markup and punctuation around it; signs of numbers and brackets stay."""
    return text.strip(_EDGES).removesuffix("?").strip(_EDGES)


def _kept(shorter: str, text: str) -> str:
    return shorter if _trim(shorter) else text


def _without(pattern: re.Pattern[str], text: str) -> str:
    return _kept(pattern.sub("", text, count=1), text)


def _repeatedly(pattern: re.Pattern[str], text: str) -> str:
    while (shorter := _without(pattern, text)) != text:
        text = shorter
    return text
