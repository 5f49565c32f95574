"""BARTScore: transformers' own loss, whatever the batch."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from tiny_text_models import bart_checkpoint, bert_checkpoint

from shelfqa.errors import UserError
from shelfqa.metrics import bartscore, pretrained
from shelfqa.metrics.bartscore import FLOOR, BartScore, BartScorePrecision, BartScoreRecall, log_likelihoods
from shelfqa.metrics.base import Answered

TEXTS = ["red", "dark blue", "", "two", "light brown wood chair", "5 .", "🙂"]
PAIRS = list(itertools.product(TEXTS, TEXTS))
ROWS = Answered(predictions=[pair[0] for pair in PAIRS], answers=[pair[1] for pair in PAIRS])


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(bart_checkpoint(tmp_path_factory.mktemp("bart")))


def loss(model: Any, tokenizer: Any, source: str, target: str) -> float:
    import torch

    with torch.no_grad():
        labels = tokenizer(target, return_tensors="pt")["input_ids"]
        return float(model(**tokenizer(source, return_tensors="pt"), labels=labels).loss)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_with_the_loss_of_transformers(bart: str, dtype: str) -> None:
    import torch
    from transformers import AutoTokenizer, BartForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(bart)
    model = BartForConditionalGeneration.from_pretrained(bart).to(getattr(torch, dtype)).eval()
    tolerance = 2e-6 if dtype == "float32" else 1e-9
    expected = {(one, two): -loss(model, tokenizer, one, two) for one, two in PAIRS}
    loaded = pretrained.load("AutoModelForSeq2SeqLM", bart, device="cpu", dtype=dtype)
    found = log_likelihoods(loaded, ROWS.answers, [text or "" for text in ROWS.predictions])
    assert np.ptp(list(expected.values())) > 0.1
    assert found == pytest.approx([expected[two, one] for one, two in PAIRS], abs=tolerance, rel=tolerance)
    options: dict[str, Any] = {"model": bart, "dtype": dtype}
    there = [max(expected[two, one], FLOOR) for one, two in PAIRS]
    back = [max(expected[one, two], FLOOR) for one, two in PAIRS]
    assert BartScorePrecision(**options).score(ROWS) == pytest.approx(there, abs=tolerance, rel=tolerance)
    assert BartScoreRecall(**options).score(ROWS) == pytest.approx(back, abs=tolerance, rel=tolerance)
    mean = [(one + two) / 2 for one, two in zip(there, back, strict=True)]
    assert BartScore(**options).score(ROWS) == pytest.approx(mean, abs=tolerance, rel=tolerance)


def test_batches_and_order_change_nothing(bart: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = BartScore(model=bart, dtype="float64").score(ROWS)
    single = BartScore(model=bart).score(ROWS)
    assert np.abs(single - whole).max() < 2e-6
    turned = Answered(predictions=ROWS.predictions[::-1], answers=ROWS.answers[::-1])
    assert BartScore(model=bart).score(turned)[::-1].tolist() == single.tolist()
    monkeypatch.setattr(bartscore, "_BLOCK_TOKENS", 1)
    for dtype, tolerance in (("float64", 1e-12), ("float32", 2e-6)):
        metric = BartScore(model=bart, dtype=dtype)
        alone = [metric.score(Answered(predictions=[one], answers=[two]))[0] for one, two in PAIRS]
        assert np.abs(np.array(alone) - whole).max() < tolerance


def test_failure_is_worst_and_scores_are_cut(bart: str) -> None:
    rows = Answered(predictions=[None, "red"], answers=["red", "red"])
    scores = BartScorePrecision(model=bart).score(rows)
    assert scores[0] == FLOOR == pytest.approx(-10.825, abs=1e-3)
    assert FLOOR <= scores[1] <= 0
    long = Answered(predictions=["mug " * 2500], answers=["mug"])
    assert math.isfinite(BartScore(model=bart).score(long)[0])


def test_both_directions_are_computed_once(bart: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    true = bartscore.log_likelihoods

    def counting(model: Any, sources: Any, targets: Any) -> Any:
        calls.append(len(sources))
        return true(model, sources, targets)

    monkeypatch.setattr(bartscore, "log_likelihoods", counting)
    rows = Answered(predictions=["red", "blue"] * 1000, answers=["mug", "wood"] * 1000)
    for kind in (BartScorePrecision, BartScoreRecall, BartScore):
        kind(model=bart).score(rows)
    assert calls == [2, 2]


def test_settings_and_mistakes(bart: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert BartScore(model=bart).settings["model"] == bart
    with pytest.raises(UserError, match=r"facebook/bart-large-cnn.*hub cannot be reached.*model=FOLDER"):
        BartScore().score(ROWS)
    other = str(bert_checkpoint(tmp_path_factory.mktemp("bert")))
    with pytest.raises(UserError, match="Cannot load the model") as caught:
        BartScore(model=other).score(ROWS)
    assert "\n" not in str(caught.value)
