"""Answering many questions about many pictures in parts that survive a kill.

Importing this module imports no torch; a run whose parts are all done never does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shelfqa.artifacts import read_table, write_parquet
from shelfqa.errors import UserError
from shelfqa.machine import Share
from shelfqa.models.wording import Wording
from shelfqa.progress import Tick, progress
from shelfqa.records import ALTERNATIVES, Answer

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from shelfqa.models.answer_lists import AnswerList
    from shelfqa.models.base import Query, VqaModel
    from shelfqa.models.batching import BatchSize, Decoded

PART_QUESTIONS = 128
"""What a kill costs at most, and how many questions are batched by length."""
_QUESTIONS_AT_ONCE = {"cpu": 32, "cuda": 16}
_IMAGES_AT_ONCE = {"cpu": 2, "cuda": 8}
"""A CPU's caches hold the activations of few."""
_MOST_AT_ONCE = 512
"""How far batches grow on a GPU while its memory allows."""
_POLL_S = 0.1
_NO_ANSWER = "no answer: the model can give none of the candidates"
_SILENCE_S = 1800.0
"""How long the first process waits for the others without seeing a new part."""


class Example(NamedTuple):
    """A solved example that is shown before a question."""

    question: str
    answer: str
    pictures: tuple[Path, ...]


class Asked(NamedTuple):
    """A question and the files of the pictures that it is asked of."""

    question: str
    pictures: tuple[Path, ...]
    examples: tuple[Example, ...] = ()
    candidates: tuple[str, ...] = ()
    """The answers to choose from; empty where the model may say anything."""
    texts: tuple[str, ...] = ()
    """What was read on the pictures."""


class Found(NamedTuple):
    """The k best answers, best first, or why there are none."""

    answers: list[Answer]
    error: str | None
    seconds: float
    """This question's share of its part's time."""
    reply: str | None = None
    """What the model said in full, where the best answer was drawn from it."""
    attention: NDArray[np.float32] | None = None
    """Where the model looked, as `base.Explained` has it; None of models that do not tell, or were not asked to."""


class Search(NamedTuple):
    """How answers are found; the fields are those of `base.Decoding`, which needs torch."""

    top_k: int = 5
    beams: int | None = None
    max_new_tokens: int = 20
    one_word: bool = False


class Pace(NamedTuple):
    """How fast a run goes; the answers do not depend on it but for rounding."""

    batch_size: int | None = None
    """Questions at once; by default found by what the memory holds. Halved where memory is short."""
    workers: int = 2
    """Threads that decode pictures."""
    share: Share = Share()


class _Part(NamedTuple):
    """Questions, by position, that are answered and saved together."""

    number: int
    positions: list[int]


def answer_in_parts(
    asked: Sequence[Asked],
    load: Callable[[], VqaModel],
    folder: Path,
    *,
    wording: Wording,
    search: Search,
    pace: Pace,
    needed_candidates: AnswerList | None = None,
    explain: bool = False,
) -> list[Found] | None:
    """Return what is found for each question, or None in all processes but the first.

    Args:
        asked: the questions; those of the same pictures are answered together.
        load: makes the model; called only if something is left to do.
        folder: where parts are kept; those that are there already are read.
        wording: how questions are put, and what is made of replies.
        search: how answers are found.
        pace: batch size, threads and the process's share.
        needed_candidates: maps a question to the answers to choose from, where it brings none and the model needs some.
        explain: whether to ask the model where it looked.

    Raises:
        UserError: if the model or the memory fails, or the other processes fall silent.

    """
    found: dict[int, Found] = {}
    by_context: dict[Any, list[int]] = {}
    for position, one in enumerate(asked):
        error = cannot_be_asked(one)
        if error is not None:
            found[position] = Found([], error, 0.0)
        else:
            by_context.setdefault((one.pictures, one.examples), []).append(position)
    parts = list(_parts(by_context.values()))
    files = [folder / f"part-{part.number:06d}.parquet" for part in parts]
    mine = [part for part in parts if part.number % pace.share.processes == pace.share.rank]
    todo = [part for part in mine if not files[part.number].is_file()]
    run = _Run(load(), asked, wording, search, needed_candidates, explain=explain) if todo else None
    done = sum(len(part.positions) for part, file in zip(parts, files, strict=True) if file.is_file())
    with progress("answer", sum(len(part.positions) for part in parts), done=done) as tick:
        if run is not None:
            _answer_parts(run, parts, todo, files, pace, tick)
        if pace.share.rank > 0:
            return None
        _wait_for(files, tick, parts)
    for file in files:
        found.update(_read(file))
    return [found[position] for position in range(len(asked))]


def _parts(groups: Iterable[list[int]]) -> Iterator[_Part]:
    """Yield the questions in parts of whole groups, but for groups that are larger than a part."""
    number = 0
    positions: list[int] = []
    for group in groups:
        for start in range(0, len(group), PART_QUESTIONS):
            positions.extend(group[start : start + PART_QUESTIONS])
            if len(positions) >= PART_QUESTIONS:
                yield _Part(number, positions)
                number, positions = number + 1, []
    if positions:
        yield _Part(number, positions)


class _Run:
    """A model, what it is asked and how."""

    def __init__(
        self,
        model: VqaModel,
        asked: Sequence[Asked],
        wording: Wording,
        search: Search,
        needed_candidates: AnswerList | None,
        *,
        explain: bool,
    ) -> None:
        from shelfqa.models.base import Decoding

        self.model = model
        self.asked = asked
        if model.needs_candidates and needed_candidates is not None:
            self.asked = [
                one if one.candidates else one._replace(candidates=needed_candidates(one.question)) for one in asked
            ]
        self.wording = wording.resolved(model.name, model.module.config.model_type, model.family)
        self.decoding = Decoding(**search._asdict())
        self.explain = explain
        if not model.takes_shots and any(one.examples for one in asked):
            raise UserError(f"{model.name!r} takes no examples: leave out --examples.")

    def pictures(self, part: _Part) -> list[Path]:
        """Return the pictures that a part needs, each once."""
        paths: dict[Path, None] = {}
        for position in part.positions:
            one = self.asked[position]
            if self.model.takes_several_images:
                paths.update(dict.fromkeys(path for example in one.examples for path in example.pictures))
            paths.update(dict.fromkeys(one.pictures))
        return list(paths)

    def encode(self, paths: Sequence[Path], decoded: Iterator[Decoded], size: BatchSize) -> _Encoded:
        """Return the features of each picture, or why there are none; as few as possible are held undecoded."""
        from shelfqa.models.batching import encode_in_batches

        features: dict[Path, Any] = {}
        errors: dict[Path, str] = {}
        waiting: dict[Path, Any] = {}
        for number, path in enumerate(paths, 1):
            picture = next(decoded)
            if picture.inputs is None:
                errors[path] = picture.error or "unreadable"
            else:
                waiting[path] = picture.inputs
            if waiting and (len(waiting) >= size.rows or number == len(paths)):
                features.update(zip(waiting, encode_in_batches(self.model, list(waiting.values()), size), strict=True))
                waiting.clear()
        return _Encoded(features, errors)

    def answer(self, part: _Part, encoded: _Encoded, size: BatchSize) -> dict[int, Found]:
        """Return what is found for the questions of a part; one that cannot be answered fails alone."""
        from shelfqa.models.base import Explained
        from shelfqa.models.batching import answer_in_batches, explain_in_batches

        place = {path: number for number, path in enumerate(encoded.features)}
        found: dict[int, Found] = {}
        queries: dict[int, Query] = {}
        for position in part.positions:
            error = self._error(self.asked[position], encoded.errors)
            if error is None:
                queries[position] = self._query(self.asked[position], place)
            else:
                found[position] = Found([], error, 0.0)
        given = (self.model, list(encoded.features.values()), list(queries.values()), self.decoding, size)
        told = explain_in_batches(*given) if self.explain else [Explained(best) for best in answer_in_batches(*given)]
        for position, (best, attention) in zip(queries, told, strict=True):
            one = in_form(best, self.asked[position].question, self.wording)
            found[position] = one._replace(attention=attention) if one.answers else Found([], _NO_ANSWER, 0.0)
        return found

    def _error(self, one: Asked, unreadable: dict[Path, str]) -> str | None:
        if len(one.pictures) > 1 and not self.model.takes_several_images:
            return f"several pictures: {self.model.name} takes one (see --use-images)"
        return next((unreadable[path] for path in one.pictures if path in unreadable), None)

    def _query(self, one: Asked, place: dict[Path, int]) -> Query:
        """Return the question as the model takes it; examples whose picture cannot be read are left out."""
        from shelfqa.models.base import Query, Shot

        def shown(example: Example) -> tuple[Path, ...]:
            return example.pictures if self.model.takes_several_images else ()

        shots = tuple(
            Shot(self.wording.words(example.question), example.answer, tuple(place[path] for path in shown(example)))
            for example in one.examples
            if all(path in place for path in shown(example))
        )
        words = self.wording.words(one.question, one.texts)
        return Query(words, tuple(place[path] for path in one.pictures), shots, one.candidates)


class _Encoded(NamedTuple):
    """The features of a part's pictures, and why others have none."""

    features: dict[Path, Any]
    errors: dict[Path, str]


def cannot_be_asked(one: Asked) -> str | None:
    """Return why a question cannot be asked of any model, or None."""
    if not one.pictures:
        return "no picture: the row names none"
    return None if one.question.strip() else "empty question: nothing is asked"


def in_form(answers: Sequence[Answer], question: str, wording: Wording) -> Found:
    """Return answers in the form that the wording asks for; of equal ones the likeliest counts."""
    reduced: dict[str, Answer] = {}
    for answer in answers:
        text = wording.reduced(answer.text, question)
        reduced.setdefault(text, Answer(text, answer.probability))
    best = list(reduced.values())
    reply = answers[0].text if answers and best[0].text != answers[0].text else None
    return Found(best, None, 0.0, reply)


def _answer_parts(
    run: _Run, parts: Sequence[_Part], todo: Sequence[_Part], files: Sequence[Path], pace: Pace, tick: Tick
) -> None:
    """Answer the parts `todo` and write each to its file."""
    from shelfqa.models.batching import BatchSize, decode_ahead

    device = run.model.device.type
    most = _MOST_AT_ONCE if device == "cuda" and pace.batch_size is None else None
    questions_at_once = BatchSize(pace.batch_size or _QUESTIONS_AT_ONCE.get(device, 16), most=most)
    images_at_once = BatchSize(_IMAGES_AT_ONCE.get(device, 8), most=most)
    decoded = decode_ahead(run.model, [path for part in todo for path in run.pictures(part)], workers=pace.workers)
    for part in todo:
        started = time.monotonic()
        found = run.answer(part, run.encode(run.pictures(part), decoded, images_at_once), questions_at_once)
        share = (time.monotonic() - started) / max(1, sum(one.error is None for one in found.values()))
        timed = {position: one._replace(seconds=0.0 if one.error else share) for position, one in found.items()}
        write_parquet(files[part.number], _table(timed))
        tick(
            sum(len(other.positions) for other in parts if files[other.number].is_file()),
            f"{questions_at_once.rows} at once" if most else "",
        )


def _wait_for(files: Sequence[Path], tick: Tick, parts: Sequence[_Part]) -> None:
    """Return when all parts are there; other processes write them."""
    seen, since = -1, time.monotonic()
    while True:
        done = [part for part, file in zip(parts, files, strict=True) if file.is_file()]
        if len(done) != seen:
            seen, since = len(done), time.monotonic()
            tick(sum(len(part.positions) for part in done))
        if len(done) == len(parts):
            return
        if time.monotonic() - since > _SILENCE_S:
            raise UserError(
                f"The other processes have answered nothing for {_SILENCE_S:.0f} seconds: see what they say, then run "
                "the same command again; what is done is kept."
            )
        time.sleep(_POLL_S)


def alternatives(found: Found) -> list[dict[str, object]]:
    """Return the answers as the column `alternatives` holds them."""
    return [{"answer": answer.text, "probability": answer.probability} for answer in found.answers]


def _table(found: dict[int, Found]) -> pa.Table:
    import pyarrow as pa

    columns = {
        "row": pa.int64(),
        "alternatives": ALTERNATIVES,
        "error": pa.string(),
        "seconds": pa.float64(),
        "reply": pa.string(),
        "attention": pa.list_(pa.list_(pa.float32())),
    }
    values = [
        {
            "row": row,
            "alternatives": alternatives(one),
            "error": one.error,
            "seconds": one.seconds,
            "reply": one.reply,
            "attention": None if one.attention is None else one.attention.tolist(),
        }
        for row, one in sorted(found.items())
    ]
    return pa.Table.from_pylist(values, schema=pa.schema(columns))


def _read(file: Path) -> Iterator[tuple[int, Found]]:
    import numpy as np

    for row in read_table(file, file.stem).to_pylist():
        answers = [Answer(one["answer"], one["probability"]) for one in row["alternatives"]]
        seen = row["attention"]
        attention = None if seen is None else np.array(seen, dtype=np.float32)
        yield row["row"], Found(answers, row["error"], row["seconds"], row["reply"], attention)
