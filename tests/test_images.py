from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shelfqa.errors import ImageError
from shelfqa.images import (
    connected_groups,
    data_uri,
    fingerprint_files,
    load_image,
    near_duplicate_pairs,
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


def test_hash_survives_scaling_and_recompression(tmp_path: Path) -> None:
    image = drawing(3)
    again = load_image(save(image.resize((70, 50)), tmp_path / "small.jpg", quality=60))
    others = [perceptual_hash(drawing(seed)) for seed in range(4, 30)]
    pairs = near_duplicate_pairs([perceptual_hash(image), perceptual_hash(again), *others])
    assert pairs.tolist() == [[0, 1]]


def test_groups_follow_chains() -> None:
    groups = connected_groups(5, np.array([[0, 1], [1, 4]]))
    assert groups[0] == groups[1] == groups[4]
    assert len(set(groups.tolist())) == 3


def test_no_edges_no_pictures() -> None:
    assert near_duplicate_pairs([]).shape == (0, 2)
    assert len(connected_groups(0, np.empty((0, 2), dtype=np.int64))) == 0


def test_fingerprints_keep_the_order(tmp_path: Path) -> None:
    good = save(drawing(5), tmp_path / "good.png")
    found = fingerprint_files([tmp_path / "none.jpg", good])
    assert found[0].perceptual_hash is None
    assert found[0].error is not None
    assert found[0].error.startswith("missing")
    assert (found[1].width_px, found[1].height_px) == (120, 90)


def test_data_uri_is_a_small_jpeg() -> None:
    uri = data_uri(drawing(6, (400, 300)), max_side_px=64)
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 8000
