"""The seq2seq family: models that write their answer. Here: BLIP-VQA (Li et al. 2022, arXiv 2201.12086).

    picture -> vision_model --(cross-attention)--> text_encoder(question) --(cross-attention)--> text_decoder -> answer

transformers' own `forward` and `generate` take one picture a question; we call the three parts, so that a picture's
features serve all of its questions. Two departures from `generate`, both of which change nothing for one question at
a time: the decoder does not attend to the padding of shorter questions, and beams are ranked by their probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from shelfqa.models.base import Truncation, VqaModel
from shelfqa.records import Answer

_IGNORED_LABEL = -100
_MAX_QUESTION_TOKENS = 512
_MAX_ANSWER_TOKENS = 20
"""The length at which transformers stops by default, the start token counted in."""
_BEAMS = 5
"""Fixed, so that the best answer does not depend on how many alternatives are asked for."""


class BlipVqa(VqaModel):
    """Drives `BlipForQuestionAnswering`."""

    family = "seq2seq"

    def __init__(self, module: Any, tokenizer: Any, image_processor: Any, name: str) -> None:
        self.module = module
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.name = name
        self._text = module.config.text_config
        for part_name, part in module.named_modules():
            if part_name.endswith("crossattention.self"):
                part.register_forward_pre_hook(_pass_mask_on, with_kwargs=True)
        self._max_tokens = min(_MAX_QUESTION_TOKENS, self._text.max_position_embeddings)

    @classmethod
    def from_pretrained(cls, source: str, name: str, *, dtype: torch.dtype) -> BlipVqa:
        """Read a checkpoint from a folder or the hub."""
        from transformers import AutoTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil

        module = BlipForQuestionAnswering.from_pretrained(source, dtype=dtype, use_safetensors=True)
        return cls(
            module,
            AutoTokenizer.from_pretrained(source, trust_remote_code=False),
            BlipImageProcessorPil.from_pretrained(source),
            name,
        )

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Resize and normalise as the checkpoint's processor says."""
        pixels: Tensor = self.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        return pixels

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Run the vision transformer; [n, patches + 1, d]."""
        features: Tensor = self.module.vision_model(pixel_values=pixels.to(self.device, self.dtype)).last_hidden_state
        return features

    def _encode_questions(
        self, features: Tensor, image_index: Sequence[int], questions: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Return the questions' states [q, t, d], which have seen the pictures, and their mask [q, t]."""
        tokens = self.tokenizer(
            list(questions), padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self.device)
        index = torch.as_tensor(list(image_index), device=features.device)
        pictures = features[index].to(self.device)
        if not torch.is_autocast_enabled(self.device.type):
            pictures = pictures.to(self.dtype)
        states = self.module.text_encoder(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            encoder_hidden_states=pictures,
            encoder_attention_mask=torch.ones(pictures.shape[:-1], dtype=torch.long, device=self.device),
        ).last_hidden_state
        return states, tokens["attention_mask"]

    def answer(
        self, features: Tensor, image_index: Sequence[int], questions: Sequence[str], *, top_k: int
    ) -> list[list[Answer]]:
        """Return the best beams; a probability is that of the whole token sequence, its end included.

        So the probabilities of all texts sum to 1, and those of the k best to less. Where two token sequences
        spell the same answer, the likelier one counts.
        """
        states, mask = self._encode_questions(features, image_index, questions)
        beams = max(_BEAMS, top_k)
        start = torch.full((len(questions), 1), self.module.decoder_start_token_id, device=self.device)
        found = self.module.text_decoder.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            eos_token_id=self._text.sep_token_id,
            pad_token_id=self._text.pad_token_id,
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            max_length=_MAX_ANSWER_TOKENS,
            do_sample=False,
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=0.0,  # a beam's score is then the logarithm of its probability
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = self.tokenizer.batch_decode(found.sequences[:, 1:], skip_special_tokens=True)  # without the start
        probabilities = found.sequences_scores.float().exp().tolist()
        return [
            _distinct(texts[row : row + beams], probabilities[row : row + beams], top_k)
            for row in range(0, len(texts), beams)
        ]

    def loss(
        self, features: Tensor, image_index: Sequence[int], questions: Sequence[str], answers: Sequence[str]
    ) -> Tensor:
        """Return the mean cross-entropy over the answers' tokens and ends, in lower case.

        The decoder reads [start, answer…, end]; its own code shifts labels by one. transformers' example trains it
        from [CLS], but generation starts from the decoder's start token, as in BLIP's original code; so do we.
        """
        states, mask = self._encode_questions(features, image_index, questions)
        tokens = self._answer_tokens(answers).to(self.device)
        ids = tokens["input_ids"].clone()
        ids[:, 0] = self.module.decoder_start_token_id
        labels = ids.masked_fill(tokens["attention_mask"] == 0, _IGNORED_LABEL)
        loss: Tensor = self.module.text_decoder(
            input_ids=ids,
            attention_mask=tokens["attention_mask"],
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            labels=labels,
        ).loss
        return loss

    def _answer_tokens(self, answers: Sequence[str]) -> Any:
        return self.tokenizer(
            [answer.lower() for answer in answers],
            padding=True,
            truncation=True,
            max_length=_MAX_ANSWER_TOKENS,
            return_tensors="pt",
        )

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The connector is where questions look at the picture: the text encoder's cross-attention."""
        layers = range(self._text.num_hidden_layers)
        return {
            "vision": ("vision_model",),
            "connector": tuple(f"text_encoder.encoder.layer.{layer}.crossattention" for layer in layers),
            "language": ("text_encoder", "text_decoder"),
        }

    def truncation(self, questions: Sequence[str], answers: Sequence[str]) -> Truncation:
        """Count texts beyond the limits, special tokens counted in."""
        return Truncation(
            self._longer(questions, self._max_tokens),
            self._longer([answer.lower() for answer in answers], _MAX_ANSWER_TOKENS),
        )

    def _longer(self, texts: Sequence[str], limit: int) -> int:
        suspects = [text for text in texts if len(text) + 2 > limit]  # a token has at least one character
        if not suspects:
            return 0
        return sum(len(ids) > limit for ids in self.tokenizer(suspects, verbose=False)["input_ids"])

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


def _distinct(texts: Sequence[str], probabilities: Sequence[float], top_k: int) -> list[Answer]:
    """Return the first `top_k` distinct texts with their probabilities; `texts` are best first."""
    best: dict[str, float] = {}
    for text, probability in zip(texts, probabilities, strict=True):
        best.setdefault(text.strip(), min(probability, 1.0))
    return [Answer(text, probability) for text, probability in list(best.items())[:top_k]]
