"""Whatever else transformers' AutoModelForImageTextToText loads, as its processor and `generate` run it.

Of the prompts nothing is shared among the questions of a picture: that takes knowledge of a model's parts, which `chat`
has. So this is the slower way, for models that came out since, and for FlashAttention, which takes none of the masks of
`chat`. The tower sees a picture once, where it takes pictures one a row.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from shelfqa.errors import InputError
from shelfqa.models.adapters import chat_prompts
from shelfqa.models.adapters.chat_processor import chat_processor
from shelfqa.models.adapters.distinct_pictures import DistinctPictures
from shelfqa.models.adapters.generation import best_sequences, expanded_before, score_candidates
from shelfqa.models.base import Decoding, Features, Loading, PictureInputs, Query, TokenCount, VqaModel, all_places
from shelfqa.models.decoding.answers import number_of_beams
from shelfqa.records import Answer

_SCORED_AT_ONCE = 8
"""Candidates whose likelihood is computed in one batch; each brings the whole prompt with its pictures."""
_VISION = frozenset({"vision_tower", "vision_model", "visual", "vision_encoder"})
_CONNECTOR = frozenset({"multi_modal_projector", "connector", "merger", "aligner"})


class _Scores(NamedTuple):
    """What the model thinks of an answer."""

    steps: Tensor
    """[t], the log-probability of each token."""
    ends: Tensor
    """[e], that of each end after them."""


class AnyChatVqa(VqaModel):
    """Drives a model by its processor and `generate`; what is kept of a picture is the picture."""

    family = "chat"
    beams = 5
    takes_shots = True
    takes_several_images = True

    def __init__(self, module: Any, processor: Any, name: str) -> None:
        self.module = module
        self.processor = processor
        self.name = name
        self._tokenizer = processor.tokenizer
        self._model_type = str(module.config.model_type)
        special = [*self._tokenizer.all_special_tokens, getattr(processor, "image_token", None)]
        self._special = [str(token) for token in special if token]
        self.takes_shots = chat_prompts.takes_turns(processor, self._model_type)
        ends = module.generation_config.eos_token_id
        self.ends = [int(end) for end in (ends if isinstance(ends, list) else [ends]) if end is not None]
        self.ends = self.ends or [int(self._tokenizer.eos_token_id)]
        # Of what the processor makes along the tokens: what it says of an answer's.
        self._after = {"attention_mask": 1, "mm_token_type_ids": 0, "token_type_ids": 0}
        if self._model_type == "paligemma":
            self._after["token_type_ids"] = 1  # read in one direction
        self._distinct = DistinctPictures(module)
        self._keeps_few = "logits_to_keep" in inspect.signature(module.forward).parameters

    @classmethod
    def from_pretrained(cls, source: str, name: str, loading: Loading) -> Self:
        """Read a checkpoint from a folder or the hub.

        Raises:
            InputError: if the model writes its answer apart from the prompt, or its processor takes no text.

        """
        from transformers import AutoModelForImageTextToText

        module = AutoModelForImageTextToText.from_pretrained(source, **loading.of_model())
        processor = chat_processor(source, loading)
        if module.config.is_encoder_decoder or not hasattr(processor, "tokenizer"):
            raise InputError(f"{name!r} ({type(module).__name__}) is no chat model: `shelfqa models` shows what runs.")
        return cls(module, processor, name)

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Keep the picture, [height, width, 3]."""
        return {"pixels": torch.from_numpy(np.array(image))}

    def encode(self, pictures: Sequence[PictureInputs]) -> Features:
        """Keep the pictures."""
        return [picture["pixels"] for picture in pictures]

    def answer(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        """Return the best beams, or the likeliest candidates; of equal spellings the likelier one counts."""
        if queries[0].candidates:

            def likelihoods(rows: Sequence[int], texts: Sequence[str]) -> Tensor:
                scores = self._scores(features, [queries[row] for row in rows], texts)
                return torch.stack([one.steps.sum() + one.ends.max() for one in scores])

            return score_candidates(queries, decoding.top_k, likelihoods, at_once=_SCORED_AT_ONCE)
        beams = number_of_beams(self.beams, decoding)
        repeated = [query for query in queries for _ in range(beams)]
        fed = self._fed(features, repeated)

        def generate(**settings: Any) -> Any:
            with expanded_before(self.module), self._distinct.once_each(_pictures(repeated)):
                return self.module.generate(**fed, **settings)

        start = fed["input_ids"].shape[1]
        return best_sequences(
            generate, self._tokenizer, self.ends, start=start, default_beams=self.beams, decoding=decoding
        )

    def loss(self, features: Features, queries: Sequence[Query], answers: Sequence[str]) -> Tensor:
        """Return the mean cross-entropy over the answers' tokens and ends."""
        end = self.ends.index(chat_prompts.end_of_turn(self.processor, self.ends))
        scores = self._scores(features, queries, answers)
        return -torch.cat([part for one in scores for part in (one.steps, one.ends[end : end + 1])]).mean()

    def _scores(self, features: Features, queries: Sequence[Query], answers: Sequence[str]) -> list[_Scores]:
        """Return the scores of an answer to each query.

        Answers follow on the right of prompts that are padded on the left, so that all of them begin in one column.
        """
        fed = self._fed(features, queries)
        wanted = [
            [*chat_prompts.ids_after(self._tokenizer, self._tail(query), answer)]
            for query, answer in zip(queries, answers, strict=True)
        ]
        longest = max(map(len, wanted))
        after = torch.tensor([ids + self.ends[:1] * (longest - len(ids)) for ids in wanted], device=self.device)
        fed["input_ids"] = torch.cat([fed["input_ids"], after.to(fed["input_ids"])], dim=1)
        for name, value in self._after.items():
            if name in fed:
                fed[name] = pad(fed[name], (0, longest), value=value)
        few = {"logits_to_keep": longest + 1} if self._keeps_few else {}
        with self._distinct.once_each(_pictures(queries)):
            logits = self.module(**fed, **few, use_cache=False).logits
        scores = logits[:, -longest - 1 :].float().log_softmax(-1)
        return [
            _Scores(row[torch.arange(len(ids)), ids], row[len(ids), self.ends])
            for row, ids in zip(scores, wanted, strict=True)
        ]

    def _fed(self, features: Features, queries: Sequence[Query]) -> dict[str, Tensor]:
        pictures = [[_picture(features[place]) for place in all_places(query)] for query in queries]
        return self.fed([self.prompt(query) for query in queries], pictures)

    def fed(self, prompts: Sequence[str], pictures: Sequence[Sequence[Image.Image]]) -> dict[str, Tensor]:
        """Return what the model takes, prompts padded on the left.

        Args:
            prompts: from `prompt`.
            pictures: those of each prompt, in the order of its placeholders.

        """
        bos = self._tokenizer.bos_token
        starts = {"add_special_tokens": False} if bos and prompts[0].startswith(bos) else {}
        shown = {"images": [list(some) for some in pictures]} if any(pictures) else {}
        with (
            warnings.catch_warnings()
        ):  # PaliGemma's processor makes an array of a tensor in a way that numpy 2 gives up
            warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
            fed = self.processor(
                text=list(prompts), **shown, return_tensors="pt", padding=True, padding_side="left", **starts
            )
        return {
            name: self.placed(value) if value.is_floating_point() else value.to(self.device)
            for name, value in fed.items()
            if name != "labels"
        }

    def prompt(self, query: Query, *, system: str = "") -> str:
        """Return the prompt as text, a placeholder for each picture, free of other special tokens.

        Args:
            query: the question, and solved examples.
            system: what the model is told before all else.

        """
        system = chat_prompts.without_tokens(Query(system, ()), self._special).question
        query = chat_prompts.without_tokens(query, self._special)
        return chat_prompts.prompt_text(self.processor, self._model_type, query, system=system)

    def _tail(self, query: Query) -> str:
        return chat_prompts.answer_place(self._model_type, self.prompt(query))

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """All that is not known to see or to connect counts as language."""
        names = [name for name, _ in self.module.named_modules()]

        def called(wanted: frozenset[str]) -> tuple[str, ...]:
            return tuple(name for name in names if name.rpartition(".")[2] in wanted)

        children = tuple(name for name, _ in self.module.named_children())
        groups = {"vision": called(_VISION), "connector": called(_CONNECTOR), "language": children}
        return {group: prefixes for group, prefixes in groups.items() if prefixes}

    def token_counts(
        self, questions: Sequence[str], answers: Sequence[str], pictures: Sequence[int]
    ) -> list[TokenCount]:
        """Count prompts with their picture, and answers with their ends; nothing is cut, however long."""
        asked = {question: self._prompt_tokens(question) for question in dict.fromkeys(questions)}
        said = {answer: len(self._labels(answer)) + 1 for answer in dict.fromkeys(answers)}
        most = int(getattr(self.module.config.get_text_config(), "max_position_embeddings", 1 << 20))
        return [
            TokenCount(
                asked[question],
                said[answer],
                picture,
                beyond=max(0, asked[question] + said[answer] + picture - most),
            )
            for question, answer, picture in zip(questions, answers, pictures, strict=True)
        ]

    def picture_tokens(self, picture: PictureInputs) -> int:
        """Return how many more tokens a prompt has with the picture."""
        fed = self.fed([self.prompt(Query("", (0,)))], [[_picture(picture["pixels"])]])
        return int(fed["input_ids"].shape[1]) - self._prompt_tokens("")

    def read_back(self, answers: Sequence[str]) -> list[str]:
        """Return the answers as their tokens are decoded."""
        decode = self._tokenizer.decode
        return [str(decode(self._labels(answer), skip_special_tokens=True)).strip() for answer in answers]

    def _prompt_tokens(self, question: str) -> int:
        """Return the number of tokens of a prompt about a picture, those of the picture not counted in."""
        text = self.prompt(Query(question, (0,)))
        starts = bool(self._tokenizer.bos_token) and text.startswith(self._tokenizer.bos_token)
        placeholder = str(getattr(self.processor, "image_token", ""))
        ids = self._tokenizer(text, add_special_tokens=not starts)["input_ids"]
        return len(ids) - int(ids.count(self._tokenizer.convert_tokens_to_ids(placeholder)))

    def _labels(self, answer: str) -> tuple[int, ...]:
        return chat_prompts.ids_after(self._tokenizer, self._tail(Query("", ())), answer)

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration and processor."""
        self.module.save_pretrained(folder)
        self.processor.save_pretrained(folder)


def _pictures(queries: Sequence[Query]) -> list[int] | None:
    """Return the picture that each query shows, None if one shows several or none."""
    shown = [all_places(query) for query in queries]
    return [places[0] for places in shown] if all(len(places) == 1 for places in shown) else None


def _picture(pixels: Tensor) -> Image.Image:
    """Return a picture of pixels [height, width, 3], which training may have kept as floats."""
    return Image.fromarray(pixels.to("cpu", torch.uint8).numpy())
