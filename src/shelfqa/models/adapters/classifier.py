"""The classifier family: models that choose from a table of answers."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from shelfqa.errors import InputError
from shelfqa.models.answer_table import new_answers, set_labels
from shelfqa.models.base import Decoding, Features, Query, VqaModel
from shelfqa.records import Answer
from shelfqa.text import normalize_answer

_NOT_IN_TABLE = -100
_UNNAMED = re.compile(r"LABEL_\d+")
"""What transformers calls the outputs of a checkpoint that does not say what they mean."""


class ClassifierVqa(VqaModel):
    """Chooses from the answers that `module.config.id2label` names; they are compared and learned in normalised form.

    Probabilities are those of a softmax over the whole table, also where the checkpoint was trained with a sigmoid for
    each answer (ViLT, LXMERT and ViLBERT were): a ranking is the same under both.
    """

    family = "classifier"

    def __init__(self, module: Any, name: str, answers: Sequence[str] = ()) -> None:
        """Drive `module`; `answers` are the meaning of its outputs where its configuration does not tell.

        Raises:
            InputError: if neither tells, or `answers` are not as many as the outputs.

        """
        self.module = module
        self.name = name
        self._added: list[str] = []
        self._name_outputs(answers)
        self._read_table()

    @abstractmethod
    def logits(self, features: Features, queries: Sequence[Query]) -> Tensor:
        """Return the score [q, answers] of each answer of the table."""

    def outputs(self) -> int:
        """Return how many answers the head scores."""
        return len(self.module.config.id2label)

    def extend_head(self, new: Sequence[str]) -> None:
        """Give the head an output for each new answer, and the configuration their names."""
        self.module.extend_answers(list(new))

    def _name_outputs(self, answers: Sequence[str]) -> None:
        outputs = self.outputs()
        table = self.module.config.id2label
        if len(table) == outputs and not all(_UNNAMED.fullmatch(str(label)) for label in table.values()):
            return
        if not answers:
            raise InputError(
                f"{self.name!r} does not say which answers its {outputs} outputs stand for: give them with --answers "
                "FILE, one a line in the order of the outputs."
            )
        if len(answers) != outputs:
            raise InputError(
                f"{self.name!r} has {outputs} outputs and --answers FILE names {len(answers)} answers: give exactly "
                f"{outputs}, one a line in the order of the outputs."
            )
        set_labels(self.module.config, answers)

    def _read_table(self) -> None:
        table = self.module.config.id2label
        self._answers = [str(table[index]) for index in range(len(table))]
        self._normalized = [normalize_answer(text) for text in self._answers]
        self._index = {text: index for index, text in reversed(list(enumerate(self._normalized)))}

    def answer(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        """Return the likeliest answers of the table, or of the candidates that the table holds."""
        return self.ranked(self.logits(features, queries), queries, decoding)

    def ranked(self, logits: Tensor, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        """Return the likeliest answers by their scores, as `answer` does by those of `logits`."""
        log = logits.float().log_softmax(-1)
        if any(query.candidates for query in queries):
            kept = {candidates: self._among(candidates) for candidates in {query.candidates for query in queries}}
            allowed = torch.stack([kept[query.candidates] for query in queries])
            log = log.masked_fill(~allowed.to(log.device), -torch.inf)
        best = log.exp().topk(min(decoding.top_k, log.shape[-1]), dim=-1)
        return [
            [Answer(self._answers[index], probability) for index, probability in zip(*row, strict=True) if probability]
            for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _among(self, candidates: tuple[str, ...]) -> Tensor:
        """Say of each answer of the table [answers] whether it is one of the candidates; without any, all are."""
        wanted = {normalize_answer(text) for text in candidates}
        return torch.tensor([not wanted or text in wanted for text in self._normalized])

    def log_probabilities(self, features: Features, queries: Sequence[Query]) -> Tensor:
        """Take the softmax over the whole table."""
        return self.logits(features, queries).float().log_softmax(-1)

    def loss(self, features: Features, queries: Sequence[Query], answers: Sequence[str]) -> Tensor:
        """Return the mean cross-entropy over the questions whose answer is in the table."""
        ids = torch.tensor([self._index.get(normalize_answer(answer), _NOT_IN_TABLE) for answer in answers])
        logits = self.logits(features, queries).float()
        total = cross_entropy(logits, ids.to(logits.device), ignore_index=_NOT_IN_TABLE, reduction="sum")
        return total / max(1, int((ids != _NOT_IN_TABLE).sum()))

    def prepare_for_training(self, answers: Counter[str]) -> int:
        """Add normalised `answers` that the table lacks, most frequent first."""
        new = [text for text in answers if text and text not in self._index]
        new.sort(key=lambda text: (-answers[text], text))
        self._extend(new)
        return len(new)

    def _extend(self, new: Sequence[str]) -> None:
        new = new_answers(self.module.config, new)
        if new:
            self.extend_head(new)
            self._added.extend(new)
            self._read_table()

    def learnable(self, answers: Sequence[str]) -> list[bool]:
        """An answer can be learned if the table holds it."""
        return [normalize_answer(answer) in self._index for answer in answers]

    def adapter_state(self) -> dict[str, list[str]]:
        """The answers that were added."""
        return {"added_answers": list(self._added)}

    def restore_adapter_state(self, state: Mapping[str, list[str]]) -> None:
        """Add the answers again, in the same order."""
        self._extend(state.get("added_answers", []))
