"""What CLIP and ViLT gain from what a question's answers and a picture's questions have in common, one thread.

Both sides compute the same numbers with random weights of the published sizes; the run fails where they differ.

- CLIP ViT-B/32 reads the texts of one question with each answer of the list `common`: each text alone, as transformers'
  own `get_text_features` does, beside `shelfqa.models.adapters.packed_texts`. Words are one token, as nearly all of
  these are in CLIP's vocabulary, which is not at hand.
- ViLT-B/32 answers five questions about one picture of 384 x 384 pixels: one question at a time through transformers'
  `forward`, beside `ViltVqa`'s embedding of the patches once a picture.

    python benchmarks/shared_inputs.py
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

os.environ |= {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}

import torch

from shelfqa.models.adapters import dual_encoder
from shelfqa.models.adapters.vilt import ViltVqa
from shelfqa.models.answer_lists import answer_list

QUESTION = "What is the main color of the shoe?"
_TOLERANCE = 1e-4
_RUNS = 5


class _Words:
    """A tokenizer of whole words with CLIP's ends."""

    eos_token_id = 49407

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        words = [text.replace("?", " ?").replace(":", " :").split() for text in texts]
        known = {word: place for place, word in enumerate(sorted({word for some in words for word in some}))}
        return {"input_ids": [[49406, *(known[word] for word in some), self.eos_token_id] for some in words]}


def clip_sides() -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Return how texts are embedded alone, and how together."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    module = CLIPModel(CLIPConfig(text_config={"eos_token_id": _Words.eos_token_id})).eval()
    model = dual_encoder.DualEncoderVqa(module, _Words(), CLIPImageProcessorPil(), "clip")
    texts = [dual_encoder._Text(QUESTION, answer) for answer in answer_list("common", [])(QUESTION)]
    ids = model._tokens(texts)

    def alone() -> torch.Tensor:
        found, order = model._embed_each(ids)
        return found[torch.tensor(order).argsort()]

    def together() -> torch.Tensor:
        found, order = model._embed_packed(ids, texts)
        return found[torch.tensor(order).argsort()]

    return alone, together


def vilt_sides() -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Return how questions of one picture are answered alone, and how together."""
    from transformers import ViltConfig, ViltForQuestionAnswering

    module = ViltForQuestionAnswering(ViltConfig(num_labels=3129)).eval()
    pixels, mask = torch.randn(1, 3, 384, 384), torch.ones(1, 384, 384, dtype=torch.long)
    ids = torch.randint(1000, 30000, (5, 12))
    model = cast(ViltVqa, SimpleNamespace(module=module))

    def alone() -> torch.Tensor:
        rows = [module(input_ids=one[None], pixel_values=pixels, pixel_mask=mask).logits for one in ids]
        return torch.cat(rows)

    def together() -> torch.Tensor:
        patches = ViltVqa._embed(model, pixels).expand(len(ids), -1, -1)
        seen = torch.ones(patches.shape[:2], dtype=torch.long)
        found: torch.Tensor = module(input_ids=ids, image_embeds=patches, pixel_mask=seen).logits
        return found

    return alone, together


def seconds(work: Callable[[], torch.Tensor]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> int:
    """Print a line a model; return 1 where the sides differ."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    wrong = 0
    for name, sides in (("CLIP, 360 answers", clip_sides), ("ViLT, 5 questions", vilt_sides)):
        alone, together = sides()
        with torch.no_grad():
            difference = float((alone() - together()).abs().max())
            times = [(seconds(alone), seconds(together)) for _ in range(_RUNS)]
        slow, fast = (min(some) for some in zip(*times, strict=True))
        print(f"{name}: {slow:.2f} s alone, {fast:.2f} s together, ratio {slow / fast:.2f}, differ by {difference:.1e}")
        wrong += difference > _TOLERANCE
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
