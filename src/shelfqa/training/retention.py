"""Holding on to what a model knows: learning without forgetting (Li and Hoiem, arXiv 1606.09282).

Each training picture is asked a few general questions. Before anything is trained the model says how likely it takes
each answer of its table to be, and training adds how far it has moved from that. No pictures but the user's own are
needed. In the output layer only the rows of new answers are trained: those of the others stay as they were to the bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import kl_div

from shelfqa.errors import ConfigError
from shelfqa.models.base import Features, Query
from shelfqa.training.distributed import ALONE, Processes
from shelfqa.training.sharding import like

if TYPE_CHECKING:
    from shelfqa.models.base import VqaModel
    from shelfqa.training.features import FeatureSource

_ASKED = (
    "What color is the {}?",
    "What is the main color of the {}",
    "What is the {}'s color?",
    "What shape is the {}?",
    "What is the shape of the {}",
    "What material is the {} made of?",
    "What is the material of the {}",
    "What is the {} made of?",
    "What pattern is on the {}?",
    "What is the texture of the {}",
    "What is the style of the {}",
    "What type of {} is this?",
    "What is the {} used for?",
    "How many {}s are shown",
    "How many {}s are visible?",
    "Is the {} round?",
    "Is there a {}?",
    "What is on the {}?",
)
_THINGS = (
    *("item", "product", "object", "shoe", "chair", "table", "lamp", "bag", "bottle", "clock", "ring"),
    *("sole", "handle", "frame", "strap", "base", "label", "leg", "case", "button"),
)
QUESTIONS = (
    *(asked.format(thing) for asked in _ASKED for thing in _THINGS),
    "What is this?",
    "What is the item?",
    "What is shown in the picture?",
    "What kind of product is this?",
    "What is the primary color?",
    "What is the background color?",
    "What color is it?",
    "What shape is it?",
    "What is the material?",
    "What pattern is visible?",
    "How many items are shown?",
    "Is there text on the product?",
)
"""What anybody may ask about a product; each picture is asked some of them, whether it shows such a thing or not.

Brands are not asked for: they are what shops teach.
"""
_PER_PICTURE = 4
_PICTURES_AT_ONCE = 16


class Retention:
    """Measures how far a classifier has moved from what it said before it was trained."""

    def __init__(self, model: VqaModel, source: FeatureSource, *, weight: float, seed: int) -> None:
        """Hold `model` with `weight` at its answers about the pictures of `source`; `seed` draws the questions.

        Raises:
            ConfigError: if the model does not choose from a table of answers.

        """
        if model.family != "classifier":
            raise ConfigError(
                f"train.retain is {weight:g}, and {model.name!r} does not choose from a table of answers: only such "
                "models can be held at what they knew. Leave it out."
            )
        self._model = model
        self._source = source
        self._weight = weight
        self._seed = seed
        self._said: dict[int, Tensor] = {}
        """Of each picture the log-probabilities [questions, answers], in half precision."""
        self._rows: dict[str, tuple[Tensor, Tensor]] = {}
        """The output layer's weights by name, and for each number whether it is trained."""

    def ask(self, images: Sequence[int], processes: Processes = ALONE) -> None:
        """Ask about pictures, whatever was asked before; the weights must be untrained still."""
        self._said.clear()  # what steps on trial asked would differ by rounding from what a resumed run asks
        with processes.progress("ask what is known", len(images)) as tick:
            for start in range(0, len(images), _PICTURES_AT_ONCE):
                some = images[start : start + _PICTURES_AT_ONCE]
                self._ask(some)
                tick(start + len(some))

    def loss(self, features: Features, images: Sequence[int]) -> Tensor:
        """Return weight times the mean divergence KL(untrained, now) over the pictures' questions, in nats.

        Args:
            features: of the pictures, in their order.
            images: their positions. Those that were never asked about are asked now, so the first call about a picture
                has to come before the weights change.

        """
        self._ask([image for image in images if image not in self._said])
        now = self._log_probabilities(features, images)
        before = torch.cat([self._said[image] for image in images]).to(now.device, now.dtype)
        return kl_div(now, before, reduction="batchmean", log_target=True) * self._weight

    def hold_rows(self, weights: Mapping[str, Tensor]) -> Collection[str]:
        """Return the names of those `weights`, whole or in shards, of which `keep_rows` keeps the known answers' rows.

        They must not decay.
        """
        outputs = self._model.outputs()
        known = outputs - len(self._model.adapter_state()["added_answers"])
        self._rows = {}
        for name, weight in weights.items():
            if self._model.group_of(name) == "head" and len(weight) == outputs:
                trained = torch.ones(weight.shape, dtype=weight.dtype, device=weight.device)
                trained[:known] = 0
                self._rows[name] = weight, like(trained, weight)
        return self._rows.keys()

    def keep_rows(self) -> None:
        """Clear the gradients of the rows of answers that were known."""
        for weight, trained in self._rows.values():
            if weight.grad is not None:
                weight.grad *= trained

    def _ask(self, images: Sequence[int]) -> None:
        if not images:
            return
        module = self._model.module
        modes = [(part, part.training) for part in module.modules()]
        module.eval()
        with torch.no_grad():
            said = self._log_probabilities(self._source.features(images), images).half().cpu()
        for part, training in modes:
            part.training = training
        self._said |= dict(zip(images, said.split(_PER_PICTURE), strict=True))

    def _log_probabilities(self, features: Features, images: Sequence[int]) -> Tensor:
        queries = [Query(question, (place,)) for place, image in enumerate(images) for question in self._drawn(image)]
        return self._model.log_probabilities(features, queries)

    def _drawn(self, image: int) -> list[str]:
        drawn = np.random.default_rng([self._seed, image]).choice(len(QUESTIONS), _PER_PICTURE, replace=False)
        return [QUESTIONS[number] for number in drawn]
