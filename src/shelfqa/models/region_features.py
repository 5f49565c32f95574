"""Features of picture regions: what LXMERT and ViLBERT see instead of pixels, and reading those made elsewhere.

They come either from `shelfqa.models.grid_features` or from files, in one of two forms.

A Parquet file with a row a picture:

| column | holds |
| --- | --- |
| `image_path` | the picture's path as the catalogue has it |
| `features` | a list of r lists of d floats, or one list of r x d floats, region after region |
| `boxes` | a list of r lists of 4 floats, or one list of r x 4: corners x1, y1, x2, y2, as shares of width and height |

Reading one row decodes its row group: write them small (about 64 pictures each), in the order of use.

A folder with a NumPy archive a picture, `shirts/1.npz` or `1.npz` for the picture `shirts/1.jpg` (`1.jpg.npz` too):

| array | other names | holds |
| --- | --- | --- |
| `features` | `x` | [r, d], or [d, r] as OpenVQA has it |
| `boxes` | `bbox` | [r, 4], corners in pixels, or as shares of width and height |
| `width` | `image_width`, `image_w` | the picture's width in pixels, needed for boxes in pixels |
| `height` | `image_height`, `image_h` | its height |
| `num_boxes` | `num_bbox` | how many of the regions count, where the rest is padding; may be missing |

The other names are those of the bottom-up-attention extractors (arXiv 1707.07998). Other arrays are not touched.

A picture's path may be longer than what a row or an archive names, such as that of its file: its longest end that is
known counts.
"""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePath
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shelfqa.errors import InputError

FEATURE_SIZE = 2048
"""Channels of a region in LXMERT and ViLBERT."""

_COLUMNS = ("image_path", "features", "boxes")
_ROW_GROUPS_HELD = 2
_SLACK = 1e-3
"""How far a corner may lie outside the picture, in shares of its side, for rounding."""

_NAMES = {
    "features": ("features", "x"),
    "boxes": ("boxes", "bbox"),
    "width": ("width", "image_width", "image_w"),
    "height": ("height", "image_height", "image_h"),
    "count": ("num_boxes", "num_bbox"),
}


class Regions(NamedTuple):
    """Regions of n pictures."""

    features: Tensor
    """[n, r, d]"""
    boxes: Tensor
    """[n, r, 4], corners x1, y1, x2, y2 as shares of width and height, in 0..1"""


class RegionFeatures(ABC):
    """Precomputed regions of pictures, read one picture at a time; several threads may do so."""

    def __init__(self, source: Path, feature_size: int) -> None:
        self.source = source
        self.feature_size = feature_size

    @abstractmethod
    def __contains__(self, image_path: object) -> bool:
        """Return whether there are regions of the picture at `image_path`."""

    @abstractmethod
    def read(self, image_path: str) -> Regions:
        """Return the regions of one picture: [1, r, d] and [1, r, 4], float32.

        Raises:
            InputError: if there are none, or they have a wrong shape, a NaN or a box outside the picture.

        """

    def _checked(self, where: str, features: NDArray[Any], boxes: NDArray[Any]) -> Regions:
        """Return features [r, d] and boxes [r, 4] that are shares, if they are sound; `where` is for messages."""
        count = len(boxes)
        if boxes.shape != (count, 4) or not count:
            raise InputError(f"{where}: boxes have the shape {boxes.shape}, expected (regions, 4).")
        if features.shape != (count, self.feature_size):
            raise InputError(
                f"{where}: features have the shape {features.shape}, expected ({count}, {self.feature_size}) for "
                f"{count} boxes."
            )
        for name, values in (("features", features), ("boxes", boxes)):
            if not np.isfinite(values).all():
                raise InputError(f"{where}: {name} hold NaN or infinity.")
        outside = (boxes < -_SLACK).any(1) | (boxes > 1 + _SLACK).any(1)
        wrong = outside | (boxes[:, :2] > boxes[:, 2:]).any(1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"{where}: box {row} is {[round(float(side), 4) for side in boxes[row]]} in shares of the picture, "
                f"expected x1 <= x2 and y1 <= y2, all in 0..1."
            )
        return Regions(
            torch.from_numpy(np.array(features, dtype=np.float32, order="C"))[None],
            torch.from_numpy(np.clip(boxes, 0, 1).astype(np.float32))[None],
        )


def read_region_features(source: Path, *, feature_size: int = FEATURE_SIZE) -> RegionFeatures:
    """Open precomputed regions; only what tells which pictures there are is read at once.

    Args:
        source: a Parquet file or a folder of `.npz` files, as described above.
        feature_size: channels of a region, d.

    Raises:
        InputError: if it is missing or of another kind.

    """
    if source.is_dir():
        return _NpzFolder(source, feature_size)
    if source.suffix == ".parquet" and source.is_file():
        return _ParquetTable(source, feature_size)
    raise InputError(
        f"{str(source)!r} holds no region features: give a Parquet file (image_path, features, boxes), or a folder of "
        f".npz files."
    )


class _ParquetTable(RegionFeatures):
    def __init__(self, source: Path, feature_size: int) -> None:
        super().__init__(source, feature_size)
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(source)
            missing = [name for name in _COLUMNS if name not in self._file.schema_arrow.names]
            if missing:
                raise InputError(f"{str(source)!r} lacks the column {missing[0]!r}: expected {', '.join(_COLUMNS)}.")
            self._place: dict[str, tuple[int, int]] = {}
            for group in range(self._file.num_row_groups):
                paths = self._file.read_row_group(group, columns=["image_path"])["image_path"].to_pylist()
                for row, path in enumerate(paths):
                    if self._place.setdefault(str(path), (group, row)) != (group, row):
                        raise InputError(f"{str(source)!r} holds the picture {path!r} more than once.")
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"Cannot read {str(source)!r} as Parquet: {error}") from None
        self._lock = Lock()
        self._row_group = lru_cache(_ROW_GROUPS_HELD)(self._read_row_group)

    def __contains__(self, image_path: object) -> bool:
        return isinstance(image_path, str) and self._find(image_path) is not None

    def _find(self, image_path: str) -> tuple[int, int] | None:
        names = (image_path, *map(str, _ends(PurePath(image_path))))
        return next((self._place[name] for name in names if name in self._place), None)

    def read(self, image_path: str) -> Regions:
        where = f"{str(self.source)!r}, picture {image_path!r}"
        place = self._find(image_path)
        if place is None:
            raise InputError(f"{where}: there is no row for it.")
        group, row = place
        with self._lock:
            features, boxes = self._row_group(group)
        return self._checked(
            where,
            _matrix(where, "features", features[row].values, self.feature_size),
            _matrix(where, "boxes", boxes[row].values, 4),
        )

    def _read_row_group(self, group: int) -> tuple[Any, Any]:
        import pyarrow as pa

        try:
            table = self._file.read_row_group(group, columns=["features", "boxes"])
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"Cannot read row group {group} of {str(self.source)!r}: {error}") from None
        for name in ("features", "boxes"):
            kind = table[name].type
            if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
                raise InputError(f"{str(self.source)!r}: the column {name!r} holds {kind}, expected lists of floats.")
        return table["features"], table["boxes"]


def _matrix(where: str, name: str, values: Any, width: int) -> NDArray[Any]:
    """Return an Arrow array of rows, or of all rows' floats one after the other, as [rows, width]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    fault = InputError(f"{where}: {name} are no list of lists of {width} floats, nor one list of r x {width}.")
    if values is None:
        raise fault
    if hasattr(values, "flatten") and pa.types.is_nested(values.type):
        if values.null_count or set(pc.list_value_length(values).to_pylist()) - {width}:
            raise fault
        values = values.flatten()
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)) or len(values) % width:
        raise fault
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, width)


class _NpzFolder(RegionFeatures):
    def __contains__(self, image_path: object) -> bool:
        return isinstance(image_path, str) and self._find(image_path) is not None

    def _find(self, image_path: str) -> Path | None:
        for end in _ends(PurePath(image_path)):
            for name in (end.with_suffix(".npz"), PurePath(f"{end}.npz")):
                if (self.source / name).is_file():
                    return self.source / name
        return None

    def read(self, image_path: str) -> Regions:
        file = self._find(image_path)
        if file is None:
            raise InputError(f"{str(self.source)!r} holds no {PurePath(image_path).stem}.npz for {image_path!r}.")
        where = repr(str(file))
        try:
            with np.load(file, allow_pickle=False) as archive:
                found = {
                    field: np.asarray(archive[name], dtype=np.float32 if field == "features" else np.float64)
                    for field, names in _NAMES.items()
                    if (name := next((name for name in names if name in archive), None)) is not None
                }
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{where}: not a NumPy archive of arrays of numbers: {error}") from None
        for field in ("features", "boxes"):
            if field not in found:
                raise InputError(f"{where}: lacks the array {' or '.join(map(repr, _NAMES[field]))}.")
        features, boxes = found["features"], found["boxes"]
        if features.ndim == 2 and len(features) != len(boxes) and features.shape[1] == len(boxes):
            features = features.T
        if "count" in found and features.ndim == boxes.ndim == 2:
            count = int(_number(where, "count", found))
            features, boxes = features[:count], boxes[:count]
        return self._checked(where, features, _as_shares(where, boxes, found))


def _ends(path: PurePath) -> Iterator[PurePath]:
    """Yield the ends of a path, the longest first; what stands before the last `..` in it belongs to none.

    >>> [str(end) for end in _ends(PurePath("/pictures/shirts/1.jpg"))]
    ['pictures/shirts/1.jpg', 'shirts/1.jpg', '1.jpg']
    """
    if not path.name or path.name == "..":
        return
    parts = path.parts[1:] if path.is_absolute() else path.parts
    after = max((place + 1 for place, part in enumerate(parts) if part == ".."), default=0)
    for start in range(after, len(parts)):
        yield PurePath(*parts[start:])


def _as_shares(where: str, boxes: NDArray[Any], found: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Return boxes as shares of width and height; those with a corner beyond 1 are taken to be in pixels."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes) or not boxes.max() > 1 + _SLACK:
        return boxes
    if "width" not in found or "height" not in found:
        raise InputError(f"{where}: boxes are in pixels, which needs the arrays 'width' and 'height'.")
    width, height = _number(where, "width", found), _number(where, "height", found)
    if not (width > 0 and height > 0):
        raise InputError(f"{where}: the picture's size is {width:g} x {height:g}.")
    shares: NDArray[Any] = boxes / np.array([width, height, width, height])
    return shares


def _number(where: str, field: str, found: dict[str, NDArray[Any]]) -> float:
    if found[field].size != 1:
        raise InputError(f"{where}: {_NAMES[field][0]!r} has the shape {found[field].shape}, expected one number.")
    return float(found[field].reshape(-1)[0])
