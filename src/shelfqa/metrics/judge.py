"""A language model as judge: is the prediction right, given question and answer? One word, and why.

    score = 1 for `correct`, `partial` (an option, 0.5) for `partial`, 0 for `incorrect`

in [0, 1]. A failed prediction scores 0 and is not asked about. A reply without a verdict scores 0 too, stays in the
denominator and is counted in `settings["verdicts"]["unparseable"]`. Source of the method: arXiv 2306.05685 (section
3.1, single-answer grading with a reference).

A prompt that got no reply at all makes the whole score an error, once all others are asked: a score with holes would
be no score. Replies are kept as they come, so the next run asks only for what is missing.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from shelfqa.errors import ConfigError, InputError, UserError
from shelfqa.metrics.base import Answered, Metric, Scores
from shelfqa.providers.base import PROVIDERS, Provider, Reply, Request
from shelfqa.providers.client import Client, Told
from shelfqa.providers.jobs import Job, Outcome
from shelfqa.providers.settings import ClientConfig
from shelfqa.providers.store import open_store

TEMPLATE = """\
You grade the answers of a system that was asked about a picture of a product. You do not see the picture: the true
answer is right. Judge by meaning, not by wording: a synonym, another spelling, another number form or a harmless
extra word is correct; an answer that holds only a part of the true one, or is vaguer or more specific in a way that
the true answer neither confirms nor rules out, is partial; anything else is incorrect.

Question: {question}
True answer: {answer}
Answer to grade: {prediction}

Reply with two lines:
VERDICT: correct, partial or incorrect (one word)
REASON: one short sentence
"""
VERDICTS = ("correct", "partial", "incorrect")
UNPARSEABLE = "unparseable"
_OUTPUT_TOKENS = 60
_FIELDS = ("question", "answer", "prediction")
_VERDICT = re.compile(
    r"""[\s\W]*(?:verdict\b\W*)?                                    # VERDICT: or nothing
    (correct|partial|incorrect)\b[*_`"']*                           # the word
    (?:\s*$|[ \t\r]*[-.:,;(–—\n]++\s*+                              # the end, or a reason
    (?!(?:correct|partial|incorrect)\b)(.*))""",  # that is no second verdict
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


class Case(NamedTuple):
    """What a verdict is about."""

    question: str
    prediction: str
    answer: str


class Verdict(NamedTuple):
    """One of `VERDICTS`, or `unparseable` with the reply as reason."""

    word: str
    reason: str


def parse_verdict(reply: str) -> Verdict:
    """Return the verdict that opens `reply`, after `VERDICT:` or at once, and the reason behind it.

    >>> parse_verdict("VERDICT: partial\\nREASON: navy is a blue")
    Verdict(word='partial', reason='navy is a blue')
    >>> parse_verdict("It is not correct.").word
    'unparseable'
    """
    found = _VERDICT.match(reply)
    if found is None:
        return Verdict(UNPARSEABLE, " ".join(reply.split()))
    reason = re.sub(r"^\W*reason\b\W*", "", (found[2] or "").strip(), flags=re.IGNORECASE)
    return Verdict(found[1].casefold(), " ".join(reason.split()))


class Judge(Metric):
    """Verdict of a language model: correct 1, partial 0.5, incorrect 0; needs provider=NAME,model=NAME."""

    name = "judge"
    symmetric: ClassVar[bool] = False
    perfect_is_high: ClassVar[bool] = False

    def __init__(
        self,
        *,
        provider: str = "",
        model: str = "",
        partial: float = 0.5,
        template: str = "",
        cache: str = "",
        workers: int = 8,
        requests_per_minute: float = 0.0,
        budget: float = 0.0,
    ) -> None:
        """Choose the judge.

        Args:
            provider: a name of `PROVIDERS`; `Judge.by` takes a provider itself.
            model: what to ask the provider for; part of what verdicts are kept under.
            partial: score of `partial`, 0 to 1.
            template: file with a prompt that holds {question}, {answer} and {prediction}; `TEMPLATE` by default.
            cache: SQLite file of the replies; by default one for all runs, in the user's cache folder.
            workers: prompts that are under way at once, at most.
            requests_per_minute: most prompts in any minute; 0 for no limit.
            budget: most dollars of one scoring; 0 for no limit.

        """
        if not 0 <= partial <= 1:
            raise ConfigError(f"judge: partial={partial:g}: expected a score from 0 to 1.")
        if workers < 1:
            raise ConfigError(f"judge: workers={workers}: expected at least 1.")
        self._name = provider
        self._model = model
        self._provider: Provider | None = None
        self._worth = {"correct": 1.0, "partial": float(partial), "incorrect": 0.0, UNPARSEABLE: 0.0}
        self._template = _read_template(Path(template)) if template else TEMPLATE
        self._settings = ClientConfig(
            store=cache or None,
            concurrency=workers,
            requests_per_minute=requests_per_minute or None,
            budget=budget or None,
        )
        self._verdicts: dict[str, int] = {}
        self._replied_by: set[str] = set()

    @classmethod
    def by(cls, provider: Provider, *, partial: float = 0.5, template: str = "", cache: str = "") -> Judge:
        """Return a judge that asks `provider`."""
        judge = cls(provider=provider.name, model=provider.model, partial=partial, template=template, cache=cache)
        judge._provider = provider
        return judge

    @property
    def settings(self) -> Mapping[str, object]:
        """Who judged by which prompt, and how many rows got which verdict."""
        return {
            "provider": self._name,
            "model": self._model,
            "replied_by": sorted(self._replied_by),
            "template": self._digest,
            "partial": self._worth["partial"],
            "verdicts": self._verdicts,
        }

    def lacking(self, rows: Answered) -> str | None:
        """Return what the rows lack; a judge that was not chosen is a ConfigError."""
        if not self._name or not self._model:
            raise ConfigError(f"judge: name one: judge:provider=NAME,model=NAME, with NAME of {', '.join(PROVIDERS)}.")
        return None if rows.questions is not None else "a column question"

    def score(self, rows: Answered) -> Scores:
        """Return one score per row; each distinct question, prediction and answer is judged once.

        Raises:
            UserError: if provider or cache cannot be used, or prompts got no reply.

        """
        if (lacking := self.lacking(rows)) is not None:
            raise ConfigError(f"metric {self.name!r} needs what the predictions lack: {lacking}.")
        verdicts = self.verdicts(rows)
        words = ["failed prediction" if verdict is None else verdict.word for verdict in verdicts]
        self._verdicts = dict(sorted(Counter(words).items()))
        return np.array([self._worth.get(word, self.low) for word in words], dtype=np.float64)

    def verdicts(self, rows: Answered) -> list[Verdict | None]:
        """Return the verdict on each row with its reason, None where the prediction failed."""
        cases = [
            None if prediction is None else Case(question or "", prediction, answer)
            for question, prediction, answer in zip(
                rows.questions or [""] * len(rows), rows.predictions, rows.answers, strict=True
            )
        ]
        distinct = list(dict.fromkeys(case for case in cases if case is not None))
        replies = self._replies(distinct) if distinct else {}
        self._replied_by = {reply.model for reply in replies.values()}
        parsed = {case: parse_verdict(reply.text) for case, reply in replies.items()}
        return [None if case is None else parsed[case] for case in cases]

    def _replies(self, cases: list[Case]) -> dict[Case, Reply]:
        """Return the reply about each case, kept or asked for now."""
        provider: Provider = self._provider or PROVIDERS.load(self._name)(self._model)
        jobs = [Job(id=case, request=Request(prompt=self.prompt(case)), output_tokens=_OUTPUT_TOKENS) for case in cases]
        replies: dict[Case, Reply] = {}
        lost: list[str] = []

        def end(job: Job, outcome: Outcome) -> None:
            if outcome.reply is not None:
                replies[job.id] = outcome.reply
            elif outcome.failure is not None:
                lost.append(outcome.failure.message)

        with open_store(self._settings.store) as store:
            client = Client(provider, self._settings, store, run=f"judge-{secrets.token_hex(8)}")
            client.complete(jobs, end, Told(label="judge"))
        if lost:
            raise UserError(
                f"judge: {len(lost):,} of {len(cases):,} prompts got no reply ({lost[-1]}): run again; the "
                f"{len(replies):,} verdicts so far are kept in {str(store.path)!r}."
            )
        return replies

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self._template.encode()).hexdigest()[:16]

    def prompt(self, case: Case) -> str:
        """Return the prompt about `case`; its texts are quoted as in JSON, so that none can pose as the prompt."""
        quoted = {
            field: json.dumps(getattr(case, field).encode("utf-8", "replace").decode(), ensure_ascii=False)
            for field in _FIELDS
        }
        return re.sub(r"\{(question|answer|prediction)\}", lambda found: quoted[found[1]], self._template)


def _read_template(path: Path) -> str:
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"judge: cannot read the template {str(path)!r}: {error}.") from None
    lacking = [field for field in _FIELDS if f"{{{field}}}" not in template]
    if lacking:
        raise InputError(f"judge: the template {str(path)!r} lacks {{{lacking[0]}}}.")
    return template
