"""Checks at the door: which of the pairs that a model proposes are taken, and why the others are not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import msgspec

from shelfqa.questions.nouns import singular, word_set
from shelfqa.questions.pairs import digest
from shelfqa.questions.rules import Proposed, Rules
from shelfqa.text import answer_tokens

MAX_QUESTION_CHARACTERS = 300
MAX_WORD_CHARACTERS = 40
MAX_ANSWER_WORDS_IN_QUESTION = 3
"""Free answers of more words may stand in the question."""
MIN_YES_NO_PAIRS = 20
"""Of fewer yes/no pairs none is surplus."""


class Checked(NamedTuple):
    """What the checks made of the pairs of a product."""

    accepted: list[Proposed]
    """With blanks made one, and the answer as one word where the rules ask for that."""
    rejected: list[tuple[Proposed, str, str]]
    """Each as it was proposed, with a short reason and what exactly is wrong."""


def check_pairs(pairs: Sequence[Proposed], rules: Rules) -> Checked:
    """Return the pairs about one product that keep the rules, and the others with the first reason that applies.

    The reasons, in this order: `empty-question`, `empty-answer`, `difficulty-out-of-range`, `unknown-task`,
    `too-long`, `no-question`, `mentions-listing`, `answer-not-json`, `answer-not-one-word`, `answer-in-question`,
    `duplicate-question` (of one that was accepted), `over-count` (more than `rules.most` pass all other checks).

    >>> rules = Rules(least=1, most=1)
    >>> checked = check_pairs([Proposed("What is it?", "A mug."), Proposed("What color?", "dark blue")], rules)
    >>> checked.accepted[0].answer, checked.rejected[0][1:]
    ('mug', ('answer-not-one-word', "'dark blue'"))
    """
    checked = Checked([], [])
    asked: dict[tuple[str, ...], str] = {}
    for pair in pairs:
        found = _kept(pair, rules)
        if isinstance(found, Proposed):
            key = tuple(_tokens(found.question))
            if key in asked:
                found = ("duplicate-question", f"{found.question!r} asks the same as {asked[key]!r}")
            elif len(checked.accepted) >= rules.most:
                found = ("over-count", f"more than {rules.most} pairs")
            else:
                asked[key] = found.question
                checked.accepted.append(found)
                continue
        checked.rejected.append((pair, *found))
    return checked


def _kept(pair: Proposed, rules: Rules) -> Proposed | tuple[str, str]:
    """Return the pair as it is accepted by itself, or the reason and the detail why it is not."""
    question, answer = " ".join(pair.question.split()), " ".join(pair.answer.split())
    is_json = pair.task is not None and pair.task in rules.json_tasks
    if not _says_something(question):
        return "empty-question", f"{question!r}"
    if not answer:
        return "empty-answer", f"{pair.answer!r}"
    if rules.difficulty and pair.difficulty not in rules.difficulty:
        return "difficulty-out-of-range", f"{pair.difficulty!r} is none of {', '.join(map(str, rules.difficulty))}"
    if rules.tasks and pair.task not in rules.tasks:
        return "unknown-task", f"{pair.task!r} is none of {', '.join(rules.tasks)}"
    if len(question) > MAX_QUESTION_CHARACTERS:
        return "too-long", f"the question has {len(question)} characters, at most {MAX_QUESTION_CHARACTERS}"
    if question.isascii() and question.isalnum():  # "Shape?" is one
        return "no-question", f"{question!r} is a single word"
    if (mention := _MENTION.search(question)) is not None:
        return "mentions-listing", f"{mention[0]!r} in {question!r}"
    if is_json:
        if not is_flat_json(pair.answer):
            return "answer-not-json", f"{answer!r}"
        return pair._replace(question=question, answer=pair.answer.strip())
    if rules.answers == "one-word":
        word = one_word(answer)
        if word is None:
            return "answer-not-one-word", f"{answer!r}"
        if len(word) > MAX_WORD_CHARACTERS:
            return "too-long", f"the answer has {len(word)} characters, at most {MAX_WORD_CHARACTERS}"
        answer = word
    if len(answer.split()) <= MAX_ANSWER_WORDS_IN_QUESTION and leaks(question, answer):
        return "answer-in-question", f"{answer!r} in {question!r}"
    return pair._replace(question=question, answer=answer)


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


_SPELLINGS = {"colour": "color", "colours": "colors", "coloured": "colored", "grey": "gray", "centre": "center"}
_LETTER_NO_ARTICLE = re.compile(r"(?<=\w)[-–—](?=(?:an?|the)\b)", re.IGNORECASE)
"""`USB-A` is not `USB` with an article behind it."""
_SHORT_IS = re.compile(r"\b(what|who|where|how|which|it|that)['’]s\b", re.IGNORECASE)


def _tokens(text: str) -> list[str]:
    """Return the words, which two questions share that ask the same: no case, marks, articles, British spelling.

    >>> _tokens("What's the colour of a mug?")
    ['what', 'is', 'color', 'of', 'mug']
    """
    text = _LETTER_NO_ARTICLE.sub("", _SHORT_IS.sub(r"\1 is", text))
    return [_SPELLINGS.get(token, token) for token in answer_tokens(text)]


_ONE = re.compile(r"\bone\b", re.IGNORECASE)
_YES_NO = (["yes"], ["no"])


def leaks(question: str, answer: str) -> bool:
    """Return whether the answer stands in the question, be it in the plural, or a number as a word.

    All words of the answer must stand there, side by side: a question about a shirt may be answered by `t-shirt`.
    `Yes` and `no` give nothing away, and `one` in a question is seldom a number.

    >>> leaks("How many boxes are shown?", "box"), leaks("What kind of shirt is it?", "t-shirt")
    (True, False)
    >>> leaks("Is there no handle?", "no"), leaks("What are the two legs made of?", "2")
    (False, True)
    """
    words = _tokens(answer)
    if not words or words in _YES_NO:
        return False
    wanted = [_forms(word) for word in words]
    asked = [_forms(word) for word in _tokens(_ONE.sub(" ", question))]
    starts = range(len(asked) - len(wanted) + 1)
    return any(all(forms & asked[start + place] for place, forms in enumerate(wanted)) for start in starts)


def _forms(word: str) -> set[str]:
    stem = word.removesuffix("'s").removesuffix("’s")
    return {word, stem} | (
        {stem.removesuffix("s"), stem.removesuffix("es"), singular(stem)} if len(stem) > 2 else set()
    )


_SEEN = (
    r"(?!\s+(?:\w+ly\s+)?(?:on|at|under|below|inside|beside|near)\b(?!\s+(?:the\s+)?(?:\w+\s+)?(?:page|site|website)\b)"
    r"|\s+in\s+(?:the|this)\s+(?:image|picture|photo\w*|logo|print)\b)"
)
"""Where a text is that can be seen: not "mentioned on the box"."""
_MENTION = re.compile(
    r"\b(?:listings?|metadata|reviews?|reviewers?|bullet points?)\b"
    r"|\bproduct (?:page|details|information|data|text|specifications?)\b"
    rf"|\bdescriptions?\b{_SEEN}"
    rf"|(?<!\bbe )(?<!\bbest )\b(?:mentioned|described|specified)\b{_SEEN}"
    r"|\b(?:stated|listed|given|indicated|noted|advertised|provided) (?:in|by|within) (?:the |its )?(?:[\w'’-]+ ){0,2}?"
    rf"(?:name|title|text|context|details|specs|specifications?|information)\b{_SEEN}"
    rf"|\b(?:in|per|by|from) (?:the |its )?(?:product|item)(?:['’]s)? (?:name|title)\b{_SEEN}"
    r"|\baccording to\b(?! (?:the |its |this |their )?(?:[\w'’-]+ )?(?:image|picture|photo\w*|label|tag|box|pack\w*|"
    r"logo|print|design|clock|watch|dial|display|screen|ruler|scale|chart|gauge|sign|sticker|cover|card|hands?)\b)",
    re.IGNORECASE,
)

_Flat = dict[str, str | bool | int | float | list[str]]


def is_flat_json(answer: str) -> bool:
    """Return whether the text is a JSON object of texts, numbers, truth values and lists of texts, and not empty.

    >>> is_flat_json('{"color": "red", "legs": 4, "tags": ["a"]}'), is_flat_json('{"a": {"b": 1}}'), is_flat_json("red")
    (True, False, False)
    """
    try:
        return bool(msgspec.json.decode(answer, type=_Flat))
    except (ValueError, RecursionError):
        return False


_LONGER_THAN_ANY_WORD = 500
_UNITS = word_set(
    "mm cm dm m km in ft yd mg g gr gm gsm kg lb lbs oz ml cl dl l w kw wh kwh v mv kv a ma mah ah va hz khz mhz ghz",
    "b kb mb gb tb gbps mbps k c f °c °f lm px mp dpi rpm psi pa db pc pcs ct mil min h s %",
    "° \" ″ ” ' ′ ’",
)
_MEASURE = re.compile(r"([+-]?(?:\d+/\d+|\d[\d.,]*|\d*[¼½¾⅓⅔⅛]))\s+(\S+)")
_ARTICLE = re.compile(r"\A(?:an?|the)\s+(?=[\"'“‘]?[^\W\d_])", re.IGNORECASE)
_BULLET = re.compile(r"\A[-–—•*]+(?:\s+|(?=[^\W\d_]))")
_LEADING_PERIODS = re.compile(r"\A\.+(?=\.\d|[^\d.]|\Z)")
_CLOSING_QUOTES = re.compile(r"(?<![\d½¼¾⅓⅔⅛])(?<![\d½¼¾⅓⅔⅛] )[\"'″′”’]+\Z")
_QUOTES = "\"'`“”„‘’‚«»″′"
_LEFT = _QUOTES + "*_~,;:!?¿¡…([{<、，。；：！？（「『【《"
_RIGHT = "`“„‘‚«»*_~.,;:!?…)]}>®™©-–—、，。；：！？）」』】》"
_INVISIBLE = re.compile("[\u200b\u2060\ufeff\u00ad]")
_SEPARATOR = re.compile('[\\s/|\\\\,;:!?&+_()\\[\\]{}<>=@~^*#"“”„«»…、，。；：・／｜！？（）「」『』【】《》·]|--')
_BETWEEN_DIGITS = re.compile(r"(?<=\d)(?:[/:]|,(?=\d{3}(?!\d))|,(?!.*,))(?=\d)")
_BRAND = re.compile(r"([A-Za-z][\w'’.]*)([&+])([A-Za-z][\w'’.]*)")


def one_word(answer: str) -> str | None:
    """Return the answer as one word, or None if it is none or several.

    Quotes, brackets and marks around it, a leading article and trade marks go; the spelling stays. What has no blank
    is a word, with hyphens and apostrophes too, a number (decimal, fraction, percentage, time, amount), a code; a
    number and the symbol of a unit are drawn together. Slashes, commas, `_`, `&` and `+` join several words, except
    in numbers and in brands: `&` beside at most two letters, either between capitals. Text in a script without
    blanks is one word unless marks divide it.

    >>> [one_word(answer) for answer in ("A mug.", '"T-shirt"', "12 cm", '5 "', "2.5", "1/2", "H&M", "women's")]
    ['mug', 'T-shirt', '12cm', '5"', '2.5', '1/2', 'H&M', "women's"]
    >>> [one_word(answer) for answer in ("black and white", "dark blue", "black/white", "12 inches", "?")]
    [None, None, None, None, None]
    """
    if len(answer) > _LONGER_THAN_ANY_WORD:
        return None
    word = _bare(_INVISIBLE.sub("", answer))
    measure = _MEASURE.fullmatch(word)
    if measure and measure[2].casefold() in _UNITS:
        word = measure[1] + measure[2]
    core = _BETWEEN_DIGITS.sub("", word).lstrip("#$€£¥₹+")
    core = re.sub(r"(?<=[\d½¼¾⅓⅔⅛])[\"″”]\Z", "", core).rstrip("+")
    brand = _BRAND.fullmatch(core)
    if brand and ((brand[1] + brand[3]).isupper() or (brand[2] == "&" and min(len(brand[1]), len(brand[3])) <= 2)):
        core = brand[1] + brand[3]
    if _SEPARATOR.search(core) or not _says_something(core) or not _is_readable(core):
        return None
    return word


def _bare(text: str) -> str:
    """Return the text without what stands around it; a mark of inches or feet after a number stays."""
    before = None
    while text != before:
        before = text
        text = " ".join(text.split())
        if len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
            text = text[1:-1]
            continue
        text = _ARTICLE.sub("", _BULLET.sub("", text))
        text = _CLOSING_QUOTES.sub("", _LEADING_PERIODS.sub("", text.lstrip(_LEFT)).rstrip(_RIGHT))
    return text


def _is_readable(word: str) -> bool:
    return all(character.isprintable() or character in "\u200c\u200d" for character in word)


def yes_no_surplus(answers: Sequence[tuple[str, str]], most_share: float) -> set[str]:
    """Return the ids of pairs to drop so that neither yes nor no is more than `most_share` of the yes/no answers.

    All pairs of the rarer answer stay, and as many of the other as the share allows: of 95 yes and 5 no, at a share
    of 0.6, 7 yes stay (7 of 12 are 0.58, 8 of 13 would be 0.62); where there is no `no` at all, none stays. Which ones
    stay is told by a digest of the id, whatever the order. Of fewer than `MIN_YES_NO_PAIRS` nothing is dropped.

    Args:
        answers: (id, answer) of all pairs of a run; ids are unique.
        most_share: from 0.5 to 1; at 1 nothing is dropped.

    Raises:
        ValueError: if `most_share` is out of range.

    >>> len(yes_no_surplus([(f"y{n}", "Yes") for n in range(95)] + [(f"n{n}", "no") for n in range(5)], 0.6))
    88
    """
    if not 0.5 <= most_share <= 1:
        raise ValueError(f"most_share is {most_share!r}: expected 0.5 to 1.")
    ids: dict[str, list[str]] = {"yes": [], "no": []}
    for pair_id, answer in answers:
        words = answer_tokens(answer)
        if words in _YES_NO:
            ids[words[0]].append(pair_id)
    rarer, other = sorted(ids.values(), key=len)
    if len(rarer) + len(other) < MIN_YES_NO_PAIRS or most_share == 1:
        return set()
    share = Fraction(str(most_share))
    kept = int(share * len(rarer) / (1 - share))
    return set(sorted(other, key=lambda pair_id: (digest(pair_id), pair_id))[kept:])
