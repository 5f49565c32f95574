"""Reading a folder of pictures without any table: one product a picture, its folder's name as the product type."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from shelfqa.catalogue import clean
from shelfqa.catalogue.listing import Listing, Reading
from shelfqa.errors import InputError
from shelfqa.records import Drop

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
"""The endings, in any case, of files taken as pictures."""


def read_images(folder: Path) -> Reading:
    """Return one listing for each picture in a folder and the folders in it, in the order of their paths.

    The product id is the path without its ending, or with it where two files differ in nothing else. The product
    type of `mugs/red.jpg` is `mugs`, as in torchvision's ImageFolder; a picture that lies at the top has none. Names
    and all texts are missing. Hidden files and folders are passed over, as are links that lead out of the folder and
    linked folders; files that are no pictures are counted in `notes` by their ending.

    Raises:
        InputError: if the folder is missing or holds no picture.

    """
    if not folder.is_dir():
        raise InputError(f"There is no folder at {str(folder)!r}: give the folder of the pictures.")
    notes: Counter[str] = Counter()
    paths = sorted(_pictures(folder, notes))
    if not paths:
        raise InputError(
            f"{str(folder)!r} holds no picture: expected files that end in {', '.join(IMAGE_SUFFIXES)}, "
            f"in the folder or folders in it."
        )
    stems = Counter(_stem(path) for path in paths)
    taken = frozenset(paths)
    reading = Reading([], [], notes, Counter())
    for path in paths:
        stem = _stem(path)
        shown = path.encode("utf-8", "backslashreplace").decode("utf-8")
        if shown != path:
            reading.drops.append(Drop(shown, 1, None, "file-name-not-utf8", f"{shown!r}: rename the file"))
            continue
        reading.languages["none"] += 1
        reading.listings.append(
            Listing(
                file=path,
                line=1,
                product_id=stem if stems[stem] == 1 and stem not in taken else path,
                image_path=path,
                product_type=clean.type_name(PurePosixPath(path).parent.name) if "/" in path else None,
            )
        )
    return reading


def has_images(folder: Path) -> bool:
    """Return whether the folder, or one in it, holds a picture."""
    return next(_pictures(folder, Counter()), None) is not None


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def _leads_into(link: Path, home: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(home)
    except (OSError, RuntimeError):
        return False


def _pictures(folder: Path, notes: Counter[str]) -> Iterator[str]:
    """Yield the relative path of each picture."""
    home = folder.resolve()

    def unreadable(error: OSError) -> None:
        notes[f"folder that cannot be read: {error.strerror}"] += 1

    for place, folders, files in os.walk(folder, onerror=unreadable):
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        notes["linked folder not followed"] += len(linked)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in linked)
        inside = Path(place).relative_to(folder)
        for name in sorted(files):
            path = Path(place) / name
            if name.startswith("."):
                continue
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                notes[f"file that is no picture: {path.suffix.lower() or 'without ending'}"] += 1
            elif path.is_symlink() and not _leads_into(path, home):
                notes["link that leads nowhere or out of the folder not followed"] += 1
            else:
                yield (inside / name).as_posix()
    if not notes["linked folder not followed"]:
        del notes["linked folder not followed"]
