"""Hosted models as answerers: one request a question, through the client that keeps every reply.

A model behind an API tells no probabilities of its answers; asked for its best guesses it can state them (verbalised
confidence, Tian et al. 2023, arXiv 2305.14975). With `top_k` of 1 it is asked for the answer alone, without
probability.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shelfqa.errors import ConfigError
from shelfqa.images import try_image
from shelfqa.models.answering import Asked, Found, Search, cannot_be_asked, in_form
from shelfqa.models.wording import Wording
from shelfqa.providers.base import PROVIDERS, Request
from shelfqa.providers.client import Client, Told
from shelfqa.providers.jobs import Job, Outcome
from shelfqa.records import Answer
from shelfqa.text import normalize_answer

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
    asked: Sequence[Asked], client: Client, *, name: str, wording: Wording, search: Search
) -> list[Found]:
    """Return what a hosted model finds for each question; kept replies are not asked for again.

    Args:
        asked: the questions.
        client: asks the model.
        name: the model's name.
        wording: how questions are put, and what is made of replies.
        search: how many answers.

    Raises:
        UserError: if asking has to stop, or a list of candidates is too long for a prompt.

    """
    longest = max((len(one.candidates) for one in asked), default=0)
    if longest > _MOST_CANDIDATES:
        raise ConfigError(
            f"predict.candidates has {longest:,} answers; a hosted model is shown {_MOST_CANDIDATES} at most: give a "
            "shorter list, or none."
        )
    wording = wording.resolved(name, "hosted", "hosted")
    found: dict[int, Found] = {}
    jobs: list[Job] = []
    pictures = _Pictures()
    for position, one in enumerate(asked):
        error = cannot_be_asked(one) or pictures.error_of(one.pictures)
        if error is not None:
            found[position] = Found([], error, 0.0)
        else:
            jobs.append(Job(id=position, request=_request(one, pictures, wording, search), output_tokens=40))
    started = time.monotonic()

    def end(job: Job, outcome: Outcome) -> None:
        if outcome.reply is not None:
            found[job.id] = _found(outcome.reply.text, asked[job.id], wording, search)
        else:
            found[job.id] = Found([], outcome.failure.message if outcome.failure is not None else "not asked", 0.0)

    client.complete(jobs, end, Told(label="answer"))
    share = (time.monotonic() - started) / max(len(jobs), 1)
    return [
        found[position]._replace(seconds=share) if found[position].answers else found[position]
        for position in range(len(asked))
    ]


def _request(one: Asked, pictures: _Pictures, wording: Wording, search: Search) -> Request:
    """Return the request about a question; examples whose pictures cannot be read are left out."""
    one = one._replace(examples=tuple(each for each in one.examples if pictures.error_of(each.pictures) is None))
    shown = [path for example in one.examples for path in example.pictures] + list(one.pictures)
    return Request(prompt=prompt(one, wording, search.top_k), images=tuple(shown))


def _found(reply: str, one: Asked, wording: Wording, search: Search) -> Found:
    answers = stated_answers(reply, search.top_k) if search.top_k > 1 else [Answer(reply.strip(), None)]
    if one.candidates:
        answers = [named for answer in answers if (named := _among(answer, one, wording)) is not None]
        if not answers:
            return Found([], "reply: it names none of the candidates", 0.0)
    return in_form(answers, one.question, wording)


class _Pictures:
    """Which pictures can be read; each is tried once."""

    def __init__(self) -> None:
        self._errors: dict[Path, str | None] = {}

    def error_of(self, paths: Sequence[Path]) -> str | None:
        """Return why one of the pictures cannot be read, or None."""
        for path in paths:
            if path not in self._errors:
                self._errors[path] = try_image(path).error
            if (error := self._errors[path]) is not None:
                return error
        return None


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
