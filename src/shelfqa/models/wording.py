"""How a question is put to a model: its prompt, the texts read on the picture, and the form of the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from shelfqa.errors import ConfigError
from shelfqa.models.presets import prompt_of
from shelfqa.models.replies import Form, reduce_reply

AnswerForm = Literal["auto", "raw", "short", "word"]
_PLACES = re.compile(r"\{question\}|\{ocr\}")
_REDUCED = frozenset({"chat", "hosted"})
"""Families whose replies are sentences at times."""


class Wording(NamedTuple):
    """What stands around a question, and what is made of the reply."""

    prompt: str | None = None
    """A template with {question}, and {ocr} where texts on the picture go; by default the model's own."""
    form: AnswerForm = "auto"
    """`raw` leaves replies as they are, `short` and `word` reduce them; `auto` is `short` for models that chat."""

    def checked(self) -> Wording:
        """Return this wording.

        Raises:
            ConfigError: if the template has no place for the question.

        """
        if self.prompt is not None and "{question}" not in self.prompt:
            raise ConfigError(f"predict.prompt is {self.prompt!r}: it needs {{question}} where the question goes.")
        return self

    def resolved(self, name: str, model_type: str, family: str) -> Wording:
        """Return the wording for a model, defaults filled in."""
        form = self.form
        if form == "auto":
            form = "short" if family in _REDUCED else "raw"
        return Wording(self.prompt if self.prompt is not None else prompt_of(name, model_type), form)

    def words(self, question: str, texts: Sequence[str] = ()) -> str:
        """Return what the model is to read.

        >>> Wording("{question} Short answer:").words("What brand?", ("Acme", "500 ml"))
        'OCR tokens: Acme, 500 ml. What brand? Short answer:'
        """
        template, read = self.prompt or "{question}", ", ".join(texts)
        if read and "{ocr}" not in template:
            template = f"OCR tokens: {{ocr}}. {template.lstrip()}"
        values = {"{question}": question, "{ocr}": read}
        return _PLACES.sub(lambda place: values[place.group()], template)

    def reduced(self, reply: str, question: str) -> str:
        """Return the answer in a reply."""
        form: Form = "raw" if self.form == "auto" else self.form
        return reduce_reply(reply, question, form)
