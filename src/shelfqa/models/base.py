"""What every visual question answering model can do, whatever its family.

Shapes: n images, q questions, p positions of a picture, d channels. An adapter answers by calling the parts of a
transformers model directly, so that what is computed of one picture serves all of its questions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from shelfqa.errors import ImageError, InputError
from shelfqa.images import load_image
from shelfqa.models.settings import Quantize
from shelfqa.records import Answer

PictureInputs = Mapping[str, Tensor]
"""One picture as its image processor makes it, on the CPU: tensors of the names that the model's tower takes."""

Features = Sequence[Any]
"""What is computed once a picture, one entry each: a tensor [p, d], or what else an adapter keeps of a picture."""


class Shot(NamedTuple):
    """A solved example that is shown before a question."""

    question: str
    answer: str
    images: tuple[int, ...] = ()


class Query(NamedTuple):
    """A question as the model is to read it; pictures are given by their places among the features."""

    question: str
    images: tuple[int, ...]
    shots: tuple[Shot, ...] = ()
    candidates: tuple[str, ...] = ()
    """The answers to choose from; empty where the model may say anything."""


class Decoding(NamedTuple):
    """How answers are found."""

    top_k: int = 5
    """How many distinct answers to return at most."""
    beams: int | None = None
    """Beams of the search where the model writes; by default what the adapter says. At least `top_k` are used."""
    max_new_tokens: int = 20
    """Longest answer in tokens, its end counted in."""
    one_word: bool = False
    """Whether to stop as soon as a second word begins."""


class Explained(NamedTuple):
    """What a model says to a question, and where it looked."""

    answers: list[Answer]
    """As `VqaModel.answer` returns them."""
    attention: NDArray[np.float32] | None = None
    """Shares [rows, columns] of the cells of the square in whose middle the picture lies; None if it does not tell."""


class Loading(NamedTuple):
    """How a checkpoint is read."""

    dtype: torch.dtype = torch.float32
    attention: str | None = None
    """`sdpa`, `flash_attention_2` or `eager`; by default what transformers chooses."""
    remote_code: bool = False
    """Whether code that comes with the checkpoint may run."""
    pickled_weights: bool = False
    """Whether weights may come from `.bin` files, read by torch's restricted unpickler."""
    image_side_px: int | None = None
    """The resolution that pictures are scaled to; by default the checkpoint's own."""
    split_images: bool | None = None
    """Whether large pictures are cut into tiles, where the model knows tiles; by default as the checkpoint says."""
    answers: tuple[str, ...] = ()
    """The meaning of a classifier's outputs, where the checkpoint does not tell."""
    regions: str | None = None
    """Where a model of regions takes them from: a ResNet's folder or hub name, or precomputed features."""
    quantize: Quantize | None = None
    """What linear maps are quantised to; by default as the adapter's note says, and without one not at all."""

    def of_model(self) -> dict[str, Any]:
        """Return what `from_pretrained` of a model takes; what is to be quantised is read as it is stored."""
        stored = self.quantize in ("nf4", "int8") and self.dtype == torch.float32
        settings: dict[str, Any] = {"dtype": "auto" if stored else self.dtype, "trust_remote_code": self.remote_code}
        if not self.pickled_weights:
            settings["use_safetensors"] = True
        return settings if self.attention is None else settings | {"attn_implementation": self.attention}

    def of_processor(self) -> dict[str, Any]:
        """Return what `from_pretrained` of a processor takes: PIL scales pictures, with torchvision or without."""
        return {"trust_remote_code": self.remote_code, "backend": "pil"}


class TokenCount(NamedTuple):
    """How many tokens a training sample has, and how many of them are beyond the model's limits."""

    question: int
    """Of the question with its prompt, special tokens counted in."""
    answer: int = 0
    """Of the answer as the loss is over it, its end counted in; 0 where answers are chosen, not written."""
    picture: int = 0
    """Of the picture, where it stands among the words."""
    question_cut: int = 0
    """Of the question: not read."""
    answer_cut: int = 0
    """Of the answer: not learned."""
    beyond: int = 0
    """By how many tokens the picture and the prompt around the question alone are too many: no question fits."""

    @property
    def read(self) -> int:
        """How many tokens the model reads and learns."""
        return self.question + self.answer + self.picture - self.question_cut - self.answer_cut


class VqaModel(ABC):
    """A model that answers questions about pictures; `module` is the transformers model that it drives."""

    family: ClassVar[str]
    beams: ClassVar[int] = 1
    """How many beams are searched by default; 1 takes the likeliest token each time."""
    takes_shots: bool = False
    """Whether solved examples can be shown before the question."""
    takes_several_images: bool = False
    """Whether a question may be about more than one picture."""
    needs_candidates: bool = False
    """Whether the model can only choose from a list that the query brings."""
    reads_regions: ClassVar[bool] = False
    """Whether pictures are given as regions, which `Loading.regions` can name."""
    fixed_resolution: ClassVar[bool] = False
    """Whether pictures can have no other resolution than the checkpoint's own."""
    tells_attention: ClassVar[bool] = False
    """Whether `explain` says where it looked."""
    shares_prompts: bool = False
    """Whether questions about the same pictures are cheaper in one batch, since they share the prompt's beginning."""

    name: str
    """What the user called it: a preset, a hub name or a folder."""
    module: nn.Module
    fingerprint: str = ""
    """Tells the base weights apart, so that an adapter is not put on another model (`loading.weights_fingerprint`)."""

    @classmethod
    @abstractmethod
    def from_pretrained(cls, source: str, name: str, loading: Loading) -> VqaModel:
        """Read a checkpoint from a folder or the hub."""

    @abstractmethod
    def inputs(self, image: Image.Image) -> PictureInputs:
        """Turn an RGB picture into the tower's input, on the CPU; threads may call it."""

    def inputs_of(self, path: Path) -> PictureInputs:
        """Turn the picture at `path` into the tower's input, on the CPU; threads may call it.

        Raises:
            ImageError: if it cannot be read, or the model's processor does not take its shape.

        """
        image = load_image(path)
        try:
            return self.inputs(image)
        except (ValueError, ZeroDivisionError) as error:
            width, height = image.size
            raise ImageError(
                "unsuitable", f"the model's processor refuses {width} x {height} pixels: {error}"
            ) from None

    @abstractmethod
    def encode(self, pictures: Sequence[PictureInputs]) -> Features:
        """Map outputs of `inputs` to vision features, one entry a picture: what is computed once a picture."""

    @abstractmethod
    def answer(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        """Return the best distinct answers to each question, best first, with their probabilities.

        A probability is that of the whole answer, its end included, among all that the model could say. So those of
        all texts sum to 1 and those of the k best to less; what else is in the batch changes nothing.

        Args:
            features: from `encode`.
            queries: the questions; what is longer than the model reads is cut.
            decoding: how many answers, and how they are found.

        """

    def explain(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[Explained]:
        """Return the very answers of `answer`, and where the model looked for them, if it `tells_attention`."""
        return [Explained(answers) for answers in self.answer(features, queries, decoding)]

    def outputs(self) -> int:
        """Return how many answers the table holds; only classifiers have one."""
        raise NotImplementedError(f"{self.name!r} has no table of answers")

    def log_probabilities(self, features: Features, queries: Sequence[Query]) -> Tensor:
        """Return the log-probability [q, answers] of each answer of the table; only classifiers have one."""
        raise NotImplementedError(f"{self.name!r} has no table of answers")

    @abstractmethod
    def loss(self, features: Features, queries: Sequence[Query], answers: Sequence[str]) -> Tensor:
        """Return the mean training loss over the answers alone: no padding, no question tokens in it."""

    @abstractmethod
    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """Return the prefixes of module names that make up each of vision, connector, language and head.

        A module belongs to the group with the longest matching prefix. A group may be absent.
        """

    @abstractmethod
    def token_counts(
        self, questions: Sequence[str], answers: Sequence[str], pictures: Sequence[int]
    ) -> list[TokenCount]:
        """Count the tokens of each sample, and those that `loss` cuts.

        Args:
            questions: as they are put to the model.
            answers: the right ones.
            pictures: `picture_tokens` of each sample's picture.

        """

    def picture_tokens(self, picture: PictureInputs) -> int:
        """Return how many tokens a picture, as `inputs` makes it, takes among the words; 0 where it stands apart."""
        return 0

    def read_back(self, answers: Sequence[str]) -> list[str]:
        """Return what `answer` would give if the model said each of the answers just as `loss` teaches it."""
        return list(answers)

    @abstractmethod
    def save_pretrained(self, folder: Path) -> None:
        """Write a full checkpoint that `load_model` reads."""

    def prepare_for_training(self, answers: Counter[str]) -> int:
        """Extend the answer table, where there is one, with `answers`; return how many were added."""
        return 0

    def learnable(self, answers: Sequence[str]) -> list[bool]:
        """Say for each answer whether the model could ever give it."""
        return [True] * len(answers)

    def adapter_state(self) -> dict[str, list[str]]:
        """Return what an adapter needs beside its weights, for example answers added to the table."""
        return {}

    def restore_adapter_state(self, state: Mapping[str, list[str]]) -> None:
        """Take on what `adapter_state` returned, before the adapter's weights are loaded."""
        if any(state.values()):
            raise InputError(f"The adapter brings {', '.join(state)}, for which {self.name!r} has no place.")

    def encode_images(self, images: Sequence[Image.Image]) -> Features:
        """Map RGB pictures to vision features."""
        return self.encode([self.inputs(image) for image in images])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, of those that are not quantised."""
        return next(weight.dtype for weight in self.module.parameters() if weight.is_floating_point())

    def group_of(self, module_name: str) -> str | None:
        """Return the group that a module (or parameter) belongs to, by the longest matching prefix."""
        best, found = -1, None
        for group, prefixes in self.module_groups().items():
            for prefix in prefixes:
                if len(prefix) > best and (module_name == prefix or module_name.startswith(prefix + ".")):
                    best, found = len(prefix), group
        return found

    def placed(self, tensor: Tensor) -> Tensor:
        """Return a tensor of floats where the weights are, in their type unless autocast chooses it."""
        if torch.is_autocast_enabled(self.device.type):
            return tensor.to(self.device)
        return tensor.to(self.device, self.dtype)

    def distinct_images(self, features: Features, queries: Sequence[Query]) -> tuple[Tensor, Tensor]:
        """Return the features [m, p, d] of the pictures asked about, each once, and which [q] each question is about.

        For adapters whose features are tensors of one shape and whose questions are about one picture each.
        """
        used, index = torch.unique(torch.tensor([query.images[0] for query in queries]), return_inverse=True)
        if isinstance(features, Tensor):
            pictures = features[used.to(features.device)]
        else:
            pictures = torch.stack([features[place] for place in used.tolist()])
        return self.placed(pictures), index.to(self.device)


def all_places(query: Query) -> list[int]:
    """Return the places of all pictures that a query shows, its examples' first."""
    return [place for shot in query.shots for place in shot.images] + list(query.images)


def one_of_each(questions: Sequence[str], image_index: Iterable[int]) -> list[Query]:
    """Return queries that ask each question of one picture."""
    return [Query(question, (image,)) for question, image in zip(questions, image_index, strict=True)]


def first_word(text: str) -> str:
    """Return what stands before the first blank of a text, blanks at its edges aside.

    >>> first_word(" red an")
    'red'
    """
    return text.split(maxsplit=1)[0] if text.split() else ""


def distinct_answers(found: Iterable[Answer], top_k: int) -> list[Answer]:
    """Return the first `top_k` distinct texts, stripped; `found` is best first, and the likeliest spelling counts."""
    best: dict[str, float | None] = {}
    for answer in found:
        probability = answer.probability
        best.setdefault(answer.text.strip(), None if probability is None else min(probability, 1.0))
    return [Answer(text, probability) for text, probability in list(best.items())[:top_k]]
