"""Tiny random checkpoints of chat models: the true architectures, with tokenizers of a few hundred tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

LETTERS = [chr(code) for code in range(33, 127)]
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "initializer_range": 0.4,
}
SIGLIP = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.4,
}
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}:{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}END\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def tokenizer(special: list[str], *, bos: str, eos: str, pad: str, whole: Sequence[str] = ()) -> Any:
    """A byte-level tokenizer whose every letter is a token, with some whole words, and those of `whole` in ASCII."""
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    merges = []
    for word in ("Ġred", "Ġmug", "what", "Ġcolor", "Ġis"):
        built = word[0]
        for letter in word[1:]:
            merges.append((built, letter))
            built += letter
            vocabulary.setdefault(built, len(vocabulary))
    for text in whole:
        vocabulary.setdefault(text.replace(" ", "\u0120"), len(vocabulary))
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=bool(whole)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=bos, eos_token=eos, pad_token=pad)
    found.add_special_tokens({"additional_special_tokens": special})
    return found


def _template(image: str, end: str) -> str:
    return CHAT_TEMPLATE.replace("IMAGE", image).replace("END", end)


def llava(folder: Path) -> Path:
    """LLaVA-1.5: CLIP at a fixed size, two linear maps, LLaMA."""
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    words = tokenizer(["<image>"], bos="<s>", eos="</s>", pad="<pad>")
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_template("<image>", "</s>"),
    )
    vision = {**SIGLIP, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, "projection_dim": 16}
    config = LlavaConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(words), **_ids(words)},
        vision_config=vision,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    return _written(folder, LlavaForConditionalGeneration, config, processor, words)


def llava_next(folder: Path) -> Path:
    """LLaVA-NeXT: as LLaVA, over a picture and its tiles, as many as its shape asks for."""
    from transformers import (
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    words = tokenizer(["<image>"], bos="<s>", eos="</s>", pad="<pad>")
    shapes = [[32, 64], [64, 32], [64, 64]]
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=shapes
    )
    processor = LlavaNextProcessor(
        images,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_template("<image>", "</s>"),
    )
    vision = {**SIGLIP, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, "projection_dim": 16}
    config = LlavaNextConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(words), **_ids(words)},
        vision_config=vision,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=shapes,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    return _written(folder, LlavaNextForConditionalGeneration, config, processor, words)


def paligemma(folder: Path) -> Path:
    """PaliGemma: SigLIP, a linear map, Gemma read in both directions over the prompt."""
    from transformers import (
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessorPil,
    )

    words = tokenizer([], bos="<bos>", eos="<eos>", pad="<pad>")
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(images, words)
    config = PaliGemmaConfig(
        text_config={**TEXT, "model_type": "gemma", "vocab_size": len(words), **_ids(words)},
        vision_config={**SIGLIP, "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8},
        projection_dim=32,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    return _written(folder, PaliGemmaForConditionalGeneration, config, processor, words)


def idefics2(folder: Path) -> Path:
    """IDEFICS2: SigLIP at native shape, a perceiver, Mistral."""
    from transformers import (
        Idefics2Config,
        Idefics2ForConditionalGeneration,
        Idefics2ImageProcessorPil,
        Idefics2Processor,
    )

    words = tokenizer(
        ["<fake_token_around_image>", "<image>", "<end_of_utterance>"], bos="<s>", eos="</s>", pad="<pad>"
    )
    images = Idefics2ImageProcessorPil(size={"shortest_edge": 24, "longest_edge": 48}, do_image_splitting=False)
    processor = Idefics2Processor(
        images, words, image_seq_len=4, chat_template=_template("<image>", "<end_of_utterance>")
    )
    config = Idefics2Config(
        text_config={**TEXT, "model_type": "mistral", "vocab_size": len(words), **_ids(words)},
        vision_config={**SIGLIP, "image_size": 64, "patch_size": 8},
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "num_key_value_heads": 2,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    return _written(folder, Idefics2ForConditionalGeneration, config, processor, words)


def idefics3(folder: Path) -> Path:
    """IDEFICS3, and the first SmolVLM: SigLIP over tiles, pixel shuffle, LLaMA."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    words = tokenizer(_idefics3_tokens(), bos="<|im_start|>", eos="<end_of_utterance>", pad="<pad>")
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    processor = Idefics3Processor(
        images, words, image_seq_len=4, chat_template="<|im_start|>" + _template("<image>", "<end_of_utterance>")
    )
    config = Idefics3Config(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(words), **_ids(words)},
        vision_config={**SIGLIP, "image_size": 32, "patch_size": 8},
        scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    return _written(folder, Idefics3ForConditionalGeneration, config, processor, words)


def smolvlm(folder: Path) -> Path:
    """SmolVLM2: as IDEFICS3, with its own processor."""
    from transformers import Idefics3Processor, SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessorPil

    words = tokenizer(_idefics3_tokens(), bos="<|im_start|>", eos="<end_of_utterance>", pad="<pad>")
    images = SmolVLMImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    processor = Idefics3Processor(
        images, words, image_seq_len=4, chat_template="<|im_start|>" + _template("<image>", "<end_of_utterance>")
    )
    config = SmolVLMConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(words), **_ids(words)},
        vision_config={**SIGLIP, "image_size": 32, "patch_size": 8},
        scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    return _written(folder, SmolVLMForConditionalGeneration, config, processor, words)


def qwen2_5_vl(folder: Path, *, whole: Sequence[str] = ()) -> Path:
    """Qwen2.5-VL: a tower at native shape with windows, positions in three axes."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    words = tokenizer(special, bos="<|endoftext|>", eos="<|im_end|>", pad="<|endoftext|>", whole=whole)
    images = Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 256, "longest_edge": 1024}
    )
    template = _template("<|vision_start|><|image_pad|><|vision_end|>", "<|im_end|>")
    words.chat_template = template
    text = {
        **TEXT,
        "vocab_size": len(words),
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
        "tie_word_embeddings": False,
        **_ids(words),
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "patch_size": 4,
            "window_size": 16,
            "fullatt_block_indexes": [1],
            "out_hidden_size": 32,
            "initializer_range": 0.4,
        },
        image_token_id=words.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=words.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=words.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=words.convert_tokens_to_ids("<|vision_end|>"),
    )
    return _written(folder, Qwen2_5_VLForConditionalGeneration, config, images, words)


COMMON = (
    *("red", "blue", "green", "black", "white", "grey", "brown", "pink", "beige", "silver", "gold", "orange", "yellow"),
    *("wood", "metal", "glass", "plastic", "leather", "cotton", "steel", "ceramic", "paper", "wool", "foam", "rubber"),
    *("round", "square", "oval", "striped", "plain", "floral", "small", "large", "tall", "flat", "soft", "shiny"),
    *("one", "two", "three", "four", "yes", "no", "mug", "chair", "lamp", "sofa", "shoe", "table", "case", "ring"),
    *("kitchen", "bedroom", "office", "garden", "summer", "winter", "men", "women", "children", "adults", "dogs"),
)
ASKED = (
    *(
        "color",
        "shape",
        "pattern",
        "size",
        "brand",
        "material",
        "style",
        "finish",
        "type",
        "theme",
        "texture",
        "design",
    ),
    *("logo", "season", "room", "use", "length", "height", "width", "surface", "edge", "handle", "sole", "fabric"),
)


def tiny_writer(folder: Path) -> Path:
    """Qwen2.5-VL at random whose tokens are words and questions, most with the quotation mark that ends a text.

    Replies kept to a schema then hold pairs that read as a question and a word, if without sense. By the prompt,
    a fifth to three fifths of the answers are one word, an eighth to two fifths of the pairs are a question besides,
    and half to nine tenths of the replies hold such a pair.
    """
    from safetensors.torch import load_file, save_file

    words = [*COMMON, *(f" {word}" for word in COMMON)]
    ended = [f'{word}"' for word in words]
    ended += [f'{start} the {noun} of this product?"' for start in ("What is", "Which is") for noun in ASKED]
    ended += [f'Is it {word}?"' for word in COMMON]
    qwen2_5_vl(folder, whole=[*words, *ended])
    weights = load_file(folder / "model.safetensors")
    others = 256 + 14 + len(words)  # letters, and words that end no text
    heads = torch.randn(weights["lm_head.weight"].shape, generator=torch.Generator().manual_seed(5))
    heads = torch.nn.functional.normalize(heads, dim=-1)  # no token is likelier than others whatever was read
    heads[:others] *= 0.6
    weights["lm_head.weight"] = heads
    for name in weights:  # so that replies depend on what was read long before
        if name.startswith("model.") and "visual" not in name and name.endswith(("q_proj.weight", "o_proj.weight")):
            weights[name] *= 3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 16_384  # prompts of whole listings, a letter a token
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _idefics3_tokens() -> list[str]:
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    return ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *tiles]


def _ids(words: Any) -> dict[str, int]:
    return {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}


def _written(folder: Path, model: Any, config: Any, processor: Any, words: Any) -> Path:
    torch.manual_seed(0)
    module = model(config).eval()
    module.generation_config.eos_token_id = words.eos_token_id
    module.generation_config.pad_token_id = words.pad_token_id
    module.save_pretrained(folder)
    words.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


CHAT_FAMILIES = {
    "llava": llava,
    "paligemma": paligemma,
    "idefics2": idefics2,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "qwen2_5_vl": qwen2_5_vl,
}
