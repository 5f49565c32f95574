"""`shelfqa ask`: questions about one photograph, answered at once.

The bundled model runs without torch where onnxruntime and tokenizers are installed, so that an answer is there within a
second; every other model, and every adapter, goes the way of `predict`. Imports are few for that reason.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from shelfqa.errors import ImageError, InputError, StorageError, UserError
from shelfqa.models.mini.runtime import MiniRuntime, has_graphs, install_command, missing_packages
from shelfqa.models.presets import source_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_TORCH_PACKAGES = ("torch", "transformers", "peft")
_ALTERNATIVES = 5


class Told(NamedTuple):
    """What a model says to a question."""

    question: str
    guesses: list[tuple[str, float | None]]
    """The k best answers with their probabilities, best first; None where the model does not tell."""
    unanswerable: bool
    attention: NDArray[np.float32] | None = None
    """Where it looked, shares [rows, columns] of the photograph's white square, if the model tells."""


@click.command(epilog='Example:  shelfqa ask mug.jpg "What colour is it?" --explain seen.png')
@click.argument("photo", type=click.Path(path_type=Path))
@click.argument("questions", nargs=-1, required=True)
@click.option("--model", default="mini", show_default=True, help="A name of `shelfqa models`, a hub name or a folder.")
@click.option(
    "--adapter", type=click.Path(path_type=Path), help="Folder of a LoRA adapter, as `shelfqa train` writes it."
)
@click.option(
    "--top-k", type=click.IntRange(1), help="How many answers to show to each question. [default: 1; with --json 5]"
)
@click.option(
    "--explain",
    type=click.Path(path_type=Path),
    help="Picture to write: where the model looked, laid over the photograph. Of mini alone, with --adapter or "
    "without.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def ask(
    photo: Path,
    questions: tuple[str, ...],
    model: str,
    adapter: Path | None,
    top_k: int | None,
    explain: Path | None,
    as_json: bool,
) -> None:
    """Answer QUESTIONS about the photograph PHOTO, each on a line of its own.

    Where the best answer is less likely than the model's own threshold, it says that it does not know.
    """
    started = time.perf_counter()
    if not all(question.strip() for question in questions):
        raise UserError('An empty question: ask something, such as "What colour is it?".')
    count = top_k or (_ALTERNATIVES if as_json else 1)
    graphs = _folder_with_graphs(model, adapter)
    if explain is not None:
        _check_explain(explain)
    image = _read(photo)
    if graphs is not None:
        told, runtime = _by_graphs(graphs, image, questions, count), "onnxruntime"
    else:
        told, runtime = _by_torch(model, adapter, photo, questions, count, explain), "torch"
    if explain is not None:
        _explain(image, told, explain)
    if as_json:
        name = f"{model} + LoRA" if adapter is not None else model
        click.echo(json.dumps(_as_json(told, photo, name, runtime, time.perf_counter() - started), ensure_ascii=False))
        return
    for one in told:
        answer = _sentence(one, count)
        click.echo(f"{one.question}  {answer}" if len(told) > 1 else answer)


def _folder_with_graphs(model: str, adapter: Path | None) -> Path | None:
    """Return the checkpoint's folder if it can be run without torch, and is wanted without an adapter."""
    folder = Path(source_of(model))
    if adapter is not None or not has_graphs(folder):
        return None
    if not missing_packages():
        return folder
    if any(importlib.util.find_spec(name) is None for name in _TORCH_PACKAGES):
        raise UserError(f"Answering needs {' and '.join(missing_packages())}: {install_command()}")
    return None


def _check_explain(out: Path) -> None:
    if out.suffix.lower() not in _PICTURE_SUFFIXES:
        raise UserError(f"--explain {str(out)!r}: expected a name that ends in {', '.join(_PICTURE_SUFFIXES)}.")
    if not out.parent.is_dir():
        raise InputError(f"--explain {str(out)!r}: there is no folder {str(out.parent)!r}; make it first.")


def _read(photo: Path) -> Image.Image:
    from shelfqa.images import load_image

    try:
        return load_image(photo)
    except ImageError as error:
        raise InputError(f"The photograph cannot be used: {str(error).removeprefix(f'{error.reason}: ')}.") from None


def _by_graphs(folder: Path, image: Image.Image, questions: Sequence[str], top_k: int) -> list[Told]:
    runtime = MiniRuntime.load(folder)
    [picture] = runtime.encode([image])
    return [
        Told(one.question, [(guess.text, guess.probability) for guess in one.guesses], one.unanswerable, one.attention)
        for one in runtime.answer(picture, questions, top_k=top_k)
    ]


def _by_torch(
    model: str, adapter: Path | None, photo: Path, questions: Sequence[str], top_k: int, explain: Path | None
) -> list[Told]:
    """Answer by the model itself, in the wording and form of `predict`."""
    from shelfqa.models.blind import BLIND_BASELINES
    from shelfqa.models.hosted import hosted_name

    if hosted_name(model) is not None or model in BLIND_BASELINES:
        raise UserError(f"{model!r} is no model that looks at a photograph on this machine: use `shelfqa predict`.")

    from shelfqa.models.answer_lists import answer_list
    from shelfqa.models.answering import in_form
    from shelfqa.models.base import Decoding, Query
    from shelfqa.models.batching import BatchSize, encode_in_batches, explain_in_batches
    from shelfqa.models.loading import load_model
    from shelfqa.models.wording import Wording

    loaded = load_model(model, adapter=adapter)
    if explain is not None and not loaded.tells_attention:
        raise UserError(
            f"--explain {str(explain)!r}: {model!r} does not tell where it looks: leave it out, or ask --model mini."
        )
    settings = loaded.module.config
    wording = Wording().resolved(loaded.name, settings.model_type, loaded.family)
    candidates = answer_list("common", []) if loaded.needs_candidates else lambda _: ()
    queries = [Query(wording.words(text), (0,), candidates=candidates(text)) for text in questions]
    at_once = BatchSize(len(queries))
    features = encode_in_batches(loaded, [loaded.inputs_of(photo)], at_once)
    found = explain_in_batches(loaded, features, queries, Decoding(top_k=top_k), at_once)
    below = float(getattr(settings, "unanswerable_below", 0.0))
    told = []
    for text, (answers, attention) in zip(questions, found, strict=True):
        guesses = [(answer.text, answer.probability) for answer in in_form(answers, text, wording).answers]
        probability = guesses[0][1] if guesses else 0.0
        told.append(Told(text, guesses, probability is not None and probability < below, attention))
    return told


def _explain(image: Image.Image, told: Sequence[Told], out: Path) -> None:
    from shelfqa.cli.ask_view import Panel, draw

    panels = [
        Panel(one.question, _sentence(one, 1), one.guesses[0][1] or 0.0, one.attention)
        for one in told
        if one.attention is not None
    ]
    try:
        draw(image, panels).save(out)
    except OSError as error:
        out.unlink(missing_ok=True)
        raise StorageError(f"{str(out)!r} cannot be written: {error.strerror or error}.") from None


def _sentence(told: Told, top_k: int) -> str:
    """Return what is printed: the answer, several with their probabilities, or that the model does not know."""
    if not told.guesses:
        return "no answer"
    if top_k == 1 and not told.unanswerable:
        return told.guesses[0][0]
    guesses = "; ".join(_with_probability(*guess) for guess in told.guesses[:top_k])
    if told.unanswerable:
        return f"I do not know (best guess{'es' if top_k > 1 else ''}: {guesses})"
    return guesses


def _with_probability(text: str, probability: float | None) -> str:
    return text if probability is None else f"{text}, {short_share(probability)}"


def short_share(probability: float) -> str:
    """Return a probability in two places.

    >>> short_share(0.214), short_share(0.999)
    ('.21', '1.00')
    """
    return f"{probability:.2f}".removeprefix("0")


def _as_json(told: Sequence[Told], photo: Path, model: str, runtime: str, seconds: float) -> dict[str, object]:
    return {
        "photo": str(photo),
        "model": model,
        "runtime": runtime,
        "seconds": round(seconds, 3),
        "answers": [
            {
                "question": one.question,
                "answer": one.guesses[0][0] if one.guesses else None,
                "probability": one.guesses[0][1] if one.guesses else None,
                "unanswerable": one.unanswerable,
                "alternatives": [{"answer": text, "probability": share} for text, share in one.guesses],
            }
            for one in told
        ],
    }
