"""What a user of the bundled model can see: it loads, answers, grows, and is trained by adapters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from shelfqa.errors import InputError
from shelfqa.models.mini import checkpoint_dir
from shelfqa.models.mini.modeling import MiniForQuestionAnswering
from shelfqa.models.mini.processing import MiniProcessor
from tiny_models import mini_checkpoint

COLOURS = {"red": (200, 20, 25), "blue": (25, 60, 190), "green": (30, 140, 50), "black": (15, 15, 15)}


@pytest.fixture(scope="module")
def shipped() -> tuple[MiniForQuestionAnswering, MiniProcessor]:
    folder = checkpoint_dir()
    model = MiniForQuestionAnswering.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), MiniProcessor.from_pretrained(folder)


@pytest.fixture
def tiny(tmp_path: Path) -> MiniForQuestionAnswering:
    folder = mini_checkpoint(tmp_path / "tiny", answers=("red", "blue", "mug", "2"))
    model: MiniForQuestionAnswering = MiniForQuestionAnswering.from_pretrained(folder).eval()
    return model


def tiny_inputs(model: MiniForQuestionAnswering) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        features = model.encode_images(torch.randn(2, 3, 64, 64, generator=generator))
    return {
        "image_features": features,
        "image_index": torch.tensor([1, 0, 1]),
        "input_ids": torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0], [2, 11, 3, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]]),
    }


def drawn_mug(colour: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (256, 256), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((140, 90, 226, 180), outline=colour, width=16)
    pen.rounded_rectangle((60, 60, 180, 215), 16, fill=colour)
    return picture


def answers_of(
    shipped: tuple[MiniForQuestionAnswering, MiniProcessor], pictures: list[Image.Image], asked: list[tuple[int, str]]
) -> tuple[list[str], Any]:
    model, processor = shipped
    with torch.inference_mode():
        features = model.encode_images(processor.images(pictures))
        words = processor.questions([question for _, question in asked])
        logits = model(features, torch.tensor([index for index, _ in asked]), **words).logits
    return [model.config.id2label[int(best)] for best in logits.argmax(-1)], logits


def test_finding_the_checkpoint_imports_no_torch() -> None:
    code = "import sys; from shelfqa.models.mini import checkpoint_dir; print(checkpoint_dir(), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.split() == [str(checkpoint_dir()), "False"]


def test_the_checkpoint_is_small_and_complete() -> None:
    files = {file.name: file.stat().st_size for file in checkpoint_dir().iterdir()}
    assert sum(files.values()) <= 40_000_000
    assert {"config.json", "model.safetensors", "tokenizer.json", "processor_config.json", "README.md"} <= set(files)


def test_it_tells_the_colour_of_a_drawn_mug(shipped: tuple[MiniForQuestionAnswering, MiniProcessor]) -> None:
    pictures = [drawn_mug(colour) for colour in COLOURS.values()]
    found, _ = answers_of(shipped, pictures, [(i, "What color is the mug?") for i in range(len(pictures))])
    assert found == list(COLOURS)


def test_neither_padding_nor_company_changes_an_answer(
    shipped: tuple[MiniForQuestionAnswering, MiniProcessor],
) -> None:
    red, blue = drawn_mug(COLOURS["red"]), drawn_mug(COLOURS["blue"])
    long = "What is the main color of the body of the large drinking vessel on the left side of this picture?"
    asked = [(0, "What color is it?"), (1, long), (0, "What is this product?"), (1, "What shape is the handle?")]
    _, together = answers_of(shipped, [red, blue], asked)
    for row, (index, question) in enumerate(asked):
        _, alone = answers_of(shipped, [(red, blue)[index]], [(0, question)])
        assert torch.allclose(together[row], alone[0], atol=1e-4)


def test_every_group_names_a_module(shipped: tuple[MiniForQuestionAnswering, MiniProcessor]) -> None:
    model, _ = shipped
    groups = model.module_groups()
    assert set(groups) == {"vision", "connector", "language", "head"}
    parameters = sum(p.numel() for name in groups.values() for p in model.get_submodule(name).parameters())
    assert parameters == sum(p.numel() for p in model.parameters())


def test_pictures_of_any_shape_become_white_squares(
    shipped: tuple[MiniForQuestionAnswering, MiniProcessor],
) -> None:
    _, processor = shipped
    pixels = processor.images([Image.new("RGB", (40, 10), "black"), Image.new("L", (3, 900))])
    assert pixels.shape == (2, 3, 256, 256)
    assert pixels.max() == pytest.approx(1.0)
    assert pixels.min() == pytest.approx(-127 / 128)
    assert (pixels[0, :, 0] == 1.0).all()


def test_any_word_can_be_spelled(shipped: tuple[MiniForQuestionAnswering, MiniProcessor]) -> None:
    _, processor = shipped
    unknown = processor.tokenizer.token_to_id("[UNK]")
    assert unknown not in processor.questions(["Is this a Zqxwvut-9000 (TM) by Brimworth & Sóns?"])["input_ids"]


def test_a_folder_without_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        MiniProcessor.from_pretrained(tmp_path)


def test_a_saved_model_answers_as_before(tiny: MiniForQuestionAnswering, tmp_path: Path) -> None:
    inputs = tiny_inputs(tiny)
    tiny.save_pretrained(tmp_path)
    again = MiniForQuestionAnswering.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert again.config.id2label == tiny.config.id2label
    assert torch.equal(again(**inputs).logits, tiny(**inputs).logits)
    assert torch.equal(again.language.queries, tiny.language.queries)


def test_answers_outside_the_table_do_not_count_in_the_loss(tiny: MiniForQuestionAnswering) -> None:
    inputs = tiny_inputs(tiny)
    with torch.no_grad():
        some = tiny(**inputs, labels=torch.tensor([2, -100, -100])).loss
        none = tiny(**inputs, labels=torch.tensor([-100, -100, -100])).loss
        expected = -tiny(**inputs).logits[0].log_softmax(-1)[2]
    assert float(some) == pytest.approx(float(expected), abs=1e-5)
    assert float(none) == 0.0


def test_new_answers_are_added_and_old_logits_kept(tiny: MiniForQuestionAnswering, tmp_path: Path) -> None:
    inputs = tiny_inputs(tiny)
    before = tiny(**inputs).logits
    tiny.extend_answers(["brimworth", "red", "vandelo", "brimworth"])
    assert list(tiny.config.id2label.values()) == ["red", "blue", "mug", "2", "brimworth", "vandelo"]
    assert tiny.config.label2id["vandelo"] == 5
    after = tiny(**inputs).logits
    assert torch.allclose(after[:, :4], before, atol=1e-6)
    tiny.save_pretrained(tmp_path)
    again = MiniForQuestionAnswering.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert torch.equal(again(**inputs).logits, after)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft 0.21 asks for it
def test_only_adapters_learn_under_lora(tiny: MiniForQuestionAnswering) -> None:
    peft = pytest.importorskip("peft")
    inputs = tiny_inputs(tiny)
    groups = tiny.module_groups()
    targets = [
        name
        for name, module in tiny.named_modules()
        if isinstance(module, torch.nn.Linear)
        and name.startswith((groups["connector"], groups["language"], "answer_head"))
    ]
    wrapped = peft.get_peft_model(tiny, peft.LoraConfig(r=2, target_modules=targets))
    wrapped.train()
    wrapped(**inputs, labels=torch.tensor([0, 1, 2])).loss.backward()
    learning = {name for name, parameter in wrapped.named_parameters() if parameter.grad is not None}
    assert learning
    assert all("lora_" in name for name in learning)
    touched = {target for target in targets if any(f".{target}.lora_B" in name for name in learning)}
    assert touched == set(targets)
