"""OFA's published tokenizer files are read, and questions and pictures prepared as its authors do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

from shelfqa.errors import InputError
from shelfqa.models.ofa.configuration import OfaConfig
from shelfqa.models.ofa.processing import OfaProcessor, answer_text, load_tokenizer, question_text


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published files in small: bytes, two merges, BART's special tokens."""
    folder = tmp_path_factory.mktemp("tokenizer")
    letters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ġc", "at"]
    vocab = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"])}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\nĠ c\na t\n", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "ofa"}))
    return folder


def test_the_published_tokenizer_files_are_read(tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    assert len(tokenizer) == 4 + 94 + 3 + 1 + 8192 + 1000
    ids = tokenizer(" cat?<bin_3>")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "Ġc", "at", "?", "<bin_3>", "</s>"]
    assert ids[4] == len(tokenizer) - 1000 + 3
    assert tokenizer.decode(ids, skip_special_tokens=True) == " cat?<bin_3>"
    OfaConfig().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(" cat?<bin_3>")["input_ids"] == ids
    assert len(load_tokenizer(tmp_path)) == len(tokenizer)
    with pytest.raises(InputError, match=r"vocab\.json"):
        load_tokenizer(tmp_path.parent)


def test_the_processor_prepares_as_the_authors(tokenizer_folder: Path, tmp_path: Path) -> None:
    made = OfaProcessor.from_pretrained(tokenizer_folder, image_side_px=96)
    made.save_pretrained(tmp_path)
    OfaConfig().save_pretrained(tmp_path)
    processor = OfaProcessor.from_pretrained(tmp_path)
    picture = Image.fromarray(np.random.RandomState(1).randint(0, 256, (50, 70, 3)).astype(np.uint8))
    pixels = processor.images([picture, picture.convert("L")])
    square = np.asarray(picture.resize((96, 96), Image.Resampling.BICUBIC), dtype=np.float32)
    wanted = (torch.from_numpy(square).permute(2, 0, 1) / 255 - 0.5) / 0.5
    assert pixels.shape == (2, 3, 96, 96)
    assert torch.allclose(pixels[0], wanted, atol=1e-6)

    asked = processor.questions(["Cat?", "c"])
    assert processor.tokenizer.convert_ids_to_tokens(asked["input_ids"][0]) == ["<s>", "Ġc", "at", "?", "</s>"]
    assert asked["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    prompts = processor.prompts(["Cat?", "c"], "prev_output")
    assert processor.tokenizer.convert_ids_to_tokens(prompts["decoder_input_ids"][1]) == ["<pad>", "<s>", "Ġc", "?"]
    assert prompts["decoder_attention_mask"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    assert processor.prompts(["Cat?"], "none") == {}
    assert processor.answers(asked["input_ids"]) == ["cat?", "c?"]


def test_texts_are_written_as_the_authors_do() -> None:
    assert question_text("?What  COLOR is the t-shirt and/or hat") == " what color is the t shirt and or hat?"
    assert question_text("one two three four?", max_words=2) == " one two?"
    assert answer_text(" Red ") == " red"
