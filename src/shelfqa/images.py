"""Reading pictures safely, and telling near-duplicates apart.

A picture either comes back as clean RGB or raises `ImageError` with a reason that can be counted. What a shop's
archive holds (EXIF rotation, palettes, CMYK, transparency, truncated files, HTML saved as `.jpg`, decompression
bombs) is dealt with here and nowhere else.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shelfqa.errors import ImageError

MAX_PIXELS = 64_000_000
"""Pictures with more pixels than this are refused before they are decoded."""

HASH_BITS = 256
NEAR_DUPLICATE_BITS = 32
"""Two pictures whose hashes differ in at most this many of 256 bits count as near-duplicates.

Chosen by looking at pairs of Amazon Berkeley Objects photographs: up to 32 bits nearly all pairs are the same
photograph or the same product in another colour; the classic 64-bit hash chains unrelated products together
(docs/decisions.md)."""

_HASH_SIDE = 16
_HASH_INPUT_SIDE_PX = 64


class Loaded(NamedTuple):
    """A picture, or why there is none."""

    image: Image.Image | None
    error: str | None


def load_image(path: str | Path, *, max_side_px: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the picture at `path` as upright RGB, transparency laid on white.

    Args:
        path: the file.
        max_side_px: if given, scale down (never up) so that the longer side has at most this many pixels.
        max_pixels: refuse pictures with more pixels than this.

    Raises:
        ImageError: with reason `missing`, `empty`, `not-an-image`, `too-large` or `truncated`.

    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError("missing", f"no file at {str(path)!r}") from None
    except OSError as error:
        raise ImageError("unreadable", f"{str(path)!r}: {error.strerror}") from None
    if not data:
        raise ImageError("empty", f"{str(path)!r} has no bytes")
    return decode_image(data, str(path), max_side_px=max_side_px, max_pixels=max_pixels)


def decode_image(
    data: bytes, name: str, *, max_side_px: int | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Return the picture encoded in `data`; `name` is used in messages. Raises as `load_image` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of bombs and broken EXIF; both are handled below.
        try:
            image = Image.open(io.BytesIO(data))
        except Image.DecompressionBombError:
            raise ImageError("too-large", f"{name!r} has more pixels than Pillow decodes") from None
        except Exception:
            raise ImageError("not-an-image", f"{name!r} is no picture that Pillow can read") from None
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError("too-large", f"{name!r} has {width}x{height} pixels, over {max_pixels}")
        try:
            if max_side_px is not None:
                image.draft("RGB", (max_side_px, max_side_px))
            image.load()
            upright = ImageOps.exif_transpose(image)
            rgb = _on_white(upright)
        except Exception as error:
            raise ImageError("truncated", f"{name!r} breaks off while decoding ({error})") from None
    if max_side_px is not None and max(rgb.size) > max_side_px:
        rgb.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
    return rgb


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0.0) > 255 else 255.0
        image = Image.fromarray(np.clip(values * (255.0 / top), 0, 255).astype(np.uint8))
    return image.convert("RGB")


def try_image(path: str | Path, *, max_side_px: int | None = None) -> Loaded:
    """Return the picture, or the reason why there is none, without raising."""
    try:
        return Loaded(load_image(path, max_side_px=max_side_px), None)
    except ImageError as error:
        return Loaded(None, str(error))


def data_uri(image: Image.Image, *, max_side_px: int, quality: int = 82) -> str:
    """Return the picture as a JPEG data URI, scaled down so that its longer side has `max_side_px` at most."""
    small = image.copy()
    small.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def perceptual_hash(image: Image.Image) -> bytes:
    """Return the 256-bit DCT hash of the picture's grey values (pHash), as 32 bytes.

    The lowest 16 x 16 frequencies of a 64 x 64 thumbnail, each above or below their median. Scaling,
    recompression and small retouching change few bits.
    """
    from scipy.fft import dctn

    side = _HASH_INPUT_SIDE_PX
    grey = np.asarray(image.convert("L").resize((side, side), Image.Resampling.LANCZOS), dtype=np.float32)
    low = dctn(grey, norm="ortho")[:_HASH_SIDE, :_HASH_SIDE]
    return np.packbits(low > np.median(low)).tobytes()


class Fingerprint(NamedTuple):
    """What curation and splitting need to know of a picture file."""

    width_px: int
    height_px: int
    perceptual_hash: bytes | None
    error: str | None


def fingerprint_file(path: str | Path) -> Fingerprint:
    """Return size and perceptual hash of the picture at `path`, or why it cannot be read."""
    try:
        image = load_image(path)
    except ImageError as error:
        return Fingerprint(0, 0, None, str(error))
    return Fingerprint(image.width, image.height, perceptual_hash(image), None)


def fingerprint_files(
    paths: Sequence[Path], *, workers: int = 2, progress: Callable[[int], None] | None = None
) -> list[Fingerprint]:
    """Return the fingerprint of each path, in order; threads suffice, as Pillow decodes without the lock."""
    found: list[Fingerprint] = []
    with ThreadPoolExecutor(workers) as pool:
        for fingerprint in pool.map(fingerprint_file, paths):
            found.append(fingerprint)
            if progress is not None:
                progress(len(found))
    return found


def near_duplicate_pairs(hashes: Iterable[bytes], *, max_bits: int = NEAR_DUPLICATE_BITS) -> NDArray[np.int64]:
    """Return all pairs of positions (i < j) whose hashes differ in at most `max_bits` bits, shape [pairs, 2]."""
    packed = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, HASH_BITS // 8)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    found: list[NDArray[Any]] = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(signs), 1024):
        distance = (HASH_BITS - signs[start : start + 1024] @ signs[start:].T) / 2
        left, right = np.nonzero(distance <= max_bits)
        later = right > left
        found.append(np.stack([left[later] + start, right[later] + start], axis=1))
    return np.concatenate(found)


def connected_groups(size: int, edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the group number of each of `size` nodes; nodes joined by any chain of edges [n, 2] share one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    weights = np.ones(len(edges), dtype=np.int8)
    graph = coo_matrix((weights, (edges[:, 0], edges[:, 1])), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
