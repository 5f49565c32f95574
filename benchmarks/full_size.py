"""Checkpoints of true size with random weights: as slow as the published ones, and as large."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

_SHARPER = 8.0
"""Random weights give all words nearly the same probability; larger ones keep them apart, whatever is rounded."""
_TEXTS = (
    "what color is this product? what kind of product is shown in the picture? what material is it made of? how many "
    "are there? is the surface of the product plain or patterned? user: assistant: give a very brief answer. red blue "
    "green black white wood metal plastic leather glass chair table lamp shoe bag one two three yes no",
)


def blip_vqa_base(folder: Path, *, texts: Sequence[str] = _TEXTS, sharper: float = _SHARPER) -> Path:
    """BLIP-VQA-base (arXiv 2201.12086): ViT-B at 384 px, two BERT-sized stacks; 385 million weights.

    Each word of `texts` is one token, as nearly all are in the published vocabulary; the embeddings of the decoder's
    words are as many times as large as `sharper` says.
    """
    from transformers import BertTokenizer, BlipConfig, BlipForQuestionAnswering, BlipImageProcessorPil

    folder.mkdir(parents=True)
    words = sorted({word.strip("?:.") for word in " ".join(texts).lower().split()})
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789?.:"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *("##" + one for one in letters)]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    # The published checkpoint's numbers: 30,524 words, [DEC] to begin, [SEP] (here 3) to end.
    text = {"vocab_size": 30524, "bos_token_id": 30522, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    torch.manual_seed(0)
    module = BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config={"image_size": 384}))
    with torch.no_grad():
        module.text_decoder.bert.embeddings.word_embeddings.weight.mul_(sharper)
    module.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 384, "width": 384}).save_pretrained(folder)
    return folder


def smolvlm_256m(folder: Path) -> Path:
    """SmolVLM-256M (arXiv 2504.05299): SigLIP-B/16 at 512 px, pixel shuffle by 4, SmolLM2-135M; 256 million weights."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    words = _bpe(
        ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
        + [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    )
    template = (
        "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
    )
    images = Idefics3ImageProcessorPil(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    ids = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    text = {
        "model_type": "llama",
        "vocab_size": 49280,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "initializer_range": 0.04,
        **ids,
    }
    vision = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 512,
        "patch_size": 16,
    }
    torch.manual_seed(0)
    config = Idefics3Config(
        text_config=text, vision_config=vision, scale_factor=4, image_token_id=words.convert_tokens_to_ids("<image>")
    )
    module = Idefics3ForConditionalGeneration(config)
    module.generation_config.eos_token_id = words.eos_token_id
    module.generation_config.pad_token_id = words.pad_token_id
    module.save_pretrained(folder)
    Idefics3Processor(images, words, image_seq_len=64, chat_template=template).save_pretrained(folder)
    return folder


def _bpe(special: list[str]) -> Any:
    """Return a byte-level tokenizer whose common words are one or two tokens, as a large one's are."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        [*_TEXTS, _TEXTS[0].title()], trainers.BpeTrainer(vocab_size=2000, min_frequency=1, initial_alphabet=alphabet)
    )
    found = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|im_start|>", eos_token="<end_of_utterance>", pad_token="<|im_end|>"
    )
    found.add_special_tokens({"additional_special_tokens": special})
    return found
