"""`mini` without torch: ONNX Runtime on two graphs that point at the checkpoint's own weights.

    runtime = MiniRuntime.load(checkpoint_dir())
    [picture] = runtime.encode([photograph])
    for answer in runtime.answer(picture, ["What colour is it?", "What is it made of?"]):
        print(answer.question, answer.best.text, answer.best.probability)

It starts in a fraction of the time that importing torch takes, and gives the same probabilities. `export_graphs` writes
the graphs (scripts/export_mini_onnx.py).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shelfqa.errors import InputError, UserError
from shelfqa.machine import processors
from shelfqa.models.mini.calibration import Calibration
from shelfqa.models.mini.square import levels
from shelfqa.models.mini.weights_file import fingerprint, read_config

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

PICTURE_GRAPH, QUESTION_GRAPH = "picture.onnx", "question.onnx"
LAYOUT = "layout"
"""The graphs' note of the weights and sizes that they were made for: `weights_file.fingerprint`."""
CELL_PX = 32
_PACKAGES = ("onnxruntime", "tokenizers")
_EXPORT = "python scripts/export_mini_onnx.py"
_QUIET = 3
"""ONNX Runtime's severity of errors: no warnings."""


class Guess(NamedTuple):
    """An answer with its probability among all answers of the table."""

    text: str
    probability: float


class SeenPicture(NamedTuple):
    """What is kept of a picture, however many questions follow: one entry a fusion layer in each array."""

    keys: NDArray[np.float32]
    values: NDArray[np.float32]
    lengths: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class MiniAnswer:
    """What the model says to a question."""

    question: str
    guesses: tuple[Guess, ...]
    """The k best, best first."""
    attention: NDArray[np.float32]
    """Where it looked: shares [rows, columns] of the white square's cells, 1 in all.

    What the query vectors took from each cell: attention times the length of what the cell sends (Kobayashi et al.
    2020, arXiv 2004.10102), summed over heads, query vectors and fusion layers.
    """
    unanswerable: bool
    """Whether the best guess is less likely than the checkpoint's `unanswerable_below`."""

    @property
    def best(self) -> Guess:
        """The likeliest answer."""
        return self.guesses[0]


class MiniRuntime:
    """Answers questions about pictures; several threads may ask one."""

    def __init__(
        self,
        picture: InferenceSession,
        question: InferenceSession,
        tokenizer: Tokenizer,
        config: Mapping[str, Any],
        processor: Mapping[str, Any],
    ) -> None:
        """Drive both graphs; `load` makes what is needed."""
        self._picture, self._question, self._tokenizer = picture, question, tokenizer
        tokenizer.enable_truncation(int(processor["max_tokens"]))
        tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"), pad_token="[PAD]")
        self.image_side_px = int(processor["image_side_px"])
        table = config["id2label"]
        self.answers = tuple(str(table[str(index)]) for index in range(len(table)))
        self.calibration = Calibration.checked(**{name: config[name] for name in Calibration._fields if name in config})

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> Self:
        """Read a checkpoint with its graphs.

        Args:
            folder: holds config.json, model.safetensors, tokenizer.json, processor_config.json and both graphs.
            threads: how many to compute with; by default one a processor.

        Raises:
            UserError: if a package or a file is missing, or the graphs were made for other weights.

        """
        missing = missing_packages()
        if missing:
            raise UserError(f"Running mini without torch needs {' and '.join(missing)}: {install_command()}")
        from tokenizers import Tokenizer

        for name in (PICTURE_GRAPH, QUESTION_GRAPH, "tokenizer.json", "processor_config.json"):
            if not (folder / name).is_file():
                raise InputError(f"no {name} in {str(folder)!r}: graphs are written by `{_EXPORT} {folder}`.")
        config = read_config(folder)
        layout = fingerprint(folder, config)
        with ThreadPoolExecutor(1) as pool:
            picture = pool.submit(_session, folder / PICTURE_GRAPH, layout, threads)
            question = _session(folder / QUESTION_GRAPH, layout, threads)
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            processor = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
            return cls(picture.result(), question, tokenizer, config, processor)

    def encode(self, pictures: Sequence[Image.Image]) -> list[SeenPicture]:
        """Look at pictures, for any number of questions."""
        found = []
        for picture in pictures:  # several at once are no faster: their activations leave the processor's caches
            kept = self._picture.run(SeenPicture._fields, {"pixels": levels([picture], self.image_side_px)})
            found.append(SeenPicture(*(array[0] for array in kept)))
        return found

    def answer(self, picture: SeenPicture, questions: Sequence[str], *, top_k: int = 5) -> list[MiniAnswer]:
        """Answer questions about one picture, all at once.

        Args:
            picture: from `encode`.
            questions: each is cut where it is longer than the model reads.
            top_k: how many answers to return at most, at least 1.

        """
        if not questions:
            return []
        found, attention = self._run(picture, questions)
        logits = found.astype(np.float64) / self.calibration.temperature
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        best = np.argsort(-shares, axis=-1, kind="stable")[:, :top_k]
        cells = self.image_side_px // CELL_PX
        return [
            MiniAnswer(
                question=text,
                guesses=tuple(Guess(self.answers[place], float(row[place])) for place in places),
                attention=seen.reshape(cells, cells),
                unanswerable=bool(row[places[0]] < self.calibration.unanswerable_below),
            )
            for text, row, places, seen in zip(questions, shares, best, attention, strict=True)
        ]

    def _run(self, picture: SeenPicture, questions: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return logits [q, answers] and attention [q, cells]."""
        encodings = self._tokenizer.encode_batch(list(questions))
        words = {
            "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
        }
        logits, attention = self._question.run(["logits", "attention"], words | picture._asdict())
        return logits, attention


def missing_packages() -> list[str]:
    """Return the packages that `MiniRuntime` needs and that are not installed."""
    return [name for name in _PACKAGES if importlib.util.find_spec(name) is None]


def install_command() -> str:
    """Return the command that installs what `MiniRuntime` needs."""
    return f"pip install {' '.join(_PACKAGES)}"


def has_graphs(folder: Path) -> bool:
    """Say whether a folder's checkpoint can run here without torch."""
    return (folder / PICTURE_GRAPH).is_file() and (folder / QUESTION_GRAPH).is_file()


def _session(file: Path, layout: str, threads: int | None) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or processors()
    options.log_severity_level = _QUIET
    # Threads that wait by spinning double the processor time, and take it from whoever else computes here.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base
        reason = str(error).splitlines()[0]
        raise InputError(f"{str(file)!r} cannot be loaded ({reason}): write it again by `{_EXPORT}`.") from None
    if session.get_modelmeta().custom_metadata_map.get(LAYOUT) != layout:
        raise InputError(
            f"{str(file)!r} was made for other weights than lie beside it: write it again by `{_EXPORT} {file.parent}`."
        )
    return session
