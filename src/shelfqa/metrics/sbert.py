"""SBERT cosine (arXiv 1908.10084): how near do prediction and answer lie in a sentence model's space?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shelfqa.errors import ConfigError, InputError
from shelfqa.metrics.base import PairMetric, Scores
from shelfqa.metrics.embeddings import Distinct, Ids, encoded
from shelfqa.metrics.pretrained import MINILM, Pretrained, load, read_json, source_of, tokenized

if TYPE_CHECKING:
    from torch import Tensor

POOLINGS = ("mean", "cls", "max")
_PASSES = ("Transformer", "Pooling", "Normalize")
"""The modules of sentence-transformers that we know; normalising does not change a cosine."""
_BLOCK = 2**16
"""Pairs whose cosines are computed at once."""


class Recipe(NamedTuple):
    """How a checkpoint makes one vector of a text."""

    pooling: str
    max_tokens: int | None


def recipe_of(name: str, pooling: str) -> Recipe:
    """Return what the files of sentence-transformers beside the weights say; without them, the mean of all tokens.

    Raises:
        ConfigError: for an unknown `pooling`.
        InputError: if the checkpoint has a module beyond pooling and normalising, or pools in another way.

    """
    source = source_of(name)
    known = read_json(source, "sentence_bert_config.json") or {}
    if pooling != "auto":
        if pooling not in POOLINGS:
            raise ConfigError(f"Unknown pooling {pooling!r}: expected auto, {', '.join(POOLINGS)}.")
        return Recipe(pooling, known.get("max_seq_length"))
    modules = read_json(source, "modules.json") or []
    for module in modules:
        if module["type"].rpartition(".")[2] not in _PASSES:
            raise InputError(f"{name!r} has a module {module['type']!r}, which shelfqa does not run: choose another.")
    pools = [module["path"] for module in modules if module["type"].endswith(".Pooling")]
    settings = read_json(source, f"{pools[0]}/config.json") if pools else None
    if settings is None:
        return Recipe("mean", known.get("max_seq_length"))
    modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
    chosen = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    if "pooling_mode" in settings:
        chosen = [f"pooling_mode_{settings['pooling_mode']}_token{'' if settings['pooling_mode'] == 'cls' else 's'}"]
    if len(chosen) != 1 or chosen[0] not in modes:
        raise InputError(f"{name!r} pools by {chosen}: give pooling={', pooling='.join(POOLINGS)}, or another model.")
    return Recipe(modes[chosen[0]], known.get("max_seq_length"))


def sentence_vectors(model: Pretrained, sequences: Sequence[Ids], pooling: str) -> NDArray[Any]:
    """Return a vector of length 1 for each token sequence (sorted by length), [sequences, d]; zeros without tokens."""
    vectors: NDArray[Any] = np.zeros((len(sequences), int(model.module.config.hidden_size)), dtype=np.float32)

    def pooled(ids: Tensor) -> Tensor:
        states = model.module(input_ids=ids).last_hidden_state
        states = states if states.dtype.itemsize >= 4 else states.float()
        vector = {"mean": lambda: states.mean(1), "cls": lambda: states[:, 0], "max": lambda: states.amax(1)}[pooling]()
        return vector / vector.norm(dim=-1, keepdim=True)

    for batch, found in encoded(sequences, pooled, model.device):
        if vectors.dtype != found.dtype:
            vectors = vectors.astype(found.dtype)
        vectors[batch] = found
    return vectors


class SbertCosine(PairMetric):
    """Cosine of prediction and answer in a sentence model's space: near in meaning, whatever the words.

    Formula: cos(e(prediction), e(answer)) in [-1, 1], where e pools the token embeddings of the last layer as the
    checkpoint says (all-MiniLM-L6-v2: their mean, special tokens included); a failed prediction scores -1. Symmetric.
    Source: Sentence-BERT (arXiv 1908.10084). Values are those of sentence-transformers to float32 rounding, about
    1e-6; texts of the same tokens score 1.
    """

    name = "sbert_cosine"
    low: ClassVar[float] = -1.0

    def __init__(
        self, *, model: str = MINILM, pooling: str = "auto", device: str = "auto", dtype: str = "float32"
    ) -> None:
        self._name = model
        self._asked = pooling
        self._where = (device, dtype)

    @property
    def settings(self) -> Mapping[str, object]:
        """Model, its weights' digest, pooling and the longest text in tokens."""
        model, recipe = self._loaded()
        return {**model.settings, "pooling": recipe.pooling, "max_tokens": recipe.max_tokens or model.max_tokens}

    def _loaded(self) -> tuple[Pretrained, Recipe]:
        device, dtype = self._where
        model = load("AutoModel", self._name, device=device, dtype=dtype)
        return model, recipe_of(self._name, self._asked)

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return the cosine of each pair."""
        model, recipe = self._loaded()
        texts = list(dict.fromkeys([*predictions, *answers]))
        distinct = Distinct.of(tokenized(model, [text.strip() for text in texts], recipe.max_tokens))
        vectors = sentence_vectors(model, distinct.sequences, recipe.pooling)
        number = dict(zip(texts, distinct.of_text.tolist(), strict=True))
        first = np.array([number[text] for text in predictions], dtype=np.int64)
        second = np.array([number[text] for text in answers], dtype=np.int64)
        scores = np.empty(len(first), dtype=np.float64)
        for start in range(0, len(first), _BLOCK):
            one, two = (vectors[side[start : start + _BLOCK]].astype(np.float64) for side in (first, second))
            scores[start : start + _BLOCK] = (one * two).sum(axis=1)
        same: Scores = np.where(first == second, 1.0, np.clip(scores, -1.0, 1.0))
        return same
