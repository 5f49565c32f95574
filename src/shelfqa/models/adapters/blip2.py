"""BLIP-2 (Li et al. 2023, arXiv 2301.12597) and InstructBLIP (Dai et al. 2023, arXiv 2305.06500).

    picture -> vision_model -> qformer(queries; in InstructBLIP the question, too) -> language_projection --+
                                                                                                            v
                                               question -> tokens -> language_model (OPT, LLaMA, T5) -> answer

A picture passes the tower once, and in BLIP-2 the Q-Former, too. Where the language model is a decoder, its questions
share what their prompts have in common. Examples are shown as text alone: both models were trained on single pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from shelfqa.models.adapters.blip_tower import BlipTower
from shelfqa.models.adapters.chat_prompts import common_beginning
from shelfqa.models.adapters.generation import best_sequences, score_candidates
from shelfqa.models.adapters.texts import counted, padded, token_lengths
from shelfqa.models.base import Decoding, Features, Loading, PictureInputs, Query, TokenCount
from shelfqa.models.decoding.answers import answer_loss, best_answers
from shelfqa.models.decoding.forest import LanguageModel, Layout, Piece, Row
from shelfqa.records import Answer

_MAX_PROMPT_TOKENS = 512
_MAX_ANSWER_TOKENS = 32
_IGNORED_LABEL = -100
_QFORMER_TOKENIZER = "qformer_tokenizer"


class Blip2Vqa(BlipTower):
    """Drives `Blip2ForConditionalGeneration` and `InstructBlipForConditionalGeneration`."""

    takes_shots = True

    def __init__(
        self, module: Any, tokenizer: Any, image_processor: Any, qformer_tokenizer: Any | None, name: str
    ) -> None:
        super().__init__(module, tokenizer, image_processor, name)
        self.tokenizer.truncation_side = "left"  # so that the prompt's last words, "Answer:", are never cut
        self.qformer_tokenizer = qformer_tokenizer
        """Reads the question for the Q-Former; only InstructBLIP has one."""
        self.shares_prompts = qformer_tokenizer is None
        self._writes_apart = bool(module.language_model.config.is_encoder_decoder)
        ends = module.language_model.generation_config.eos_token_id or module.config.text_config.eos_token_id
        self._ends = [int(end) for end in (ends if isinstance(ends, list) else [ends])]

    @classmethod
    def from_pretrained(cls, source: str, name: str, loading: Loading) -> Self:
        """Read a checkpoint from a folder or the hub."""
        from transformers import (
            AutoTokenizer,
            Blip2ForConditionalGeneration,
            InstructBlipForConditionalGeneration,
            PretrainedConfig,
        )

        config, _ = PretrainedConfig.get_config_dict(source)
        instructed = config.get("model_type") == "instructblip"
        kind = InstructBlipForConditionalGeneration if instructed else Blip2ForConditionalGeneration
        module = kind.from_pretrained(source, **loading.of_model())
        return cls(
            module,
            AutoTokenizer.from_pretrained(source, trust_remote_code=loading.remote_code),
            cls.load_image_processor(source, module, loading),
            AutoTokenizer.from_pretrained(source, subfolder=_QFORMER_TOKENIZER) if instructed else None,
            name,
        )

    def _soft_prompts(self, features: Features, queries: Sequence[Query]) -> Tensor:
        """Return the embeddings [q, 32, d] that stand for the picture in each question's prompt."""
        pictures, index = self.distinct_images(features, queries)
        words: dict[str, Tensor] = {}
        if self.qformer_tokenizer is not None:
            pictures, index = pictures[index], torch.arange(len(queries), device=pictures.device)
            texts = [_text(query) for query in queries]
            words = padded(self.qformer_tokenizer, texts, _MAX_PROMPT_TOKENS).to(self.device)
        asked = self.module.query_tokens.expand(len(pictures), -1, -1)
        seen = torch.ones(asked.shape[:2], dtype=torch.long, device=self.device)
        text = (
            {"input_ids": words["input_ids"], "attention_mask": torch.cat([seen, words["attention_mask"]], dim=1)}
            if words
            else {}
        )
        states = self.module.qformer(
            query_embeds=asked,
            encoder_hidden_states=pictures.to(next(self.module.qformer.encoder.parameters()).dtype),
            encoder_attention_mask=torch.ones(pictures.shape[:2], dtype=torch.long, device=self.device),
            **text,
        ).last_hidden_state[:, : asked.shape[1]]
        weight = self.module.language_projection.weight
        if weight.is_floating_point():  # a quantised layer takes any type
            states = states.to(weight.dtype)
        prompts: Tensor = self.module.language_projection(states)
        return prompts[index]

    def answer(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        """Return the best beams, or the likeliest candidates; of equal spellings the likelier one counts."""
        if self._writes_apart:
            return self._answer_apart(features, queries, decoding)
        return best_answers(
            self._language_model(),
            self._layout(features, queries, [self._prompt_ids(query) for query in queries]),
            queries,
            self._answer_ids,
            self.tokenizer,
            self._ends,
            default_beams=self.beams,
            decoding=decoding,
        )

    def loss(self, features: Features, queries: Sequence[Query], answers: Sequence[str]) -> Tensor:
        """Return the mean cross-entropy over the answers' tokens and ends."""
        if self._writes_apart:
            losses, tokens = self._token_losses(*self._encoded(features, queries), answers)
            return losses.sum() / tokens
        prompts = [self._prompt_ids(query) for query in queries]
        wanted = [
            (*self._answer_ids(query, answer)[: _MAX_ANSWER_TOKENS - 1], self._ends[0])
            for query, answer in zip(queries, answers, strict=True)
        ]
        fed = [[*prompt, *tokens[:-1]] for prompt, tokens in zip(prompts, wanted, strict=True)]
        return answer_loss(self._language_model(), self._layout(features, queries, fed, prompts), wanted)

    def _prompt_ids(self, query: Query) -> list[int]:
        ids: list[int] = self.tokenizer(_text(query), truncation=True, max_length=_MAX_PROMPT_TOKENS)["input_ids"]
        return ids

    def _answer_ids(self, query: Query, answer: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"])

    def _layout(
        self,
        features: Features,
        queries: Sequence[Query],
        fed: Sequence[list[int]],
        prompts: Sequence[list[int]] | None = None,
    ) -> Layout:
        """Lay out token ids `fed`, which go on after `prompts` where these are given, each after its picture's."""
        prompts = prompts or fed
        soft = self._soft_prompts(features, queries)
        groups: dict[Any, list[int]] = {}
        for place, query in enumerate(queries):
            groups.setdefault((query.images, query.shots) if self.shares_prompts else place, []).append(place)
        rows = []
        for group in groups.values():
            whole = [self._piece(soft[place], fed[place]) for place in group]
            words = common_beginning([prompts[place] for place in group])
            rows.append(Row.sharing(whole, soft.shape[1] + words if self.shares_prompts else 0))
        return Layout([place for group in groups.values() for place in group], rows)

    def _piece(self, soft: Tensor, ids: Sequence[int]) -> Piece:
        words = self.module.language_model.get_input_embeddings()(torch.tensor(ids, device=self.device))
        embeddings = torch.cat([soft.to(words), words])
        return Piece(embeddings, torch.arange(len(embeddings), device=self.device).unsqueeze(0))

    def _language_model(self) -> LanguageModel:
        writer = self.module.language_model
        eager = writer.config._attn_implementation == "eager"
        return LanguageModel(writer.base_model, writer.get_output_embeddings(), writer.get_input_embeddings(), eager)

    def _encoded(self, features: Features, queries: Sequence[Query]) -> tuple[Tensor, Tensor]:
        """Return the states [q, t, d] of an encoder-decoder's encoder, and their mask [q, t]."""
        tokens = padded(self.tokenizer, [_text(query) for query in queries], _MAX_PROMPT_TOKENS).to(self.device)
        soft = self._soft_prompts(features, queries)
        words = self.module.language_model.get_input_embeddings()(tokens["input_ids"])
        mask = torch.cat([torch.ones_like(soft[..., 0], dtype=torch.long), tokens["attention_mask"]], dim=1)
        states: Tensor = self.module.language_model.get_encoder()(
            inputs_embeds=torch.cat([soft.to(words), words], dim=1), attention_mask=mask
        ).last_hidden_state
        return states, mask

    def _answer_apart(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        from transformers.modeling_outputs import BaseModelOutput

        states, mask = self._encoded(features, queries)
        if queries[0].candidates:
            return score_candidates(
                queries,
                decoding.top_k,
                lambda rows, texts: -self._token_losses(states[list(rows)], mask[list(rows)], texts)[0].sum(-1),
            )

        def generate(**settings: Any) -> Any:
            return self.module.language_model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states), attention_mask=mask, **settings
            )

        return best_sequences(
            generate, self.tokenizer, self._ends, start=1, default_beams=self.beams, decoding=decoding
        )

    def _token_losses(self, states: Tensor, mask: Tensor, answers: Sequence[str]) -> tuple[Tensor, int]:
        """Return the cross-entropy [q, t] of the answers' tokens and ends, 0 at padding, and how many there are."""
        writer = self.module.language_model
        ids = [
            [*self.tokenizer(answer, add_special_tokens=False)["input_ids"][: _MAX_ANSWER_TOKENS - 1], self._ends[0]]
            for answer in answers
        ]
        longest = max(map(len, ids))
        labels = torch.tensor([row + [_IGNORED_LABEL] * (longest - len(row)) for row in ids], device=self.device)
        shifted = labels.masked_fill(labels == _IGNORED_LABEL, self._ends[0])[:, :-1]
        start = torch.full((len(ids), 1), writer.config.decoder_start_token_id, device=self.device)
        logits = writer(
            encoder_outputs=(states,),
            attention_mask=mask,
            decoder_input_ids=torch.cat([start, shifted], dim=1),
            use_cache=False,
        ).logits
        losses = cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=_IGNORED_LABEL, reduction="none")
        return losses, sum(map(len, ids))

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The connector is the Q-Former and what leads from it to the language model."""
        return {
            "vision": ("vision_model",),
            "connector": ("qformer", "language_projection", "query_tokens"),
            "language": ("language_model",),
        }

    def token_counts(
        self, questions: Sequence[str], answers: Sequence[str], pictures: Sequence[int]
    ) -> list[TokenCount]:
        """Count prompts, special tokens counted in, and answers with their ends."""
        return counted(
            token_lengths(self.tokenizer, questions),
            [length + 1 for length in token_lengths(self.tokenizer, self._written(answers), special=False)],
            pictures,
            most_question=_MAX_PROMPT_TOKENS,
            most_answer=_MAX_ANSWER_TOKENS,
        )

    def picture_tokens(self, picture: PictureInputs) -> int:
        """Return how many embeddings stand for a picture."""
        return int(self.module.query_tokens.shape[1])

    def read_back(self, answers: Sequence[str]) -> list[str]:
        """Return the answers as their tokens are decoded."""
        ids = self.tokenizer(self._written(answers), add_special_tokens=False)["input_ids"]
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def _written(self, answers: Sequence[str]) -> list[str]:
        """Return the answers as they are tokenized: a decoder writes them on after the prompt."""
        return [answer if self._writes_apart else f" {answer}" for answer in answers]

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration, tokenizers and image processor."""
        self.module.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
        if self.qformer_tokenizer is not None:
            self.qformer_tokenizer.save_pretrained(folder / _QFORMER_TOKENIZER)


def _text(query: Query) -> str:
    """Return the prompt: the examples with their answers, then the question."""
    return "".join(f"{shot.question} {shot.answer}. " for shot in query.shots) + query.question
