"""BLIP-VQA (Li et al. 2022, arXiv 2201.12086), of the seq2seq family: models that write their answer.

    picture -> vision_model --(cross-attention)--> text_encoder(question) --(cross-attention)--> text_decoder -> answer

transformers' own `forward` and `generate` take one picture a question; we call the three parts, so that a picture's
features serve all of its questions. Two departures from `generate`, both of which change nothing for one question at
a time: the decoder does not attend to the padding of shorter questions, and beams are ranked by their probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from shelfqa.models.adapters.blip_tower import BlipTower
from shelfqa.models.adapters.generation import best_sequences, score_candidates
from shelfqa.models.adapters.shared_rows import SharedRows
from shelfqa.models.adapters.texts import counted, padded, token_lengths
from shelfqa.models.base import Decoding, Features, Loading, Query, TokenCount
from shelfqa.records import Answer

_IGNORED_LABEL = -100
_MAX_QUESTION_TOKENS = 512
_MAX_ANSWER_TOKENS = 20


class BlipVqa(BlipTower):
    """Drives `BlipForQuestionAnswering`."""

    def __init__(self, module: Any, tokenizer: Any, image_processor: Any, name: str) -> None:
        super().__init__(module, tokenizer, image_processor, name)
        self._text = module.config.text_config
        for part_name, part in module.named_modules():
            if part_name.endswith("crossattention.self"):
                part.register_forward_pre_hook(_pass_mask_on, with_kwargs=True)
        self._max_tokens = min(_MAX_QUESTION_TOKENS, self._text.max_position_embeddings)

    @classmethod
    def from_pretrained(cls, source: str, name: str, loading: Loading) -> Self:
        """Read a checkpoint from a folder or the hub."""
        from transformers import AutoTokenizer, BlipForQuestionAnswering

        module = BlipForQuestionAnswering.from_pretrained(source, **loading.of_model())
        images = cls.load_image_processor(source, module, loading)
        return cls(module, AutoTokenizer.from_pretrained(source, trust_remote_code=False), images, name)

    def _encode_questions(self, features: Features, queries: Sequence[Query]) -> tuple[Tensor, Tensor]:
        """Return the questions' states [q, t, d], which have seen the pictures, and their mask [q, t]."""
        questions = self.tokenizer([query.question for query in queries], truncation=True, max_length=self._max_tokens)[
            "input_ids"
        ]
        pictures, index = self.distinct_images(features, queries)
        rows = SharedRows.of(questions, index.tolist(), self.device)
        states = self.module.text_encoder(
            input_ids=rows.ids,
            position_ids=rows.positions,
            attention_mask=rows.additive_mask(pictures.dtype),
            encoder_hidden_states=pictures[rows.picture],
            encoder_attention_mask=torch.ones(rows.picture.shape[0], pictures.shape[1], device=self.device).long(),
        ).last_hidden_state
        return rows.apart(states)

    def answer(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        """Return the best beams, or the likeliest candidates; of equal spellings the likelier one counts."""
        states, mask = self._encode_questions(features, queries)
        if queries[0].candidates:
            return score_candidates(
                queries,
                decoding.top_k,
                lambda rows, texts: -self._token_losses(states[list(rows)], mask[list(rows)], texts).sum(-1),
            )
        start = torch.full((len(queries), 1), self.module.decoder_start_token_id, device=self.device)

        def generate(**settings: Any) -> Any:
            return self.module.text_decoder.generate(
                input_ids=start,
                attention_mask=torch.ones_like(start),
                pad_token_id=self._text.pad_token_id,
                encoder_hidden_states=states,
                encoder_attention_mask=mask,
                **settings,
            )

        ends = (self._text.sep_token_id,)
        return best_sequences(generate, self.tokenizer, ends, start=1, default_beams=self.beams, decoding=decoding)

    def _token_losses(self, states: Tensor, mask: Tensor, answers: Sequence[str]) -> Tensor:
        """Return the cross-entropy [q, t] of each token of the answers and of their ends; 0 at padding.

        The decoder reads [start, answer…] and is to say [answer…, end]. transformers' example trains it from [CLS],
        but generation starts from the decoder's start token, as in BLIP's original code; so do we.
        """
        tokens = self._answer_tokens(answers).to(self.device)
        ids = tokens["input_ids"].clone()
        ids[:, 0] = self.module.decoder_start_token_id
        labels = ids[:, 1:].masked_fill(tokens["attention_mask"][:, 1:] == 0, _IGNORED_LABEL)
        logits = self.module.text_decoder(
            input_ids=ids[:, :-1],
            attention_mask=tokens["attention_mask"][:, :-1],
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            use_cache=False,
        ).logits
        return cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=_IGNORED_LABEL, reduction="none")

    def loss(self, features: Features, queries: Sequence[Query], answers: Sequence[str]) -> Tensor:
        """Return the mean cross-entropy over the answers' tokens and ends, in lower case."""
        losses = self._token_losses(*self._encode_questions(features, queries), answers)
        return losses.sum() / (self._answer_tokens(answers)["attention_mask"][:, 1:].sum().item())

    def _answer_tokens(self, answers: Sequence[str]) -> Any:
        return padded(self.tokenizer, [answer.lower() for answer in answers], _MAX_ANSWER_TOKENS)

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The connector is where questions look at the picture: the text encoder's cross-attention."""
        layers = range(self._text.num_hidden_layers)
        return {
            "vision": ("vision_model",),
            "connector": tuple(f"text_encoder.encoder.layer.{layer}.crossattention" for layer in layers),
            "language": ("text_encoder", "text_decoder"),
        }

    def token_counts(
        self, questions: Sequence[str], answers: Sequence[str], pictures: Sequence[int]
    ) -> list[TokenCount]:
        """Count texts; of an answer's special tokens the end alone."""
        return counted(
            token_lengths(self.tokenizer, questions),
            [length - 1 for length in token_lengths(self.tokenizer, [answer.lower() for answer in answers])],
            pictures,
            most_question=self._max_tokens,
            most_answer=_MAX_ANSWER_TOKENS - 1,
        )

    def read_back(self, answers: Sequence[str]) -> list[str]:
        """Return the answers as their tokens are decoded."""
        tokens = self._answer_tokens(answers)["input_ids"]
        return [text.strip() for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration, tokenizer and image processor."""
        self.module.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)


def _pass_mask_on(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give cross-attention its mask under the name that it looks at.

    transformers 5.23 hands the mask over as `attention_mask`, where `BlipTextSelfAttention` reads
    `encoder_attention_mask`: the padding of shorter questions would be attended to.
    """
    if kwargs.get("encoder_hidden_states") is not None and kwargs.get("encoder_attention_mask") is None:
        kwargs["encoder_attention_mask"] = kwargs.get("attention_mask")
    return args, kwargs
