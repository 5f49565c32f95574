"""Tiny random checkpoints of ViLT, CLIP, SigLIP and SigLIP 2, with their true architectures and processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tiny_models import WORDS

ANSWERS = ("red", "blue", "green", "mug", "a chair", "2", "yes", "no")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789")


def shaped_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of random colours."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def vilt_checkpoint(folder: Path, *, seed: int = 0, labels: tuple[str, ...] | None = ANSWERS, outputs: int = 8) -> Path:
    """Write a ViLT checkpoint; without `labels` it does not say what its outputs mean."""
    from transformers import BertTokenizer, ViltConfig, ViltForQuestionAnswering, ViltImageProcessorPil

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS, *("##" + one for one in LETTERS)]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)) + "\n")
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=24).save_pretrained(folder)
    names: dict[str, Any] = {"num_labels": outputs}
    if labels is not None:
        names = {"id2label": dict(enumerate(labels)), "label2id": {text: index for index, text in enumerate(labels)}}
    torch.manual_seed(seed)
    config = ViltConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        image_size=64,
        patch_size=16,
        initializer_range=0.3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **names,
    )
    model = ViltForQuestionAnswering(config).eval()
    _make_positions_count(model)
    model.save_pretrained(folder)
    ViltImageProcessorPil(size={"shortest_edge": 64}, size_divisor=16).save_pretrained(folder)
    return folder


def clip_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """Write a CLIP checkpoint with a byte-level tokenizer of single letters."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    letters = _byte_letters()
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={word: place for place, word in enumerate(vocabulary)}, merges=[])
    tokenizer.save_pretrained(folder)
    text = _tower() | {
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 77,
        "bos_token_id": len(vocabulary) - 2,
        "eos_token_id": len(vocabulary) - 1,
    }
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=_vision(), projection_dim=8)).eval()
    _spread_weights(model)
    model.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def siglip_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """Write a SigLIP checkpoint, as those of SigLIP 2 with a fixed resolution are."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    text = _tower() | {
        "vocab_size": _gemma_like_tokenizer(folder),
        "max_position_embeddings": 64,
        "projection_size": 16,
    }
    torch.manual_seed(seed)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=_vision())).eval()
    _spread_weights(model)
    model.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def siglip2_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """Write a SigLIP 2 checkpoint (NaFlex): pictures keep their proportions."""
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Model

    text = _tower() | {
        "vocab_size": _gemma_like_tokenizer(folder),
        "max_position_embeddings": 64,
        "projection_size": 16,
    }
    vision = {key: value for key, value in _vision().items() if key != "image_size"} | {"num_patches": 16}
    torch.manual_seed(seed)
    model = Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)).eval()
    _spread_weights(model)
    model.save_pretrained(folder)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)
    return folder


def _tower() -> dict[str, Any]:
    return {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def _vision() -> dict[str, Any]:
    return _tower() | {"image_size": 32, "patch_size": 8}


def _byte_letters() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _gemma_like_tokenizer(folder: Path) -> int:
    """Write the tokenizer of SigLIP 2, of single letters and bytes; return the size of its vocabulary."""
    from tokenizers.processors import TemplateProcessing
    from transformers import Siglip2Tokenizer

    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *LETTERS]
    tokenizer = Siglip2Tokenizer(
        vocab={word: place for place, word in enumerate(words)},
        merges=[],
        padding_side="right",
        model_input_names=["input_ids"],
        model_max_length=64,
    )
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.save_pretrained(folder)
    return len(words)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _spread_weights(model: Any) -> None:
    """Make the few channels tell texts and pictures apart, and the scores differ by some units."""
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            weight.normal_(0.0, 0.3)
        elif name in ("logit_scale", "logit_bias"):
            weight.fill_(1.5 if name == "logit_scale" else -3.0)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _make_positions_count(model: Any) -> None:
    """Give ViLT positions and a start that are not zero, and make the answer depend on the question."""
    model.vilt.embeddings.text_embeddings.LayerNorm.weight.mul_(3)
    model.classifier[1].weight.mul_(2)
    for part in model.vilt.encoder.layer:
        part.attention.output.dense.weight.mul_(3)
    model.vilt.embeddings.position_embeddings.normal_(0.0, 0.5)
    model.vilt.embeddings.cls_token.normal_(0.0, 0.5)
