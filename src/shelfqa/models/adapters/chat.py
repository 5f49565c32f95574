"""Chat models: a vision tower whose output is put among the words of a language model.

LLaVA (Liu et al. 2023, arXiv 2310.03744), PaliGemma (arXiv 2407.07726), IDEFICS2 (arXiv 2405.02246), IDEFICS3 and
SmolVLM (arXiv 2408.12637, 2504.05299), Qwen2-VL and Qwen2.5-VL (arXiv 2502.13923).

    pictures -> tower and connector -> embeddings --+
                                                    v
    template(question) -> tokens -> embeddings -> language model -> answer

A picture passes the tower once. What the prompts of its questions have in common (the turn's beginning, examples, the
pictures) passes the language model once, too (`decoding.forest`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from shelfqa.errors import UserError
from shelfqa.models.adapters.chat_processor import chat_processor
from shelfqa.models.adapters.chat_prompts import PROMPT_IDS, ChatPrompts, common_beginning
from shelfqa.models.base import (
    Decoding,
    Features,
    Loading,
    PictureInputs,
    Query,
    TokenCount,
    VqaModel,
    all_places,
)
from shelfqa.models.decoding.answers import answer_loss, best_answers
from shelfqa.models.decoding.forest import LanguageModel, Layout, Piece, Row
from shelfqa.progress import say
from shelfqa.records import Answer

_TWO_WAY = frozenset({"paligemma"})
"""Models whose whole prompt is read in both directions, so that nothing of it can be shared but the pictures."""
_MROPE = frozenset({"qwen2_vl", "qwen2_5_vl"})
_MOST_ANSWER_TOKENS = 64


class Seen(NamedTuple):
    """What is kept of a picture."""

    embeddings: Tensor
    """[p, d], as the language model takes them."""
    prompt_ids: Tensor
    """[t], the picture's tokens in a prompt; p of them are image tokens."""
    grid: tuple[int, int]
    """Rows and columns of the embeddings, where positions depend on them."""


class ChatVqa(VqaModel):
    """Drives any of the models above, by its parts."""

    family = "chat"
    beams = 5
    takes_shots = True
    takes_several_images = True
    shares_prompts = True

    def __init__(self, module: Any, processor: Any, name: str) -> None:
        self.module = module
        self.processor = processor
        self.name = name
        self.prompts = ChatPrompts(processor, module.config.model_type)
        self._two_way = module.config.model_type in _TWO_WAY
        if self._two_way:
            self.takes_shots = self.shares_prompts = False
        text = module.config.get_text_config()
        self._softcap = getattr(text, "final_logit_softcapping", None)
        self._most_tokens = int(getattr(text, "max_position_embeddings", 1 << 20))
        ends = module.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self._ends = [int(token) for token in ends if token is not None] or [int(self.prompts.tokenizer.eos_token_id)]

    @classmethod
    def from_pretrained(cls, source: str, name: str, loading: Loading) -> VqaModel:
        """Read a checkpoint from a folder or the hub; where its processor writes other prompts, it runs by that."""
        from transformers import AutoModelForImageTextToText

        from shelfqa.models.adapters.any_chat import AnyChatVqa

        processor = chat_processor(source, loading)
        model = cls(AutoModelForImageTextToText.from_pretrained(source, **loading.of_model()), processor, name)
        if model.prompts.agrees_with_processor():
            return model
        say(f"{name}: this version of transformers writes prompts in a way of its own; questions share nothing.")
        return AnyChatVqa(model.module, processor, name)

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Scale, and cut into tiles where the checkpoint's processor does."""
        return self.prompts.picture(image)

    def encode(self, pictures: Sequence[PictureInputs]) -> Features:
        """Run tower and connector; pictures of equal shape together."""

        def shapes(number: int) -> str:
            return str([(key, value.shape[1:]) for key, value in pictures[number].items() if key != PROMPT_IDS])

        found: list[Seen | None] = [None] * len(pictures)
        for _, group in groupby(sorted(range(len(pictures)), key=shapes), key=shapes):
            numbers = list(group)
            for number, embeddings in zip(numbers, self._towered([pictures[one] for one in numbers]), strict=True):
                found[number] = Seen(embeddings, pictures[number][PROMPT_IDS], self._grid(pictures[number]))
        return [one for one in found if one is not None]

    def _towered(self, pictures: Sequence[PictureInputs]) -> Sequence[Tensor]:
        inputs = {}
        for key in pictures[0]:
            if key != PROMPT_IDS:
                value = torch.cat([picture[key] for picture in pictures])
                inputs[key] = self.placed(value) if value.is_floating_point() else value.to(self.device)
        found = self.module.model.get_image_features(**inputs)
        found = getattr(found, "pooler_output", found)
        return list(found)

    def _grid(self, picture: PictureInputs) -> tuple[int, int]:
        if "image_grid_thw" not in picture:
            return (0, 0)
        _, height, width = picture["image_grid_thw"][0].tolist()
        merged = self.module.config.vision_config.spatial_merge_size
        return height // merged, width // merged

    def answer(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        """Return the best beams, or the likeliest candidates; of equal spellings the likelier one counts."""
        prompts = [self._prompt(features, query, decoding.max_new_tokens) for query in queries]
        return best_answers(
            self._language_model(),
            self._layout(features, queries, prompts),
            queries,
            self.prompts.answer_ids,
            self.prompts.tokenizer,
            self._ends,
            default_beams=self.beams,
            decoding=decoding,
        )

    def loss(self, features: Features, queries: Sequence[Query], answers: Sequence[str]) -> Tensor:
        """Return the mean cross-entropy over the answers' tokens and ends."""
        end = self.prompts.end_of_answer(self._ends)
        wanted = [
            (*self.prompts.answer_ids(query, answer)[: _MOST_ANSWER_TOKENS - 1], end)
            for query, answer in zip(queries, answers, strict=True)
        ]
        prompts = [self._prompt(features, query, _MOST_ANSWER_TOKENS) for query in queries]
        fed = [prompt + list(tokens[:-1]) for prompt, tokens in zip(prompts, wanted, strict=True)]
        return answer_loss(self._language_model(), self._layout(features, queries, fed, prompts), wanted)

    def _groups(self, queries: Sequence[Query]) -> list[list[int]]:
        """Return the places of the queries by row of the forest."""
        if self._two_way:
            return [[place] for place in range(len(queries))]
        groups: dict[Any, list[int]] = {}
        for place, query in enumerate(queries):
            groups.setdefault((query.images, query.shots), []).append(place)
        return list(groups.values())

    def _prompt(self, features: Features, query: Query, answer_tokens: int) -> list[int]:
        pictures = [features[place].prompt_ids for place in all_places(query)]
        limit = self._most_tokens - answer_tokens
        if sum(map(len, pictures)) > limit:
            raise UserError(
                f"The pictures of one question take {sum(map(len, pictures)):,} tokens, more than {self.name!r} reads "
                f"({self._most_tokens:,}): give fewer examples, --no-split-images, or a smaller --image-side-px."
            )
        return self.prompts.ids(query, pictures, limit=limit)

    def _layout(
        self,
        features: Features,
        queries: Sequence[Query],
        fed: Sequence[list[int]],
        prompts: Sequence[list[int]] | None = None,
    ) -> Layout:
        """Lay out token ids `fed`, which go on after `prompts` where these are given."""
        prompts, groups = prompts or fed, self._groups(queries)
        rows = []
        for group in groups:
            whole = [self._piece(features, queries[place], fed[place]) for place in group]
            if self._two_way:
                rows.append(Row.sharing(whole, 0, two_way=len(prompts[group[0]])))
            else:
                rows.append(Row.sharing(whole, common_beginning([prompts[place] for place in group])))
        return Layout([place for group in groups for place in group], rows)

    def _piece(self, features: Features, query: Query, ids: Sequence[int]) -> Piece:
        """Return the embeddings and positions of a prompt, pictures among them."""
        tokens = torch.tensor(ids, device=self.device)
        pictures = [features[place] for place in all_places(query)]
        embeddings = self._embed(tokens)
        if pictures:
            shown = torch.cat([picture.embeddings for picture in pictures]).to(embeddings)
            mask = (tokens == self.prompts.image_token_id).unsqueeze(-1)
            embeddings = embeddings.masked_scatter(mask, shown)
        if self.module.config.model_type in _MROPE:
            return Piece(embeddings, self._mrope_positions(tokens, [picture.grid for picture in pictures]))
        start = 1 if self._two_way else 0  # PaliGemma counts from 1
        return Piece(embeddings, torch.arange(start, start + len(ids), device=self.device).unsqueeze(0))

    def _mrope_positions(self, tokens: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
        """Return positions [3, t] by time, row and column; words count on all axes at once (arXiv 2409.12191)."""
        pieces: list[Tensor] = []
        position, place = 0, 0
        is_image = (tokens == self.prompts.image_token_id).tolist()
        remaining = iter(grids)
        while place < len(is_image):
            if not is_image[place]:
                pieces.append(torch.full((3, 1), position))
                position, place = position + 1, place + 1
                continue
            height, width = next(remaining)
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            pieces.append(torch.stack([torch.zeros_like(rows), rows, columns]).flatten(1) + position)
            position, place = position + max(height, width), place + height * width
        return torch.cat(pieces, dim=1).to(tokens.device)

    def _language_model(self) -> LanguageModel:
        eager = self.module.config.get_text_config()._attn_implementation == "eager"
        return LanguageModel(self.module.model, self._score, self._embed, eager)

    def _embed(self, tokens: Tensor) -> Tensor:
        embeddings: Tensor = self.module.get_input_embeddings()(tokens)
        return embeddings

    def _score(self, states: Tensor) -> Tensor:
        logits: Tensor = self.module.get_output_embeddings()(states)
        return logits if self._softcap is None else torch.tanh(logits / self._softcap) * self._softcap

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """As transformers names the parts, whatever the family."""
        names = {name for name, _ in self.module.named_children()} | {
            f"model.{name}" for name, _ in self.module.model.named_children()
        }

        def present(*wanted: str) -> tuple[str, ...]:
            return tuple(name for name in wanted if name in names)

        groups = {
            "vision": present("model.vision_tower", "model.vision_model", "model.visual"),
            "connector": present("model.multi_modal_projector", "model.connector")
            or (("model.visual.merger",) if "model.visual" in names else ()),
            "language": present("model.language_model", "model.text_model", "lm_head"),
        }
        return {group: prefixes for group, prefixes in groups.items() if prefixes}

    def token_counts(
        self, questions: Sequence[str], answers: Sequence[str], pictures: Sequence[int]
    ) -> list[TokenCount]:
        """Count prompts with their picture, and answers with their ends; a question gives way to the picture."""
        one_token = torch.tensor([self.prompts.image_token_id])

        def prompt(question: str) -> int:
            return len(self.prompts.ids(Query(question, (0,)), [one_token], limit=1 << 30)) - 1

        bare, room = prompt(""), self._most_tokens - _MOST_ANSWER_TOKENS
        asked = {question: prompt(question) for question in dict.fromkeys(questions)}
        said = {answer: len(self._labels(answer)) + 1 for answer in dict.fromkeys(answers)}
        counts = []
        for question, answer, picture in zip(questions, answers, pictures, strict=True):
            over = max(0, asked[question] + picture - room)
            cut = min(over, asked[question] - bare)
            answer_cut = max(0, said[answer] - _MOST_ANSWER_TOKENS)
            counts.append(TokenCount(asked[question], said[answer], picture, cut, answer_cut, over - cut))
        return counts

    def picture_tokens(self, picture: PictureInputs) -> int:
        """Return the number of the picture's tokens in a prompt."""
        return len(picture[PROMPT_IDS])

    def read_back(self, answers: Sequence[str]) -> list[str]:
        """Return the answers as their tokens are decoded."""
        decode = self.prompts.tokenizer.decode
        return [str(decode(self._labels(answer), skip_special_tokens=True)).strip() for answer in answers]

    def _labels(self, answer: str) -> tuple[int, ...]:
        return self.prompts.answer_ids(Query("", ()), answer)

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration and processor."""
        self.module.save_pretrained(folder)
        self.processor.save_pretrained(folder)
