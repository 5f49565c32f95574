"""OFA computes what its authors' code computes, whatever the batch, and reads their published weights."""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor

from shelfqa.errors import InputError
from shelfqa.models.ofa.configuration import OfaConfig
from shelfqa.models.ofa.conversion import (
    convert_fairseq_state,
    convert_hub_state,
    fairseq_config,
    read_fairseq_checkpoint,
    read_hub_state,
)
from shelfqa.models.ofa.modeling import OfaForVisualQuestionAnswering

pytestmark = pytest.mark.usefixtures("no_gradients")

GOLDEN = json.loads((Path(__file__).parent / "golden" / "ofa.json").read_text(encoding="utf-8"))
PUBLISHED_CONFIG = {  # of OFA-Sys/ofa-base, what is not about sizes
    "activation_dropout": 0.0,
    "activation_function": "gelu",
    "add_type_embedding": True,
    "architectures": ["OFAModel"],
    "attn_scale_factor": 2.0,
    "classifier_dropout": 0.0,
    "code_image_size": 128,
    "code_layernorm_embedding": True,
    "forced_eos_token_id": 2,
    "model_type": "ofa",
    "resnet_model_path": None,
    "resnet_type": "resnet101",
    "torch_dtype": "float32",
    "transformers_version": "4.16.0.dev0",
}
EMBEDDING = "encoder.embed_tokens.weight"
TIED = ("decoder.embed_tokens.weight", "decoder.output_projection.weight")


def drawn_weight(name: str, shape: tuple[int, ...], salt: str) -> Tensor:
    """The weight of that name in the golden models."""
    draw = np.random.RandomState(zlib.crc32(f"{salt}{name}".encode())).standard_normal(shape).astype(np.float32)
    scale, centre = float(1.5 / np.prod(shape[1:])) ** 0.5, 0.0
    if name.endswith("running_var"):
        draw, scale, centre = np.abs(draw), 1.0, 0.5
    elif name.endswith("bn3.weight"):
        scale, centre = 0.02, 0.2
    elif len(shape) < 2:
        scale, centre = 0.1, float(name.endswith(("weight", "c_attn")))
    elif "embed_images" not in name and ("embed" in name or "table" in name):
        scale = 0.5
    return torch.from_numpy(np.asarray(draw * np.float32(scale) + np.float32(centre)))


def golden_model(case: dict[str, Any]) -> OfaForVisualQuestionAnswering:
    model: OfaForVisualQuestionAnswering = OfaForVisualQuestionAnswering(OfaConfig(**case["config"])).eval()
    shared = TIED[: 1 + model.config.share_decoder_input_output_embed]
    with torch.no_grad():
        for name, weight in model.state_dict(keep_vars=True).items():
            if weight.is_floating_point():
                weight.copy_(drawn_weight(EMBEDDING if name in shared else name, tuple(weight.shape), case["salt"]))
    return model


def pixels_of(seed: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, (3, 3, height, width)).astype(np.float32))


@pytest.fixture(scope="module", params=GOLDEN["cases"], ids=lambda case: case["name"])
def golden(request: pytest.FixtureRequest) -> tuple[OfaForVisualQuestionAnswering, dict[str, Any]]:
    return golden_model(request.param), request.param


@pytest.fixture(scope="module")
def published() -> OfaForVisualQuestionAnswering:
    return golden_model(GOLDEN["cases"][0])


def questions() -> dict[str, Tensor]:
    ids = torch.tensor(GOLDEN["input_ids"])
    return {"input_ids": ids, "attention_mask": (ids != 1).long()}


class ScoredEnd(LogitsProcessor):  # type: ignore[misc]
    """Ends an answer at the length limit, at the price that the model gives, as the authors' search does."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] < self.max_length - 1:
            return scores
        only_end = torch.full_like(scores, -torch.inf)
        only_end[:, 2] = scores[:, 2]
        return only_end


def test_encoder_and_decoder_are_the_authors(golden: tuple[OfaForVisualQuestionAnswering, dict[str, Any]]) -> None:
    model, case = golden
    for picture in case["pictures"]:
        pixels = pixels_of(picture["seed"], picture["height"], picture["width"])
        encoded = model.encoder(**questions(), pixel_values=pixels)
        decoder_input_ids = torch.tensor(GOLDEN["decoder_input_ids"])
        logits = model(encoder_outputs=encoded, decoder_input_ids=decoder_input_ids).logits
        assert torch.allclose(encoded.last_hidden_state[:, ::4, ::8], torch.tensor(picture["encoder"]), atol=3e-5)
        assert torch.allclose(logits[:, :, ::6], torch.tensor(picture["logits"]), atol=3e-5)


def test_search_finds_what_the_authors_finds(golden: tuple[OfaForVisualQuestionAnswering, dict[str, Any]]) -> None:
    model, case = golden
    for wanted in case["generation"]:
        beams, length = wanted["beams"], wanted["max_length"]
        found = model.generate(
            **questions(),
            pixel_values=pixels_of(7, 64, 64),
            num_beams=beams,
            num_return_sequences=beams,
            max_length=length,
            forced_eos_token_id=None,
            logits_processor=[ScoredEnd(length)],
            return_dict_in_generate=True,
            output_scores=True,
            **({"length_penalty": 0.0, "early_stopping": True} if beams > 1 else {}),
        )
        sequences = [[token for token in row if token != 1] for row in found.sequences[:, 1:].tolist()]
        assert sequences == [sequence for row in wanted["sequences"] for sequence in row]
        if beams > 1:
            assert found.sequences_scores.tolist() == pytest.approx(np.ravel(wanted["scores"]).tolist(), abs=1e-4)


def test_neither_padding_nor_company_changes_a_score(published: OfaForVisualQuestionAnswering) -> None:
    pixels, together = pixels_of(7, 64, 64), questions()
    answers = torch.tensor(GOLDEN["decoder_input_ids"])
    logits = published(**together, pixel_values=pixels, decoder_input_ids=answers).logits
    for row in range(3):
        tokens, length = int(together["attention_mask"][row].sum()), int((answers[row] != 1).sum())
        alone = published(
            input_ids=together["input_ids"][row : row + 1, :tokens],
            pixel_values=pixels[row : row + 1],
            decoder_input_ids=answers[row : row + 1, :length],
        ).logits
        assert torch.allclose(logits[row, :length], alone[0], atol=1e-5)


def test_prompts_of_any_length_share_a_batch(published: OfaForVisualQuestionAnswering) -> None:
    pixels, together = pixels_of(7, 64, 64), questions()
    prompts = [[0, 11, 25, 3, 17], [0, 22], [0, 5, 24]]
    padded = torch.tensor([[1] * (5 - len(prompt)) + prompt for prompt in prompts])
    settings: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 4, "length_penalty": 0.0}
    settings |= {"return_dict_in_generate": True, "output_scores": True, "forced_eos_token_id": None}
    found = published.generate(
        **together,
        pixel_values=pixels,
        decoder_input_ids=padded,
        decoder_attention_mask=(padded != 1).long(),
        **settings,
    )
    for row, prompt in enumerate(prompts):
        alone = published.generate(
            input_ids=together["input_ids"][row : row + 1],
            pixel_values=pixels[row : row + 1],
            decoder_input_ids=torch.tensor([prompt]),
            **settings,
        )
        written = [token for token in alone.sequences[0, len(prompt) :].tolist() if token != 1]
        assert [token for token in found.sequences[row, 5:].tolist() if token != 1] == written
        assert float(found.sequences_scores[row]) == pytest.approx(float(alone.sequences_scores[0]), abs=1e-5)


def test_questions_share_the_features_of_a_picture(published: OfaForVisualQuestionAnswering) -> None:
    pixels = pixels_of(8, 48, 80)
    features = published.encode_images(pixels[:1])
    assert features.shape == (1, 15, 1024)
    answers = torch.tensor(GOLDEN["decoder_input_ids"])
    given = published(**questions(), pixel_values=pixels[:1].expand(3, -1, -1, -1), decoder_input_ids=answers).logits
    shared = published(
        **questions(), image_features=features.expand(3, -1, -1), image_grid=(3, 5), decoder_input_ids=answers
    ).logits
    assert torch.allclose(shared, given, atol=1e-5)
    square = {"image_features": published.encode_images(pixels_of(7, 64, 64))}
    written = published.generate(**questions(), **square, num_beams=2, max_length=6)
    assert torch.equal(
        written, published.generate(**questions(), pixel_values=pixels_of(7, 64, 64), num_beams=2, max_length=6)
    )


@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_is_step_by_step_choice(published: OfaForVisualQuestionAnswering, use_cache: bool) -> None:
    inputs = {**questions(), "pixel_values": pixels_of(9, 64, 64)}
    tokens = torch.zeros(3, 1, dtype=torch.long)
    for _ in range(5):
        logits = published(**inputs, decoder_input_ids=tokens).logits[:, -1]
        logits[:, 2] = -torch.inf
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], dim=1)
    found = published.generate(
        **inputs, max_length=6, suppress_tokens=[2], forced_eos_token_id=None, use_cache=use_cache
    )
    assert torch.equal(found, tokens)


def test_a_text_needs_no_picture(published: OfaForVisualQuestionAnswering) -> None:
    logits = published(**questions(), decoder_input_ids=torch.tensor([[0, 4]] * 3)).logits
    alone = published(input_ids=torch.tensor([[0, 22, 6, 10, 2]]), decoder_input_ids=torch.tensor([[0, 4]])).logits
    assert torch.allclose(logits[1], alone[0], atol=1e-5)


def test_a_picture_beyond_the_positions_is_refused(published: OfaForVisualQuestionAnswering) -> None:
    with pytest.raises(InputError, match="sides of at most 672"):
        published.encoder(torch.tensor([[0, 2]]), image_features=torch.zeros(1, 43, 1024), image_grid=(43, 1))
    with pytest.raises(InputError, match="give image_grid"):
        published.encoder(torch.tensor([[0, 2]]), image_features=torch.zeros(1, 43, 1024))


def test_interpolated_positions_stretch_those_of_training(published: OfaForVisualQuestionAnswering) -> None:
    encoder = published.encoder
    plain = encoder.position_embedding((4, 4), 2)
    try:
        published.config.interpolate_position, published.config.orig_patch_image_size = True, 64
        assert torch.equal(encoder.position_embedding((4, 4), 2), plain)
        stretched = encoder.position_embedding((8, 8), 2)
        assert torch.allclose(stretched[0], plain[0], atol=1e-6)
        assert torch.allclose(stretched[63], plain[15], atol=1e-6)
    finally:
        published.config.interpolate_position, published.config.orig_patch_image_size = False, 256


def test_labels_are_read_behind_the_start_token(published: OfaForVisualQuestionAnswering) -> None:
    labels = torch.tensor([[10, 20, 2], [7, 2, -100], [9, 2, -100]])
    inputs = {**questions(), "pixel_values": pixels_of(7, 64, 64)}
    loss = published(**inputs, labels=labels).loss
    read = torch.tensor([[0, 10, 20], [0, 7, 2], [0, 9, 2]])
    scores = published(**inputs, decoder_input_ids=read).logits.log_softmax(-1)
    picked = [scores[row, place, label] for row in range(3) for place, label in enumerate(labels[row]) if label >= 0]
    assert float(loss) == pytest.approx(-float(torch.stack(picked).mean()), abs=1e-5)


def test_training_leaves_pictures_as_they_are(published: OfaForVisualQuestionAnswering) -> None:
    pixels = pixels_of(7, 64, 64)
    features = published.encode_images(pixels)
    published.train()
    try:
        assert torch.equal(published.encode_images(pixels), features)
        assert published.encoder.layers.training
    finally:
        published.eval()


def test_every_module_belongs_to_a_group(published: OfaForVisualQuestionAnswering) -> None:
    groups = published.module_groups()
    for prefixes in groups.values():
        assert all(published.get_submodule(prefix) is not None for prefix in prefixes)
    assert all(name.startswith(groups["language"]) for name, _ in published.named_parameters())


def test_a_saved_model_answers_as_before(
    golden: tuple[OfaForVisualQuestionAnswering, dict[str, Any]], tmp_path: Path
) -> None:
    model, _ = golden
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    again = OfaForVisualQuestionAnswering.from_pretrained(tmp_path).eval()
    inputs = {**questions(), "pixel_values": pixels_of(7, 64, 64), "decoder_input_ids": torch.tensor([[0, 4]] * 3)}
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    assert again.decoder.embed_tokens.weight is again.encoder.embed_tokens.weight


def test_the_published_configuration_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED_CONFIG | {"d_model": 768, "encoder_layers": 6}))
    config = OfaConfig.from_pretrained(tmp_path)
    assert (config.hidden_size, config.num_hidden_layers, config.decoder_start_token_id) == (768, 6, 0)
    with pytest.raises(ValueError, match="resnet50, resnet101, resnet152"):
        OfaConfig(resnet_type="vit")


def hub_state(model: OfaForVisualQuestionAnswering) -> dict[str, Tensor]:
    """Return weights as the hub's `pytorch_model.bin` holds them."""
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for side in ("encoder", "decoder"):
        state[f"{side}.token_rp_bucket"] = state[f"{side}.image_rp_bucket"] = torch.zeros(2, 2, dtype=torch.long)
    state["decoder.image_position_idx"] = torch.zeros(4, dtype=torch.long)
    for key in ("embed_image_positions.weight", "image_pos_ln.bias", "image_rel_pos_table_list.0.weight"):
        state[f"decoder.{key}"] = torch.zeros(2, 2)
    return state


def fairseq_state(model: OfaForVisualQuestionAnswering) -> dict[str, Tensor]:
    """Return weights as a fairseq `*.pt` holds them."""
    names = [
        ("self_attn_mid_layer_norm", "self_attn_ln"),
        ("cross_attn_mid_layer_norm", "cross_attn_ln"),
        ("cross_attn_layer_norm", "encoder_attn_layer_norm"),
        ("cross_attn.", "encoder_attn."),
        ("ffn_layer_norm", "ffn_layernorm"),
    ]
    state = {"encoder.version": torch.tensor([3.0]), "decoder.version": torch.tensor([3.0])}
    for name, value in hub_state(model).items():
        key = name
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        state[key.replace("self_attn_ln", "attn_ln") if key.startswith("encoder") else key] = value
    return state


def test_hub_weights_are_read(published: OfaForVisualQuestionAnswering, tmp_path: Path) -> None:
    torch.save(hub_state(published), tmp_path / "pytorch_model.bin")
    state = convert_hub_state(read_hub_state(tmp_path / "pytorch_model.bin"), published.config)
    wanted = published.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[key]) for key, value in state.items())


def test_a_folder_from_the_hub_is_loaded_as_it_is(published: OfaForVisualQuestionAnswering, tmp_path: Path) -> None:
    published.config.save_pretrained(tmp_path)
    torch.save(hub_state(published), tmp_path / "pytorch_model.bin")
    loaded, report = OfaForVisualQuestionAnswering.from_pretrained(
        tmp_path, use_safetensors=False, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.equal(loaded.encoder.pos_q_linear.weight, published.encoder.pos_q_linear.weight)


def test_fairseq_weights_are_read(golden: tuple[OfaForVisualQuestionAnswering, dict[str, Any]], tmp_path: Path) -> None:
    model, case = golden
    arguments = argparse.Namespace(
        no_scale_embedding=not model.config.scale_embedding,
        entangle_position_embedding=model.config.entangle_position_embedding,
        disable_entangle=not model.config.decoder_entangle_position_embedding,
        prompt_type="prev_output",
        patch_image_size=480,
        dropout=0.1,
    )
    averaged = fairseq_state(model)
    raw = {key: value + 1 for key, value in averaged.items()}
    file = tmp_path / "checkpoint.pt"
    torch.save({"args": arguments, "model": raw, "extra_state": {"ema": averaged, "best": np.float64(0.8)}}, file)
    checkpoint = read_fairseq_checkpoint(file)
    config = fairseq_config(checkpoint.state, checkpoint.arguments)
    ours = {key: value for key, value in case["config"].items() if key != "name"}
    assert {key: getattr(config, key) for key in ours} == ours
    assert config.prompt_type == "prev_output"
    state = convert_fairseq_state(checkpoint.state, config)
    wanted = model.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[key]) for key, value in state.items())


def test_weights_that_do_not_fit_are_named(published: OfaForVisualQuestionAnswering, tmp_path: Path) -> None:
    state, config = hub_state(published), published.config
    with pytest.raises(InputError, match=r"'encoder\.layers\.0\.w_resid'"):
        convert_hub_state(state | {"encoder.layers.0.w_resid": torch.ones(32)}, config)
    with pytest.raises(InputError, match=r"lack 'encoder\.pos_ln\.bias'"):
        convert_hub_state({key: value for key, value in state.items() if key != "encoder.pos_ln.bias"}, config)
    with pytest.raises(InputError, match=r"'encoder\.pos_ln\.bias \(3,\)' has not the shape"):
        convert_hub_state(state | {"encoder.pos_ln.bias": torch.ones(3)}, config)
    with pytest.raises(InputError, match="differs from"):
        convert_hub_state(state | {TIED[1]: state[TIED[1]] + 1}, config)
    with pytest.raises(InputError, match="no 'encoder"):
        fairseq_config({"encoder.version": torch.ones(1)}, {"dropout": 0.1})
    torch.save({"a": Path}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match=r"cannot read the weights .*evil\.pt"):
        read_fairseq_checkpoint(tmp_path / "evil.pt")
