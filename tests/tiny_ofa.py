"""Tiny random checkpoints of OFA, with the files of the published tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SIDE_PX = 64


def ofa_checkpoint(folder: Path, *, seed: int = 0, prompt_type: str = "prev_output") -> Path:
    """Write an OFA checkpoint whose answers are made of text."""
    from shelfqa.models.ofa.configuration import OfaConfig
    from shelfqa.models.ofa.modeling import OfaForVisualQuestionAnswering
    from shelfqa.models.ofa.processing import load_tokenizer, make_image_processor

    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder)
    tokenizer = load_tokenizer(folder)
    config = OfaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        d_model=32,
        encoder_layers=2,
        encoder_ffn_dim=48,
        encoder_attention_heads=4,
        decoder_layers=2,
        decoder_ffn_dim=48,
        decoder_attention_heads=4,
        token_bucket_size=16,
        image_bucket_size=8,
        resnet_type="resnet50",
        patch_image_size=SIDE_PX,
        prompt_type=prompt_type,
    )
    torch.manual_seed(seed)
    module = OfaForVisualQuestionAnswering(config).eval()
    vocabulary = tokenizer.get_vocab().items()
    readable = [number for token, number in vocabulary if token.isascii() or token.startswith("Ġ")]
    _spread_weights(module, [*(number for number in readable if number < len(tokenizer) - 9192), 2])
    module.save_pretrained(folder)
    make_image_processor(SIDE_PX).save_pretrained(folder)
    return folder


def publish(folder: Path) -> None:
    """Turn what `ofa_checkpoint` wrote into what the hub has: pickled weights, and no preprocessing."""
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    for name in ("decoder.embed_tokens.weight", "decoder.output_projection.weight"):
        state[name] = state["encoder.embed_tokens.weight"]
    for side in ("encoder", "decoder"):
        state[f"{side}.token_rp_bucket"] = state[f"{side}.image_rp_bucket"] = torch.zeros(2, 2, dtype=torch.long)
    torch.save(state, folder / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["OFAModel"]}))
    for name in ("model.safetensors", "preprocessor_config.json", "generation_config.json"):
        (folder / name).unlink()


def _write_tokenizer(folder: Path) -> None:
    """Write BART's files in small: bytes, a few words, the special tokens in their places."""
    from tokenizers.pre_tokenizers import ByteLevel

    merges, words = [], sorted(ByteLevel.alphabet())
    for word in ("Ġred", "Ġblue", "Ġmug", "Ġwhat", "Ġcolor", "Ġis"):
        for end in range(1, len(word)):
            merges.append(f"{word[:end]} {word[end]}")
            words.append(word[: end + 1])
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *dict.fromkeys(words), "<mask>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *dict.fromkeys(merges)]) + "\n")


@torch.no_grad()  # type: ignore[untyped-decorator]
def _spread_weights(module: Any, likely: list[int]) -> None:
    """Make pictures, questions and positions count, and answers consist of the tokens `likely`."""
    for name, weight in module.named_parameters():
        if weight.dim() < 2:
            continue
        if "embed_images" in name:
            weight.normal_(0.0, (2.0 / weight[0].numel()) ** 0.5)
        else:
            weight.normal_(0.0, 0.5 if "embed" in name or "table" in name else weight.shape[-1] ** -0.5)
    for part in module.encoder.embed_images.modules():
        if hasattr(part, "bn3"):
            part.bn3.weight.fill_(0.2)
    words = module.encoder.embed_tokens.weight
    others = torch.ones(len(words), dtype=torch.bool)
    others[likely] = False
    words[others] *= 0.1
    words[module.config.pad_token_id] = 0.0
    words[module.config.eos_token_id] *= 2.5
