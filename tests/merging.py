"""Adapters of tiny models that change the answers, made without training, for tests of what is done with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from shelfqa.models.base import Loading
from shelfqa.models.cards import Tuning, base_of, tuning_card
from shelfqa.models.loading import load_model
from shelfqa.models.lora import LoraSettings, attach, save_adapter

SETTINGS = LoraSettings(rank=4, alpha=8, dropout=0.0, targets=("connector", "language"))
TUNING = Tuning("lora", "LoRA, rank 4", False, 16, 4, 40, 80, (0.25, 0.75), answers_added=0)


def adapter_of(
    checkpoint: Path | str,
    folder: Path,
    *,
    answers: Sequence[str] = (),
    settings: LoraSettings = SETTINGS,
    spread: float = 0.3,
    **loading: Any,
) -> Path:
    """Write an adapter with random weights for a checkpoint, whose table `answers` are added to."""
    torch.set_num_threads(1)
    model = load_model(str(checkpoint), device="cpu", loading=Loading(**loading))
    added = model.prepare_for_training(Counter(answers))
    torch.manual_seed(0)
    peft_model = attach(model, settings)
    with torch.no_grad():
        for name, weight in model.module.named_parameters():
            if "lora_B" in name:
                weight.normal_(0.0, spread)
    card = tuning_card(base_of(model), TUNING._replace(answers_added=added))
    save_adapter(model, peft_model, folder, card)
    return folder
