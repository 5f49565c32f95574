"""Where a picture that a table names lies in the images folder: by a relative or absolute path, or by its URL."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

_URL = re.compile(r"(?:https?:)?//[^/\s]+\.[^/\s]+(?:/|$)|https?://", re.IGNORECASE)
_SHOPIFY_SIZE = re.compile(
    r"_(?:\d+x\d*|x\d+|pico|icon|thumb|small|compact|medium|large|grande|original|master)(?:_crop_[a-z]+)?(?:@\dx)?"
    r"(?=\.[a-z]+$)",
    re.IGNORECASE,
)
_AMAZON_SIZE = re.compile(r"\._[^/.]*_(?=\.[a-z]+$)", re.IGNORECASE)
_MAX_NAME_BYTES = 255


class Fault(NamedTuple):
    """Why a text names no picture; `reason` is a short slug for counting."""

    reason: str
    detail: str


class Found(NamedTuple):
    """The files of a folder: their relative paths, and the paths of each file name in their order."""

    paths: frozenset[str]
    by_name: dict[str, list[str]]


class PicturePaths:
    """Turns what a table says of a picture into a path relative to the images folder.

    A URL is looked up in the folder, which is listed once, when the first URL is met: the path after the host if a
    file lies there, else its file name (query left out, percent signs decoded) in the folder or any folder in it.
    Where that is missing, the name is tried without the size that Shopify and Amazon write into it (`mug_800x.jpg`,
    `71abc._AC_SL1500_.jpg`). Of several files of one name the first path in sorted order is taken and counted in
    `notes`. Where there is no such file, the file name is returned as it is.
    """

    def __init__(self, images: Path, notes: Counter[str]) -> None:
        self._images = images
        self._notes = notes

    def resolve(self, text: str) -> str | Fault:
        """Return the relative path with slashes, or why there is none."""
        text = text.strip()
        path = self._of_url(text) if _URL.match(text) else self._inside(text)
        if not isinstance(path, str):
            return path
        if "\0" in path or any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in _encodable(path).split("/")):
            return Fault("image-name-unusable", f"{path[:80]!r} can be no file name")
        return path

    def _inside(self, path: str) -> str | Fault:
        given, path = path, path.replace("\\", "/")
        outside = Fault("image-outside-folder", f"{given!r} is not under the images folder")
        if Path(path).is_absolute():
            try:
                path = Path(path).relative_to(self._images.absolute()).as_posix()
            except ValueError:
                return outside
        path = posixpath.normpath(path)
        return outside if path.startswith("../") or path in ("..", ".") else path

    def _of_url(self, url: str) -> str | Fault:
        try:
            path = unquote(urlsplit(url).path)
        except ValueError:
            path = ""
        path = posixpath.normpath(path.replace("\\", "/").lstrip("/"))
        name = posixpath.basename(path)
        if name in ("", ".", ".."):
            return Fault("no-image-id", f"{url!r} names no file")
        if path in self._files.paths:
            return path
        for tried in dict.fromkeys((name, _SHOPIFY_SIZE.sub("", name), _AMAZON_SIZE.sub("", name))):
            paths = self._files.by_name.get(tried)
            if not paths:
                continue
            if len(paths) > 1:
                self._notes["picture of a URL found in several folders: first taken"] += 1
            if tried != name:
                self._notes["picture of a URL found without the size in its name"] += 1
            return paths[0]
        self._notes["picture of a URL not in the images folder"] += 1
        return name

    @cached_property
    def _files(self) -> Found:
        by_name: dict[str, list[str]] = {}
        paths = sorted(_walk(self._images))
        for path in paths:
            by_name.setdefault(posixpath.basename(path), []).append(path)
        return Found(frozenset(paths), by_name)


def _encodable(path: str) -> str:
    return path.encode("utf-8", "replace").decode("utf-8")


def _walk(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(place).relative_to(folder).as_posix()
        for name in files:
            yield name if inside == "." else f"{inside}/{name}"
