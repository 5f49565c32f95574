"""The processor of a chat model, also where torchvision is missing and videos could not be read."""

from __future__ import annotations

import importlib.util
from typing import Any

from shelfqa.errors import UserError
from shelfqa.models.base import Loading

_FIXED_SIDE = frozenset({"llava", "paligemma"})
"""Model types whose tower has positions for one size of picture alone."""


def chat_processor(source: str, loading: Loading) -> Any:
    """Return a checkpoint's processor with the options of `loading` put in."""
    from transformers import AutoProcessor, PretrainedConfig

    from shelfqa.models.adapters.resolution import native_side_px, set_resolution

    config, _ = PretrainedConfig.get_config_dict(source)
    without_videos = None if importlib.util.find_spec("torchvision") else _WITHOUT_VIDEOS.get(config.get("model_type"))
    if without_videos is not None:
        processor = without_videos(source, loading)
    else:
        processor = AutoProcessor.from_pretrained(source, **loading.of_processor())
    images = processor.image_processor
    if loading.image_side_px is not None:
        if config.get("model_type") in _FIXED_SIDE:
            raise UserError(
                f"{source!r} reads pictures of {native_side_px(images)} pixels a side and no other, its positions "
                "being fixed: leave out --image-side-px."
            )
        set_resolution(images, loading.image_side_px)
    if loading.split_images is not None:
        if not hasattr(images, "do_image_splitting"):
            raise UserError(f"{type(images).__name__} does not cut pictures into tiles: leave out --split-images.")
        images.do_image_splitting = loading.split_images
    return processor


def _parts(source: str, loading: Loading) -> tuple[Any, Any, dict[str, Any]]:
    """Return image processor, tokenizer and the processor's own settings, its chat template among them."""
    from transformers import AutoTokenizer, ProcessorMixin
    from transformers.models.auto.image_processing_auto import AutoImageProcessor  # 5.17 hides it without torchvision

    settings, _ = ProcessorMixin.get_processor_dict(source)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=loading.remote_code)
    settings.setdefault("chat_template", tokenizer.chat_template)
    return AutoImageProcessor.from_pretrained(source, **loading.of_processor()), tokenizer, settings


def _qwen(source: str, loading: Loading) -> Any:
    """Return Qwen's processor for pictures alone: its processor of videos needs torchvision."""
    from transformers import ProcessorMixin, Qwen2_5_VLProcessor

    def start(self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    # The same name, so that what it saves is read as Qwen's processor everywhere.
    pictures_alone = type("Qwen2_5_VLProcessor", (Qwen2_5_VLProcessor,), {"__init__": start})
    images, tokenizer, settings = _parts(source, loading)
    return pictures_alone(images, tokenizer, chat_template=settings["chat_template"])


def _smolvlm(source: str, loading: Loading) -> Any:
    """Return the processor of IDEFICS3, which writes the same prompts for pictures as SmolVLM2's."""
    from transformers import Idefics3Processor

    images, tokenizer, settings = _parts(source, loading)
    length = {"image_seq_len": settings["image_seq_len"]} if "image_seq_len" in settings else {}
    return Idefics3Processor(images, tokenizer, chat_template=settings["chat_template"], **length)


_WITHOUT_VIDEOS = {"qwen2_vl": _qwen, "qwen2_5_vl": _qwen, "smolvlm": _smolvlm}
