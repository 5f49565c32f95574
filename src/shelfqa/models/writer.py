"""A chat model that writes: requests with pictures become replies, several at a time, by transformers' `generate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from PIL import Image
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from shelfqa.errors import ImageError, UserError
from shelfqa.images import decode_image
from shelfqa.models.adapters.any_chat import AnyChatVqa
from shelfqa.models.adapters.chat import ChatVqa
from shelfqa.models.base import Loading, Query
from shelfqa.models.grammar import Grammar, KeepToGrammar, Row
from shelfqa.models.loading import load_model, quiet_transformers
from shelfqa.models.presets import MODEL_TYPES, model_type_of
from shelfqa.providers.base import ProviderError, Reply, Request, Usage

_INSTEAD = "give a chat model, such as smolvlm-500m or qwen2.5-vl-7b (`shelfqa models` lists them)."


class Job(NamedTuple):
    """A request, its pictures as files in memory, and a way to tell that nobody waits for the reply any more."""

    request: Request
    pictures: tuple[bytes, ...] = ()
    abandoned: Callable[[], bool] = lambda: False


class Writer:
    """Writes replies with one model, in the thread that calls it."""

    def __init__(self, model: AnyChatVqa | ChatVqa) -> None:
        self._model = AnyChatVqa(model.module, model.processor, model.name)
        self.name = model.name
        self.id = f"{model.name}@{model.fingerprint}"
        """The model's name, and what tells its base weights apart."""
        self.device = model.device.type
        self._tokenizer: Any = model.processor.tokenizer
        text = model.module.config.get_text_config()
        self._most_tokens = int(getattr(text, "max_position_embeddings", None) or 1 << 20)
        self._made: Grammar | None = None

    @classmethod
    def load(cls, name: str, *, adapter: Path | None, device: str, loading: Loading | None) -> Self:
        """Load the model; the arguments are those of `load_model`.

        Raises:
            UserError: if it cannot be loaded, or is no chat model.

        """
        defaults = MODEL_TYPES.get(model_type_of(name) or "")
        if defaults is None or defaults.family == "chat":  # else it need not be loaded to be refused
            model = load_model(name, adapter=adapter, device=device, loading=loading)
            if isinstance(model, AnyChatVqa | ChatVqa):
                return cls(model)
        raise UserError(f"The model {name!r} answers questions, but writes no longer replies: {_INSTEAD}")

    def write(self, jobs: Sequence[Job]) -> list[Reply | ProviderError]:
        """Return the replies to jobs that all show pictures, or none of which does.

        Where a picture cannot be decoded, or llguidance gives up, it is an error in place of that reply.

        Raises:
            ProviderError: if a request is longer than the model reads, or its schema cannot be kept.
            UserError: if llguidance does not know the model's tokenizer.
            ValueError: and what else processors raise where they do not take a picture.

        """
        pictures = [_decoded(job.pictures) for job in jobs]
        shown = [(job, some) for job, some in zip(jobs, pictures, strict=True) if isinstance(some, list)]
        written = iter(self._written(shown) if shown else [])
        return [next(written) if isinstance(some, list) else some for some in pictures]

    def _written(self, shown: Sequence[tuple[Job, list[Image.Image]]]) -> list[Reply | ProviderError]:
        jobs = [job for job, _ in shown]
        fed = self._model.fed([self._prompt(job) for job in jobs], [pictures for _, pictures in shown])
        lengths = fed["attention_mask"].sum(1).tolist()
        limits = [self._limit(job.request, length) for job, length in zip(jobs, lengths, strict=True)]
        rows = [self._row(job.request, limit) for job, limit in zip(jobs, limits, strict=True)]
        begin = fed["input_ids"].shape[1]
        stop = _Limits(begin, limits, [job.abandoned for job in jobs])
        kept = [KeepToGrammar(rows, self._grammar.width)] if any(rows) else []
        with quiet_transformers(), torch.no_grad():
            found = self._model.module.generate(
                **fed,
                max_new_tokens=max(limits),
                do_sample=False,
                num_beams=1,
                eos_token_id=self._model.ends,
                pad_token_id=self._tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList(kept),
                stopping_criteria=StoppingCriteriaList([stop]),
            )
        ids = [row[:limit] for row, limit in zip(found[:, begin:].tolist(), limits, strict=True)]
        return [self._reply(*one) for one in zip(lengths, ids, rows, strict=True)]

    def _prompt(self, job: Job) -> str:
        query = Query(job.request.prompt, tuple(range(len(job.pictures))))
        return self._model.prompt(query, system=job.request.system)

    def _limit(self, request: Request, prompt_tokens: int) -> int:
        """Return how many tokens a reply can have."""
        room = self._most_tokens - prompt_tokens
        if room <= 0:
            raise ProviderError(
                f"the prompt and its pictures take {prompt_tokens:,} tokens, and {self.name!r} reads "
                f"{self._most_tokens:,}: give fewer or smaller pictures",
                kind="request",
            )
        return min(request.max_tokens, room)

    @property
    def _grammar(self) -> Grammar:
        if self._made is None:
            module = self._model.module
            width = module.get_output_embeddings().weight.shape[0]
            self._made = Grammar(self._tokenizer, self.name, ends=self._model.ends, width=width)
        return self._made

    def _row(self, request: Request, limit: int) -> Row | None:
        return None if request.schema is None else self._grammar.row(request.schema, limit)

    def _reply(self, prompt_tokens: int, ids: list[int], row: Row | None) -> Reply | ProviderError:
        end = next((place for place, token in enumerate(ids) if token in self._model.ends), None)
        usage = Usage(prompt_tokens, len(ids) if end is None else end + 1)
        if row is None:
            text = self._tokenizer.decode(ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            return Reply(text=text.strip(), model=self.id, usage=usage, cut=end is None)
        if end is None and ids:
            row.take(ids[-1])  # the processor is not called after the last token
        if row.error is not None:
            return ProviderError(f"llguidance gave up: {row.error}", kind="request")
        return Reply(text=self._grammar.text(ids[:end]), model=self.id, usage=usage, cut=not row.complete)


def _decoded(pictures: Sequence[bytes]) -> list[Image.Image] | ProviderError:
    try:
        return [decode_image(picture, f"picture {number}") for number, picture in enumerate(pictures, 1)]
    except ImageError as error:
        return ProviderError(str(error), kind="picture")


class _Limits(StoppingCriteria):  # type: ignore[misc]
    """Ends each row at its own limit, or once nobody waits for it."""

    def __init__(self, begin: int, limits: Sequence[int], abandoned: Sequence[Callable[[], bool]]) -> None:
        self._begin = begin
        self._limits = limits
        self._abandoned = abandoned

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        length = input_ids.shape[1] - self._begin
        done = [length >= limit or gone() for limit, gone in zip(self._limits, self._abandoned, strict=True)]
        return torch.tensor(done, device=input_ids.device)
