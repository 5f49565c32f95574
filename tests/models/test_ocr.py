"""Reading printed text: what is found, what is kept, and what survives a kill."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from shelfqa.errors import UserError
from shelfqa.models import ocr
from shelfqa.models.ocr import Line, best_lines, read_texts

needs_reader = pytest.mark.skipif(
    importlib.util.find_spec("rapidocr") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="needs the extra ocr: pip install 'shelfqa[ocr]'",
)


def label(path: Path, *lines: str) -> Path:
    """Draw a package with lines of print, one below the other."""
    image = Image.new("RGB", (260, 60 + 70 * len(lines)), (245, 245, 240))
    for number, text in enumerate(lines):
        ImageDraw.Draw(image).text((15, 30 + 70 * number), text, fill=(20, 20, 60), font=ImageFont.load_default(40))
    image.save(path)
    return path


@needs_reader
def test_print_is_read_in_order_and_broken_pictures_have_none(tmp_path: Path) -> None:
    package = label(tmp_path / "package.png", "GREEN TEA", "20 BAGS")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"<html>not found</html>")
    plain = tmp_path / "plain.png"
    Image.new("RGB", (64, 64), "white").save(plain)
    strip = tmp_path / "strip.png"
    Image.new("RGB", (200, 1), "white").save(strip)
    found = read_texts([package, broken, plain, strip, tmp_path / "absent.png"], workers=1)
    assert found == {
        package: ("GREEN TEA", "20 BAGS"),
        broken: (),
        plain: (),
        strip: (),
        tmp_path / "absent.png": (),
    }


@needs_reader
def test_a_second_run_reads_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "kept" / "texts.jsonl"
    package = label(tmp_path / "package.png", "COFFEE")
    copy = tmp_path / "copy.png"
    copy.write_bytes(package.read_bytes())
    first = read_texts([package], cache=cache)

    def no_engine() -> Any:
        raise AssertionError("was read again")

    monkeypatch.setattr(ocr, "_engine", no_engine)
    assert read_texts([package, copy], cache=cache) == first | {copy: ("COFFEE",)}
    assert read_texts([package], cache=cache, min_score=1.01) == {package: ()}


@needs_reader
def test_a_line_that_broke_off_costs_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "texts.jsonl"
    one, two = label(tmp_path / "one.png", "ONE"), label(tmp_path / "two.png", "TWO")
    read_texts([one], cache=cache)
    read_texts([two], cache=cache)
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-9])
    read: list[int] = []
    engine = ocr._engine

    def counted() -> Any:
        read.append(1)
        return engine()

    monkeypatch.setattr(ocr, "_engine", counted)
    assert read_texts([one, two], cache=cache) == {one: ("ONE",), two: ("TWO",)}
    assert read == [1]
    lines = cache.read_bytes().splitlines()
    assert json.loads(lines[-1]) == json.loads(whole.splitlines()[-1])
    assert len(lines) == 3
    assert read_texts([one, two], cache=cache) == {one: ("ONE",), two: ("TWO",)}


@needs_reader
def test_what_another_reader_found_is_not_used(tmp_path: Path) -> None:
    cache = tmp_path / "texts.jsonl"
    package = label(tmp_path / "package.png", "SOAP")
    read_texts([package], cache=cache)
    row = json.loads(cache.read_text())
    cache.write_text(json.dumps(row | {"reader": "older", "lines": [["SOUP", 1.0]]}) + "\n[]\nnull\n\n")
    assert read_texts([package], cache=cache) == {package: ("SOAP",)}


@needs_reader
def test_a_cache_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    package = label(tmp_path / "package.png", "SOAP")
    with pytest.raises(UserError, match="Cannot keep what was read"):
        read_texts([package], cache=package / "texts.jsonl")


def test_lines_are_sure_distinct_and_few() -> None:
    lines = [
        Line("Organic  Tea", 0.95),
        Line("ORGANIC TEA", 0.99),
        Line("lll", 0.5),
        Line(" ", 1.0),
        Line("20 bags", 0.9),
    ]
    assert best_lines(lines) == ("Organic Tea", "20 bags")
    assert best_lines(lines, max_tokens=3) == ("Organic Tea",)
    assert best_lines(lines, max_tokens=0) == ()
    assert best_lines(lines, min_score=0.4) == ("Organic Tea", "lll", "20 bags")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ocr, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'shelfqa\[ocr\]'"):
        read_texts([tmp_path / "package.png"])
