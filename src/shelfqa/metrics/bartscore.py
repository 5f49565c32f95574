"""BARTScore (arXiv 2106.11520): how likely does a sequence-to-sequence model find one text, given the other?

    log p(target | source) = 1/T * sum over the target's T tokens of ln p(token | those before it, source)

in (-inf, 0], special tokens included: exactly minus the loss that transformers returns for one pair. The paper's
precision gives the answer and asks for the prediction, its recall the other way round, its F score is the mean of both.

Scores are cut at `FLOOR` = -ln 50264 = -10.82, the score of a model that takes every token of BART for equally likely,
and a failed prediction scores that: means stay finite, and a failure is never better than an answer. (Of 6,032 short
answers whose BARTScore was published, none lies below -9.7.)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shelfqa.metrics.base import PairMetric, Scores
from shelfqa.metrics.embeddings import Distinct, TokenVectors, pair_groups, token_vectors
from shelfqa.metrics.pretrained import Pretrained, load, tokenized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

BART = "facebook/bart-large-cnn"
FLOOR = -math.log(50264)
_BLOCK_TOKENS = 1024
"""Tokens of sources and targets that go through the decoder at once; each target token costs a vocabulary of logits."""


def log_likelihoods(model: Pretrained, sources: Sequence[str], targets: Sequence[str]) -> Scores:
    """Return the mean log-likelihood of each target given its source, shape [pairs], not cut.

    Each distinct source goes through the encoder once, each distinct pair through the decoder once, in batches of
    one length, so that nothing is padded.
    """
    texts = list(dict.fromkeys([*sources, *targets]))
    distinct = Distinct.of(tokenized(model, texts))
    number = dict(zip(texts, distinct.of_text.tolist(), strict=True))
    source = np.array([number[text] for text in sources], dtype=np.int64)
    target = np.array([number[text] for text in targets], dtype=np.int64)
    encoder = model.module.get_encoder()
    used = np.unique(source)
    states = token_vectors(
        [distinct.sequences[one] for one in used], lambda ids: encoder(input_ids=ids).last_hidden_state, model.device
    )
    starts = np.zeros(len(distinct.sequences), dtype=np.int64)
    starts[used] = states.starts
    states = TokenVectors(states.vectors, starts)
    lengths = np.array([len(one) for one in distinct.sequences], dtype=np.int64)
    pairs, of_pair = np.unique(np.stack([source, target], axis=1), axis=0, return_inverse=True)
    scores = np.zeros(len(pairs), dtype=np.float64)
    for group in pair_groups(pairs[:, 0], pairs[:, 1], lengths, lambda one, two: _BLOCK_TOKENS // max(one + two, 1)):
        one, two = pairs[group.members, 0], pairs[group.members, 1]
        ids = [distinct.sequences[text] for text in two]
        scores[group.members] = _decoded(model, states.gather(one, group.first_length), ids)
    found: Scores = scores[of_pair.reshape(-1)]
    return found


def _decoded(model: Pretrained, states: Any, ids: Sequence[Sequence[int]]) -> Any:
    """Return the mean log-likelihood of the target `ids` [n, T] given encoder states [n, S, d]."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    with torch.inference_mode():
        labels = torch.tensor(ids, device=model.device)
        hidden = torch.from_numpy(states).to(model.device, model.module.dtype)
        logits: Tensor = model.module(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=torch.ones(hidden.shape[:2], dtype=torch.long, device=model.device),
            decoder_input_ids=model.module.prepare_decoder_input_ids_from_labels(labels),
        ).logits
        wide = logits if logits.dtype.itemsize >= 4 else logits.float()
        likelihood = wide.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
        return likelihood.double().mean(1).cpu().numpy()


class BartScorer:
    """Both directions under one choice of model; what was asked for last is remembered."""

    def __init__(self, model: str, device: str, dtype: str) -> None:
        self._model = (model, device, dtype)
        self._last: dict[tuple[Sequence[str], Sequence[str]], Scores] = {}

    @property
    def model(self) -> Pretrained:
        """The model, loaded when first asked for."""
        name, device, dtype = self._model
        return load("AutoModelForSeq2SeqLM", name, device=device, dtype=dtype)

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> Scores:
        """Return `log_likelihoods`, remembering the last two questions: both directions of a table."""
        key = (tuple(sources), tuple(targets))
        if key not in self._last:
            while len(self._last) > 1:
                del self._last[next(iter(self._last))]
            self._last[key] = log_likelihoods(self.model, *key)
        return self._last[key]


@functools.lru_cache(maxsize=2)
def _scorer(model: str, device: str, dtype: str) -> BartScorer:
    return BartScorer(model, device, dtype)


class _BartScore(PairMetric):
    """What the three have in common; options are those of the spec, such as `bartscore:model=DIR`."""

    low: ClassVar[float] = FLOOR
    high: ClassVar[float] = 0.0
    symmetric: ClassVar[bool] = False
    perfect_is_high: ClassVar[bool] = False
    on_request: ClassVar[str | None] = "downloads a large model: name the metric to have it"

    def __init__(self, *, model: str = BART, device: str = "auto", dtype: str = "float32") -> None:
        self._scorer = _scorer(model, device, dtype)

    @property
    def settings(self) -> Mapping[str, object]:
        """Model, its weights' digest, and where scores are cut."""
        return {**self._scorer.model.settings, "floor": FLOOR}


class BartScorePrecision(_BartScore):
    """BARTScore precision: mean log-likelihood of the prediction's tokens, given the answer."""

    name = "bartscore_precision"

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return log p(prediction | answer) of each pair, cut at `FLOOR`."""
        cut: Scores = np.maximum(self._scorer.score(answers, predictions), FLOOR)
        return cut


class BartScoreRecall(_BartScore):
    """BARTScore recall: mean log-likelihood of the answer's tokens, given the prediction."""

    name = "bartscore_recall"

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return log p(answer | prediction) of each pair, cut at `FLOOR`."""
        cut: Scores = np.maximum(self._scorer.score(predictions, answers), FLOOR)
        return cut


class BartScore(_BartScore):
    """Mean of BARTScore precision and recall: log-likelihood of each text given the other."""

    name = "bartscore"
    symmetric: ClassVar[bool] = True

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return the mean of both directions, each cut at `FLOOR`."""
        there = np.maximum(self._scorer.score(answers, predictions), FLOOR)
        back = np.maximum(self._scorer.score(predictions, answers), FLOOR)
        mean: Scores = (there + back) / 2
        return mean
