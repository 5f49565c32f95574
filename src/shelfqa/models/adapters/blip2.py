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
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

from shelfqa.models.adapters.chat_prompts import common_beginning
from shelfqa.models.adapters.generation import best_sequences, number_of_beams, score_candidates
from shelfqa.models.adapters.resolution import native_side_px, position_settings, set_resolution
from shelfqa.models.adapters.texts import count_longer, padded
from shelfqa.models.base import Decoding, Features, Loading, PictureInputs, Query, Truncation, VqaModel
from shelfqa.models.decoding.answers import best_candidates, best_written
from shelfqa.models.decoding.forest import Forest, LanguageModel, Piece, Row
from shelfqa.records import Answer

_MAX_PROMPT_TOKENS = 512
_MAX_ANSWER_TOKENS = 32
_IGNORED_LABEL = -100
_QFORMER_TOKENIZER = "qformer_tokenizer"


class Blip2Vqa(VqaModel):
    """Drives `Blip2ForConditionalGeneration` and `InstructBlipForConditionalGeneration`."""

    family = "seq2seq"
    beams = 5
    takes_shots = True

    def __init__(
        self, module: Any, tokenizer: Any, image_processor: Any, qformer_tokenizer: Any | None, name: str
    ) -> None:
        self.module = module
        self.tokenizer = tokenizer
        self.tokenizer.truncation_side = "left"  # so that the prompt's last words, "Answer:", are never cut
        self.image_processor = image_processor
        self.qformer_tokenizer = qformer_tokenizer
        """Reads the question for the Q-Former; only InstructBLIP has one."""
        self.name = name
        side_px, trained_px = native_side_px(image_processor), module.config.vision_config.image_size
        self._positions = position_settings(module.vision_model.forward, side_px, trained_px, name)
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
            BlipImageProcessorPil,
            InstructBlipForConditionalGeneration,
            PretrainedConfig,
        )

        config, _ = PretrainedConfig.get_config_dict(source)
        instructed = config.get("model_type") == "instructblip"
        kind = InstructBlipForConditionalGeneration if instructed else Blip2ForConditionalGeneration
        module = kind.from_pretrained(source, **loading.of_model())
        images = BlipImageProcessorPil.from_pretrained(source)
        if loading.image_side_px is not None:
            set_resolution(images, loading.image_side_px, patch_px=module.config.vision_config.patch_size)
        return cls(
            module,
            AutoTokenizer.from_pretrained(source, trust_remote_code=loading.remote_code),
            images,
            AutoTokenizer.from_pretrained(source, subfolder=_QFORMER_TOKENIZER) if instructed else None,
            name,
        )

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Resize and normalise as the checkpoint's processor says."""
        return {"pixel_values": self.image_processor(images=[image], return_tensors="pt")["pixel_values"]}

    def encode(self, pictures: Sequence[PictureInputs]) -> Tensor:
        """Run the vision transformer; [n, patches + 1, d]."""
        pixels = self.placed(torch.cat([picture["pixel_values"] for picture in pictures]))
        features: Tensor = self.module.vision_model(pixel_values=pixels, **self._positions).last_hidden_state
        return features

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
        prompts: Tensor = self.module.language_projection(states.to(self.module.language_projection.weight.dtype))
        return prompts[index]

    def answer(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        """Return the best beams, or the likeliest candidates; of equal spellings the likelier one counts."""
        if self._writes_apart:
            return self._answer_apart(features, queries, decoding)
        order, rows = self._rows(features, queries, [self._prompt_ids(query) for query in queries])
        forest = Forest(self._language_model(), rows)
        if queries[0].candidates:
            in_order = [queries[place] for place in order]
            found = best_candidates(forest, in_order, self._answer_ids, self._ends, decoding.top_k)
        else:
            beams = number_of_beams(self.beams, decoding)
            found = best_written(forest, self.tokenizer, self._ends, beams=beams, decoding=decoding)
        answers: list[list[Answer]] = [[] for _ in queries]
        for place, best in zip(order, found, strict=True):
            answers[place] = best
        return answers

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
        order, rows = self._rows(features, queries, fed, prompts)
        forest = Forest(self._language_model(), rows, grows=False)
        states = torch.cat([forest.branch_states(number)[-len(wanted[place]) :] for number, place in enumerate(order)])
        labels = torch.tensor([token for place in order for token in wanted[place]], device=states.device)
        logits: Tensor = self.module.language_model.get_output_embeddings()(states)
        return cross_entropy(logits.float(), labels)

    def _prompt_ids(self, query: Query) -> list[int]:
        ids: list[int] = self.tokenizer(_text(query), truncation=True, max_length=_MAX_PROMPT_TOKENS)["input_ids"]
        return ids

    def _answer_ids(self, query: Query, answer: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"])

    def _rows(
        self,
        features: Features,
        queries: Sequence[Query],
        fed: Sequence[list[int]],
        prompts: Sequence[list[int]] | None = None,
    ) -> tuple[list[int], list[Row]]:
        """Return the queries' order in the forest, and its rows for token ids `fed` (which go on after `prompts`)."""
        soft = self._soft_prompts(features, queries)
        groups: dict[Any, list[int]] = {}
        for place, query in enumerate(queries):
            groups.setdefault((query.images, query.shots) if self.shares_prompts else place, []).append(place)
        rows = []
        for group in groups.values():
            shared = common_beginning([(prompts or fed)[place] for place in group])
            shared = shared + soft.shape[1] if self.shares_prompts else 0
            whole = [self._piece(soft[place], fed[place]) for place in group]
            trunk = Piece(whole[0].embeddings[:shared], whole[0].positions[:, :shared])
            rows.append(Row(trunk, [Piece(one.embeddings[shared:], one.positions[:, shared:]) for one in whole]))
        return [place for group in groups.values() for place in group], rows

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
            encoder_outputs=(states,), attention_mask=mask, decoder_input_ids=torch.cat([start, shifted], dim=1)
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

    def truncation(self, questions: Sequence[str], answers: Sequence[str]) -> Truncation:
        """Count prompts beyond the limit, special tokens counted in, and answers that `loss` cuts."""
        return Truncation(
            count_longer(self.tokenizer, questions, _MAX_PROMPT_TOKENS),
            count_longer(self.tokenizer, answers, _MAX_ANSWER_TOKENS),
        )

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
