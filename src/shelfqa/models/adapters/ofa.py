"""OFA (Wang et al. 2022, arXiv 2202.03052), of the seq2seq family: models that write their answer.

    picture -> encoder.embed_images --+
                                      +-> encoder -> decoder(prompt, answer so far) -> answer
    question -------------------------+

A picture passes the ResNet once, a question the encoder once, however many beams or candidates follow. Fine-tuned
checkpoints were trained with the question before the answer in the decoder, too (`prompt_type` of the configuration):
such prompts are padded at the left, so that all answers of a batch begin in one column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

from shelfqa.errors import UserError
from shelfqa.models.adapters.generation import best_sequences, score_candidates
from shelfqa.models.adapters.resolution import native_side_px, set_resolution
from shelfqa.models.adapters.texts import token_lengths
from shelfqa.models.base import Decoding, Features, Loading, PictureInputs, Query, TokenCount, VqaModel
from shelfqa.models.ofa.configuration import OfaConfig
from shelfqa.models.ofa.encoder import PATCH_SIDE_PX, OfaEncoderOutput
from shelfqa.models.ofa.modeling import IGNORED_LABEL, OfaForVisualQuestionAnswering
from shelfqa.models.ofa.processing import OfaProcessor, answer_text
from shelfqa.records import Answer

_MAX_ANSWER_TOKENS = 30
"""Longest answer in training, its end counted in, as in the authors' fine-tuning."""
_SIDE_PX_BY_WIDTH = {256: 256, 512: 256, 768: 384}
"""Sides of the pictures that the published models were pretrained on, by `d_model`, where it is not 480."""


class _Asked(NamedTuple):
    """What the decoder is given of each question."""

    source: OfaEncoderOutput
    prompts: Tensor
    """[q, k], what it reads before the answer, padded at the left."""
    prompt_mask: Tensor
    """[q, k], 0 at padding."""

    def only(self, row: int) -> _Asked:
        """Return what belongs to the question of that row."""
        some = slice(row, row + 1)
        states, there = self.source.last_hidden_state, self.source.attention_mask
        assert states is not None
        assert there is not None
        source = OfaEncoderOutput(
            last_hidden_state=states[some], attention_mask=there[some], image_grid=self.source.image_grid
        )
        return _Asked(source, self.prompts[some], self.prompt_mask[some])


class OfaVqa(VqaModel):
    """Drives `OfaForVisualQuestionAnswering`."""

    family = "seq2seq"
    beams = 5

    def __init__(self, module: Any, processor: OfaProcessor, name: str) -> None:
        self.module = module
        self.processor = processor
        self.name = name
        self._end = int(module.config.eos_token_id)

    @classmethod
    def from_pretrained(cls, source: str, name: str, loading: Loading) -> Self:
        """Read a checkpoint from a folder or the hub, converted or as published.

        Raises:
            UserError: if the model's stride or its table of positions does not suit `loading.image_side_px`.

        """
        module = OfaForVisualQuestionAnswering.from_pretrained(source, **loading.of_model())
        processor = OfaProcessor.from_pretrained(source, image_side_px=_pretrained_side_px(source, module.config))
        if loading.image_side_px is not None:
            _set_side(module.config, processor.image_processor, loading.image_side_px)
        return cls(module, processor, name)

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Resize to a square and normalise to values from -1 to 1."""
        return {"pixel_values": self.processor.images([image])}

    def encode(self, pictures: Sequence[PictureInputs]) -> Features:
        """Run the ResNet; [n, patches, 1024]."""
        pixels = self.placed(torch.cat([picture["pixel_values"] for picture in pictures]))
        features: Features = self.module.encode_images(pixels)
        return features

    def _asked(self, features: Features, queries: Sequence[Query]) -> _Asked:
        """Encode the questions with their pictures."""
        questions = [query.question.strip() for query in queries]
        tokens = {name: ids.to(self.device) for name, ids in self.processor.questions(questions).items()}
        pictures, index = self.distinct_images(features, queries)
        source = self.module.encoder(**tokens, image_features=pictures[index])
        prompts = self.processor.prompts(questions, self.module.config.prompt_type)
        start = torch.full((len(queries), 1), int(self.module.config.decoder_start_token_id))
        return _Asked(
            source,
            prompts.get("decoder_input_ids", start).to(self.device),
            prompts.get("decoder_attention_mask", torch.ones_like(start)).to(self.device),
        )

    def answer(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        """Return the best beams, or the likeliest candidates; of equal spellings the likelier one counts."""
        asked = self._asked(features, queries)
        if queries[0].candidates:
            return score_candidates(
                queries, decoding.top_k, lambda rows, texts: self._log_likelihoods(asked, rows, texts)
            )

        def generate(**settings: Any) -> Any:
            return self.module.generate(
                encoder_outputs=asked.source,
                decoder_input_ids=asked.prompts,
                decoder_attention_mask=asked.prompt_mask,
                pad_token_id=self.module.config.pad_token_id,
                forced_eos_token_id=None,  # as published (2), an answer that is cut off would seem certain to end there
                **settings,
            )

        return best_sequences(
            generate,
            self.processor.tokenizer,
            (self._end,),
            start=asked.prompts.shape[1],
            default_beams=self.beams,
            decoding=decoding,
        )

    def _log_likelihoods(self, asked: _Asked, rows: Sequence[int], texts: Sequence[str]) -> Tensor:
        """Return the log-likelihood [c] of each text; those of one question look at the same source."""
        scores = []
        for row, pairs in groupby(zip(rows, texts, strict=True), key=lambda pair: pair[0]):
            answers = [[*self._answer_ids(text), self._end] for _, text in pairs]
            scores.append(-self._token_losses(asked.only(row), answers).sum(-1))
        return torch.cat(scores)

    def _token_losses(self, asked: _Asked, answers: Sequence[Sequence[int]]) -> Tensor:
        """Return the cross-entropy [c, t] of each token of the answers, 0 at padding.

        Args:
            asked: one question for each answer, or one for all.
            answers: token ids, the end among them.

        """
        longest = max(map(len, answers))
        labels = torch.tensor([[*ids, *[IGNORED_LABEL] * (longest - len(ids))] for ids in answers], device=self.device)
        before = labels[:, :-1]
        there = before != IGNORED_LABEL
        count, wide = len(answers), asked.prompts.shape[1]
        logits = self.module(
            encoder_outputs=asked.source,
            decoder_input_ids=torch.cat(
                [asked.prompts.expand(count, -1), before.masked_fill(~there, self.module.config.pad_token_id)], dim=1
            ),
            decoder_attention_mask=torch.cat([asked.prompt_mask.expand(count, -1), there.long()], dim=1),
        ).logits[:, wide - 1 :]
        return cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED_LABEL, reduction="none")

    def loss(self, features: Features, queries: Sequence[Query], answers: Sequence[str]) -> Tensor:
        """Return the mean cross-entropy over the answers' tokens and ends, in lower case."""
        ids = [[*self._answer_ids(answer)[: _MAX_ANSWER_TOKENS - 1], self._end] for answer in answers]
        return self._token_losses(self._asked(features, queries), ids).sum() / sum(map(len, ids))

    def _answer_ids(self, answer: str) -> list[int]:
        ids: list[int] = self.processor.tokenizer(answer_text(answer), add_special_tokens=False)["input_ids"]
        return ids

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The connector projects patches and tells the encoder where they are."""
        groups: dict[str, tuple[str, ...]] = self.module.module_groups()
        return groups

    def token_counts(
        self, questions: Sequence[str], answers: Sequence[str], pictures: Sequence[int]
    ) -> list[TokenCount]:
        """Count questions, beyond the authors' limits of words and tokens too, and answers with their ends."""
        asked = self.processor.question_lengths([question.strip() for question in questions])
        said = token_lengths(self.processor.tokenizer, list(map(answer_text, answers)), special=False)
        return [
            TokenCount(whole, answer + 1, picture, question_cut=cut, answer_cut=max(0, answer + 1 - _MAX_ANSWER_TOKENS))
            for (whole, cut), answer, picture in zip(asked, said, pictures, strict=True)
        ]

    def picture_tokens(self, picture: PictureInputs) -> int:
        """Return the number of patches."""
        height, width = picture["pixel_values"].shape[-2:]
        return int((height // PATCH_SIDE_PX) * (width // PATCH_SIDE_PX))

    def read_back(self, answers: Sequence[str]) -> list[str]:
        """Return the answers as their tokens are decoded."""
        decode = self.processor.tokenizer.decode
        return [str(decode(self._answer_ids(answer), skip_special_tokens=True)).strip() for answer in answers]

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration, tokenizer and image processor."""
        self.module.save_pretrained(folder)
        self.processor.save_pretrained(folder)


def _pretrained_side_px(source: str, config: OfaConfig) -> int:
    """Return the side of pictures where no preprocessing is saved: the configuration's, or that of the examples."""
    said, _ = OfaConfig.get_config_dict(source)
    default = _SIDE_PX_BY_WIDTH.get(config.d_model, config.patch_image_size)
    return int(said.get("patch_image_size", default))


def _set_side(config: OfaConfig, image_processor: Any, side_px: int) -> None:
    """Make pictures squares of `side_px`; where they grow, the positions of training are stretched over them."""
    trained_px = native_side_px(image_processor)
    set_resolution(image_processor, side_px, patch_px=PATCH_SIDE_PX)
    largest_px = config.image_bucket_size * PATCH_SIDE_PX
    if side_px > largest_px:
        raise UserError(
            f"Pictures of {side_px!r} pixels a side are too large for this model: give at most {largest_px} as the "
            "image side."
        )
    if trained_px is not None and side_px > trained_px and not config.interpolate_position:
        config.interpolate_position, config.orig_patch_image_size = True, trained_px
