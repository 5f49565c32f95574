"""Printed text on pictures, read by rapidocr without a network, for prompts that name what is written there.

Each picture is read once: what was found is appended to a file of JSON lines, by the digest of the picture's bytes,
with its confidence, so that a killed run loses at most the pictures it was reading, and thresholds can change later.
Of 50 photographs of Amazon Berkeley Objects at 256 px, 8 gave lines: large print on packages is right but for a letter
here and there, small logos are misspelt or missed, and 4 gave nothing but digits that are no print (hoops, a stitch).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from shelfqa.errors import ImageError, UserError
from shelfqa.images import content_hash, decode_image, read_image_file
from shelfqa.machine import processors
from shelfqa.progress import progress

MIN_SCORE = 0.8
"""Lines of less confidence are left out: on 256 px photographs of products they are edges and textures, not print."""

MAX_TOKENS = 30
"""Words that are kept of one picture, whole lines only, in reading order."""

DETECTOR_SIDE_PX = 480
"""The shorter side that pictures are scaled up to. 736, the library's default, takes twice as long on photographs of
256 px and finds little more that is spelt right; 384 begins to lose lines."""

_MAX_SIDE_PX = 1280
_MAX_ASPECT = 4
"""Longer strips are padded: the shorter side is scaled up, and the longer one with it."""

_MOST_WORKERS = 8


class Line(NamedTuple):
    """A line of print, and how sure the reader is of it, in [0, 1]."""

    text: str
    score: float


def read_texts(
    paths: Iterable[Path],
    *,
    cache: Path | None = None,
    min_score: float = MIN_SCORE,
    max_tokens: int = MAX_TOKENS,
    workers: int | None = None,
) -> dict[Path, tuple[str, ...]]:
    """Return the distinct lines of text on each picture in reading order; none for a picture that cannot be read.

    Args:
        paths: the pictures' files.
        cache: the file of what was read before, which is made and appended to; by default nothing is kept.
        min_score: the least confidence of a line, in [0, 1].
        max_tokens: the most words a picture.
        workers: threads, each with a reader of its own; by default one a processor.

    Raises:
        UserError: if the extra `ocr` is missing, or the cache cannot be written.

    """
    distinct = list(dict.fromkeys(paths))
    try:
        found = _read_all(distinct, cache, workers or min(processors(), _MOST_WORKERS))
    except OSError as error:
        raise UserError(f"Cannot keep what was read in {str(cache)!r}: {error.strerror or error}.") from None
    return {path: best_lines(found.get(path, ()), min_score=min_score, max_tokens=max_tokens) for path in distinct}


def best_lines(lines: Sequence[Line], *, min_score: float = MIN_SCORE, max_tokens: int = MAX_TOKENS) -> tuple[str, ...]:
    """Return the lines that are sure enough, each text once whatever its case, as long as their words are in bounds.

    >>> best_lines([Line("ORGANIC", 0.9), Line("x1", 0.4), Line("organic", 0.99), Line("green tea", 0.9)], max_tokens=2)
    ('ORGANIC',)
    """
    kept: dict[str, str] = {}
    words = 0
    for text, score in lines:
        text = " ".join(text.split())
        if score < min_score or not text or text.casefold() in kept:
            continue
        words += len(text.split())
        if words > max_tokens:
            break
        kept[text.casefold()] = text
    return tuple(kept.values())


def require_ocr() -> None:
    """Raise one line if the packages that read print are not installed."""
    for package in ("rapidocr", "onnxruntime"):
        if find_spec(package) is None:
            raise UserError(f"Reading printed text needs the package {package!r}: pip install 'shelfqa[ocr]'.")


class _Found(NamedTuple):
    digest: str
    lines: tuple[Line, ...]


def _read_all(paths: Sequence[Path], cache: Path | None, workers: int) -> dict[Path, tuple[Line, ...]]:
    require_ocr()
    reader = f"rapidocr {version('rapidocr')}, {DETECTOR_SIDE_PX} px"
    known = dict(_read_cache(cache, reader)) if cache is not None else {}
    readers = threading.local()
    found: dict[Path, tuple[Line, ...]] = {}

    def read(path: Path) -> _Found | None:
        try:
            data = read_image_file(path, str(path))
            digest = content_hash(data).hex()
            if digest in known:
                return _Found(digest, known[digest])
            image = decode_image(data, str(path), max_side_px=_MAX_SIDE_PX)
        except ImageError:
            return None
        if not hasattr(readers, "engine"):
            readers.engine = _engine()
        return _Found(digest, _lines(readers.engine, image))

    with progress("reading print", len(paths)) as tick, ThreadPoolExecutor(max(workers, 1)) as pool:
        waiting: Mapping[Future[_Found | None], Path] = {pool.submit(read, path): path for path in paths}
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                result = future.result()
                if result is not None:
                    found[waiting[future]] = result.lines
                    if cache is not None and result.digest not in known:
                        known[result.digest] = result.lines
                        _append(cache, {"digest": result.digest, "reader": reader, "lines": result.lines})
                tick(done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _engine() -> Any:
    """Return a reader for one thread: two readers are 1.2 to 1.4 times as fast as one reader with two threads."""
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_cls": False,  # whether a line stands on its head: on products it does not
            "Global.text_score": 0.0,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "Det.limit_side_len": DETECTOR_SIDE_PX,
            "Det.limit_type": "min",
        }
    )


def _lines(engine: Any, image: Image.Image) -> tuple[Line, ...]:
    least = -(-max(image.size) // _MAX_ASPECT)
    if min(image.size) < least:
        padded = Image.new("RGB", (max(image.width, least), max(image.height, least)), "white")
        padded.paste(image)
        image = padded
    try:
        result = engine(np.ascontiguousarray(np.asarray(image)[:, :, ::-1]))  # the reader expects blue first
    except Exception:  # of a picture that the reader does not like, there is no text
        return ()
    pairs = zip(result.txts or (), result.scores or (), strict=True)
    return tuple(Line(str(text), round(float(score), 3)) for text, score in pairs)


def _read_cache(cache: Path, reader: str) -> Iterator[tuple[str, tuple[Line, ...]]]:
    """Yield what the file holds of this reader; a line that broke off is passed over."""
    try:
        data = cache.read_bytes()
    except FileNotFoundError:
        return
    for line in data.splitlines():
        try:
            row = json.loads(line)
            if row["reader"] == reader:
                yield str(row["digest"]), tuple(Line(str(text), float(score)) for text, score in row["lines"])
        except (ValueError, TypeError, KeyError):
            continue


def _append(cache: Path, row: Mapping[str, object]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.open("a+b") as file:
        size = file.seek(0, 2)
        if size:
            file.seek(size - 1)
        broken_off = bool(size) and file.read(1) != b"\n"
        line = json.dumps(row, ensure_ascii=False).encode()
        file.write(b"\n" * broken_off + line + b"\n")
