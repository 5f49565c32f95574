"""ViLBERT: equal to the authors' code, and what a user can see of it.

`golden/vilbert.json` holds what the authors' code computes from weights and regions that a rule gives; it was run
outside this repository.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shelfqa.errors import ConfigError, InputError
from shelfqa.models.vilbert.configuration import ViLbertConfig
from shelfqa.models.vilbert.conversion import (
    convert_state_dict,
    model_from_published,
    published_name,
    read_config,
    read_published,
)
from shelfqa.models.vilbert.modeling import ViLbertForQuestionAnswering
from shelfqa.models.vilbert.regions import with_global_region

GOLDEN = json.loads((Path(__file__).parent / "golden" / "vilbert.json").read_text())
ANSWERS = ["red", "blue", "mug", "2", "yes", "wood"]
CASES = pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["title"])
OTHER_HEADS = (
    *("cls.predictions.bias", "cls.imagePredictions.decoder.weight", "vil_prediction_gqa.logit_fc.0.weight"),
    *("vil_binary_prediction.logit_fc.3.bias", "vil_logit.weight", "vil_tri_prediction.bias", "vision_logit.bias"),
    *("linguisic_logit.weight", "bert.encoder.c_layer.0.biOutput.q_dense1.weight"),
)


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    """The weight that the golden numbers were made with."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    values = 0.5 * np.random.default_rng(seed).standard_normal(shape)
    return torch.from_numpy(values + 1 if len(shape) == 1 and name.endswith(".weight") else values)


def config_of(**change: Any) -> ViLbertConfig:
    labels = {answer: index for index, answer in enumerate(ANSWERS)}
    return ViLbertConfig(**(GOLDEN["config"] | change), id2label=dict(enumerate(ANSWERS)), label2id=labels)


def published_weights(config: ViLbertConfig) -> dict[str, Tensor]:
    """A checkpoint as the authors would publish it, the heads for other tasks included."""
    shapes = {
        published_name(name): tuple(w.shape) for name, w in ViLbertForQuestionAnswering(config).named_parameters()
    }
    return {name: drawn(name, shape) for name, shape in shapes.items()} | dict.fromkeys(OTHER_HEADS, torch.ones(2))


def model_of(config: ViLbertConfig, dtype: torch.dtype = torch.float64) -> ViLbertForQuestionAnswering:
    torch.set_default_dtype(dtype)
    try:
        return model_from_published(published_weights(config), config)
    finally:
        torch.set_default_dtype(torch.float32)


def inputs(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Three questions of 6, 3 and 5 tokens about 5, 7 and 3 regions: what the golden numbers were made with."""
    given = GOLDEN["inputs"]
    counts = given["region_counts"]
    rng = np.random.default_rng(given["regions_seed"])
    shape = (len(counts), max(counts) - 1)
    features, boxes = np.zeros((*shape, GOLDEN["config"]["v_feature_size"])), np.zeros((*shape, 4))
    mask = np.zeros(shape, dtype=bool)
    for row, count in enumerate(counts):
        drawn_features = rng.standard_normal((count, features.shape[2]))
        corners = np.sort(rng.random((count, 2, 2)), axis=1).reshape(count, 4)
        features[row, : count - 1], boxes[row, : count - 1], mask[row, : count - 1] = (
            drawn_features[1:],
            corners[1:],
            True,
        )
    regions = with_global_region(*(torch.from_numpy(part) for part in (features, boxes, mask)))
    return {
        **{name: torch.tensor(given[name]) for name in ("input_ids", "attention_mask", "token_type_ids", "task_ids")},
        "visual_features": regions.visual_features.to(dtype),
        "visual_positions": regions.visual_positions.to(dtype),
        "visual_attention_mask": regions.visual_attention_mask,
    }


@CASES
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 5e-5)], ids=["f64", "f32"])
def test_logits_are_those_of_the_authors(case: dict[str, Any], dtype: torch.dtype, tolerance: float) -> None:
    model = model_of(config_of(**case["config"]), dtype)
    with torch.no_grad():
        logits = model(**inputs(dtype)).logits
    assert logits.dtype == dtype
    assert (logits.double() - torch.tensor(case["logits"], dtype=torch.float64)).abs().max() < tolerance


@CASES
def test_gradients_are_those_of_the_authors(case: dict[str, Any]) -> None:
    model = model_of(config_of(**case["config"]))
    model(**inputs()).logits.sum().backward()
    gradients = {published_name(name): weight.grad for name, weight in model.named_parameters()}
    assert sorted(name for name, gradient in gradients.items() if gradient is None) == case["without_gradient"]
    norm = torch.cat([gradient.flatten() for gradient in gradients.values() if gradient is not None]).norm()
    assert float(norm) == pytest.approx(case["gradient_norm"], rel=1e-7)


@pytest.mark.parametrize(
    "change", [{}, {"task_specific_tokens": True, "dynamic_attention": True}], ids=["plain", "all"]
)
def test_neither_padding_nor_company_changes_an_answer(change: dict[str, Any]) -> None:
    model = model_of(config_of(**change))
    together = inputs()
    with torch.no_grad():
        expected = model(**together).logits
        for row, (tokens, regions) in enumerate(zip((6, 3, 5), (5, 7, 3), strict=True)):
            alone = {name: value[row : row + 1] for name, value in together.items()}
            alone = {
                name: value[:, :regions]
                if name.startswith("visual")
                else value[:, :tokens]
                if value.ndim > 1
                else value
                for name, value in alone.items()
            }
            assert torch.allclose(model(**alone).logits[0], expected[row], atol=1e-10)
            del alone["visual_attention_mask"]
            assert torch.allclose(model(**alone).logits[0], expected[row], atol=1e-10)


def test_what_is_absent_has_the_documented_meaning() -> None:
    model = model_of(config_of(task_specific_tokens=True))
    given = inputs() | {"token_type_ids": torch.zeros(3, 6, dtype=torch.long), "task_ids": torch.tensor([1, 1, 1])}
    with torch.no_grad():
        expected = model(**given).logits
        other_task = model(**(given | {"task_ids": torch.tensor([15, 15, 15])})).logits
        del given["token_type_ids"], given["task_ids"]
        assert torch.equal(model(**given).logits, expected)
    assert not torch.allclose(other_task, expected, atol=1e-3)


def test_region_0_is_the_mean_with_the_box_of_the_picture() -> None:
    features = torch.tensor([[[1.0, 4.0], [3.0, 0.0], [9.0, 9.0]]])
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.5, 0.2, 1.0, 0.6], [0.3, 0.3, 0.4, 0.4]]])
    regions = with_global_region(features, boxes, torch.tensor([[1, 1, 0]]))
    assert regions.visual_features.tolist() == [[[2.0, 2.0], [1.0, 4.0], [3.0, 0.0], [0.0, 0.0]]]
    assert regions.visual_positions[0, 0].tolist() == [0, 0, 1, 1, 1]
    assert torch.allclose(regions.visual_positions[0, 1:, 4], torch.tensor([0.5, 0.2, 0.0]))
    assert regions.visual_attention_mask.tolist() == [[True, True, True, False]]
    assert with_global_region(features, boxes).visual_attention_mask.all()


def test_a_saved_model_answers_as_before(tmp_path: Path) -> None:
    config = config_of(task_specific_tokens=True, dynamic_attention=True)
    model = model_of(config, torch.float32)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    again = ViLbertForQuestionAnswering.from_pretrained(tmp_path, dtype=torch.float32, use_safetensors=True).eval()
    assert again.config.to_dict() | {"_name_or_path": ""} == config.to_dict()
    assert again.config.model_type == "vilbert"
    with torch.no_grad():
        assert torch.equal(again(**inputs(torch.float32)).logits, model(**inputs(torch.float32)).logits)


def test_answers_outside_the_table_do_not_count_in_the_loss() -> None:
    model = model_of(config_of())
    with torch.no_grad():
        some = model(**inputs(), labels=torch.tensor([2, -100, 0]))
        none = model(**inputs(), labels=torch.tensor([-100, -100, -100]))
    logs = some.logits.float().log_softmax(-1)
    assert float(some.loss) == pytest.approx(float(-(logs[0, 2] + logs[2, 0]) / 2), abs=1e-6)
    assert float(none.loss) == 0.0
    assert none.logits.shape == (3, len(ANSWERS))


def test_new_answers_are_added_and_old_logits_kept(tmp_path: Path) -> None:
    model = model_of(config_of(), torch.float32)
    given = inputs(torch.float32)
    with torch.no_grad():
        before = model(**given).logits
        model.extend_answers(["brimworth", "red", "vandelo", "brimworth"])
        after = model(**given).logits
    assert list(model.config.id2label.values()) == [*ANSWERS, "brimworth", "vandelo"]
    assert model.config.label2id["vandelo"] == 7
    assert torch.allclose(after[:, :6], before, atol=1e-5)
    model.save_pretrained(tmp_path)
    again = ViLbertForQuestionAnswering.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.equal(again(**given).logits, after)


def test_every_weight_is_in_one_group() -> None:
    model = ViLbertForQuestionAnswering(config_of(task_specific_tokens=True, dynamic_attention=True))
    groups = model.module_groups()
    assert set(groups) == {"vision", "connector", "language", "head"}
    parameters = sum(p.numel() for name in groups.values() for p in model.get_submodule(name).parameters())
    assert parameters == sum(p.numel() for p in model.parameters())


def test_a_published_checkpoint_is_read_only_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "multi_task_model.bin"
    published = published_weights(config_of(task_specific_tokens=True))
    torch.save({f"module.{name}": weight for name, weight in published.items()}, file)
    (tmp_path / "config.json").write_text(json.dumps(GOLDEN["config"]))
    with pytest.raises(InputError, match="allow_pickle=True"):
        read_published(file)
    weights = read_published(file, allow_pickle=True)
    config = read_config(tmp_path / "config.json", ANSWERS, weights)
    assert config.task_specific_tokens
    assert not config.dynamic_attention
    model = model_from_published(weights, config)
    assert [model.config.id2label[index] for index in range(6)] == ANSWERS
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, published[published_name(name)].float())


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": Path("x")}, tmp_path / "bad.bin")
    (tmp_path / "broken.safetensors").write_bytes(b"<html>")
    for name in ("bad.bin", "broken.safetensors", "none.bin"):
        with pytest.raises(InputError, match=name):
            read_published(tmp_path / name, allow_pickle=True)


def test_weights_that_do_not_fit_are_named() -> None:
    config = config_of()
    model = ViLbertForQuestionAnswering(config)
    published = published_weights(config)
    with pytest.raises(InputError, match=r"has not: 'bert\.pooler\.weight'"):
        convert_state_dict(published | {"bert.pooler.weight": torch.ones(2)}, model)
    with pytest.raises(InputError, match=r"has not: 'bert\.embeddings\.task_embeddings\.weight'"):
        convert_state_dict(published | {"bert.embeddings.task_embeddings.weight": torch.ones(2)}, model)
    lacking = {name: weight for name, weight in published.items() if "v_pooler" not in name}
    with pytest.raises(InputError, match=r"lacks 'bert\.v_pooler\.dense\.weight', 'bert\.v_pooler\.dense\.bias'\."):
        convert_state_dict(lacking, model)
    with pytest.raises(InputError, match=r"'vil_prediction\.logit_fc\.3\.bias' has the shape \(5,\).*\(6,\)"):
        convert_state_dict(published | {"vil_prediction.logit_fc.3.bias": torch.ones(5)}, model)


def test_a_pretrained_checkpoint_gets_a_fresh_head() -> None:
    config = config_of()
    pretrained = {n: w for n, w in published_weights(config).items() if n.startswith(("bert.", "cls."))}
    with pytest.raises(InputError, match="give --fresh-head"):
        model_from_published(pretrained, config)
    model = model_from_published(pretrained, config, fresh_head=True)
    word = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(model.language.embeddings.words.weight, pretrained[word].float())
    assert float(model.answer_head.expand.weight.detach().std()) == pytest.approx(config.initializer_range, rel=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "roberta"}, "model is 'roberta'"),
        ({"fusion_method": "mull"}, "Did you mean 'mul'"),
        ({"v_hidden_act": "tanh"}, "v_hidden_act is 'tanh'. Known: gelu, relu, swish"),
        ({"bi_num_attention_heads": 5}, "bi_hidden_size 24 is no multiple"),
        ({"v_biattention_id": [0]}, "differ in length"),
        ({"v_biattention_id": [0, 3]}, "from fixed_v_layer .0. to 2"),
        ({"fixed_t_layer": 3}, "from fixed_t_layer .3. to 3"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**change)


def test_a_table_with_an_answer_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GOLDEN["config"]))
    with pytest.raises(InputError, match="'red' more than once"):
        read_config(tmp_path / "config.json", ["red", "blue", "red"], {})
    with pytest.raises(InputError, match="none"):
        read_config(tmp_path / "none.json", ANSWERS, {})
