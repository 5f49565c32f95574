"""A language model as judge: is the prediction right, given question and answer? One word, and why.

    score = 1 for `correct`, `partial` (an option, 0.5) for `partial`, 0 for `incorrect`

in [0, 1]. A failed prediction scores 0 and is not asked about. A reply without a verdict scores 0 too, stays in the
denominator and is counted in `settings["verdicts"]["unparseable"]`. Source of the method: arXiv 2306.05685 (section
3.1, single-answer grading with a reference).

A prompt that got no reply at all makes the whole score an error, once all others are asked: a score with holes would
be no score. Replies are kept as they come (`judge_cache`), so the next run asks only for what is missing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from shelfqa.errors import ConfigError, InputError, UserError
from shelfqa.metrics.base import Answered, Metric, Scores
from shelfqa.metrics.judge_cache import Case, JudgeCache, Kept, default_cache
from shelfqa.providers.base import PROVIDERS, Provider, ProviderError, Reply

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
_FIELDS = ("question", "answer", "prediction")
_VERDICT = re.compile(
    r"""[\s\W]*(?:verdict\b\W*)?                                    # VERDICT: or nothing
    (correct|partial|incorrect)\b[*_`"']*                           # the word
    (?:\s*$|[ \t\r]*[-.:,;(–—\n]++\s*+                              # the end, or a reason
    (?!(?:correct|partial|incorrect)\b)(.*))""",  # that is no second verdict
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_MOST_FAILURES = 20
"""So many prompts in a row without a reply end the asking: the next ones would fail too."""


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
    ) -> None:
        """Choose the judge.

        Args:
            provider: a name of `PROVIDERS`; `Judge.by` takes a provider itself.
            model: what to ask the provider for; part of what verdicts are kept under.
            partial: score of `partial`, 0 to 1.
            template: file with a prompt that holds {question}, {answer} and {prediction}; `TEMPLATE` by default.
            cache: SQLite file of the replies; by default one for all runs, in the user's cache folder.
            workers: prompts that are under way at once.

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
        self._cache = Path(cache) if cache else default_cache()
        self._workers = workers
        self._verdicts: dict[str, int] = {}
        self._replied_by: set[str] = set()
        self.asked = 0
        """Prompts that the last `score` sent to the provider."""

    @classmethod
    def by(cls, provider: Provider, *, partial: float = 0.5, template: str = "", cache: str = "") -> Judge:
        """Return a judge that asks `provider`."""
        name = type(provider).__name__.casefold()
        judge = cls(provider=name, model=provider.model, partial=partial, template=template, cache=cache)
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
            None if prediction is None else self._case(question or "", prediction, answer)
            for question, prediction, answer in zip(
                rows.questions or [""] * len(rows), rows.predictions, rows.answers, strict=True
            )
        ]
        distinct = list(dict.fromkeys(case for case in cases if case is not None))
        self.asked = 0
        if not distinct:
            return [None] * len(rows)
        with JudgeCache(self._cache) as cache:
            replies = cache.known(distinct)
            missing = [case for case in distinct if case not in replies]

            def keep(case: Case, reply: Reply) -> None:
                replies[case] = Kept(reply.text, reply.model)
                cache.keep(case, replies[case])

            self.asked = len(missing)
            why = self._ask(missing, keep) if missing else ""
        if lost := len(distinct) - len(replies):
            raise UserError(
                f"judge: {lost:,} of {len(distinct):,} prompts got no reply ({why}): run again; the "
                f"{len(replies):,} verdicts so far are kept in {str(self._cache)!r}."
            )
        self._replied_by = {kept.replied_by for kept in replies.values()}
        parsed = {case: parse_verdict(kept.text) for case, kept in replies.items()}
        return [None if case is None else parsed[case] for case in cases]

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self._template.encode()).hexdigest()[:16]

    def _case(self, question: str, prediction: str, answer: str) -> Case:
        parts = (text.encode("utf-8", "replace").decode() for text in (question, prediction, answer))
        return Case(self._name, self._model, self._digest, *parts)

    def prompt(self, case: Case) -> str:
        """Return the prompt about `case`; its texts are quoted as in JSON, so that none can pose as the prompt."""
        quoted = {field: json.dumps(getattr(case, field), ensure_ascii=False) for field in _FIELDS}
        return re.sub(r"\{(question|answer|prediction)\}", lambda found: quoted[found[1]], self._template)

    def _ask(self, cases: Sequence[Case], keep: Callable[[Case, Reply], None]) -> str:
        """Call `keep` with each reply as it comes; return why the last one that failed did.

        When asking is broken off, what is under way is waited for and kept: it has been paid for.
        """
        provider: Provider = self._provider or PROVIDERS.load(self._name)(self._model)
        pool = ThreadPoolExecutor(self._workers)
        why, in_a_row = "", 0
        waiting = {pool.submit(provider.complete, self.prompt(case)): case for case in cases}
        try:
            for future in as_completed(list(waiting)):
                case = waiting.pop(future)
                try:
                    reply = future.result()
                except ProviderError as error:
                    why, in_a_row = str(error), in_a_row + 1
                    if in_a_row == _MOST_FAILURES:
                        break
                else:
                    in_a_row = 0
                    keep(case, reply)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for future, case in waiting.items():
                if not future.cancelled() and future.exception() is None:
                    keep(case, future.result())
        return why


def _read_template(path: Path) -> str:
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"judge: cannot read the template {str(path)!r}: {error}.") from None
    lacking = [field for field in _FIELDS if f"{{{field}}}" not in template]
    if lacking:
        raise InputError(f"judge: the template {str(path)!r} lacks {{{lacking[0]}}}.")
    return template
