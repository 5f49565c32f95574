"""Metrics with options, from a line of text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shelfqa.errors import ConfigError
from shelfqa.metrics import METRICS
from shelfqa.metrics.base import Metric
from shelfqa.metrics.bertscore import BertScoreF1
from shelfqa.metrics.spec import options_of, parse, parse_all


@pytest.mark.parametrize("name", list(METRICS))
def test_a_plain_name_is_the_metric(name: str) -> None:
    assert isinstance(parse(name), Metric)
    assert parse(name).name == name


def test_options_have_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []

    def init(self: BertScoreF1, *, model: str = "m", layer: int | None = None, idf: bool = False) -> None:
        seen.append({"model": model, "layer": layer, "idf": idf})

    monkeypatch.setattr(BertScoreF1, "__init__", init)
    parse("bertscore_f1:model=some/folder, with a comma,layer=9,idf=true")
    parse("bertscore_f1: model = C:\\a ,layer=null, idf=0")
    assert seen == [
        {"model": "some/folder, with a comma", "layer": 9, "idf": True},
        {"model": "C:\\a", "layer": None, "idf": False},
    ]


def test_values_of_options() -> None:
    assert options_of("bertscore_f1")["layer"] == (int | None, None)
    assert options_of("exact_match") == {}
    assert parse("bertscore_f1:layer=3,idf=true,baseline=random").name == "bertscore_f1"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bertscore_f:layer=3", "Unknown metric 'bertscore_f'. Did you mean 'bertscore_f1'"),
        ("bertscore_f1:layers=3", "unknown option 'layers'. Did you mean 'layer'"),
        ("bertscore_f1:layer=three", "layer=three: expected `int | null`"),
        ("bertscore_f1:layer", "expected NAME:key=value"),
        ("bertscore_f1:", "expected NAME:key=value"),
        ("bertscore_f1:layer=3,layer=4", "'layer' is given twice"),
        ("exact_match:layer=3", "unknown option 'layer'. It has none"),
    ],
)
def test_mistakes_are_one_line(spec: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_metric_twice_is_named_by_its_specs() -> None:
    specs = ["exact_match", "sbert_cosine:pooling=cls", "sbert_cosine", "exact_match", "bertscore_f1:layer=2"]
    names = [metric.name for metric in parse_all(specs)]
    assert names == ["exact_match", "sbert_cosine:pooling=cls", "sbert_cosine", "bertscore_f1"]


def test_listing_metrics_imports_no_torch() -> None:
    code = (
        "import sys; from shelfqa.metrics import METRICS; from shelfqa.metrics.spec import parse; "
        "[parse(name) for name in METRICS]; assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
