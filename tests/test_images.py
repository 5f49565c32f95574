from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from shelfqa import images
from shelfqa.errors import ImageError
from shelfqa.images import (
    data_uri,
    decode_image,
    fingerprint_file,
    fingerprint_files,
    is_blank,
    load_image,
    perceptual_hash,
    try_image,
)


def drawing(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        w, h = random.integers(10, 50, size=2)
        draw.rectangle((int(x), int(y), int(x + w), int(y + h)), fill=tuple(int(v) for v in random.integers(0, 255, 3)))
    return image


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert load_image(save(image, tmp_path / "a.png")).getpixel((0, 0)) == (255, 255, 255)


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 0, 128, 0])
    loaded = load_image(save(image, tmp_path / "a.gif", transparency=1))
    assert loaded.mode == "RGB"
    assert loaded.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "RGB"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (8, 8), "white").convert(mode)
    name = "a.png" if mode == "1" else "a.jpg"
    loaded = load_image(save(image, tmp_path / name))
    assert loaded.mode == "RGB"
    assert min(loaded.getpixel((3, 3))) > 250  # type: ignore[arg-type]


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    values = np.full((4, 4), 32768, dtype=np.uint16)
    loaded = load_image(save(Image.fromarray(values), tmp_path / "a.png"))
    assert loaded.getpixel((0, 0)) == (127, 127, 127)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 10), "white")
    image.paste((255, 0, 0), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    loaded = load_image(save(image, tmp_path / "a.jpg", exif=exif, quality=95))
    assert loaded.size == (10, 30)
    red = loaded.getpixel((5, 5))
    assert isinstance(red, tuple)
    assert red[0] > 200 > 60 > red[1]


def test_scaling_down_never_up(tmp_path: Path) -> None:
    path = save(drawing(0, (200, 100)), tmp_path / "a.png")
    assert load_image(path, max_side_px=50).size == (50, 25)
    assert load_image(path, max_side_px=500).size == (200, 100)


def broken_files(folder: Path) -> dict[str, Path]:
    whole = io.BytesIO()
    drawing(1).save(whole, "JPEG")
    contents = {
        "empty": b"",
        "not-an-image": b"<html>not here</html>",
        "truncated": whole.getvalue()[: len(whole.getvalue()) * 3 // 4],
    }
    paths = {}
    for reason, data in contents.items():
        paths[reason] = folder / f"{reason}.jpg"
        paths[reason].write_bytes(data)
    return paths | {"missing": folder / "nowhere.jpg"}


def test_broken_files_are_named_not_crashed_on(tmp_path: Path) -> None:
    for reason, path in broken_files(tmp_path).items():
        with pytest.raises(ImageError) as caught:
            load_image(path)
        assert caught.value.reason == reason
        assert path.name in str(caught.value)
        assert try_image(path).image is None


def test_bombs_are_refused_before_decoding(tmp_path: Path) -> None:
    path = save(Image.new("1", (9000, 9000)), tmp_path / "bomb.png")
    with pytest.raises(ImageError, match="too-large"):
        load_image(path, max_pixels=1_000_000)


def bits_apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def test_hash_survives_scaling_and_recompression(tmp_path: Path) -> None:
    image = drawing(3)
    again = load_image(save(image.resize((70, 50)), tmp_path / "small.jpg", quality=60))
    assert bits_apart(perceptual_hash(image), perceptual_hash(again)) <= 32
    assert all(bits_apart(perceptual_hash(image), perceptual_hash(drawing(seed))) > 32 for seed in range(4, 30))


HASH_OF_DRAWING_3 = "f0b0a0d4cf9fcf26a264c51b8ccbb3743974cd8839d9b048196fab0d19f8ce8b"


def test_the_hash_is_the_one_that_tables_on_disk_hold() -> None:
    assert perceptual_hash(drawing(3)).hex() == HASH_OF_DRAWING_3


def test_fingerprints_keep_the_order(tmp_path: Path) -> None:
    good = save(drawing(5), tmp_path / "good.png")
    found = fingerprint_files([tmp_path / "none.jpg", good])
    assert found[0].perceptual_hash is None
    assert found[0].error is not None
    assert found[0].error.startswith("missing")
    assert (found[1].width_px, found[1].height_px) == (120, 90)


def test_a_fingerprint_tells_size_and_bytes(tmp_path: Path) -> None:
    path = save(drawing(5), tmp_path / "good.png")
    found = fingerprint_file(path)
    data = path.read_bytes()
    assert found == (
        120,
        90,
        len(data),
        hashlib.blake2b(data, digest_size=16).digest(),
        perceptual_hash(drawing(5)),
        False,
        None,
    )


def test_broken_files_have_their_bytes_hashed_and_a_reason_under_the_given_name(tmp_path: Path) -> None:
    paths = broken_files(tmp_path)
    for (reason, path), found in zip(
        paths.items(), fingerprint_files(list(paths.values()), names=[f"n/{reason}" for reason in paths]), strict=True
    ):
        assert found.error is not None
        assert found.error.startswith(f"{reason}: ")
        assert f"'n/{reason}'" in found.error
        assert str(tmp_path) not in found.error
        assert (found.perceptual_hash, found.width_px, found.height_px, found.blank) == (None, 0, 0, False)
        assert (found.content_hash is None) == (reason in ("missing", "empty"))
        assert found.file_bytes == (path.stat().st_size if path.exists() else 0)


def test_what_is_no_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would wait for ever
    (tmp_path / "folder.jpg").mkdir()
    inside = save(drawing(1), tmp_path / "good.jpg") / "below.jpg"
    paths = [tmp_path / "pipe.jpg", tmp_path / "folder.jpg", inside, tmp_path / "nul\0.jpg", tmp_path / ("x" * 300)]
    reasons = [str(found.error).split(":")[0] for found in fingerprint_files(paths)]
    assert reasons == ["unreadable", "unreadable", "missing", "unreadable", "unreadable"]
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 100)
    assert str(fingerprint_file(tmp_path / "good.jpg").error).startswith("too-large")


def test_bombs_are_refused_with_warnings_as_errors(tmp_path: Path) -> None:
    paths = [save(Image.new("1", size), tmp_path / f"{size[0]}.png") for size in ((9000, 9000), (14000, 14000))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fingerprint_files([*paths, save(drawing(1), tmp_path / "good.png")], workers=4)
        assert warnings.filters[0][0] == "error"
    assert [str(one.error).split(":")[0] for one in found] == ["too-large", "too-large", "None"]


def test_a_picture_that_would_start_a_program_is_refused() -> None:
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(ImageError, match="not-an-image"):
        decode_image(data, "a.jpg")


@pytest.mark.parametrize("raised", [MemoryError(), RecursionError("deep"), SyntaxError("broken"), KeyError(3)])
@pytest.mark.parametrize("step", ["load", "hash"])
def test_whatever_pillow_raises_one_picture_never_stops_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, step: str
) -> None:
    paths = [save(drawing(seed, (100 + seed, 90)), tmp_path / f"{seed}.png") for seed in range(3)]
    kept: Any = ImageOps.exif_transpose if step == "load" else images._low_frequencies

    def odd(image: Image.Image, **options: Any) -> Any:
        if image.width == 101:
            raise raised
        return kept(image, **options)

    monkeypatch.setattr(*((ImageOps, "exif_transpose") if step == "load" else (images, "_low_frequencies")), odd)
    found = fingerprint_files(paths)
    assert [one.error is None for one in found] == [True, False, True]
    assert found[1].content_hash is not None
    assert ("too-large" in str(found[1].error)) == isinstance(raised, MemoryError)


def noisy(level: int, spread: float) -> Image.Image:
    values = np.random.default_rng(0).normal(level, spread, (256, 256, 3)).round().clip(0, 255)
    return Image.fromarray(values.astype(np.uint8))


def with_line(width: int = 1, **options: Any) -> Image.Image:
    image = Image.new("RGB", (256, 256), "white")
    ImageDraw.Draw(image).line((20, 20, 230, 200), width=width, **options)
    return image


BLANK = {
    "one-pixel.png": Image.new("RGB", (1, 1), "white"),
    "transparent.png": Image.new("RGBA", (30, 30), (255, 0, 0, 0)),
    "grey-box.jpg": Image.new("RGB", (300, 200), (204, 204, 204)),
    "black.gif": Image.new("P", (40, 40)),
    "noise.png": noisy(250, 1.0),
    "noise.jpg": noisy(250, 1.5),
    "tall.png": Image.new("L", (1, 5000), 90),
}
NOT_BLANK = {
    "line.png": with_line(fill="black"),
    "pale-line.png": with_line(fill=(240, 240, 240)),
    "line.jpg": with_line(fill="grey"),
    "as-dark.png": with_line(width=9, fill=(255, 255, 200)),
    "fabric.png": noisy(120, 4.0),
    "drawing.jpg": drawing(2),
    "two-halves.png": Image.fromarray(np.repeat(np.array([[200, 210]], dtype=np.uint8), 50, axis=1)),
}


@pytest.mark.parametrize("name", [*BLANK, *NOT_BLANK])
def test_blank_pictures_are_told_from_faint_ones(tmp_path: Path, name: str) -> None:
    path = save((BLANK | NOT_BLANK)[name], tmp_path / name)
    found = fingerprint_file(path)
    assert found.error is None
    assert found.blank == (name in BLANK)
    assert is_blank(load_image(path)) == found.blank


def test_data_uri_is_a_small_jpeg() -> None:
    uri = data_uri(drawing(6, (400, 300)), max_side_px=64)
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 8000
