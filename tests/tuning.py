"""Tiny models, eight pairs that they can learn, and a few steps of training: for tests of what is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from shelfqa.models.base import Decoding, Features, Loading, VqaModel, one_of_each
from shelfqa.models.loading import load_model
from shelfqa.records import Answer
from tiny_blip2 import BLIP2_FAMILIES
from tiny_chat import CHAT_FAMILIES, llava_next
from tiny_models import COLOURS, blip_checkpoint, mini_checkpoint, picture
from tiny_ofa import ofa_checkpoint
from tiny_pretrained import clip_checkpoint, siglip2_checkpoint, siglip_checkpoint, vilt_checkpoint
from tiny_regions import lxmert_checkpoint, vilbert_checkpoint

MAKERS: dict[str, Callable[[Path], Path]] = {
    **CHAT_FAMILIES,
    **BLIP2_FAMILIES,
    "llava_next": llava_next,
    "blip": blip_checkpoint,
    "clip": clip_checkpoint,
    "lxmert": lxmert_checkpoint,
    "mini": mini_checkpoint,
    "ofa": ofa_checkpoint,
    "siglip": siglip_checkpoint,
    "siglip2": siglip2_checkpoint,
    "vilbert": vilbert_checkpoint,
    "vilt": vilt_checkpoint,
}
"""A tiny checkpoint of each kind of model that can be tuned."""

PAIRS = [(image, question, answer) for image, colour in enumerate(COLOURS) for question, answer in (
    ("what color is it?", colour), ("how many?", str(1 + image % 2)))]  # fmt: skip
ANSWERS = [answer for _, _, answer in PAIRS]
QUERIES = one_of_each([question for _, question, _ in PAIRS], [image for image, _, _ in PAIRS])


def loaded(checkpoint: Path, **settings: Any) -> VqaModel:
    """Read a checkpoint, ready to learn the pairs' answers."""
    torch.set_num_threads(1)
    model = load_model(str(checkpoint), device="cpu", loading=Loading(**settings))
    model.prepare_for_training(Counter(ANSWERS))
    return model


def features_of(model: VqaModel) -> Features:
    """Encode the pairs' pictures."""
    return model.encode_images([picture(rgb, seed) for seed, rgb in enumerate(COLOURS.values())])


def trained(model: VqaModel, steps: int, rate: float = 0.01) -> list[float]:
    """Train what can be trained, in a model whose module has no dropout, and return the losses."""
    weights = [weight for weight in model.module.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=rate)
    losses = []
    for _ in range(steps):
        loss = model.loss(features_of(model), QUERIES, ANSWERS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@torch.no_grad()  # type: ignore[untyped-decorator]
def answers_of(model: VqaModel) -> list[list[Answer]]:
    """Answer the pairs' questions, choosing from their answers where the model can only choose."""
    candidates = tuple(dict.fromkeys(ANSWERS)) if model.needs_candidates else ()
    queries = [query._replace(candidates=candidates) for query in QUERIES]
    return model.answer(features_of(model), queries, Decoding(top_k=2, max_new_tokens=3))


def same_answers(left: list[list[Answer]], right: list[list[Answer]], within: float = 1e-4) -> bool:
    """Whether the texts are the same, and their probabilities nearly."""
    return all(
        [one.text for one in some] == [one.text for one in others]
        and all(
            abs((one.probability or 0) - (two.probability or 0)) < within for one, two in zip(some, others, strict=True)
        )
        for some, others in zip(left, right, strict=True)
    )
