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
from typing import Any

from shelfqa.errors import ConfigError, UserError
from shelfqa.models.answering import Asked, Found, Search, cannot_be_asked, in_form
from shelfqa.models.wording import Wording
from shelfqa.progress import progress
from shelfqa.providers.base import PROVIDERS, Provider, ProviderError
from shelfqa.records import Answer
from shelfqa.text import normalize_answer

_REQUESTS_AT_ONCE = 8
_FAILURES_IN_VAIN = 10
"""So many failed requests without a single reply end the run: the key, the address or the model is wrong."""
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
        UserError: if no request succeeds, or a list of candidates is too long for a prompt.

    """
    longest = max((len(one.candidates) for one in asked), default=0)
    if longest > _MOST_CANDIDATES:
        raise ConfigError(
            f"predict.candidates has {longest:,} answers; a hosted model is shown {_MOST_CANDIDATES} at most: give a "
            "shorter list, or none."
        )
    wording = wording.resolved(name, "hosted", "hosted")
    found = {position: Found([], error, 0.0) for position, one in enumerate(asked) if (error := cannot_be_asked(one))}
    found |= dict(_kept(file, len(asked)))
    todo = [position for position in range(len(asked)) if position not in found]
    if todo:
        found |= _ask_all(load(), [(position, asked[position]) for position in todo], len(asked), file, wording, search)
    return [found[position] for position in range(len(asked))]


def _ask_all(
    provider: Provider,
    todo: Sequence[tuple[int, Asked]],
    total: int,
    file: Path,
    wording: Wording,
    search: Search,
) -> dict[int, Found]:
    found: dict[int, Found] = {}
    replies = 0
    file.parent.mkdir(parents=True, exist_ok=True)
    waiting: dict[Future[Found], int] = {}
    queue = iter(todo)
    with (
        file.open("a", encoding="utf-8") as lines,
        ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool,
        progress("answer", total) as tick,
    ):
        while True:
            while len(waiting) < _REQUESTS_AT_ONCE and (following := next(queue, None)) is not None:
                waiting[pool.submit(_ask, provider, following[1], wording, search)] = following[0]
            if not waiting:
                return found
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                position, one = waiting.pop(future), future.result()
                found[position] = one
                if one.error is None:
                    replies += 1
                    lines.write(json.dumps([position, *one]) + "\n")
                    lines.flush()
                elif not replies and len(found) >= min(_FAILURES_IN_VAIN, len(todo)):
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise UserError(f"None of the first {len(found)} requests got a reply: {one.error}")
                tick(total - len(todo) + len(found))


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


def _ask(provider: Provider, one: Asked, wording: Wording, search: Search) -> Found:
    started = time.monotonic()
    pictures = [path for example in one.examples for path in example.pictures] + list(one.pictures)
    try:
        reply = provider.complete(prompt(one, wording, search.top_k), images=pictures).text
    except ProviderError as error:
        return Found([], str(error), 0.0)
    answers = stated_answers(reply, search.top_k) if search.top_k > 1 else [Answer(reply.strip(), None)]
    if one.candidates:
        answers = [named for answer in answers if (named := _among(answer, one, wording)) is not None]
        if not answers:
            return Found([], "reply: it names none of the candidates", 0.0)
    return in_form(answers, one.question, wording)._replace(seconds=time.monotonic() - started)


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
    """
    match = _OBJECT.search(reply)
    try:
        stated: Any = json.loads(match.group()) if match else None
        guesses = [
            Answer(str(item["answer"]).strip(), _probability(item.get("probability"))) for item in stated["answers"]
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


def _probability(value: Any) -> float | None:
    return min(max(float(value), 0.0), 1.0) if isinstance(value, int | float) else None


def _among(answer: Answer, one: Asked, wording: Wording) -> Answer | None:
    """Return the answer as the list of candidates writes it, or None if it is none of them."""
    said = normalize_answer(wording.reduced(answer.text, one.question))
    named = next((text for text in one.candidates if normalize_answer(text) == said), None)
    return None if named is None else Answer(named, answer.probability)
