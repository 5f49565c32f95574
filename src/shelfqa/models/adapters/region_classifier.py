"""What LXMERT and ViLBERT share: BERT's word pieces, and regions that are embedded once a picture.

    picture -> regions -> embed (once a picture) --+
                                                   +--> score -> answers
    question -> word pieces -----------------------+

Shapes: n pictures, q questions, t word pieces, r regions, v their width in the model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shelfqa.models.adapters.classifier import ClassifierVqa
from shelfqa.models.adapters.regions import PaddedRegions, RegionSource, presence, region_source
from shelfqa.models.adapters.texts import counted, padded, token_lengths
from shelfqa.models.base import Features, Loading, PictureInputs, Query, TokenCount


class RegionVqa(ClassifierVqa):
    """A classifier that sees regions; how many a picture has may differ and changes nothing for the others."""

    reads_regions = True
    question_tokens: ClassVar[int]
    """How many word pieces of a question the authors' models have seen at most, special tokens counted in."""

    def __init__(
        self, module: Any, tokenizer: Any, source: RegionSource, name: str, answers: Sequence[str] = ()
    ) -> None:
        """Drive `module`, which reads what `source` gives; `answers` as in `ClassifierVqa`."""
        super().__init__(module, name, answers)
        self.tokenizer = tokenizer
        self.source = source
        limits = (self.question_tokens, module.config.max_position_embeddings, tokenizer.model_max_length)
        self._max_tokens = min(limits)

    @classmethod
    def from_pretrained(cls, source: str, name: str, loading: Loading) -> Self:
        """Read a checkpoint from a folder or the hub, and the tower or the files that its regions come from."""
        module = cls.load_module(source, loading)
        regions = region_source(source, loading, cls.feature_size(module.config))
        return cls(module, cls.load_tokenizer(source), regions, name, loading.answers)

    @classmethod
    @abstractmethod
    def load_module(cls, source: str, loading: Loading) -> Any:
        """Read the model."""

    @classmethod
    def load_tokenizer(cls, source: str) -> Any:
        """Read the tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)

    @staticmethod
    @abstractmethod
    def feature_size(config: Any) -> int:
        """Return how many channels a region has."""

    @abstractmethod
    def embed(self, regions: PaddedRegions) -> Tensor:
        """Map regions to what is computed once a picture: [n, r, v], or with further elements before them."""

    @abstractmethod
    def score(self, input_ids: Tensor, attention_mask: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Return logits [q, answers] for word pieces [q, t] and what `embed` made, each question's own [q, r, v].

        Both masks are 1 or true where there is something, [q, t] and [q, r].
        """

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Prepare a picture for the tower; refused where regions are precomputed."""
        return self.source.inputs(image)

    def inputs_of(self, path: Path) -> PictureInputs:
        """Prepare the picture at `path`, or read its precomputed regions."""
        return self.source.inputs_of(path)

    def encode(self, pictures: Sequence[PictureInputs]) -> Features:
        """Find and embed regions; [r, v] each, without padding."""
        regions = self.source.regions(pictures, self.device)
        found = regions._replace(features=self.placed(regions.features), boxes=self.placed(regions.boxes))
        states = self.embed(found)
        if bool(regions.mask.all()):
            return cast(Features, states)
        before = states.shape[1] - regions.mask.shape[1]
        return [state[: before + count] for state, count in zip(states, regions.mask.sum(1).tolist(), strict=True)]

    def logits(self, features: Features, queries: Sequence[Query]) -> Tensor:
        """Read questions and regions together."""
        tokens = padded(self.tokenizer, [query.question for query in queries], self._max_tokens).to(self.device)
        used, index = torch.unique(torch.tensor([query.images[0] for query in queries]), return_inverse=True)
        pictures = [features[place] for place in used.tolist()]
        states, index = self.placed(pad_sequence(pictures, batch_first=True)), index.to(self.device)
        mask = presence([len(picture) for picture in pictures], self.device)
        return self.score(tokens["input_ids"], tokens["attention_mask"], states[index], mask[index])

    def token_counts(
        self, questions: Sequence[str], answers: Sequence[str], pictures: Sequence[int]
    ) -> list[TokenCount]:
        """Count questions, special tokens counted in; answers are chosen whole."""
        lengths = token_lengths(self.tokenizer, questions)
        return counted(lengths, [0] * len(answers), pictures, most_question=self._max_tokens)

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration, tokenizer and the tower, if the regions come from one."""
        self.module.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.source.save_pretrained(folder)
