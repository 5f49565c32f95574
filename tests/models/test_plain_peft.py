"""Adapters that shelfqa saves, loaded by PEFT and transformers alone, as their cards say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel

from merging import adapter_of
from shelfqa.models.adapters.chat_processor import chat_processor
from shelfqa.models.base import Decoding, Loading, VqaModel, one_of_each
from shelfqa.models.loading import load_model
from tiny_chat import llava
from tiny_models import COLOURS, blip_checkpoint, picture
from tiny_pretrained import vilt_checkpoint

pytestmark = [
    pytest.mark.usefixtures("no_gradients"),
    # PEFT 0.21 asks transformers 5.23 for a property by its old name.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

QUESTION = "what color is it?"
PICTURE = picture(COLOURS["green"])
TOKENS = 5


def ours(checkpoint: Path, adapter: Path) -> tuple[VqaModel, str]:
    """The model with its adapter, and what it says, by the likeliest token each time."""
    model = load_model(str(checkpoint), adapter=adapter, device="cpu")
    found = model.answer(
        model.encode_images([PICTURE]), one_of_each([QUESTION], [0]), Decoding(1, beams=1, max_new_tokens=TOKENS)
    )
    return model, found[0][0].text


def blip_says(checkpoint: Path, model: Any) -> str:
    from transformers import AutoTokenizer, BlipImageProcessorPil

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    pixels = BlipImageProcessorPil.from_pretrained(checkpoint)(images=[PICTURE], return_tensors="pt")
    tokens = tokenizer([QUESTION], return_tensors="pt")
    found = model.generate(
        pixel_values=pixels["pixel_values"],
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
        max_new_tokens=TOKENS,
        do_sample=False,
    )
    return str(tokenizer.decode(found[0][1:], skip_special_tokens=True)).strip()


def llava_says(checkpoint: Path, model: Any) -> str:
    processor = chat_processor(str(checkpoint), Loading())
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[text], images=[PICTURE], return_tensors="pt")
    found = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    answer = found[0][inputs["input_ids"].shape[1] :]
    return str(processor.tokenizer.decode(answer, skip_special_tokens=True)).strip()


CASES: dict[str, tuple[Callable[[Path], Path], str, Callable[[Path, Any], str]]] = {
    "blip": (blip_checkpoint, "BlipForQuestionAnswering", blip_says),
    "llava": (llava, "LlavaForConditionalGeneration", llava_says),
}


@pytest.mark.parametrize("name", CASES)
def test_plain_peft_loads_the_adapter_and_answers_alike(name: str, tmp_path: Path) -> None:
    import transformers

    make, kind, says = CASES[name]
    checkpoint = make(tmp_path / "base")
    adapter = adapter_of(checkpoint, tmp_path / "adapter")
    model, answer = ours(checkpoint, adapter)
    card = (adapter / "README.md").read_text()
    assert f"{kind}.from_pretrained(" in card
    assert "PeftModel.from_pretrained(base," in card

    base = getattr(transformers, kind).from_pretrained(checkpoint).eval()
    untuned = says(checkpoint, base)
    plain = PeftModel.from_pretrained(base, str(adapter)).eval()
    theirs = plain.base_model.model.state_dict()
    assert theirs.keys() == model.module.state_dict().keys()
    assert all(bool((theirs[key] == value).all()) for key, value in model.module.state_dict().items())
    assert says(checkpoint, plain) == answer != untuned


def test_plain_peft_refuses_a_head_that_was_extended(tmp_path: Path) -> None:
    from transformers import ViltForQuestionAnswering

    checkpoint = vilt_checkpoint(tmp_path / "base")
    adapter = adapter_of(checkpoint, tmp_path / "adapter", answers=("gold", "pink"))
    model, _ = ours(checkpoint, adapter)
    assert model.learnable(["gold", "pink"]) == [True, True]
    card = (adapter / "README.md").read_text()
    assert "2 more outputs than the base" in card
    assert "PeftModel" not in card
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(ViltForQuestionAnswering.from_pretrained(checkpoint), str(adapter))
