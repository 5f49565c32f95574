"""Hosted models as answerers: one request a question, every reply on disk as soon as it is there.

A model behind an API tells no probabilities of its answers; asked for its best guesses it can state them (verbalised
confidence, Tian et al. 2023, arXiv 2305.14975). With `top_k` of 1 it is asked for the answer alone, without
probability.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal, NamedTuple

from shelfqa.errors import ConfigError, ImageError, UserError
from shelfqa.images import load_image
from shelfqa.models.answering import Asked, Found, Search, cannot_be_asked, in_form
from shelfqa.models.wording import Wording
from shelfqa.progress import progress
from shelfqa.providers.base import PROVIDERS, Provider, ProviderError
from shelfqa.records import Answer
from shelfqa.text import normalize_answer

_REQUESTS_AT_ONCE = 8
_FAILURES_IN_VAIN = 10
"""So many failed requests in a row end the run: the key, the address or the model is wrong, or the quota used up."""
_MOST_CANDIDATES = 300
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


def hosted_name(model: str) -> tuple[str, str] | None:
    """Return provider and model of a name such as `gemini:gemini-2.5-flash`, or None if it names no provider.

    >>> hosted_name("openai:gpt-5-mini"), hosted_name("Salesforce/blip-vqa-base")
    (('openai', 'gpt-5-mini'), None)
    """
    provider, colon, name = model.partition(":")
    return (provider, name) if colon and name and provider in PROVIDERS else None


def answer_hosted(
    asked: Sequence[Asked], load: Callable[[], Provider], file: Path, *, name: str, wording: Wording, search: Search
) -> list[Found]:
    """Return what a hosted model finds for each question; replies that are in `file` are not asked for again.

    Args:
        asked: the questions.
        load: makes the provider; called only if something is left to ask.
        file: where replies are kept, a line each; a broken last line is passed over.
        name: the model's name.
        wording: how questions are put, and what is made of replies.
        search: how many answers.

    Raises:
        UserError: if ten requests in a row get no reply, or a list of candidates is too long for a prompt.

    """
    longest = max((len(one.candidates) for one in asked), default=0)
    if longest > _MOST_CANDIDATES:
        raise ConfigError(
            f"predict.candidates has {longest:,} answers; a hosted model is shown {_MOST_CANDIDATES} at most: give a "
            "shorter list, or none."
        )
    wording = wording.resolved(name, "hosted", "hosted")
    found = {position: Found([], error, 0.0) for position, one in enumerate(asked) if (error := cannot_be_asked(one))}
    kept = dict(_kept(file, len(asked)))
    found |= kept
    todo = [(position, one) for position, one in enumerate(asked) if position not in found]
    if todo:
        found |= _Requests(load(), wording, search).ask_all(todo, file, replies=len(kept), total=len(asked))
    return [found[position] for position in range(len(asked))]


class _Requests:
    """What is asked of a provider, and how it is going."""

    def __init__(self, provider: Provider, wording: Wording, search: Search) -> None:
        self._provider = provider
        self._wording = wording
        self._search = search
        self._unreadable: dict[Path, str | None] = {}

    def ask_all(self, todo: Sequence[tuple[int, Asked]], file: Path, *, replies: int, total: int) -> dict[int, Found]:
        """Return what is found for each question of `todo`, after `replies` in an earlier run; `total` is for show."""
        found: dict[int, Found] = {}
        in_vain, why = 0, ""
        file.parent.mkdir(parents=True, exist_ok=True)
        waiting: dict[Future[_Said], int] = {}
        queue = iter(todo)
        with (
            file.open("a", encoding="utf-8") as lines,
            ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool,
            progress("answer", total, done=total - len(todo)) as tick,
        ):
            while True:
                while len(waiting) < _REQUESTS_AT_ONCE and (following := next(queue, None)) is not None:
                    waiting[pool.submit(self._ask, following[1])] = following[0]
                if not waiting:
                    break
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    position, said = waiting.pop(future), future.result()
                    found[position] = said.found
                    if said.outcome == "reply":
                        replies, in_vain = replies + 1, 0
                        lines.write(json.dumps([position, *said.found]) + "\n")
                        lines.flush()
                    elif said.outcome == "failure" or (said.outcome == "refused" and not replies):
                        in_vain, why = in_vain + 1, said.found.error or ""
                    if in_vain == (_FAILURES_IN_VAIN if replies else min(_FAILURES_IN_VAIN, len(todo))):
                        pool.shutdown(wait=False, cancel_futures=True)
                        raise _in_vain(in_vain, replies, why)
                    tick(total - len(todo) + len(found))
        if in_vain and not replies:
            raise _in_vain(in_vain, replies, why)
        return found

    def _ask(self, one: Asked) -> _Said:
        started = time.monotonic()
        for path in one.pictures:
            if (error := self._error_of(path)) is not None:
                return _Said(Found([], error, 0.0), "not asked")
        one = one._replace(examples=tuple(each for each in one.examples if not any(map(self._error_of, each.pictures))))
        pictures = [path for example in one.examples for path in example.pictures] + list(one.pictures)
        top_k = self._search.top_k
        try:
            reply = self._provider.complete(prompt(one, self._wording, top_k), images=pictures).text
        except ProviderError as error:
            return _Said(Found([], str(error), 0.0), "refused" if error.of_request else "failure")
        answers = stated_answers(reply, top_k) if top_k > 1 else [Answer(reply.strip(), None)]
        if one.candidates:
            answers = [named for answer in answers if (named := _among(answer, one, self._wording)) is not None]
            if not answers:
                return _Said(Found([], "reply: it names none of the candidates", 0.0), "reply")
        found = in_form(answers, one.question, self._wording)
        return _Said(found._replace(seconds=time.monotonic() - started), "reply")

    def _error_of(self, path: Path) -> str | None:
        """Return why a picture cannot be read, or None; each is tried once."""
        if path not in self._unreadable:
            try:
                load_image(path)
                self._unreadable[path] = None
            except ImageError as error:
                self._unreadable[path] = str(error)
        return self._unreadable[path]


def _in_vain(requests: int, replies: int, error: str) -> UserError:
    if not replies:
        return UserError(f"None of the first {requests} requests got a reply: {error}")
    return UserError(
        f"The last {requests} requests got no reply: {error}. Run the same command again to go on: {replies:,} replies "
        "are kept."
    )


class _Said(NamedTuple):
    """What came of a request."""

    found: Found
    outcome: Literal["reply", "refused", "failure", "not asked"]
    """A reply may answer nothing; `refused` is a request that this provider takes from nobody, `failure` any other."""


def _kept(file: Path, total: int) -> Iterator[tuple[int, Found]]:
    """Yield the replies of an earlier, broken-off run."""
    if not file.is_file():
        return
    text = file.read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        try:
            position, answers, error, seconds, reply = json.loads(line)
            if 0 <= position < total:
                yield position, Found([Answer(*answer) for answer in answers], error, seconds, reply)
        except (ValueError, TypeError):
            continue
    if text and not text.endswith("\n"):
        with file.open("a", encoding="utf-8") as lines:
            lines.write("\n")  # what the killed run was writing ends here


def prompt(one: Asked, wording: Wording, top_k: int) -> str:
    """Return the whole prompt; pictures are numbered where there are several, those of examples first."""
    lines: list[str] = []
    number = 0
    several = len(one.pictures) + sum(len(example.pictures) for example in one.examples) > 1

    def about(count: int) -> str:
        nonlocal number
        numbers = range(number + 1, number + count + 1)
        number += count
        return "".join(f"Image {place}: " for place in numbers) if several else ""

    for example in one.examples:
        lines.append(f"{about(len(example.pictures))}{example.question}\nAnswer: {example.answer}\n")
    lines.append(about(len(one.pictures)) + wording.words(one.question, one.texts))
    if one.candidates:
        lines.append(f"Choose from: {', '.join(one.candidates)}.")
    if top_k > 1:
        lines.append(
            f"Give your {top_k} best guesses and how likely each is to be right, as JSON and nothing else: "
            '{"answers": [{"answer": "...", "probability": 0.0}]}, likeliest first, probabilities from 0 to 1.'
        )
    return "\n".join(lines)


def stated_answers(reply: str, top_k: int) -> list[Answer]:
    """Return the guesses in a reply, likeliest first; a reply that holds no such JSON is one answer as it stands.

    >>> stated_answers('{"answers": [{"answer": "red", "probability": 0.7}, {"answer": "pink"}]}', 5)
    [Answer(text='red', probability=0.7), Answer(text='pink', probability=None)]
    >>> stated_answers('{"answers": [{"answer": "red", "probability": 75}, {"answer": "pink", "probability": 25}]}', 5)
    [Answer(text='red', probability=0.75), Answer(text='pink', probability=0.25)]
    """
    match = _OBJECT.search(reply)
    try:
        stated: Any = json.loads(match.group()) if match else None
        percent = any(_number(item.get("probability")) > 1 for item in stated["answers"])
        guesses = [
            Answer(str(item["answer"]).strip(), _probability(item.get("probability"), percent=percent))
            for item in stated["answers"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        guesses = []
    guesses = [guess for guess in guesses if guess.text]
    if not guesses:
        return [Answer(reply.strip(), None)]
    total = sum(guess.probability or 0.0 for guess in guesses)
    if total > 1:
        guesses = [
            guess if guess.probability is None else Answer(guess.text, guess.probability / total) for guess in guesses
        ]
    return sorted(guesses, key=lambda guess: -(guess.probability or 0.0))[:top_k]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _probability(value: Any, *, percent: bool) -> float | None:
    if not isinstance(value, int | float):
        return None
    return min(max(value / 100 if percent else float(value), 0.0), 1.0)


def _among(answer: Answer, one: Asked, wording: Wording) -> Answer | None:
    """Return the answer as the list of candidates writes it, or None if it is none of them."""
    said = normalize_answer(wording.reduced(answer.text, one.question))
    named = next((text for text in one.candidates if normalize_answer(text) == said), None)
    return None if named is None else Answer(named, answer.probability)
