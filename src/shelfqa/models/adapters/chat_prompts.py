"""What a chat model reads: turns written by the checkpoint's own template, pictures as runs of placeholder tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor

from shelfqa.errors import InputError
from shelfqa.models.base import PictureInputs, Query

PROMPT_IDS = "prompt_ids"
"""Under this name `picture` returns the tokens that stand for the picture in a prompt."""
_TEXT_KEYS = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "labels"})
_PLAIN_TURNS = {"llava": ("USER: {pictures}\n{text} ASSISTANT:", " {answer}</s>")}
"""For checkpoints without a chat template, by model type: a turn, and what follows it in a solved example."""
_TAIL_CHARACTERS = 24


class ChatPrompts:
    """Builds the token ids of prompts from queries and the pictures' own tokens."""

    def __init__(self, processor: Any, model_type: str) -> None:
        """Use a transformers processor, with tokenizer, image processor and perhaps a chat template."""
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.model_type = model_type
        self.placeholder: str = processor.image_token
        self._special = [str(token) for token in self.tokenizer.all_special_tokens] + [self.placeholder]
        self.image_token_id = int(self.tokenizer.convert_tokens_to_ids(self.placeholder))
        if model_type != "paligemma" and not processor.chat_template and model_type not in _PLAIN_TURNS:
            raise InputError(
                f"The checkpoint has no chat template, and shelfqa knows none for the model type {model_type!r}: "
                "add chat_template.jinja to its folder."
            )

    def picture(self, image: Image.Image) -> PictureInputs:
        """Return what the tower takes of a picture, and under `PROMPT_IDS` its tokens in a prompt."""
        if self.model_type == "paligemma":
            pixels = self.processor.image_processor(images=[image], return_tensors="pt")["pixel_values"]
            return {
                "pixel_values": pixels,
                PROMPT_IDS: torch.full((self.processor.image_seq_length,), self.image_token_id),
            }
        found = self.processor(text=[self.placeholder], images=[[image]], return_tensors="pt")
        tensors = {name: value for name, value in found.items() if name not in _TEXT_KEYS}
        ids = found["input_ids"][0]
        bare = self.tokenizer(self.placeholder)["input_ids"]
        before = bare.index(self.image_token_id)
        return tensors | {PROMPT_IDS: ids[before : len(ids) - (len(bare) - before - 1)]}

    def ids(self, query: Query, pictures: Sequence[Tensor], *, limit: int) -> list[int]:
        """Return the prompt's token ids; a question that is too long is cut so that they are at most `limit`.

        Args:
            query: the question and its examples.
            pictures: `PROMPT_IDS` of the examples' pictures and then the question's, in order.
            limit: most tokens.

        """
        question = query.question
        while True:
            ids = self._ids(query._replace(question=question), pictures)
            if len(ids) <= limit or not question:
                return ids
            question = question[: min(len(question) - 1, int(len(question) * limit / len(ids)))]

    def _ids(self, query: Query, pictures: Sequence[Tensor]) -> list[int]:
        if self.model_type == "paligemma":
            text = f"{self.tokenizer.bos_token}{self._harmless(query).question}\n"
            shown = [token for picture in pictures for token in picture.tolist()]
            return shown + list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return self.spliced(self.text(query), pictures)

    def spliced(self, text: str, pictures: Sequence[Tensor]) -> list[int]:
        """Return the ids of a prompt whose placeholders are replaced by the pictures' tokens."""
        if self.model_type == "idefics2":  # its processor parts a picture from a word that follows
            text = re.sub(re.escape(self.placeholder) + r"(?=[^\s<])", self.placeholder + " ", text)
        starts = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
        ids: list[int] = []
        shown = iter(pictures)
        for token in self.tokenizer(text, add_special_tokens=not starts)["input_ids"]:
            if token != self.image_token_id:
                ids.append(token)
                continue
            picture = next(shown).tolist()
            if self.model_type == "idefics2" and ids and ids[-1] == picture[0]:
                ids.pop()  # pictures side by side share the token between them
            ids.extend(picture)
        return ids

    def text(self, query: Query) -> str:
        """Return the prompt as text, a placeholder for each picture; several pictures are numbered."""
        return prompt_text(self.processor, self.model_type, self._harmless(query))

    def _harmless(self, query: Query) -> Query:
        """Return the query without the tokenizer's special tokens."""
        return without_tokens(query, self._special)

    def answer_ids(self, query: Query, answer: str) -> tuple[int, ...]:
        """Return the ids of an answer as they follow the prompt."""
        return ids_after(self.tokenizer, answer_place(self.model_type, self.text(query)), answer)

    def end_of_answer(self, ends: Sequence[int]) -> int:
        """Return which of the tokens `ends` the template puts after an answer."""
        return end_of_turn(self.processor, ends)

    def agrees_with_processor(self) -> bool:
        """Say whether these are the prompts that the processor itself builds, tried on pictures of two sizes."""
        if self.model_type == "paligemma":
            return True
        pictures = [Image.new("RGB", size, (120, 130, 140)) for size in ((64, 64), (96, 48))]
        for number in (1, 2):
            text = self.text(Query("what is it?", tuple(range(number))))
            tokens = [self.picture(picture)[PROMPT_IDS] for picture in pictures[:number]]
            expected = self.processor(text=[text], images=[pictures[:number]], return_tensors="pt")["input_ids"][0]
            if self.spliced(text, tokens) != expected.tolist():
                return False
        return True


def prompt_text(processor: Any, model_type: str, query: Query, *, system: str = "") -> str:
    """Return a prompt as text, a placeholder for each picture, by the checkpoint's template where it has one.

    Args:
        processor: of transformers.
        model_type: tells which turns to write where there is no template.
        query: the question, and solved examples.
        system: what the model is told before all else: a turn where the template knows such, else in front of the
            user's first words.

    """
    templated = bool(getattr(processor, "chat_template", None))
    if system:
        text = _with_system_turn(processor, as_messages(query), system) if templated else None
        if text is not None:
            return text
        query = _told_first(query, system)
    if templated:
        text = processor.apply_chat_template(as_messages(query), add_generation_prompt=True, tokenize=False)
        return str(text)
    turn, reply = _PLAIN_TURNS.get(model_type, ("{pictures}{text}", ""))
    placeholder = str(getattr(processor, "image_token", ""))

    def written(question: str, images: int) -> str:
        shown = (f"Image {number}: {placeholder}" for number in range(1, images + 1))
        return turn.format(pictures=" ".join(shown) if images > 1 else placeholder * images, text=question)

    solved = "".join(
        written(shot.question, len(shot.images)) + reply.format(answer=shot.answer) for shot in query.shots
    )
    return solved + written(query.question, len(query.images))


def _with_system_turn(processor: Any, messages: list[dict[str, Any]], system: str) -> str | None:
    """Return the prompt with a system turn in front, None where the template refuses or drops it."""
    for content in ([{"type": "text", "text": system}], system):
        turns = [{"role": "system", "content": content}, *messages]
        try:
            text = str(processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
        except (TemplateError, TypeError):
            continue
        if system.strip() in text and (content == system or str(content) not in text):
            return text
    return None


def _told_first(query: Query, system: str) -> Query:
    if not query.shots:
        return query._replace(question=f"{system}\n\n{query.question}")
    first, *others = query.shots
    return query._replace(shots=(first._replace(question=f"{system}\n\n{first.question}"), *others))


def takes_turns(processor: Any, model_type: str) -> bool:
    """Say whether solved examples can be written as turns."""
    return bool(getattr(processor, "chat_template", None)) or model_type in _PLAIN_TURNS


def without_tokens(query: Query, special: Sequence[str]) -> Query:
    """Return the query without a tokenizer's special tokens, which would be read as pictures or as turns."""

    def cleaned(text: str) -> str:
        for token in special:
            text = text.replace(token, " ")
        return text

    shots = tuple(shot._replace(question=cleaned(shot.question), answer=cleaned(shot.answer)) for shot in query.shots)
    return query._replace(question=cleaned(query.question), shots=shots)


def answer_place(model_type: str, text: str) -> str:
    """Return what an answer follows: the last characters of a prompt."""
    return "\n" if model_type == "paligemma" else text[-_TAIL_CHARACTERS:]


def ids_after(tokenizer: Any, tail: str, answer: str) -> tuple[int, ...]:
    """Return the ids of an answer as they follow `tail`, a space between them unless there is one."""
    spaced = answer if not tail or tail[-1].isspace() else f" {answer}"
    before = tokenizer(tail, add_special_tokens=False)["input_ids"]
    both = tokenizer(tail + spaced, add_special_tokens=False)["input_ids"]
    if both[: len(before)] == before and len(both) > len(before):
        return tuple(both[len(before) :])
    return tuple(tokenizer(spaced, add_special_tokens=False)["input_ids"])


def end_of_turn(processor: Any, ends: Sequence[int]) -> int:
    """Return which of the tokens `ends` the template puts after an answer."""
    if not getattr(processor, "chat_template", None):
        return ends[0]
    turns = [{"role": role, "content": [{"type": "text", "text": "x"}]} for role in ("user", "assistant")]
    ids = processor.tokenizer(processor.apply_chat_template(turns, tokenize=False))["input_ids"]
    return next((token for token in reversed(ids) if token in ends), ends[0])


def as_messages(query: Query) -> list[dict[str, Any]]:
    """Return the turns of a prompt as chat templates take them."""
    messages: list[dict[str, Any]] = []
    for shot in query.shots:
        messages.append({"role": "user", "content": _content(shot.question, len(shot.images))})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": shot.answer}]})
    return [*messages, {"role": "user", "content": _content(query.question, len(query.images))}]


def _content(text: str, images: int) -> list[Mapping[str, str]]:
    """Return the content of a user's turn; pictures come first, numbered where there are several."""
    content: list[Mapping[str, str]] = []
    for number in range(1, images + 1):
        if images > 1:
            content.append({"type": "text", "text": f"Image {number}:"})
        content.append({"type": "image"})
    return [*content, {"type": "text", "text": text}]


def common_beginning(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts begin with, one at least left over for each.

    >>> common_beginning([[1, 2, 3], [1, 2, 4, 5]]), common_beginning([[1, 2], [1, 2, 3]])
    (2, 1)
    """
    shortest = min(map(len, prompts)) - 1
    tokens = torch.tensor([list(prompt[:shortest]) for prompt in prompts])
    same = (tokens == tokens[0]).all(0)
    return int(same.long().cumprod(0).sum())
