"""What a catalogue is made of, told by what lies in its place, and how it is read into parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

from shelfqa.catalogue import abo, exports, image_folder, tabular
from shelfqa.catalogue.languages import Languages
from shelfqa.catalogue.listing import Reading
from shelfqa.catalogue.parts import Part
from shelfqa.catalogue.settings import CurateSettings
from shelfqa.errors import InputError


class Source(Protocol):
    """A catalogue that can be read."""

    images: Path | None
    """The folder that image paths are relative to, if there is one."""
    image_table: Path | None
    """The table that turns image ids into paths, where listings name ids."""
    twice: bool
    """Whether reading briefly first, and then what is kept once more, takes less time than reading all."""

    def read(self, folder: Path, *, brief: bool) -> list[Part]:
        """Read all listings into parts under `folder`, and return the parts in order."""

    def read_lines(self, folder: Path, lines: Mapping[str, Collection[int]]) -> list[Part]:
        """Read the given lines of each file once more, whole."""

    def close(self) -> None:
        """Let go what was kept between readings."""


class TableSource:
    """Tables, or a folder of pictures: read as a whole, in this process."""

    image_table: Path | None = None
    twice = False

    def __init__(self, read: Callable[[], Reading], images: Path | None) -> None:
        self.images = images
        self._read = read

    def read(self, folder: Path, *, brief: bool) -> list[Part]:
        """Read all listings into one part."""
        reading = self._read()
        part = Part(folder, 0)
        part.write(
            [*(listing.with_keys() for listing in reading.listings), *reading.drops], reading.notes, reading.languages
        )
        return [part]

    def read_lines(self, folder: Path, lines: Mapping[str, Collection[int]]) -> list[Part]:
        """Is not needed, since tables are never read briefly."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is kept."""


def open_source(catalogue: Path, images: Path | None, settings: CurateSettings, workers: int) -> Source:
    """Return how the catalogue is read.

    Args:
        catalogue: a folder in ABO's layout, a table, a folder of tables, or a folder of pictures alone.
        images: the folder of the pictures, where it is not the catalogue's own.
        settings: languages, mapping, columns, and whether pictures are looked at.
        workers: processes that read.

    Raises:
        InputError: if the catalogue or its pictures are missing.

    """
    look = settings.check_images != "none"
    if not catalogue.exists():
        raise InputError(f"There is no catalogue at {str(catalogue)!r}: give a folder or a table file.")
    if images is not None and not images.is_dir():
        raise InputError(f"There is no folder at {str(images)!r}: give the folder of the pictures with --images.")
    exports.check(settings.mapping)
    if catalogue.is_dir() and abo.is_abo(catalogue):
        return abo.AboSource(abo.find_parts(catalogue, images, pictures_needed=look), settings.languages, workers)
    files = tabular.table_files(catalogue)
    if not files:
        if not image_folder.has_images(catalogue):
            raise InputError(
                f"{str(catalogue)!r} holds neither listings/metadata/*.json.gz nor a table (.csv, .tsv, .jsonl, "
                ".parquet) nor pictures."
            )
        return TableSource(lambda: image_folder.read_images(catalogue), catalogue)
    if images is None and look:
        raise InputError(
            f"{str(catalogue)!r} is a table: give the folder of its pictures with --images DIR, or leave them "
            "unchecked with --check-images none."
        )
    root = images or catalogue.parent
    languages = Languages(settings.languages)
    return TableSource(
        lambda: tabular.read_tables(files, root, settings.columns, languages, mapping=settings.mapping), images
    )
