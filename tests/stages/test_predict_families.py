"""Bad rows among good ones, through the stage, for every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image

from predicting import assert_same_answers, rows_of, table
from shelfqa.models.settings import PredictConfig
from shelfqa.stages.predict import predict
from tiny_blip2 import blip2_opt, instructblip_t5
from tiny_chat import CHAT_FAMILIES
from tiny_models import COLOURS, blip_checkpoint, picture
from tiny_ofa import ofa_checkpoint
from tiny_pretrained import clip_checkpoint, siglip_checkpoint, vilt_checkpoint
from tiny_regions import lxmert_checkpoint, vilbert_checkpoint

FAMILIES: dict[str, Callable[[Path], Path]] = {
    "blip": blip_checkpoint,
    "blip-2": blip2_opt,
    "instructblip": instructblip_t5,
    "ofa": ofa_checkpoint,
    **CHAT_FAMILIES,
    "vilt": vilt_checkpoint,
    "lxmert": lxmert_checkpoint,
    "vilbert": vilbert_checkpoint,
    "clip": clip_checkpoint,
    "siglip": siglip_checkpoint,
}
GOOD = [("red.png", "what color is it?"), ("blue.png", "how many?"), ("red.png", "is it red?"), ("green.png", "what?")]
ODD = {
    "corrupt": ("broken.png", "how many?", "not-an-image"),
    "cut off": ("cut.jpg", "how many?", "truncated"),
    "missing": ("gone.png", "how many?", "missing"),
    "empty question": ("red.png", "  ", "empty question"),
    "no picture": ("", "how many?", "no picture"),
    "CMYK": ("cmyk.jpg", "what color is it?", None),
    "one pixel": ("dot.png", "what is it?", None),
    "5,000 characters": ("red.png", "what color " * 454 + "is it?", None),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (name, rgb) in enumerate(COLOURS.items()):
        picture(rgb, seed).save(folder / f"{name}.png")
    picture((1, 2, 3)).convert("CMYK").save(folder / "cmyk.jpg")
    picture((9, 200, 3)).save(folder / "whole.jpg", quality=95)
    data = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "broken.png").write_bytes(b"not a picture")
    Image.new("RGB", (1, 1), "red").save(folder / "dot.png")
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_bad_rows_fail_alone(family: str, pictures: Path, tmp_path: Path) -> None:
    config = PredictConfig(model=str(FAMILIES[family](tmp_path / "model")), max_new_tokens=6, top_k=3)

    def answers(rows: list[tuple[str, str]], name: str) -> list[dict[str, object]]:
        predict(table(tmp_path, rows), tmp_path / name, config, images=pictures, device="cpu")
        return rows_of(tmp_path / name)

    expected = answers(GOOD, "plain")
    odd = [(path, question) for path, question, _ in ODD.values()]
    rows = answers([*odd[:3], *GOOD[:2], *odd[3:], *GOOD[2:]], "mixed")

    assert_same_answers([*rows[3:5], *rows[-2:]], expected)
    told = [str(row["error"]).split(":")[0] if row["error"] else None for row in [*rows[:3], *rows[5:-2]]]
    assert told == [reason for _, _, reason in ODD.values()]
    for row in rows:
        assert (row["prediction"] is None) == (row["error"] is not None)
        assert bool(row["alternatives"]) == (row["error"] is None)
    assert len(rows) == len(GOOD) + len(ODD)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_instructblip_answers_in_half_precision(
    dtype: Literal["float16", "bfloat16"], pictures: Path, tmp_path: Path
) -> None:
    model = str(instructblip_t5(tmp_path / "model"))  # of which transformers keeps parts in float32, with float16
    config = PredictConfig(model=model, max_new_tokens=3, dtype=dtype)
    predict(table(tmp_path, GOOD), tmp_path / "out", config, images=pictures, device="cpu")
    assert all(row["prediction"] is not None for row in rows_of(tmp_path / "out"))
