"""Reading pictures safely, and what is noted of each: size, hashes, whether it is blank.

A picture either comes back as clean RGB or raises `ImageError` with a reason that can be counted. What a shop's
archive holds (EXIF rotation, palettes, CMYK, transparency, truncated files, HTML saved as `.jpg`, decompression
bombs) is dealt with here and nowhere else. Which pictures are alike is found by `shelfqa.near_duplicates`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import stat
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shelfqa.errors import ImageError

MAX_PIXELS = 64_000_000
"""Pictures with more pixels than this are refused before they are decoded."""

MAX_FILE_BYTES = 1 << 29
"""Files of more bytes than this are refused before they are read: a film or a disk image under a picture's name."""

HASH_BITS = 256

BLANK_LEVELS = 4
BLANK_SHARE = 0.0005
"""A picture is near-blank if in each of red, green and blue fewer pixels than this share lie more than
`BLANK_LEVELS` (of 256) away from that colour's median.

Of 8,800 photographs of Amazon Berkeley Objects none is blank. The plainest are swatches of fabric and leather, which
show the product: the smoothest has 0.8% of such pixels, the next 2%. A thin lamp on white has 3.6%, the palest white
product on white 24%. Solid colours have none, a white page with noise of 1.5 levels saved as a JPEG under 0.01%; a line
of one pixel across a picture of 256 x 256 makes 0.4% (docs/decisions.md)."""

_BLANK_VARIANCE = 100.0
"""No near-blank picture's grey thumbnail has more: about 4² from the levels and 255² x the share from the rest, 49."""

_HASH_SIDE = 16
_HASH_INPUT_SIDE_PX = 64
_FILES_AT_ONCE = 16
_NEEDS_A_PROGRAM = frozenset({"EPS"})
"""Formats that Pillow decodes by starting another program, which a file from a catalogue must not make it do."""


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
    return decode_image(
        read_image_file(Path(path), str(path)), str(path), max_side_px=max_side_px, max_pixels=max_pixels
    )


def read_image_file(path: Path, name: str) -> bytes:
    """Return the bytes of the file, for `decode_image`; `name` is used in messages. Raises as `load_image` does."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise ImageError("unreadable", f"{name!r} is no file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError("too-large", f"{name!r} has {status.st_size} bytes, over {MAX_FILE_BYTES}")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("missing", f"no file at {name!r}") from None
    except OSError as error:
        raise ImageError("unreadable", f"{name!r}: {error.strerror}") from None
    except ValueError as error:
        raise ImageError("unreadable", f"{name!r} is no file name: {error}") from None
    except MemoryError:
        raise ImageError("too-large", f"{name!r} does not fit into memory") from None
    if not data:
        raise ImageError("empty", f"{name!r} has no bytes")
    return data


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
        except MemoryError:
            raise ImageError("too-large", f"{name!r} does not fit into memory") from None
        except Exception:
            raise ImageError("not-an-image", f"{name!r} is no picture that Pillow can read") from None
        if image.format in _NEEDS_A_PROGRAM:
            raise ImageError("not-an-image", f"{name!r} holds {image.format}, which is a program, not a picture")
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError("too-large", f"{name!r} has {width}x{height} pixels, over {max_pixels}")
        try:
            if max_side_px is not None:
                image.draft("RGB", (max_side_px, max_side_px))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            rgb = _on_white(image)
            if max_side_px is not None and max(rgb.size) > max_side_px:
                rgb.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
        except MemoryError:
            raise ImageError("too-large", f"{name!r} does not fit into memory") from None
        except Exception as error:
            raise ImageError("truncated", f"{name!r} breaks off while decoding ({error})") from None
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
    return _hash_of(_low_frequencies(image))


def _low_frequencies(image: Image.Image) -> NDArray[np.float32]:
    """Return the 16 x 16 lowest terms of the orthonormal DCT-II of the picture's grey 64 x 64 thumbnail."""
    from scipy.fft import dctn

    side = _HASH_INPUT_SIDE_PX
    grey = np.asarray(image.convert("L").resize((side, side), Image.Resampling.LANCZOS), dtype=np.float32)
    low: NDArray[np.float32] = dctn(grey, norm="ortho")[:_HASH_SIDE, :_HASH_SIDE]
    return low


def _hash_of(low: NDArray[np.float32]) -> bytes:
    middle = HASH_BITS // 2
    ordered = np.partition(low, (middle - 1, middle), axis=None)
    return np.packbits(low > (ordered[middle - 1] + ordered[middle]) / 2).tobytes()


def is_blank(image: Image.Image) -> bool:
    """Say whether the RGB picture is near-blank: one colour all over, but for noise (see `BLANK_SHARE`)."""
    counts = np.array(image.histogram(), dtype=np.int64).reshape(3, 256)
    pixels = image.width * image.height
    medians = (counts.cumsum(axis=1) * 2 < pixels).sum(axis=1, keepdims=True)
    away = np.abs(np.arange(256) - medians) > BLANK_LEVELS
    return bool(((counts * away).sum(axis=1) < BLANK_SHARE * pixels).all())


def content_hash(data: bytes) -> bytes:
    """Return the digest by which equal files are known: BLAKE2b, 16 bytes long."""
    return hashlib.blake2b(data, digest_size=16).digest()


class Fingerprint(NamedTuple):
    """What curation and splitting need to know of a picture file.

    Width and height are of the upright picture, 0 where it cannot be read; `file_bytes` is 0 and `content_hash`
    (BLAKE2b of the file's bytes, 16 bytes long) None where the file could not be opened or is too large;
    `perceptual_hash` (32 bytes) is None where the picture cannot be read, and `error` then says why.
    """

    width_px: int
    height_px: int
    file_bytes: int
    content_hash: bytes | None
    perceptual_hash: bytes | None
    blank: bool
    error: str | None

    @classmethod
    def unreadable(cls, error: str, *, file_bytes: int = 0, content_hash: bytes | None = None) -> Fingerprint:
        """Return what is known of a picture that there is not: why, and of its file, if that could be read."""
        return cls(0, 0, file_bytes, content_hash, None, False, error)


def fingerprint_file(path: str | Path, *, name: str | None = None) -> Fingerprint:
    """Return what is to be known of the picture at `path`, or why it cannot be read; never raises an `Exception`.

    Args:
        path: the file; all of the picture is decoded, so that a file that breaks off is found out.
        name: what to call the file in `error`; the path, if not given.

    """
    name = str(path) if name is None else name
    size, content = 0, None
    try:
        data = read_image_file(Path(path), name)
        size, content = len(data), content_hash(data)
        image = decode_image(data, name)
        low = _low_frequencies(image)
        variance = float((low * low).sum() - low[0, 0] ** 2) / _HASH_INPUT_SIDE_PX**2
        blank = variance <= _BLANK_VARIANCE and is_blank(image)
        return Fingerprint(image.width, image.height, size, content, _hash_of(low), blank, None)
    except ImageError as error:
        reason = str(error)
    except MemoryError:
        reason = f"too-large: {name!r} does not fit into memory"
    except Exception as error:
        reason = f"unreadable: {name!r} ({type(error).__name__}: {error})"
    return Fingerprint.unreadable(reason, file_bytes=size, content_hash=content)


def fingerprint_files(
    paths: Sequence[Path],
    *,
    names: Sequence[str] | None = None,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> list[Fingerprint]:
    """Return the fingerprint of each path, in order; threads suffice, as Pillow decodes without the lock.

    Args:
        paths: the files.
        names: what to call them in errors, as many as paths; the paths, if not given.
        workers: threads.
        progress: called with the number of files that are done.

    """
    called: Sequence[str | None] = names if names is not None else [None] * len(paths)

    def some(start: int) -> list[Fingerprint]:
        here = slice(start, start + _FILES_AT_ONCE)
        return [fingerprint_file(path, name=name) for path, name in zip(paths[here], called[here], strict=True)]

    found: list[Fingerprint] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")  # once for all threads: the filters are shared, each would restore the others'
        for fingerprints in pool.map(some, range(0, len(paths), _FILES_AT_ONCE)):
            found += fingerprints
            if progress is not None:
                progress(len(found))
    return found
