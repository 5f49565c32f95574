"""BERTScore (arXiv 1904.09675): how well do the tokens of prediction and answer match in a language model's eyes?

Each token is matched with its most similar token of the other text, by the cosine of their contextual embeddings:

    precision = sum over the prediction's tokens of w * max cosine / sum of w       (recall: over the answer's tokens)
    F1        = 2 * precision * recall / (precision + recall)

w is 1, or with `idf=true` the token's inverse document frequency among the answers, log((N + 1) / (n + 1)) for N
rows of which n hold it; special tokens weigh 0 but may be matched. With a baseline b, scores are (x - b) / (1 - b).

Values are those of the package bert-score (to about 1e-6: both are float32) but for four cases, each documented here:
a token whose every cosine is negative counts 0 (bert-score: only where its batch is padded); two empty texts agree,
as for every metric of shelfqa (bert-score: 0); where idf weighs all tokens of a text 0, they weigh the same
(bert-score: not a number, then 0); rescaled scores are cut at -1.

With many models scores of short answers crowd near 1, those of wrong ones too: in one published file the mean is .987,
and .959 over the wrong answers. The default model (its last layer) gives the same rows .816 and .422, and .169 to
pairs of other rows' answers. Read scores beside those of chance pairs, or give `baseline=random`.
"""

from __future__ import annotations

import csv
import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shelfqa.errors import ConfigError, InputError
from shelfqa.metrics.base import Answered, PairMetric, Scores
from shelfqa.metrics.embeddings import Distinct, Ids, TokenVectors, pair_groups, token_vectors
from shelfqa.metrics.pretrained import MINILM, Pretrained, load, tokenized

if TYPE_CHECKING:
    from torch import Tensor

LAYERS = {
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "roberta-base": 10,
    "roberta-large": 17,
    "distilbert-base-uncased": 5,
    "microsoft/deberta-base-mnli": 9,
    "microsoft/deberta-large-mnli": 18,
    "microsoft/deberta-xlarge-mnli": 40,
}
"""The layer that agrees best with people (bert-score's `model2layers`); other models give their last one."""
CHANCE_PAIRS = 5000
"""Pairs of different answers of which `baseline=random` takes the mean."""
_BLOCK = 2**22
"""Numbers of each side's embeddings that are compared at once."""
_FLOOR_RESCALED = -1.0


class BertScorer:
    """Precision, recall and F1 of pairs under one choice of model, layer, weights and baseline."""

    def __init__(self, model: str, layer: int | None, *, idf: bool, baseline: str, device: str, dtype: str) -> None:
        self._choice = (model, layer if layer is not None else LAYERS.get(model.removeprefix("FacebookAI/")))
        self._where = (device, dtype)
        self._idf = idf
        self._baseline = baseline
        self._subtracted: tuple[float, ...] | None = None
        self._last: tuple[tuple[Sequence[str], Sequence[str], Mapping[str, int]], Scores] | None = None

    @property
    def settings(self) -> dict[str, object]:
        """Model, layer, weights and baseline, its values too once something was scored."""
        found = {**self._model.settings, "layer": self._layer, "idf": self._idf, "baseline": self._baseline}
        if self._subtracted is not None:
            found["baseline_values"] = [round(value, 9) for value in self._subtracted]
        return found

    @property
    def _model(self) -> Pretrained:
        device, dtype = self._where
        name, layer = self._choice
        return load("AutoModel", name, layers=layer, device=device, dtype=dtype)

    @property
    def _layer(self) -> int:
        return int(self._model.module.config.num_hidden_layers)

    def score(self, predictions: Sequence[str], answers: Sequence[str], corpus: Mapping[str, int]) -> Scores:
        """Return precision, recall and F1 of each pair, shape [pairs, 3].

        `corpus` holds each answer of the table and in how many rows it stands, for idf and the random baseline.
        What was scored last is remembered, so that precision, recall and F1 of a table are computed once.
        """
        asked = (predictions, answers, corpus)
        if self._last is None or self._last[0] != asked:
            self._last = (asked, self._scored(predictions, answers, corpus))
        return self._last[1]

    def _scored(self, predictions: Sequence[str], answers: Sequence[str], corpus: Mapping[str, int]) -> Scores:
        model = self._model
        texts = list(dict.fromkeys([*predictions, *answers, *(corpus if self._baseline == "random" else ())]))
        distinct = Distinct.of(tokenized(model, prepared(model, texts)))
        weights = self._weights(model, corpus)
        vectors = token_vectors(distinct.sequences, functools.partial(_unit_states, model), model.device)
        match = _Match(model, vectors, distinct.sequences, [_weighed(one, weights) for one in distinct.sequences])
        number = dict(zip(texts, distinct.of_text.tolist(), strict=True))
        scores = match.score(_numbers(number, predictions), _numbers(number, answers))
        if self._baseline == "none":
            return scores
        if self._baseline == "random":
            self._subtracted = tuple(_chance(match, np.unique(_numbers(number, tuple(corpus)))))
        else:
            self._subtracted = read_baseline(Path(self._baseline), self._layer)
        base = np.array(self._subtracted)
        rescaled: Scores = np.maximum((scores - base) / (1 - base), _FLOOR_RESCALED)
        return rescaled

    def _weights(self, model: Pretrained, corpus: Mapping[str, int]) -> _Weights:
        special = {model.tokenizer.cls_token_id, model.tokenizer.sep_token_id} - {None}
        if not self._idf:
            return _Weights({}, 1.0, frozenset(special))
        count: Counter[int] = Counter()
        answers = list(corpus)
        for ids, rows in zip(tokenized(model, prepared(model, answers)), corpus.values(), strict=True):
            for token in set(ids):
                count[token] += rows
        total = sum(corpus.values())
        known = {token: math.log((total + 1) / (rows + 1)) for token, rows in count.items()}
        return _Weights(known, math.log(total + 1), frozenset(special))


class _Weights(NamedTuple):
    known: dict[int, float]
    other: float
    special: frozenset[int]


def _weighed(ids: Ids, weights: _Weights) -> NDArray[np.float64] | None:
    """Return the weight of each token, in sum 1; None for a text of special tokens alone."""
    plain = np.array([token not in weights.special for token in ids], dtype=np.float64)
    if not plain.any():
        return None
    found = np.array([weights.known.get(token, weights.other) for token in ids]) * plain
    if not found.any():
        found = plain
    normal: NDArray[np.float64] = found / found.sum()
    return normal


def prepared(model: Pretrained, texts: Sequence[str]) -> list[str]:
    """Return the texts as bert-score reads them: stripped, and with a leading space for byte-level tokenizers.

    (Under transformers 5 bert-score 0.3.13 asks for that space in vain, so its own values for RoBERTa moved; these
    are the ones that it gave before, and that its baseline files are made with.)
    """
    kind = type(model.tokenizer).__name__
    lead = " " if kind.startswith(("Roberta", "GPT2")) else ""
    return [lead + stripped if (stripped := text.strip()) else stripped for text in texts]


def _unit_states(model: Pretrained, ids: Tensor) -> Tensor:
    states = model.module(input_ids=ids).last_hidden_state
    wide = states if states.dtype.itemsize >= 4 else states.float()
    return wide / wide.norm(dim=-1, keepdim=True)


class _Match(NamedTuple):
    """The embedded texts of a table, and how much each of their tokens weighs."""

    model: Pretrained
    vectors: TokenVectors
    sequences: list[Ids]
    weights: list[NDArray[np.float64] | None]

    def score(self, predictions: NDArray[np.int64], answers: NDArray[np.int64]) -> Scores:
        """Return precision, recall and F1 of pairs of text numbers, [pairs, 3].

        Each unordered pair is compared once: exchanging both texts exchanges precision and recall, to the bit.
        """
        total = len(self.sequences)
        low, high = np.minimum(predictions, answers), np.maximum(predictions, answers)
        keys, of_pair = np.unique(low * total + high, return_inverse=True)
        first, second = keys // total, keys % total
        both = np.ones((len(keys), 2))
        differ = np.flatnonzero(first != second)
        empty = np.array([weight is None for weight in self.weights], dtype=bool)
        void = empty[first[differ]] | empty[second[differ]]
        both[differ[void]] = 0.0
        differ = differ[~void]
        both[differ] = self._matched(first[differ], second[differ])
        scores = both[of_pair]
        scores = np.where((predictions == low)[:, None], scores, scores[:, ::-1])
        precision, recall = scores[:, 0], scores[:, 1]
        f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
        return np.stack([precision, recall, f1], axis=1)

    def _matched(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> Scores:
        """Return precision and recall of pairs of different, non-empty texts, [pairs, 2]."""
        import torch

        lengths = np.array([len(one) for one in self.sequences], dtype=np.int64)
        width = max(1, self.vectors.vectors.shape[1])
        result = np.zeros((len(first), 2))
        for group in pair_groups(first, second, lengths, lambda one, two: _BLOCK // (max(one, two) * width)):
            one, two = first[group.members], second[group.members]
            with torch.inference_mode():
                left = torch.from_numpy(self.vectors.gather(one, group.first_length)).to(self.model.device)
                right = torch.from_numpy(self.vectors.gather(two, group.second_length)).to(self.model.device)
                cosine = torch.bmm(left, right.transpose(1, 2))
                best = [cosine.amax(dim=side).clamp(0, 1).double().cpu().numpy() for side in (2, 1)]
            for side, texts in enumerate((one, two)):
                weights = np.stack([weight for text in texts if (weight := self.weights[text]) is not None])
                result[group.members, side] = (best[side] * weights).sum(axis=1)
        clipped: Scores = np.minimum(result, 1.0)
        return clipped


def _numbers(number: Mapping[str, int], texts: Sequence[str]) -> NDArray[np.int64]:
    return np.array([number[text] for text in texts], dtype=np.int64)


def _chance(match: _Match, answers: NDArray[np.int64]) -> list[float]:
    """Return mean precision, recall and F1 of random pairs of different answers."""
    if len(answers) < 2:
        raise ConfigError("baseline=random needs at least two different answers: give a file, or baseline=none.")
    rng = np.random.default_rng(0)
    first = rng.integers(len(answers), size=CHANCE_PAIRS)
    second = (first + rng.integers(1, len(answers), size=CHANCE_PAIRS)) % len(answers)
    mean: list[float] = match.score(answers[first], answers[second]).mean(axis=0).tolist()
    return mean


def read_baseline(path: Path, layer: int) -> tuple[float, float, float]:
    """Return the baseline of precision, recall and F1 at `layer` from a file in bert-score's format.

    A line a layer, from layer 0 on: `LAYER,P,R,F`, below a heading.

    Raises:
        InputError: if the file is missing, holds no such layer, or its line is not three numbers below 1.

    """
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[1:]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the baseline {str(path)!r}: {error}; give none, random or a file.") from None
    for line in lines:
        if line and line[0].strip() == str(layer):
            try:
                precision, recall, f1 = (float(value) for value in line[1:4])
            except ValueError:
                break
            if max(precision, recall, f1) < 1:
                return precision, recall, f1
            break
    else:
        raise InputError(f"The baseline {str(path)!r} has no line for layer {layer}: it has {len(lines)} lines.")
    raise InputError(f"The baseline {str(path)!r}, layer {layer}: expected LAYER,P,R,F with numbers below 1.")


@functools.lru_cache(maxsize=4)
def _scorer(model: str, layer: int | None, idf: bool, baseline: str, device: str, dtype: str) -> BertScorer:
    return BertScorer(model, layer, idf=idf, baseline=baseline, device=device, dtype=dtype)


class _BertScore(PairMetric):
    """One of the three columns; options are those of the spec, such as `bertscore_f1:layer=5,idf=true`."""

    column: ClassVar[int]

    def __init__(
        self,
        *,
        model: str = MINILM,
        layer: int | None = None,
        idf: bool = False,
        baseline: str = "none",
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        self._scorer = _scorer(model, layer, idf, baseline, device, dtype)
        self._corpus: Mapping[str, int] | None = None
        if baseline != "none":
            self.low = _FLOOR_RESCALED  # type: ignore[misc] # rescaled scores have another range

    @property
    def settings(self) -> Mapping[str, object]:
        """Model, its weights' digest, layer, idf and baseline."""
        return self._scorer.settings

    def score(self, rows: Answered) -> Scores:
        """Return one score per row; idf and the random baseline are taken from the answers of all rows."""
        self._corpus = Counter(rows.answers)
        try:
            return super().score(rows)
        finally:
            self._corpus = None

    def score_pairs(self, predictions: Sequence[str], answers: Sequence[str]) -> Scores:
        """Return this column of `BertScorer.score` for each pair."""
        corpus = Counter(answers) if self._corpus is None else self._corpus
        column: Scores = self._scorer.score(predictions, answers, corpus)[:, self.column]
        return column


class BertScorePrecision(_BertScore):
    """BERTScore precision: how well each token of the prediction is matched in the answer, by a language model."""

    name = "bertscore_precision"
    column: ClassVar[int] = 0
    symmetric: ClassVar[bool] = False


class BertScoreRecall(_BertScore):
    """BERTScore recall: how well each token of the answer is matched in the prediction, by a language model."""

    name = "bertscore_recall"
    column: ClassVar[int] = 1
    symmetric: ClassVar[bool] = False


class BertScoreF1(_BertScore):
    """Harmonic mean of BERTScore precision and recall; many models crowd it near 1, for wrong answers too."""

    name = "bertscore_f1"
    column: ClassVar[int] = 2
