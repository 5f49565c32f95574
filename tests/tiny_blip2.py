"""Tiny random checkpoints of BLIP-2 and InstructBLIP, with OPT, LLaMA and T5 as language models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tiny_chat import tokenizer

_VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "initializer_range": 0.4,
}
_QFORMER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "encoder_hidden_size": 16,
    "max_position_embeddings": 640,
    "initializer_range": 0.4,
}


def blip2_opt(folder: Path) -> Path:
    """BLIP-2 with OPT."""
    return _written(folder, _opt, instructed=False)


def blip2_t5(folder: Path) -> Path:
    """BLIP-2 with T5."""
    return _written(folder, _t5, instructed=False)


def instructblip_llama(folder: Path) -> Path:
    """InstructBLIP with LLaMA, as with Vicuna."""
    return _written(folder, _llama, instructed=True)


def instructblip_t5(folder: Path) -> Path:
    """InstructBLIP with T5."""
    return _written(folder, _t5, instructed=True)


def _opt(words: Any) -> Any:
    from transformers import OPTConfig

    return OPTConfig(
        vocab_size=len(words),
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=640,
        init_std=0.4,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


def _llama(words: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=640,
        initializer_range=0.4,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


def _t5(words: Any) -> Any:
    from transformers import T5Config

    return T5Config(
        vocab_size=len(words),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        initializer_factor=2.0,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        decoder_start_token_id=words.pad_token_id,
    )


def _written(folder: Path, language: Any, *, instructed: bool) -> Path:
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        BlipImageProcessorPil,
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
    )

    words = tokenizer(["<image>"], bos="<s>", eos="</s>", pad="<pad>")
    torch.manual_seed(0)
    settings = {
        "vision_config": _VISION,
        "qformer_config": {**_QFORMER, "vocab_size": len(words)},
        "text_config": language(words).to_dict(),
        "num_query_tokens": 4,
        "image_token_index": words.convert_tokens_to_ids("<image>"),
    }
    kind = (
        (InstructBlipConfig, InstructBlipForConditionalGeneration)
        if instructed
        else (Blip2Config, Blip2ForConditionalGeneration)
    )
    module = kind[1](kind[0](**settings)).eval()
    with torch.no_grad():
        module.query_tokens.normal_(std=1.0)
    module.save_pretrained(folder)
    words.save_pretrained(folder)
    if instructed:
        words.save_pretrained(folder / "qformer_tokenizer")
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


BLIP2_FAMILIES = {
    "blip2-opt": blip2_opt,
    "blip2-t5": blip2_t5,
    "instructblip-llama": instructblip_llama,
    "instructblip-t5": instructblip_t5,
}
