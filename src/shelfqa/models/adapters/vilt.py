"""ViLT (Kim et al. 2021, arXiv 2102.03334), of the classifier family: one transformer over words and patches.

    picture -> patch_embeddings + positions --+
                                              +--> encoder -> pooler -> classifier
    question -> text_embeddings --------------+

Words and patches see each other from the first layer on, so that only the patches' embeddings serve all questions of a
picture. transformers embeds padded canvases and draws the patches in random order (`visual_embed`); we embed each
picture in its own shape and keep all of its patches in reading order. For one question at a time both give the same
answers, since the positions are in the embeddings. A checkpoint's `max_image_length`, by which fewer patches are drawn
at random, is for training and not heeded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torch.nn.utils.rnn import pad_sequence

from shelfqa.models.adapters.classifier import ClassifierVqa
from shelfqa.models.adapters.resolution import set_resolution
from shelfqa.models.adapters.texts import counted, padded, token_lengths
from shelfqa.models.answer_table import extend_output_layer
from shelfqa.models.base import Features, Loading, PictureInputs, Query, TokenCount

_OUTPUT_LAYER = "classifier.3"
_LONGEST_TO_SHORTEST = 1333 / 800
"""How much longer than the shortest edge the longest may be in transformers' image processor."""


class ViltVqa(ClassifierVqa):
    """Drives `ViltForQuestionAnswering`."""

    def __init__(
        self, module: Any, tokenizer: Any, image_processor: Any, name: str, answers: Sequence[str] = ()
    ) -> None:
        super().__init__(module, name, answers)
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self._max_tokens = min(module.config.max_position_embeddings, tokenizer.model_max_length)

    @classmethod
    def from_pretrained(cls, source: str, name: str, loading: Loading) -> Self:
        """Read a checkpoint from a folder or the hub."""
        from transformers import AutoTokenizer, ViltForQuestionAnswering, ViltImageProcessorPil

        module = ViltForQuestionAnswering.from_pretrained(source, **loading.of_model())
        image_processor = ViltImageProcessorPil.from_pretrained(source)
        if loading.image_side_px is not None:
            set_resolution(image_processor, loading.image_side_px, patch_px=module.config.patch_size)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        return cls(module, tokenizer, image_processor, name, loading.answers)

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Scale so that the shortest edge is the model's resolution, both in whole patches; [1, 3, height, width].

        Raises:
            ValueError: if the picture is so narrow that no whole patch is left of its short side.

        """
        longest_px = int(_LONGEST_TO_SHORTEST * self.image_processor.size["shortest_edge"])
        if round(longest_px * min(image.size) / max(image.size)) < self.image_processor.size_divisor:
            raise ValueError("scaled to the model's resolution, its short side is less than a patch")
        return {"pixel_values": self.image_processor(images=[image], return_tensors="pt")["pixel_values"]}

    def encode(self, pictures: Sequence[PictureInputs]) -> Features:
        """Embed the patches with their positions; [patches + 1, d] each, one batch a shape."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for place, picture in enumerate(pictures):
            by_shape.setdefault(tuple(picture["pixel_values"].shape), []).append(place)
        found: dict[int, Tensor] = {}
        for places in by_shape.values():
            pixels = torch.cat([pictures[place]["pixel_values"] for place in places])
            found.update(zip(places, self._embed(self.placed(pixels)), strict=True))
        return [found[place] for place in range(len(pictures))]

    def _embed(self, pixels: Tensor) -> Tensor:
        """Return embeddings [n, patches + 1, d] of pictures of one shape, as `visual_embed` makes them."""
        parts, config = self.module.vilt.embeddings, self.module.config
        patches = parts.patch_embeddings(pixels)
        side = config.image_size // config.patch_size
        grid = parts.position_embeddings[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        positions = interpolate(grid, size=patches.shape[2:], mode="bilinear", align_corners=True)
        start = (parts.cls_token + parts.position_embeddings[:, :1]).expand(len(pixels), -1, -1)
        embedded: Tensor = torch.cat([start, (patches + positions).flatten(2).transpose(1, 2)], dim=1)
        return embedded

    def logits(self, features: Features, queries: Sequence[Query]) -> Tensor:
        """Read questions and patches together; the patches of smaller pictures are padded and masked."""
        tokens = padded(self.tokenizer, [query.question for query in queries], self._max_tokens).to(self.device)
        pictures = [features[query.images[0]] for query in queries]
        patches = self.placed(pad_sequence(pictures, batch_first=True))
        lengths = torch.tensor([len(picture) for picture in pictures], device=self.device)
        mask = torch.arange(patches.shape[1], device=self.device) < lengths[:, None]
        logits: Tensor = self.module(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            image_embeds=self.module.vilt.embeddings.dropout(patches),
            pixel_mask=mask.long(),
        ).logits
        return logits

    def extend_head(self, new: Sequence[str]) -> None:
        """Give the last layer of the head an output for each new answer."""
        extend_output_layer(self.module, _OUTPUT_LAYER, new)
        self.module.num_labels = len(self.module.config.id2label)

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The transformer over words and patches is the connector: there is no other between the two."""
        return {
            "vision": ("vilt.embeddings.patch_embeddings",),
            "connector": ("vilt.encoder", "vilt.layernorm", "vilt.pooler"),
            "language": ("vilt.embeddings.text_embeddings",),
            "head": ("classifier",),
        }

    def token_counts(
        self, questions: Sequence[str], answers: Sequence[str], pictures: Sequence[int]
    ) -> list[TokenCount]:
        """Count questions, special tokens counted in; answers are chosen whole."""
        lengths = token_lengths(self.tokenizer, questions)
        return counted(lengths, [0] * len(answers), pictures, most_question=self._max_tokens)

    def picture_tokens(self, picture: PictureInputs) -> int:
        """Return the number of patches, and one for the start."""
        height, width = picture["pixel_values"].shape[-2:]
        side: int = self.module.config.patch_size
        return int((height // side) * (width // side) + 1)

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration, tokenizer and image processor."""
        self.module.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
