"""Tiny random checkpoints of the true architectures, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from PIL import Image

WORDS = (
    *("what", "which", "how", "is", "the", "a", "of", "this", "it", "color", "kind", "material", "shape", "many"),
    *("product", "made", "brand", "red", "blue", "green", "mug", "chair", "lamp", "wood", "metal", "round", "square"),
    *("1", "2", "3", "yes", "no", "?", "."),
)
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 160, 30), "black": (20, 20, 20)}


class Named(msgspec.Struct):
    """Settings of an artifact that a test writes."""

    name: str = "made by a test"


def question_row(number: int, question: str, answer: str, split: str, name: str = "") -> dict[str, Any]:
    """Return a row about picture `number`.png; its id begins with `name`."""
    return {
        "question_id": f"{name}{number}-{question.split()[0]}",
        "product_id": f"p{number}",
        "image_paths": [f"{number}.png"],
        "question": question,
        "answer": answer,
        "product_type": "mug",
        "split": split,
    }


def questions_artifact(folder: Path, *, products: int = 24, broken: tuple[int, ...] = ()) -> Path:
    """Write a folder as `split` does: pictures of one colour each, two questions about each."""
    import pyarrow as pa

    from shelfqa.artifacts import StageRun, build
    from shelfqa.records import QUESTION_COLUMNS

    images = folder / "images"
    images.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for number in range(products):
        colour = list(COLOURS)[number % 4]
        picture(COLOURS[colour], number).save(images / f"{number}.png")
        split = "train" if number < products * 2 // 3 else "validation" if number < products * 5 // 6 else "test"
        for question, answer in (("what color is it?", colour), ("how many?", "1" if number % 4 < 2 else "2")):
            rows.append(question_row(number, question, answer, split))
    for number in broken:
        (images / f"{number}.png").write_bytes(b"<html>")

    def body(run: StageRun) -> None:
        run.images = images
        run.write_table("questions", pa.Table.from_pylist(rows, schema=QUESTION_COLUMNS))

    build("split", folder / "split", Named(), {}, body)
    return folder / "split"


def picture(colour: tuple[int, int, int], seed: int = 0, side_px: int = 40) -> Image.Image:
    """A field of one colour with some noise."""
    noise = np.random.default_rng(seed).integers(-20, 20, (side_px, side_px, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def blip_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """Write a BLIP-VQA checkpoint with about 30 thousand weights, its tokenizer and its image processor."""
    from transformers import BertTokenizer, BlipConfig, BlipForQuestionAnswering, BlipImageProcessorPil

    folder.mkdir(parents=True, exist_ok=True)
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *("##" + one for one in letters)]
    vocabulary = list(dict.fromkeys(vocabulary))
    (folder / "vocab.txt").write_text("\n".join([*vocabulary, "[DEC]"]) + "\n")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder)
    text = {
        "vocab_size": len(vocabulary) + 1,
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "intermediate_size": 32,
        "projection_dim": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "bos_token_id": len(vocabulary),
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
        "initializer_range": 0.3,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "projection_dim": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.3,
    }
    torch.manual_seed(seed)
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=8)
    model = BlipForQuestionAnswering(config).eval()
    with torch.no_grad():  # so that the few channels can tell all words apart
        model.text_decoder.bert.embeddings.word_embeddings.weight.mul_(4)
    model.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def mini_checkpoint(folder: Path, *, seed: int = 0, answers: tuple[str, ...] = ("red", "blue", "mug")) -> Path:
    """Write a `mini` checkpoint of a few thousand weights."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import BertPreTokenizer

    from shelfqa.models.mini.configuration import MiniConfig
    from shelfqa.models.mini.modeling import MiniForQuestionAnswering
    from shelfqa.models.mini.processing import MiniProcessor

    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    torch.manual_seed(seed)
    config = MiniConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_attention_heads=2,
        text_layers=1,
        fusion_layers=1,
        pooled_size=16,
        max_tokens=16,
        image_side_px=64,
        stem_width=4,
        vision_stages=[
            [1, 3, 1, 1, 4],
            [1, 3, 2, 2, 4],
            [1, 3, 2, 2, 6],
            [1, 3, 2, 2, 6],
            [1, 3, 1, 2, 6],
            [1, 3, 2, 2, 8],
            [1, 3, 1, 2, 8],
        ],
        vision_head_width=8,
        id2label=dict(enumerate(answers)),
        label2id={answer: index for index, answer in enumerate(answers)},
    )
    MiniForQuestionAnswering(config).eval().save_pretrained(folder)
    MiniProcessor(tokenizer, image_side_px=64, max_tokens=16).save_pretrained(folder)
    return folder
