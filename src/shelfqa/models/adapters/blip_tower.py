"""What BLIP, BLIP-2 and InstructBLIP have in common: a vision transformer over square pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from shelfqa.models.adapters.resolution import native_side_px, position_settings, set_resolution
from shelfqa.models.base import Loading, PictureInputs, VqaModel


class BlipTower(VqaModel):
    """Encodes pictures by `module.vision_model`; what it answers with is up to others."""

    family = "seq2seq"
    beams = 5

    def __init__(self, module: Any, tokenizer: Any, image_processor: Any, name: str) -> None:
        """Drive `module`, at the resolution that `image_processor` is set to.

        Raises:
            UserError: if the tower does not take that resolution.

        """
        self.module = module
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.name = name
        side_px, trained_px = native_side_px(image_processor), module.config.vision_config.image_size
        self._positions = position_settings(module.vision_model.forward, side_px, trained_px, name)

    @staticmethod
    def load_image_processor(source: str, module: Any, loading: Loading) -> Any:
        """Read the checkpoint's image processor, set to the resolution of `loading`."""
        from transformers import BlipImageProcessorPil

        images = BlipImageProcessorPil.from_pretrained(source)
        if loading.image_side_px is not None:
            set_resolution(images, loading.image_side_px, patch_px=module.config.vision_config.patch_size)
        return images

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Resize and normalise as the checkpoint's processor says."""
        return {"pixel_values": self.image_processor(images=[image], return_tensors="pt")["pixel_values"]}

    def encode(self, pictures: Sequence[PictureInputs]) -> Tensor:
        """Run the vision transformer; [n, patches + 1, d]."""
        pixels = self.placed(torch.cat([picture["pixel_values"] for picture in pictures]))
        features: Tensor = self.module.vision_model(pixel_values=pixels, **self._positions).last_hidden_state
        return features
