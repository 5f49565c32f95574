"""The bundled model without torch: the same answers, where it looked, and graphs that fit their weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from shelfqa.errors import InputError, UserError
from shelfqa.models.adapters.mini import MiniVqa
from shelfqa.models.base import Decoding, Loading, one_of_each
from shelfqa.models.mini import checkpoint_dir, runtime
from shelfqa.models.mini.modeling import MiniForQuestionAnswering
from shelfqa.models.mini.processing import MiniProcessor
from shelfqa.models.mini.runtime import MiniRuntime
from shelfqa.models.mini.square import levels
from tiny_models import mini_checkpoint

pytest.importorskip("onnxruntime")

QUESTIONS = (
    "What color is it?",
    "What is the main color of the body of the large drinking vessel on the left side of this picture?",
    "Is it round?",
    " ".join(["What shape is the handle?"] * 20),
)


def drawn(size: tuple[int, int], colour: str, at: tuple[int, int, int, int]) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    ImageDraw.Draw(picture).ellipse(at, fill=colour)
    return picture


def noise(width: int, height: int) -> Image.Image:
    small = np.random.default_rng(width).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height))


PICTURES = (
    drawn((256, 256), "red", (40, 60, 200, 220)),
    drawn((400, 90), "navy", (300, 5, 380, 85)),
    noise(97, 311),
    noise(640, 480),
)


@pytest.fixture(scope="module")
def shipped() -> MiniRuntime:
    return MiniRuntime.load(checkpoint_dir(), threads=1)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A checkpoint of a few thousand float32 weights with its graphs, a temperature and a threshold."""
    graphs = exporter()
    folder = mini_checkpoint(tmp_path / "tiny", answers=("red", "blue", "mug", "2", "round"))
    configure(folder, temperature=0.25, unanswerable_below=0.3)
    assert [file.name for file in graphs(folder)] == ["picture.onnx", "question.onnx"]
    return folder


def exporter() -> Callable[[Path], list[Path]]:
    pytest.importorskip("onnx")
    from shelfqa.models.mini.graphs import export_graphs

    return export_graphs


def configure(folder: Path, **settings: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | settings), encoding="utf-8")


def differences(found: MiniRuntime, model: MiniVqa) -> float:
    """The largest difference of a probability between both, over all answers to all questions about all pictures."""
    count = len(found.answers)
    most = 0.0
    for picture, seen in zip(PICTURES, found.encode(PICTURES), strict=True):
        with torch.inference_mode():
            queries = one_of_each(QUESTIONS, [0] * len(QUESTIONS))
            expected = model.answer(model.encode_images([picture]), queries, Decoding(count))
        for told, answers in zip(found.answer(seen, QUESTIONS, top_k=count), expected, strict=True):
            shares = {answer.text: answer.probability or 0.0 for answer in answers}
            assert told.best.text == answers[0].text
            most = max(most, *(abs(shares.get(text, 0.0) - share) for text, share in told.guesses))
    return most


def by_torch(folder: Path) -> MiniVqa:
    model = MiniVqa.from_pretrained(str(folder), "mini", Loading())
    model.module.eval()
    return model


def test_the_shipped_graphs_say_what_torch_says(shipped: MiniRuntime) -> None:
    assert differences(shipped, by_torch(checkpoint_dir())) < 1e-4


def test_any_checkpoint_can_be_exported(tiny: Path) -> None:
    assert differences(MiniRuntime.load(tiny), by_torch(tiny)) < 1e-5


def test_half_precision_weights_are_read_where_they_lie(tiny: Path) -> None:
    MiniForQuestionAnswering.from_pretrained(tiny).half().save_pretrained(tiny)
    for file in exporter()(tiny):
        assert file.stat().st_size < 100_000
    assert differences(MiniRuntime.load(tiny), by_torch(tiny)) < 1e-5


def test_the_shipped_graphs_are_what_the_export_writes(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((checkpoint_dir() / name).read_bytes())
    for file in exporter()(tmp_path):
        assert file.read_bytes() == (checkpoint_dir() / file.name).read_bytes()


def test_pictures_are_prepared_as_for_torch() -> None:
    processor = MiniProcessor.from_pretrained(checkpoint_dir())
    pictures = [*PICTURES, noise(3, 900), Image.new("L", (1, 1), 7), Image.new("RGBA", (300, 200), (9, 8, 7, 6))]
    expected = processor.images(pictures).numpy()
    pixels = levels(pictures, 256)
    assert pixels.dtype == np.uint8
    assert np.array_equal((pixels.astype(np.float32).transpose(0, 3, 1, 2) - 127) / 128, expected)


def test_temperature_and_threshold_come_from_the_configuration(tiny: Path) -> None:
    found = MiniRuntime.load(tiny)
    [seen] = found.encode(PICTURES[:1])
    [sharp] = found.answer(seen, ["red mug?"], top_k=5)
    configure(tiny, temperature=50.0)
    [flat] = MiniRuntime.load(tiny).answer(seen, ["red mug?"], top_k=5)
    assert flat.unanswerable
    assert flat.best.probability == pytest.approx(1 / 5, abs=0.02)
    assert [guess.text for guess in flat.guesses] == [guess.text for guess in sharp.guesses]
    first, second = (math.log(told.guesses[0].probability / told.guesses[-1].probability) for told in (sharp, flat))
    assert first / second == pytest.approx(50.0 / 0.25, rel=1e-2)
    assert sharp.unanswerable == (sharp.best.probability < 0.3)


def test_without_settings_nothing_is_scaled_or_unanswerable(tmp_path: Path) -> None:
    folder = mini_checkpoint(tmp_path)
    exporter()(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["temperature"], config["unanswerable_below"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = MiniRuntime.load(folder)
    assert found.calibration == (1.0, 0.0)
    assert not found.answer(found.encode(PICTURES[:1])[0], ["red?"])[0].unanswerable
    assert differences(found, by_torch(folder)) < 1e-5


def test_a_configuration_keeps_its_temperature(tiny: Path, tmp_path: Path) -> None:
    MiniForQuestionAnswering.from_pretrained(tiny).save_pretrained(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text(encoding="utf-8"))
    assert (config["temperature"], config["unanswerable_below"]) == (0.25, 0.3)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": -1.0}, {"unanswerable_below": 1.5}])
def test_settings_out_of_range_are_named(tiny: Path, wrong: dict[str, float]) -> None:
    configure(tiny, **wrong)
    with pytest.raises(InputError, match=next(iter(wrong))):
        MiniRuntime.load(tiny)
    with pytest.raises(InputError, match=next(iter(wrong))):
        by_torch(tiny)


def test_questions_asked_together_are_answered_as_alone(shipped: MiniRuntime) -> None:
    seen = shipped.encode(PICTURES)[1]
    for question, together in zip(QUESTIONS, shipped.answer(seen, QUESTIONS, top_k=3), strict=True):
        [alone] = shipped.answer(seen, [question], top_k=3)
        assert together.question == question
        assert [guess.text for guess in together.guesses] == [guess.text for guess in alone.guesses]
        assert np.allclose(together.attention, alone.attention, atol=1e-5)
    assert shipped.answer(seen, []) == []


def test_where_it_looked_sums_to_one_and_is_on_the_product(shipped: MiniRuntime) -> None:
    left = drawn((256, 256), "red", (10, 90, 80, 160))
    right = drawn((256, 256), "red", (180, 90, 250, 160))
    for seen, columns in zip(shipped.encode([left, right]), (slice(0, 4), slice(4, 8)), strict=True):
        for told in shipped.answer(seen, ["What color is it?", "What shape is it?"]):
            assert told.attention.shape == (8, 8)
            assert told.attention.min() >= 0
            assert told.attention.sum() == pytest.approx(1, abs=1e-5)
            assert told.attention[:, columns].sum() > 0.6


def test_where_it_looked_is_attention_times_the_length_of_what_is_sent(tiny: Path) -> None:
    found = MiniRuntime.load(tiny)
    [told] = found.answer(found.encode([PICTURES[3]])[0], ["red mug?"])
    assert np.allclose(told.attention.ravel(), looked_by_torch(tiny, PICTURES[3], "red mug?"), atol=1e-5)


@torch.inference_mode()  # type: ignore[untyped-decorator]
def looked_by_torch(folder: Path, picture: Image.Image, question: str) -> NDArray[np.float32]:
    model = MiniForQuestionAnswering.from_pretrained(folder).eval()
    processor = MiniProcessor.from_pretrained(folder)
    language, tokens = model.language, processor.questions([question])
    cells = model.connector(model.encode_images(processor.images([picture])))
    words = language.read(**tokens)
    queries = words[:, :1] + language.queries
    total = torch.zeros(cells.shape[1])
    for layer in language.fusion:
        read = layer.attention(queries, layer.attention.keys_values(words))
        queries = layer.attention_norm(queries + read)
        attention = layer.picture_attention
        keys, values = attention.keys_values(cells)
        query = attention._split(attention.query(layer.picture_norm(queries)))
        shares = (query @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        for head in range(attention.heads):
            width = query.shape[-1]
            sent = values[0, head] @ attention.output.weight[:, head * width : (head + 1) * width].T
            total += shares[0, head].sum(0) * sent.norm(dim=-1)
        queries = layer._transform(queries + attention.output((shares @ values).transpose(1, 2).flatten(2)))
    found: NDArray[np.float32] = (total / total.sum()).numpy()
    return found


def test_graphs_of_other_weights_are_refused(tiny: Path) -> None:
    model = MiniForQuestionAnswering.from_pretrained(tiny)
    model.extend_answers(["brimworth"])
    model.save_pretrained(tiny)
    with pytest.raises(InputError, match=r"other weights.*export_mini_onnx"):
        MiniRuntime.load(tiny)


def test_other_numbers_in_the_same_places_need_no_export(tiny: Path) -> None:
    model = MiniForQuestionAnswering.from_pretrained(tiny)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    model.save_pretrained(tiny)
    assert differences(MiniRuntime.load(tiny), by_torch(tiny)) < 1e-5


def test_what_is_missing_or_broken_is_one_line(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content, message in (
        ("question.onnx", b"no graph", "cannot be loaded"),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0{", "broken"),
        ("config.json", b"{", "broken"),
        ("config.json", b'{"model_type": "vilt"}', "no checkpoint of mini"),
        ("picture.onnx", None, r"no picture\.onnx"),
        ("config.json", None, r"no config\.json"),
    ):
        kept = (tiny / name).read_bytes()
        if content is None:
            (tiny / name).unlink()
        else:
            (tiny / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            MiniRuntime.load(tiny)
        assert "\n" not in str(caught.value)
        (tiny / name).write_bytes(kept)
    MiniRuntime.load(tiny)
    monkeypatch.setattr(runtime, "_PACKAGES", ("onnxruntime", "a_package_that_is_not_there"))
    with pytest.raises(UserError, match="pip install onnxruntime"):
        MiniRuntime.load(tiny)
