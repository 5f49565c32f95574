"""Tiny random checkpoints of LXMERT and ViLBERT, each with a tiny ResNet of its own to see regions with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfqa.models.grid_features import GridFeatures
from tiny_models import WORDS

ANSWERS = ("red", "blue", "mug", "2", "yes", "wood")
CHANNELS = 12
CELLS = 3
SIDE_PX = 96


def tokenizer() -> Any:
    """A BERT tokenizer that knows a few words and all letters."""
    from transformers import BertTokenizer

    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *("##" + one for one in letters)]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    return BertTokenizer(vocab=vocabulary, model_max_length=512)


def tower(folder: Path, *, channels: int = CHANNELS, seed: int = 0) -> Path:
    """Write a ResNet and its grid of 9 regions."""
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 12, channels], depths=[1, 1, 1, 1])
    GridFeatures(ResNetModel(config), cells=CELLS, side_px=SIDE_PX).save_pretrained(folder)
    return folder


def lxmert_checkpoint(folder: Path, *, seed: int = 0, answers: tuple[str, ...] | None = ANSWERS) -> Path:
    """Write an LXMERT checkpoint; without `answers` its outputs mean LABEL_0 and so on, as on the hub."""
    from transformers import LxmertConfig, LxmertForQuestionAnswering

    words = tokenizer()
    names = {} if answers is None else _labels(answers)
    torch.manual_seed(seed)
    config = LxmertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        l_layers=2,
        x_layers=2,
        r_layers=2,
        max_position_embeddings=64,
        num_qa_labels=len(answers or ANSWERS),
        visual_feat_dim=CHANNELS,
        initializer_range=0.3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **names,
    )
    return _write(LxmertForQuestionAnswering(config), words, folder)


def vilbert_checkpoint(folder: Path, *, seed: int = 0, **change: Any) -> Path:
    """Write a ViLBERT checkpoint."""
    from shelfqa.models.vilbert.configuration import ViLbertConfig
    from shelfqa.models.vilbert.modeling import ViLbertForQuestionAnswering

    words = tokenizer()
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "vocab_size": len(words),
        "hidden_size": 12,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "max_position_embeddings": 64,
        "v_feature_size": CHANNELS,
        "v_hidden_size": 16,
        "v_num_hidden_layers": 2,
        "v_num_attention_heads": 2,
        "v_intermediate_size": 18,
        "bi_hidden_size": 24,
        "bi_num_attention_heads": 4,
        "v_biattention_id": [0, 1],
        "t_biattention_id": [1, 2],
        "initializer_range": 0.3,
        "task_specific_tokens": True,
    }
    dropout = dict.fromkeys(
        [f"{side}{part}_dropout_prob" for side in ("", "v_") for part in ("hidden", "attention_probs")], 0.0
    )
    config = ViLbertConfig(**(sizes | dropout | change), **_labels(ANSWERS))
    return _write(ViLbertForQuestionAnswering(config), words, folder)


def _labels(answers: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(answers)),
        "label2id": {answer: index for index, answer in enumerate(answers)},
    }


def _write(model: Any, words: Any, folder: Path) -> Path:
    model.eval().save_pretrained(folder)
    words.save_pretrained(folder)
    tower(folder / "regions")
    return folder


def region_archives(folder: Path, counts: tuple[int, ...], *, seed: int = 0) -> Path:
    """Write random regions of pictures `0.png`, `1.png` and so on, as many as `counts` says."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number, count in enumerate(counts):
        corners = np.sort(random.random((count, 2, 2)), axis=1).reshape(count, 4)
        features = random.standard_normal((count, CHANNELS)).astype(np.float32)
        np.savez(folder / f"{number}.npz", features=features, boxes=corners)
    return folder
