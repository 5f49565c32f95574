"""Published checkpoints become folders that are read like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from shelfqa.cli.models import models
from shelfqa.errors import InputError, UserError
from shelfqa.models.base import Decoding, Loading, one_of_each
from shelfqa.models.conversion import convert
from shelfqa.models.loading import load_model
from shelfqa.models.ofa.configuration import OfaConfig
from shelfqa.models.ofa.modeling import OfaForVisualQuestionAnswering
from shelfqa.models.ofa.processing import OfaProcessor
from shelfqa.models.vilbert.conversion import published_name
from shelfqa.models.vilbert.modeling import ViLbertForQuestionAnswering
from tiny_models import picture
from tiny_regions import ANSWERS, region_archives, tokenizer, vilbert_checkpoint


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the authors of ViLBERT would publish of a tiny model, and the model itself in `ours`."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("published")
    model = ViLbertForQuestionAnswering.from_pretrained(vilbert_checkpoint(folder / "ours"))
    weights = {f"module.{published_name(name)}": weight for name, weight in model.state_dict().items()}
    torch.save(weights | {"module.cls.predictions.bias": torch.ones(2)}, folder / "multi_task_model.bin")
    without_head = {name: weight for name, weight in weights.items() if "vil_prediction" not in name}
    torch.save(without_head, folder / "pretrained_model.bin")
    fields = model.config.to_dict()
    for name in ("id2label", "label2id", "model_type", "architectures", "task_specific_tokens"):
        fields.pop(name)
    (folder / "sizes.json").write_text(json.dumps(fields))
    (folder / "answers.json").write_text(json.dumps(ANSWERS))
    vocabulary = sorted(tokenizer().get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in vocabulary))
    return folder


def given(folder: Path, **change: Any) -> dict[str, Any]:
    paths = {"config": folder / "sizes.json", "answers": folder / "answers.json"}
    return paths | {"tokenizer": str(folder / "vocab.txt")} | change


def test_a_vilbert_answers_as_the_published_one(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(published / "multi_task_model.bin", out, "vilbert", **given(published))
    assert {file.suffix for file in out.iterdir()} == {".json", ".safetensors"}
    loading = Loading(regions=str(region_archives(tmp_path / "regions", (5,))))
    found = []
    for folder in (out, published / "ours"):
        model = load_model(str(folder), device="cpu", loading=loading)
        features = model.encode([model.inputs_of(Path("0.png"))])
        found.append(model.answer(features, one_of_each(["what color is it?"], [0]), Decoding(top_k=6)))
    assert found[0] == found[1]
    assert {answer.text for answer in found[0][0]} == set(ANSWERS)


def test_a_head_can_be_drawn_for_other_answers(published: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.txt").write_text("mug\nlamp\n")
    change = given(published, answers=tmp_path / "answers.txt")
    with pytest.raises(InputError, match="give --fresh-head"):
        convert(published / "pretrained_model.bin", tmp_path / "out", "vilbert", **change)
    assert not (tmp_path / "out").exists()
    convert(published / "pretrained_model.bin", tmp_path / "out", "vilbert", **change, fresh_head=True)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "mug", "1": "lamp"}


def ofa_folder(folder: Path) -> OfaForVisualQuestionAnswering:
    """Write a tiny OFA as the hub has it, but for its weights."""
    letters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ġc", "at"]
    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"])}
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\nĠ c\na t\n", encoding="utf-8")
    sizes = {"d_model": 8, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 32}
    sizes |= {f"{side}_{part}": 2 for side in ("encoder", "decoder") for part in ("layers", "attention_heads")}
    torch.manual_seed(0)
    config = OfaConfig(
        vocab_size=len(vocabulary) + 9192, token_bucket_size=8, image_bucket_size=8, resnet_type="resnet50",
        patch_image_size=64, **sizes,
    )  # fmt: skip
    config.save_pretrained(folder)
    model: OfaForVisualQuestionAnswering = OfaForVisualQuestionAnswering(config).eval()
    return model


def fairseq_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under the names of OFA's training code."""
    renamed = {}
    for name, weight in state.items():
        side = name.split(".")[0]
        for ours, theirs in (
            ("self_attn_mid_layer_norm", "attn_ln" if side == "encoder" else "self_attn_ln"),
            ("cross_attn_mid_layer_norm", "cross_attn_ln"),
            ("cross_attn_layer_norm", "encoder_attn_layer_norm"),
            ("cross_attn.", "encoder_attn."),
            ("ffn_layer_norm", "ffn_layernorm"),
        ):
            name = name.replace(ours, theirs)
        renamed[name] = weight
    return renamed


def test_an_ofa_is_read_from_both_of_its_formats(tmp_path: Path) -> None:
    model = ofa_folder(tmp_path / "hub")
    torch.save(model.state_dict(), tmp_path / "hub" / "pytorch_model.bin")
    arguments = {"patch_image_size": 64, "prompt_type": "none"}
    torch.save({"model": fairseq_names(model.state_dict()), "args": arguments}, tmp_path / "vqa.pt")
    convert(tmp_path / "hub" / "pytorch_model.bin", tmp_path / "one", "ofa")
    convert(tmp_path / "vqa.pt", tmp_path / "two", "ofa", tokenizer=str(tmp_path / "hub"))
    for name in ("one", "two"):
        again = OfaForVisualQuestionAnswering.from_pretrained(tmp_path / name, use_safetensors=True)
        wanted = model.state_dict()
        assert all(torch.equal(weight, wanted[key]) for key, weight in again.state_dict().items())
        processor = OfaProcessor.from_pretrained(tmp_path / name)
        assert processor.image_processor.size["height"] == 64
        assert len(processor.tokenizer) == model.config.vocab_size
        answering = load_model(str(tmp_path / name), device="cpu")
        features = answering.encode_images([picture((200, 30, 30))])
        assert answering.answer(features, one_of_each(["cat?"], [0]), Decoding(top_k=1, max_new_tokens=2))[0]


def test_what_is_missing_is_told(published: Path, tmp_path: Path) -> None:
    checkpoint = published / "multi_task_model.bin"
    (tmp_path / "some.txt").write_text("red\nblue\n")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    ofa_folder(tmp_path / "ofa")
    ofa = tmp_path / "ofa.bin"
    torch.save({}, ofa)
    out = tmp_path / "out"
    for arguments, options, message in (
        ((checkpoint, out, "vilbart"), {}, "Did you mean 'vilbert'"),
        ((tmp_path / "none.bin", out, "vilbert"), given(published), "There is no file"),
        ((checkpoint, tmp_path / "full", "vilbert"), given(published), "is there already"),
        ((checkpoint, out, "vilbert"), given(published, answers=None), "give --config, such as"),
        ((checkpoint, out, "vilbert"), given(published, answers=tmp_path / "some.txt"), "the answers ask for"),
        ((checkpoint, out, "vilbert"), given(published, tokenizer=str(tmp_path / "vocab.txt")), "knows 6 word pieces"),
        ((checkpoint, out, "vilbert"), given(published, tokenizer="none.txt"), "There is no vocabulary"),
        ((checkpoint, out, "vilbert"), given(published, tokenizer="no-such/words"), "cannot be reached"),
        ((ofa, out, "ofa"), {}, "as an OFA configuration"),
        ((ofa, out, "ofa"), {"answers": tmp_path / "some.txt"}, "leave out --answers"),
        ((ofa, out, "ofa"), {"config": tmp_path / "ofa" / "config.json"}, "the weights lack"),
    ):
        with pytest.raises(UserError, match=message):
            convert(*arguments, **options)  # type: ignore[arg-type]
        assert not out.exists()


def test_the_command_says_what_comes_next(published: Path, tmp_path: Path) -> None:
    flags = [f"--{name}={value}" for name, value in given(published).items()]
    arguments = ["convert", str(published / "multi_task_model.bin"), "--kind=vilbert", *flags]
    done = CliRunner().invoke(models, [*arguments, "--out", str(tmp_path / "one")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "weights -> " in done.stdout
    assert "shelfqa predict --model" in done.stdout
    done = CliRunner().invoke(models, [*arguments, "--out", str(tmp_path / "two"), "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["kind"] == "vilbert"
