"""Pictures as the providers take them: JPEG files, and their bytes as text."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from shelfqa.images import decode_image, read_image_file

JPEG_QUALITY = 90

_JPEG = b"\xff\xd8\xff"


def as_jpeg(path: Path, side_px: int | None = None) -> bytes:
    """Return the picture as a JPEG file: its own bytes if it is one that is small enough.

    Args:
        path: the file.
        side_px: if given, scale down (never up) so that the longer side has at most this many pixels.

    Raises:
        ImageError: if the picture cannot be read.

    """
    data = read_image_file(path, str(path))
    if data.startswith(_JPEG) and (side_px is None or _longer_side_px(data) <= side_px):
        return data
    buffer = io.BytesIO()
    decode_image(data, str(path), max_side_px=side_px).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def base64_of(picture: bytes) -> str:
    """Return the bytes as base64 text."""
    return base64.b64encode(picture).decode("ascii")


def _longer_side_px(jpeg: bytes) -> float:
    """Return the longer side as the file's head tells it; infinity where it tells none."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            return max(image.size)
    except Exception:  # `decode_image` says what is wrong, and it gives a warning of a bomb as an error
        return float("inf")
